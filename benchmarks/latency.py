"""Latency of one step of a stream on one core, and what low precision costs in accuracy.

Usage: python benchmarks/latency.py [--hidden 64 256] [--cells FILE.cell ...] [--rounds N]
[--accuracy] [--steps N]

For batch 1 and I = H, without gradients: torch.nn.LSTMCell and GRUCell, CellModule.step (also of
cells compiled with precision="bf16") and cellsearch.streaming.Stepper for LSTM, GRU, minGRU and the
given cells (two found ones by default).
All take turns within a round, so that a busy machine slows all of them alike; medians over rounds,
in microseconds of the core (waiting for a core that others use does not count), and the median
ratio to LSTMCell within the same round. --accuracy trains each cell on char_lm and reads the first
part of the validation text step by step in each precision.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import nn

from cellsearch import Genome, compile_cell, tasks, zoo
from cellsearch.compiler.module import CellModule
from cellsearch.job import Job, Training
from cellsearch.runs.trained import Trained, train
from cellsearch.streaming import Stepper
from cellsearch.streaming.stepper import PRECISIONS, Precision
from cellsearch.tasks.heads import SequenceModel

# The best cells of two searches with the experiment quickstart at 80 steps a cell: random strategy
# (14 trials), genetic (24 trials).
FOUND = {
    "found_random": """
n1 = linear(x[t], h[t-1])
n4 = linear(h[t-1])
n3 = linear(x[t])
n5 = tanh(n1 * n4 + n3)
n2 = linear(x[t])
n6 = tanh(n2)
h[t] = (tanh(n5) + n6 + n6) * blend(h[t-1] - n5, n1, n1)
""",
    "found_genetic": """
i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1], i))
n1 = linear(x[t], h[t-1])
h[t] = o * (f * n1 + i * g)
""",
}
CALLS = 50
STREAMS, POSITIONS = 32, 500


def genomes(files: list[Path]) -> dict[str, Genome]:
    """The cells that are measured, by name."""
    found = {file.stem: file.read_text("utf-8") for file in files} or FOUND
    known = {name: zoo.load(name) for name in ("lstm", "gru", "mingru")}
    return {**known, **{name: Genome.from_text(text, source=name) for name, text in found.items()}}


def contestants(cells: dict[str, Genome], hidden: int) -> dict[str, Callable[[], object]]:
    """One step of each, ready to be called."""
    x, zero = torch.randn(1, hidden), torch.zeros(1, hidden)
    lstm, gru = nn.LSTMCell(hidden, hidden), nn.GRUCell(hidden, hidden)
    calls: dict[str, Callable[[], object]] = {
        "torch.nn.LSTMCell": lambda: lstm(x, (zero, zero)),
        "torch.nn.GRUCell": lambda: gru(x, zero),
    }
    for name, genome in cells.items():
        module = compile_cell(genome, input_size=hidden, hidden_size=hidden).eval()
        calls[f"{name}: step"] = _step(module, x)
        rounding = compile_cell(genome, hidden, hidden, precision="bf16").eval()
        calls[f"{name}: step, products in bf16"] = _step(rounding, x)
        for precision in ("float32", "bfloat16", "int8"):
            calls[f"{name}: Stepper {precision}"] = _stepper(Stepper(module, precision), x)
    return calls


def _step(module: CellModule, x: torch.Tensor) -> Callable[[], object]:
    _, state = module.step(x)
    return lambda: module.step(x, state)


def _stepper(stepper: Stepper, x: torch.Tensor) -> Callable[[], object]:
    state, given = stepper.start(), x.to(stepper.dtype)
    return lambda: stepper(given, state)


def latency(cells: dict[str, Genome], hidden: int, rounds: int) -> None:
    """Print a table: median microseconds a step, and the median ratio to LSTMCell."""
    calls = contestants(cells, hidden)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            begin = time.thread_time()
            for _ in range(CALLS):
                call()
            times[name].append((time.thread_time() - begin) / CALLS * 1e6)
    print(f"\nH = {hidden}, B = 1, {rounds} rounds of {CALLS} calls\n")
    print("| step | microseconds (median) | fastest | ratio to LSTMCell |\n|---|---|---|---|")
    for name, found in times.items():
        ratio = median(a / b for a, b in zip(found, times["torch.nn.LSTMCell"], strict=True))
        print(f"| {name} | {median(found):.1f} | {min(found):.1f} | {ratio:.2f} |")


def bits(trained: Trained, precision: Precision) -> tuple[float, int]:
    """Bits per character of the first part of the validation text, step by step, and bytes of the
    cell's weights.

    The embedding and the readout stay in float32.
    """
    model = trained.model
    assert isinstance(model, SequenceModel)
    assert isinstance(model.cell, CellModule)
    assert model.embedding is not None
    stepper = Stepper(model.cell, precision)
    tokens = (
        torch.from_numpy(trained.task.arrays["valid"][: STREAMS * (POSITIONS + 1)])
        .long()
        .view(STREAMS, -1)
        .t()
    )
    state, total = stepper.start(STREAMS), 0.0
    with torch.no_grad():
        for x, y in pairwise(tokens):
            output, state = stepper(model.embedding(x).to(stepper.dtype), state)
            total += float(
                nn.functional.cross_entropy(model.readout(output.to(model.readout.weight.dtype)), y)
            )
    return total / (len(tokens) - 1) / torch.log(torch.tensor(2.0)).item(), stepper.weight_bytes


def accuracy(cells: dict[str, Genome], hidden: int, steps: int) -> None:
    """Print a table: bits per character in each precision after a short training."""
    arrays = tasks.get("char_lm").load({})
    print(f"\nchar_lm, H = {hidden}, {steps} steps, {STREAMS * POSITIONS:,} characters\n")
    print("| cell | precision | bits per character | loss | bytes |\n|---|---|---|---|---|")
    for name, genome in cells.items():
        training = Training(steps=steps, hidden_size=hidden)
        trained, _ = train(Job(0, 0, genome.to_json(), "char_lm", {}, training, steps, 0), arrays)
        full, _ = bits(trained, "float32")
        for precision in PRECISIONS:
            value, size = bits(trained, precision)
            print(
                f"| {name} | {precision} | {value:.5f} | {value - full:+.5f} | {size:,} |",
                flush=True,
            )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256])
    parser.add_argument(
        "--cells",
        type=Path,
        nargs="*",
        default=[],
        help=".cell files in place of the two found cells",
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cells = genomes(arguments.cells)
    if arguments.accuracy:
        accuracy(cells, arguments.hidden[0], arguments.steps)
        return
    with torch.no_grad():
        for hidden in arguments.hidden:
            latency(cells, hidden, arguments.rounds)


if __name__ == "__main__":
    main()
