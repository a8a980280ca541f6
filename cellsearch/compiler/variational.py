"""Variational dropout: the same units are dropped at every position (Gal & Ghahramani 2016, arXiv
1512.05287, section 4.1).

What a layer reads is multiplied by a mask ``[B, I]`` before the time loop. In the loop, each
previous state that a product with a weight matrix reads is multiplied by a mask ``[B, H]``, which
is constant over time; so the mask is one more state of the program that never changes, and every
backend runs it without knowing. Products alone read the masked state: ``c[t] = f * c[t-1] + ...``
keeps what it holds, as in the paper.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from cellsearch.compiler.program import Instruction, Program
from cellsearch.genome.graph import State

__all__ = ["drop_units", "masked_states", "with_masks"]


def masked_states(program: Program) -> tuple[int, ...]:
    """The states (by their place) that a product with a weight matrix reads directly."""
    first = len(program.inputs)
    read = {
        instruction.inputs[0]
        for instruction in program.instructions
        if instruction.op in ("dense", "blocks")
    }
    return tuple(k for k in range(len(program.states)) if first + k in read)


def with_masks(program: Program) -> Program:
    """The program with one more state for each of :func:`masked_states`, its mask, behind the
    others; dense products read the product.

    A state and its mask have the same width. With masks of ones it computes what the program did.
    """
    masked, first = masked_states(program), program.first
    added = len(masked)
    products = {len(program.inputs) + k: first + added + n for n, k in enumerate(masked)}

    def moved(value: int) -> int:
        """The number of a value: masks and their products come before the instructions."""
        return value if value < first else value + 2 * added

    def rewritten(instruction: Instruction) -> Instruction:
        if instruction.op in ("dense", "blocks"):
            return instruction.reading(tuple(products.get(v, moved(v)) for v in instruction.inputs))
        return instruction.reading(tuple(moved(v) for v in instruction.inputs))

    new = tuple(
        Instruction("mul", (len(program.inputs) + k, first + n)) for n, k in enumerate(masked)
    )
    return replace(
        program,
        states=(*program.states, *(State(f"{program.states[k].name} mask", 1.0) for k in masked)),
        instructions=(*new, *(rewritten(instruction) for instruction in program.instructions)),
        next_states=(*(moved(v) for v in program.next_states), *(first + n for n in range(added))),
        outputs=tuple((name, moved(v)) for name, v in program.outputs),
        carried=(*program.state_widths, *(program.state_widths[k] for k in masked)),
    )


def drop_units(like: Tensor, *shape: int, share: float) -> Tensor:
    """A mask: 0 with probability ``share``, else ``1 / (1 - share)``, so that the expectation is 1;
    from torch's random generator.
    """
    return functional.dropout(torch.ones(shape, dtype=like.dtype, device=like.device), share)
