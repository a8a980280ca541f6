"""GPU ground: what a recurrent cell costs on a GPU without a kernel of its own.

Forward and backward of one segment (all weight gradients), median milliseconds of interleaved runs,
measured with CUDA events: ``eager`` is the reference backend (a Python loop over positions),
``aten`` the hoisted loop with its hand-derived backward, ``graph`` the same captured as one CUDA
graph, ``torch.nn`` the vendor's LSTM or GRU (cuDNN). Prints one table a dtype. Needs CUDA::

    python benchmarks/gpu.py [--repeats 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cellsearch import zoo
from cellsearch.compiler.module import compile_cell

# (B, T, I, H): the shapes of the CPU tables, then widths around the limits of the vendor's fast
# kernels.
SHAPES = [
    (16, 64, 32, 32),
    (64, 100, 16, 64),
    (32, 64, 128, 128),
    (20, 35, 200, 200),
    (20, 70, 400, 600),
    (64, 100, 128, 128),
    (64, 100, 200, 200),
    (64, 100, 512, 512),
    (64, 100, 650, 650),
]
CELLS = ("lstm", "gru")


def training_pass(module: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """One forward and backward; gradients are overwritten, not accumulated into new memory."""
    parameters = list(module.parameters())

    def run() -> None:
        for p in parameters:
            if p.grad is not None:
                p.grad.zero_()
        module(x)[0].sum().backward()

    return run


def captured(run: Callable[[], None]) -> Callable[[], None]:
    """The same work as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def milliseconds(run: Callable[[], None]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def contestants(
    cell: str, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> dict[str, Callable[[], None]]:
    batch, time, width, hidden = shape
    x = torch.randn(time, batch, width, device="cuda", dtype=dtype)
    vendor = (nn.LSTM if cell == "lstm" else nn.GRU)(width, hidden, device="cuda", dtype=dtype)
    runs = {"torch.nn": training_pass(vendor, x)}
    for name, backend in (("eager", "reference"), ("aten", "aten"), ("graph", "aten")):
        try:
            module = compile_cell(
                zoo.load(cell),
                input_size=width,
                hidden_size=hidden,
                backend=backend,
                device="cuda",
                dtype=dtype,
            )
            run = training_pass(module, x)
            run()
            runs[name] = captured(run) if name == "graph" else run
        except Exception as error:  # noqa: BLE001 - a benchmark reports what a backend refuses and measures the rest
            print(
                f"# {name} {cell} {shape} {dtype}: {type(error).__name__}: {str(error)[:160]}",
                file=sys.stderr,
            )
    return runs


def measure(
    cell: str, shape: tuple[int, int, int, int], dtype: torch.dtype, repeats: int
) -> dict[str, float]:
    runs = contestants(cell, shape, dtype)
    for run in runs.values():
        for _ in range(3):
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(milliseconds(run))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing to measure")
    rows = []
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for dtype in (torch.float32, torch.bfloat16):
        print(f"\n{dtype}, ms forward + backward")
        print(
            "| B, T, I, H | cell | torch.nn | eager | aten | graph | graph / torch.nn "
            "|\n|---|---|---|---|---|---|---|"
        )
        for shape in SHAPES:
            for cell in CELLS:
                ms = measure(cell, shape, dtype, arguments.repeats)
                rows.append({"dtype": str(dtype), "shape": shape, "cell": cell, "ms": ms})
                cells = " | ".join(
                    f"{ms[name]:.2f}" if name in ms else "–"
                    for name in ("torch.nn", "eager", "aten", "graph")
                )
                ratio = f"{ms['graph'] / ms['torch.nn']:.2f}" if "graph" in ms else "–"
                print(f"| {', '.join(map(str, shape))} | {cell} | {cells} | {ratio} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
