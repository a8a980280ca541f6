"""The whole training step: where its time goes, against torch.nn.LSTM and the Python loop, and what
it keeps in memory.

``python benchmarks/step.py`` prints all tables in under four minutes on a quiet machine;
``shares``, ``steps``, ``trials`` and ``memory`` print one, and so does ``precision``, which is not
among "all": trials in float32 and bf16, in processor time. Everything on one thread but the naive
loop, which gets as many as torch would take. Times are medians of interleaved runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from compiler_runs import interleaved, table
from step_parts import WHOLE, Characters, demo_job, fast_step, torch_step, watched
from step_trials import precision, trials
from torch import nn

import cellsearch as cs
from cellsearch.compiler.backends.native.build import library, processor

SIZES = (32, 64, 128, 256)
MEMORY_SHAPE = (1000, 32, 128)  # T, B, H


# -- shares ----------------------------------------------------------------------------------------


def table_ms(hidden_size: int, vocabulary: int) -> float:
    """The table of an LSTM's token products, forward and backward, on its own."""
    embedding, bias = (
        torch.randn(vocabulary, hidden_size, requires_grad=True),
        torch.randn(4 * hidden_size),
    )
    weights = [torch.randn(hidden_size, hidden_size, requires_grad=True) for _ in range(4)]
    gradient = torch.ones(vocabulary, 4 * hidden_size)

    def run() -> None:
        torch.autograd.grad(
            torch.addmm(bias, embedding, torch.cat(weights).t()), [embedding, *weights], gradient
        )

    return interleaved({"table": run}, 0.3)["table"]


def shares(quick: bool) -> None:
    for hidden_size in (32, 64):
        job, arrays = demo_job(cs.zoo.load("lstm"), hidden_size)
        found = watched(replace(job, steps=60 if quick else 400), arrays)
        whole = found.pop(WHOLE)
        found["the loop around them"] = max(0.0, whole - sum(found.values()))
        rows: list[list[object]] = [[name, ms, f"{ms / whole:.0%}"] for name, ms in found.items()]
        rows.append([WHOLE, whole, "100%"])
        rows.append(
            [
                "of it: table of token products, forward and backward",
                table_ms(hidden_size, len(arrays["symbols"])),
                "",
            ]
        )
        table(
            f"Shares of a training step, char_lm, LSTM, H {hidden_size}",
            ["part", "ms of processor time", "share"],
            rows,
        )


# -- whole steps -----------------------------------------------------------------------------------


def steps(quick: bool) -> None:
    rows: list[list[object]] = []
    length, vocabulary = 100, 60
    for size in SIZES:
        batch = 128 if size == 256 else 64
        x, y = (torch.randint(0, vocabulary, (length, batch)) for _ in range(2))
        cell = cs.compile_cell(
            cs.zoo.load("lstm"), input_size=size, hidden_size=size, backend="native"
        )
        found = interleaved(
            {
                "torch": torch_step(Characters(nn.LSTM(size, size), vocabulary, size), x, y),
                "own": fast_step(Characters(cell, vocabulary, size), x, y),
            },
            1.5 if quick else 8.0,
        )
        rate = {name: 1e3 * batch * length / ms for name, ms in found.items()}
        rows.append(
            [
                size,
                batch,
                f"{rate['torch']:,.0f}",
                f"{rate['own']:,.0f}",
                found["torch"] / found["own"],
            ]
        )
    head = ["H", "B", "torch.nn.LSTM, clipping, Adam: tokens/s", "cellsearch: tokens/s", "ratio"]
    table("Whole training step of a character model (T 100, 60 characters)", head, rows)


# -- memory ----------------------------------------------------------------------------------------


def resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def kept_floats(kind: str, name: str) -> float:
    """Floats a token and unit that are kept between forward and backward, measured as growth of the
    process.
    """
    length, batch, size = MEMORY_SHAPE
    module: nn.Module
    if kind == "torch":
        module = {"lstm": nn.LSTM, "gru": nn.GRU}[name](size, size)
    else:
        module = cs.compile_cell(
            cs.zoo.load(name), input_size=size, hidden_size=size, backend="native"
        )
    x = torch.randn(length, batch, size)
    module(x[:40])[0].sum().backward()
    before = resident()
    kept = module(x)
    grown = resident() - before
    kept[0].sum().backward()
    return grown / (4 * length * batch * size)


def memory(quick: bool) -> None:
    rows: list[list[object]] = []
    for name in ("lstm", "gru"):
        found = {}
        for kind in ("native", "torch"):
            done = subprocess.run(
                [sys.executable, __file__, "--kept", kind, name],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ,
            )
            found[kind] = float(done.stdout)
        rows.append([name, found["native"], found["torch"], found["native"] / found["torch"]])
    length, batch, size = MEMORY_SHAPE
    head = ["cell", "native", "torch.nn", "ratio"]
    table(
        f"Floats kept for backward, a token and unit, output included (T {length}, B "
        f"{batch}, H {size})",
        head,
        rows,
    )


TABLES: dict[str, Callable[[bool], None]] = {
    "shares": shares,
    "steps": steps,
    "trials": trials,
    "memory": memory,
    "precision": precision,
}
ALL = ("shares", "steps", "trials", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kept", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.kept:
        print(kept_floats(*options.kept))
        return
    model = next(
        (
            line.split(":")[1].strip()
            for line in processor().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    print(
        json.dumps(
            {
                "processor": model,
                "cores": os.cpu_count(),
                "instructions": library().instructions,
                "bf16": library().bf16,
                "torch": torch.__version__,
            }
        )
    )
    for name in options.tables or ALL:
        TABLES[name](options.quick)


if __name__ == "__main__":
    main()
