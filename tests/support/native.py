"""Hard treatment of the native runtime: malformed programs, and runs under a sanitized build. Used
by tests, in processes of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from cellsearch import zoo
from cellsearch.compiler.backends.native import threads as native_threads
from cellsearch.compiler.backends.native.build import Library, library
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.backends.native.loss import readout_loss
from cellsearch.compiler.backends.native.plan import JobPlan, make_plan
from cellsearch.compiler.backends.native.structures import CJob, Numbers
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Precision
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import BackendError
from cellsearch.genome.graph import Genome
from support.cells import plain_cells

__all__ = ["fuzz", "run_cells", "run_losses"]

BLOCKS = """
a = sigmoid(linear(x[t], blocks=3) + linear(h[t-1], bias=False))
h[t] = a * h[t-1] + tanh(linear(a, blocks=3) + linear(h[t-1], bias=False, blocks=3))
"""
"""Block products before, in and after the loop, beside others; I = H is a multiple of 3."""
PAIRS = """
a = rotate(h[t-1], linear(x[t], size=H/2))
h[t] = head_norm(rotate(a, linear(a, size=H/2)), 3) + rotate(linear(x[t]), bias(size=H/2))
"""
"""Stages of two widths in every phase, and heads; H is a multiple of 6."""
WRITTEN = {BLOCKS: 3, PAIRS: 6}
"""Cells beside those of the zoo, with what H is a multiple of."""
_VALUES = (
    -(1 << 62),
    -(1 << 33),
    -2,
    -1,
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    16,
    31,
    64,
    255,
    4096,
    1 << 20,
    1 << 33,
    1 << 62,
)
_STEPS, _ROWS = 5, 3
# Fields of a job that say how many numbers the caller brought: they describe memory, so they are
# only made smaller.
_COUNTS = ("buffers", "operands", "instructions", "commands", "pieces", "carried", "threads")
_FREE = (
    *("format", "steps", "rows", "chunk", "backwards", "together", "blocked", "direct"),
    *("bf16", "registers", "register_floats"),
)
_LARGE = ("steps", "rows", "chunk")  # kept small, or a correct program would run for ever


def fuzz(rounds: int, seed: int, library: Library) -> tuple[int, int]:
    """Run spoiled programs; returns how many were refused and how many ran. The process must
    survive.
    """
    rng = np.random.default_rng(seed)
    names = plain_cells()
    texts = [*WRITTEN, PAIRS, PAIRS]
    refused = 0
    for _ in range(rounds):
        k = int(rng.integers(len(names) + len(texts)))
        genome = zoo.load(names[k]) if k < len(names) else Genome.from_text(texts[k - len(names)])
        precision = rng.choice(get_args(Precision))
        kernel = NativeKernel(simplify_program(lower(genome, precision)), library)
        kind, threads = str(rng.choice(("training", "inference", "backward"))), rng.integers(1, 4)
        plan = _plan(kernel, kind, library, int(threads))
        for _ in range(20):
            refused += _run_spoiled(plan, rng)
    return refused, 20 * rounds - refused


def _plan(kernel: NativeKernel, kind: str, library: Library, threads: int) -> JobPlan:
    sized = kernel.at(6, 6)
    return make_plan(
        *(sized.code(kind), library, _STEPS, _ROWS),
        reverse=kind == "backward",
        packed=False,
        threads=threads,
    )


def _run_spoiled(plan: JobPlan, rng: np.random.Generator) -> bool:
    """Spoil some numbers of a copy of the plan and run it; whether it was refused."""
    code = plan.code
    tables = {
        "operand": code.operands.copy(),
        "instruction": code.instructions.copy(),
        "command": code.commands.copy(),
        "piece": code.pieces.copy(),
        "carry": code.carried.copy(),
    }
    buffers, job = plan.memory.buffers.copy(), CJob.from_buffer_copy(plan.job)
    for _ in range(int(rng.integers(1, 4))):
        target = int(rng.integers(7))
        if target < 5:
            numbers = list(tables.values())[target].view(np.int64)
            if numbers.size:
                _spoil(numbers, rng)
                continue
        if target == 5:
            field = str(rng.choice(("kind", "slots", "step_stride", "row_stride")))
            buffers[field][int(rng.integers(len(buffers)))] = rng.choice(_VALUES)
        else:
            _spoil_job(job, rng)
    for name, table in tables.items():
        setattr(job, name, table.ctypes.data)
    memory = [torch.zeros(plan.memory.floats[name]) for name in plan.memory.external]
    scratch = torch.zeros(plan.memory.scratch + 16)
    saved = torch.zeros(max(1, plan.memory.saved))
    try:
        replace(plan, job=job, memory=replace(plan.memory, buffers=buffers)).run(
            scratch.data_ptr(), saved.data_ptr(), [m.data_ptr() for m in memory]
        )
    except BackendError:
        return True
    return False


def _spoil(numbers: Numbers, rng: np.random.Generator) -> None:
    k = int(rng.integers(len(numbers)))
    numbers[k] = rng.choice(_VALUES) if rng.random() < 0.5 else numbers[k] + rng.integers(-3, 4)


def _spoil_job(job: CJob, rng: np.random.Generator) -> None:
    if rng.random() < 0.3:
        name = str(rng.choice(_COUNTS))
        setattr(job, name, int(rng.integers(0, getattr(job, name) + 1)))
        return
    k = int(rng.integers(len(_FREE) + len(job.phase)))
    name = _FREE[k] if k < len(_FREE) else "phase"
    value = int(rng.integers(-1, 9) if name in _LARGE else rng.choice(_VALUES))
    if name == "phase":
        job.phase[k - len(_FREE)] = value
    else:
        setattr(job, name, value)


def run_cells(names: Sequence[str], library: Library, threads: int = 1) -> None:
    """Forward and backward of zoo cells at sizes that fit no vector width, and packed; with so many
    threads, however small the work.
    """
    for name in names:
        genome = zoo.load(name)
        for steps, rows, size, packed in (
            (3, 5, 17, None),
            (2, 300, 3, None),
            (4, 3, 65, (3, 2, 2, 1)),
            (1, 1, 5, None),
        ):
            for precision in get_args(Precision):
                _run_cell(genome, precision, (steps, rows, size), packed, library, threads)
    for text, multiple in WRITTEN.items():
        for steps, rows, times, packed in (
            (3, 5, 17, None),
            (2, 300, 1, None),
            (4, 3, 21, (3, 2, 2, 1)),
        ):
            size = multiple * times
            for precision in get_args(Precision):
                _run_cell(
                    Genome.from_text(text), precision, (steps, rows, size), packed, library, threads
                )


def _run_cell(
    genome: Genome,
    precision: Precision,
    shape: tuple[int, int, int],
    packed: Sequence[int] | None,
    library: Library,
    threads: int,
) -> None:
    steps, rows, size = shape
    kernel = NativeKernel(simplify_program(lower(genome, precision)), library)
    kernel.threads = threads
    x = torch.randn(steps, rows, size, requires_grad=True)
    states = [torch.rand(rows, size, requires_grad=True) for _ in genome.states]
    weights = {
        spec.name: torch.randn(spec.sizes(size, size), requires_grad=True)
        for spec in genome.parameters
    }
    more = [torch.rand(steps, rows, size) for _ in kernel.program.inputs[1:]]  # I = H
    output, final = kernel(x, states, weights, packed, more)
    (output.sum() + sum(state.sum() for state in final)).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        kernel(x, states, weights, packed, more)


def run_losses(library: Library) -> None:
    """Readouts with their losses at sizes that fit no vector width."""
    for rows, width, classes in ((0, 3, 2), (1, 1, 1), (3, 65, 17), (300, 33, 63), (65, 130, 700)):
        hidden, weight = torch.randn(rows, width), torch.randn(classes, width)
        targets = torch.arange(rows) % (classes + 1) - 1
        for bias in (None, torch.randn(classes)):
            for gradients in (False, True):
                readout_loss(library, hidden, weight, bias, targets, gradients=gradients)


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m support.native [--rounds N] [--threads N] [--library FILE] [cells...]``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", type=Path)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("cells", nargs="*")
    options = parser.parse_args(arguments)
    runtime = library() if options.library is None else Library(options.library)
    if options.threads > 1:
        native_threads.THREAD_WORK = 1
    run_cells(options.cells, runtime, options.threads)
    run_losses(runtime)
    refused, ran = fuzz(options.rounds, options.seed, runtime)
    print(f"refused {refused} ran {ran}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
