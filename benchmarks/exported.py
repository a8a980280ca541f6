"""Speed of an exported package: its fast class, its plain file, and torch.nn.LSTM; forward and
backward of one segment.

    python benchmarks/exported.py [--cells lstm gru sru]

The cells are exported from the zoo into a temporary folder. All contestants of a cell take turns;
medians of the rounds, one thread, and the ratio to torch.nn.LSTM with the same sizes within the
same round.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median

import torch

from cellsearch import zoo
from cellsearch.export.package import to_package

STEPS, BATCH, HIDDEN = 50, 16, 128


def contestants(name: str, folder: Path) -> dict[str, Callable[[], None]]:
    """A training segment by name."""
    for path, data in to_package(zoo.load(name)).items():
        target = folder / f"exported_{name}" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    package = import_module(f"exported_{name}")
    fast, plain = package.Recurrent(HIDDEN, HIDDEN), package.plain.Recurrent(HIDDEN, HIDDEN)
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(STEPS, BATCH, HIDDEN)
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-4, atol=1e-5)

    def segment(layer: torch.nn.Module) -> Callable[[], None]:
        def run() -> None:
            layer.zero_grad()
            layer(x)[0].square().mean().backward()

        return run

    return {
        "torch.nn.LSTM": segment(torch.nn.LSTM(HIDDEN, HIDDEN)),
        "fast": segment(fast),
        "plain": segment(plain),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru", "sru"])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"T = {STEPS}, B = {BATCH}, I = H = {HIDDEN}\n")
    print(
        "| cell | contestant | milliseconds (median) | times as fast as torch.nn.LSTM "
        "|\n|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for cell in arguments.cells:
            calls = contestants(cell, Path(folder))
            times: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(arguments.rounds):
                for name, call in calls.items():
                    begin = time.thread_time()
                    call()
                    times[name].append(time.thread_time() - begin)
            for name, found in times.items():
                ratio = median(a / b for a, b in zip(times["torch.nn.LSTM"], found, strict=True))
                print(f"| {cell} | {name} | {1e3 * median(found):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
