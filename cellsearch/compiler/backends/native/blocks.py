"""Block products for a schedule: it takes them for products of matrices, and the bytecode makes a
product of each block.
"""

from __future__ import annotations

from dataclasses import replace

from cellsearch.compiler.program import Program
from cellsearch.genome.sizes import multiplied

__all__ = ["dense_form"]


def dense_form(program: Program) -> Program:
    """The program with ``dense`` in the place of each ``blocks``, whose weights are matrices."""
    if not program.cut:
        return program
    return replace(
        program,
        instructions=tuple(
            i._replace(op="dense") if i.op == "blocks" else i for i in program.instructions
        ),
        parameters=tuple(
            (name, tuple(multiplied(width, shape[0]) for width in shape[1:]))
            if len(shape) == 3
            else (name, shape)
            for name, shape in program.parameters
        ),
    )
