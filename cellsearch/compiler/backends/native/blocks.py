"""Block products by the dense products of the runtime: their weights are laid out as one matrix
with zeros between the blocks, at every call, so that gradients find the blocks again.

It costs what the dense matrix costs, not a part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from cellsearch.compiler.backends.base import Kernel
from cellsearch.compiler.program import Program
from cellsearch.genome.sizes import multiplied

__all__ = ["BlockKernel", "dense_form"]


def dense_form(program: Program) -> Program:
    """The program with ``dense`` in the place of each ``blocks``, whose weights are laid out."""
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


class BlockKernel(Kernel):
    """A kernel of :func:`dense_form`, called with the weights of the program."""

    plain_torch = False
    whole_states = True
    more_gradients = False

    def __init__(self, program: Program, dense: Kernel) -> None:
        self.program = program
        self.dense = dense
        self.cut = [name for name, shape in program.parameters if len(shape) == 3]

    def __call__(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
        more: Sequence[Tensor] = (),
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See :class:`cellsearch.compiler.backends.base.Kernel`."""
        laid_out = {name: self._whole(parameters[name]) for name in self.cut}
        return self.dense(x, states, {**parameters, **laid_out}, batch_sizes, more)

    @staticmethod
    def _whole(weight: Tensor) -> Tensor:
        """``[n, o, i] -> [n * o, n * i]``."""
        n, rows, columns = weight.shape
        whole = weight.new_zeros(n, rows, n, columns)
        whole.diagonal(0, 0, 2).copy_(weight.permute(1, 2, 0))
        return whole.view(n * rows, n * columns)
