"""Hard treatment of the native runtime: malformed programs, and runs under a sanitized build. Used
by tests, in processes of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cellsearch import zoo
from cellsearch.compiler.backends.native.build import Library, library
from cellsearch.compiler.backends.native.bytecode import Table
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.backends.native.plan import JobPlan, make_plan
from cellsearch.compiler.lower import lower
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import BackendError
from cellsearch.genome.graph import Genome

__all__ = ["fuzz", "run_cells"]

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
# Columns of a job that say how many numbers the caller brought: they describe memory, so they are
# only made smaller.
_COUNTS = range(17, 23)
_FREE = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, *range(29, 36))
_LARGE = (1, 2, 3)  # steps, rows, chunk: kept small, or a correct program would run for ever


def fuzz(rounds: int, seed: int, library: Library) -> tuple[int, int]:
    """Run spoiled programs; returns how many were refused and how many ran. The process must
    survive.
    """
    rng = np.random.default_rng(seed)
    names = zoo.names()
    refused = 0
    for _ in range(rounds):
        kernel = NativeKernel(
            simplify_program(lower(zoo.load(names[int(rng.integers(len(names)))]))), library
        )
        plan = _plan(kernel, str(rng.choice(("training", "inference", "backward"))), library)
        for _ in range(20):
            refused += _run_spoiled(plan, rng)
    return refused, 20 * rounds - refused


def _plan(kernel: NativeKernel, kind: str, library: Library) -> JobPlan:
    sized = kernel.at(6, 6)
    return make_plan(
        sized.code(kind), library, _STEPS, _ROWS, reverse=kind == "backward", packed=False
    )


def _run_spoiled(plan: JobPlan, rng: np.random.Generator) -> bool:
    """Spoil some numbers of a copy of the plan and run it; whether it was refused."""
    code = plan.code
    tables = [
        part.copy()
        for part in (code.operands, code.instructions, code.commands, code.pieces, code.carried)
    ]
    table, job = plan.table.copy(), plan.job.copy()
    for _ in range(int(rng.integers(1, 4))):
        target = int(rng.integers(7))
        if target < 5 and tables[target].size:
            _spoil(tables[target].reshape(-1), rng)
        elif target == 5:
            column = int(rng.choice((2, 3, 4, 5)))
            table[int(rng.integers(len(table))), column] = rng.choice(_VALUES)
        else:
            _spoil_job(job, rng)
    job[24:29] = [part.ctypes.data for part in tables]
    memory = [torch.zeros(plan.floats[name]) for name in plan.external]
    scratch, saved = torch.zeros(plan.scratch + 16), torch.zeros(max(1, plan.saved))
    try:
        replace(plan, job=job, table=table).run(
            scratch.data_ptr(), saved.data_ptr(), [m.data_ptr() for m in memory]
        )
    except BackendError:
        return True
    return False


def _spoil(numbers: Table, rng: np.random.Generator) -> None:
    k = int(rng.integers(len(numbers)))
    numbers[k] = rng.choice(_VALUES) if rng.random() < 0.5 else numbers[k] + rng.integers(-3, 4)


def _spoil_job(job: Table, rng: np.random.Generator) -> None:
    if rng.random() < 0.3:
        k = int(rng.choice(list(_COUNTS)))
        job[k] = rng.integers(0, job[k] + 1)
        return
    k = int(rng.choice(_FREE))
    job[k] = rng.integers(-1, 9) if k in _LARGE else rng.choice(_VALUES)


def run_cells(names: Sequence[str], library: Library) -> None:
    """Forward and backward of zoo cells at sizes that fit no vector width, and packed."""
    for name in names:
        genome = zoo.load(name)
        for steps, rows, size, packed in (
            (3, 5, 17, None),
            (2, 300, 3, None),
            (4, 3, 65, (3, 2, 2, 1)),
            (1, 1, 5, None),
        ):
            _run_cell(genome, steps, rows, size, packed, library)


def _run_cell(
    genome: Genome, steps: int, rows: int, size: int, packed: Sequence[int] | None, library: Library
) -> None:
    kernel = NativeKernel(simplify_program(lower(genome)), library)
    x = torch.randn(steps, rows, size, requires_grad=True)
    states = [torch.rand(rows, size, requires_grad=True) for _ in genome.states]
    weights = {
        spec.name: torch.randn(spec.sizes(size, size), requires_grad=True)
        for spec in genome.parameters
    }
    output, final = kernel(x, states, weights, packed)
    (output.sum() + sum(state.sum() for state in final)).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        kernel(x, states, weights, packed)


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m support.native --rounds N --seed S [--library FILE] [cells...]``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", type=Path)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("cells", nargs="*")
    options = parser.parse_args(arguments)
    runtime = library() if options.library is None else Library(options.library)
    run_cells(options.cells, runtime)
    refused, ran = fuzz(options.rounds, options.seed, runtime)
    print(f"refused {refused} ran {ran}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
