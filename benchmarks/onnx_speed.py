"""Size and speed of exported ONNX models beside torch.nn.LSTM's own and the native runtime.

Usage: python benchmarks/onnx_speed.py [--hidden 64 128] [--length T] [--rounds N]

One thread, float32, without gradients. A sequence: [T, B, H] through the Scan of each cell, through
the ONNX LSTM that torch.onnx makes of torch.nn.LSTM, and through the compiled layer. A step: one
position of one stream through the graph of ``--step``, through torch.nn.LSTM's ONNX at T = 1, and
by cellsearch.streaming.Stepper. All take turns within a round; medians over rounds, and the median
ratio to torch.nn.LSTM in onnxruntime within the same round.
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
from collections.abc import Callable
from statistics import median

import onnxruntime
import torch
from torch import nn

from cellsearch import Genome, compile_cell, zoo
from cellsearch.export.onnx import to_onnx
from cellsearch.export.onnx.check import session
from cellsearch.streaming import Stepper

# The best cell of `make demo`.
FOUND = """
o = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
n1 = f * o
h[t] = o * (n1 + n1 + linear(x[t], h[t-1]))
"""
LAW = "torch.nn.LSTM, ONNX"
Calls = dict[str, tuple[Callable[[], object], int]]
"""Contestant -> what is called, and the bytes of its file (0: none)."""


def of_torch(hidden: int) -> bytes:
    """torch.nn.LSTM by torch's exporter with T and B open."""
    buffer = io.BytesIO()
    x, state = torch.randn(5, 1, hidden), torch.zeros(1, 1, hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one
        torch.onnx.export(
            nn.LSTM(hidden, hidden).eval(),
            (x, (state, state)),
            buffer,
            dynamo=False,
            input_names=["x", "h_0", "c_0"],
            output_names=["output", "h_n", "c_n"],
            dynamic_axes={"x": {0: "T", 1: "B"}, "h_0": {1: "B"}, "c_0": {1: "B"}},
        )
    return buffer.getvalue()


def call(model: bytes, states: list[str], x: torch.Tensor, rows: int) -> Callable[[], object]:
    """One run of a model from states of zeros."""
    run: onnxruntime.InferenceSession = session(model)
    zero = torch.zeros(1, rows, x.shape[-1]).numpy()
    given = {"x": x.numpy(), **dict.fromkeys(states, zero)}
    return lambda: run.run(None, given)


def contestants(hidden: int, length: int, batch: int) -> Calls:
    """Whole sequences, or a step of one stream for ``length`` 0."""
    step = not length
    x = torch.randn(batch, hidden) if step else torch.randn(length, batch, hidden)
    law = of_torch(hidden)
    whole = x[None] if step else x
    calls: Calls = {LAW: (call(law, ["h_0", "c_0"], whole, batch), len(law))}
    cells = {"lstm": zoo.load("lstm"), "gru": zoo.load("gru"), "found": Genome.from_text(FOUND)}
    for name, genome in cells.items():
        layer = compile_cell(genome, input_size=hidden, hidden_size=hidden).eval()
        model = to_onnx(
            genome, layer.state_dict(), input_size=hidden, hidden_size=hidden, step=step
        )
        states = [f"{state}_0" for state in genome.state_names]
        kind = "step" if step else "Scan"
        calls[f"{name}, ONNX {kind}"] = (call(model, states, x, batch), len(model))
        if step:
            stepper = Stepper(layer)
            state = stepper.start()
            calls[f"{name}, Stepper"] = (lambda s=stepper, begin=state: s(x, begin), 0)
        else:
            calls[f"{name}, native"] = (lambda m=layer: m(x), 0)
    return calls


def measure(calls: Calls, rounds: int) -> dict[str, list[float]]:
    """Seconds of a call in each round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (function, _) in calls.items():
            function()
            begin, count = time.perf_counter(), 0
            while count < 5 or time.perf_counter() - begin < 0.02:
                function()
                count += 1
            times[name].append((time.perf_counter() - begin) / count)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| what | contestant | bytes | us (median) | times as fast as torch.nn.LSTM's ONNX |")
    print("|---|---|---|---|---|")
    for hidden in options.hidden:
        for length, batch in ((options.length, 1), (options.length, 16), (0, 1)):
            what = f"T = {length}, B = {batch}, H = {hidden}" if length else f"step, H = {hidden}"
            calls = contestants(hidden, length, batch)
            with torch.no_grad():
                times = measure(calls, options.rounds)
            for name, seconds in times.items():
                ratio = median(a / b for a, b in zip(times[LAW], seconds, strict=True))
                size = f"{calls[name][1]:,}" if calls[name][1] else ""
                print(f"| {what} | {name} | {size} | {median(seconds) * 1e6:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
