"""When each value of a program can be computed: outside the time loop wherever possible.

A value that no carried value leads to is *time-parallel*: it is computed before the loop, at all
positions at once. A value that leads to no next state (what only feeds the output, or the gradient
of a weight) is computed after the loop, at all positions at once. Only the rest, the paths from
carried value to next state, stays in the loop. The class of the recurrence and its GEMM depth
follow from the genome: :mod:`cellsearch.genome.measures`.
"""

from __future__ import annotations

from enum import IntEnum

from cellsearch.compiler.program import Program

__all__ = ["Phase", "phase_notes", "phases"]

_SUMS_OVER_TIME = frozenset({"total", "outer", "blocks_outer"})


class Phase(IntEnum):
    """When a value is computed; an instruction never reads a value of a later phase, except a
    carried one.
    """

    FIXED = 0  # depends on weights only: once
    BEFORE = 1  # for all positions at once, before the loop
    LOOP = 2  # position by position
    AFTER = 3  # for all positions at once, after the loop
    END = 4  # a sum over all positions, and what follows from it: once


def phases(program: Program) -> tuple[Phase, ...]:
    """The phase of each value; inputs count as ``BEFORE``, carried values as ``LOOP``."""
    feeds = _feeding(program)
    shapes = program.shapes
    found = [Phase.BEFORE] * len(program.inputs) + [Phase.LOOP] * len(program.states)
    for value, instruction in program.numbered():
        latest = max([found[v] for v in instruction.inputs], default=Phase.FIXED)
        if instruction.op in _SUMS_OVER_TIME and shapes[instruction.inputs[0]].extent == "step":
            latest = Phase.END
        elif latest is Phase.LOOP and not feeds[value]:
            latest = Phase.AFTER
        found.append(latest)
    return tuple(found)


def phase_notes(program: Program) -> list[str]:
    """Phase of each instruction, for :meth:`Program.to_text`."""
    return [phase.name.lower() for phase in phases(program)[program.first :]]


def _feeding(program: Program) -> list[bool]:
    """Whether each value leads to a next state."""
    found = [False] * program.n_values
    for value in program.next_states:
        found[value] = True
    for value in range(program.n_values - 1, program.first - 1, -1):
        if found[value]:
            for operand in program.instructions[value - program.first].inputs:
                found[operand] = True
    return found
