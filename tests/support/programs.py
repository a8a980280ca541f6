"""What tests measure of a program."""

from __future__ import annotations

from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.phases import Phase, phases

__all__ = ["loop_dense_levels"]


def loop_dense_levels(program: Program) -> tuple[int, ...]:
    """For each value the dense products inside the loop on the longest path to it from a carried
    value.
    """
    phase = phases(program)
    levels = [0] * program.first
    for value, instruction in program.numbered():
        below = max((levels[v] for v in instruction.inputs), default=0)
        levels.append(
            below + (instruction.op in ("dense", "dense_t") and phase[value] is Phase.LOOP)
        )
    return tuple(levels)
