"""What every backend is: something that turns a program into a kernel that runs a whole
sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cellsearch.compiler.program import Precision, Program

if TYPE_CHECKING:  # knowing the backends, and what a cell costs, needs no torch
    import torch
    from torch import Tensor

__all__ = ["Backend", "Kernel", "Support"]


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a backend can run a program."""

    ok: bool
    reason: str = ""
    """Why not."""


class Kernel(ABC):
    """Runs one layer in one direction over a whole sequence, differentiably. A subclass says what
    it can do beyond that.
    """

    whole_states: ClassVar[bool] = False
    """Initial states are only read and may be ``[1, B, H]``, and final states are new tensors of
    the same shape.
    """
    takes_tokens: ClassVar[bool] = False
    """:meth:`run_tokens` is cheaper than embedding the tokens first."""
    more_gradients: ClassVar[bool] = True
    """It gives the gradients of the inputs after x as well."""
    threads: int = 1
    """How many threads a call may use, set before the first one; kernels of torch calls have
    torch's.
    """
    plain_torch: ClassVar[bool] = True
    """It consists of differentiable torch calls, so it runs under ``torch.func``, tracing and fake
    tensors too (:func:`~cellsearch.compiler.backends.transforms.transform_of`).
    """

    @abstractmethod
    def __call__(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
        more: Sequence[Tensor] = (),
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``x [T, B, I]``, ``states`` each ``[B, H]``, ``parameters`` by name (``i.weight_x [H,
        I]``) -> ``(output [T, B, H], states)``.

        ``more``: the inputs of the program after x, each ``[T, B, width]``; given only where
        :attr:`Backend.more_inputs` says that they are taken.

        ``batch_sizes``: number of sequences still running at each position, never increasing (rows
        sorted by length, longest first); ``None``: all at every position. Output beyond the end of
        a sequence is zero; its final state is that of its last position.
        """

    def run_tokens(
        self,
        tokens: Tensor,
        embedding: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same as calling the kernel on ``embedding[tokens]``: ``tokens [T, B]`` (int64),
        ``embedding [V, I]``; gradients too.

        Raises :class:`IndexError` for a token that is not in the embedding.
        """
        import torch

        return self(
            torch.nn.functional.embedding(tokens, embedding), states, parameters, batch_sizes
        )


class Backend(ABC):
    """A code generator. ``name`` is what ``compile_cell(..., backend=name)`` calls it."""

    name: ClassVar[str]
    more_inputs: ClassVar[bool] = False
    """Whether it runs programs that are given more than x in each step: cells that read ``dt[t]``
    or ``mask[t]``, and resets of states."""
    precisions: ClassVar[tuple[Precision, ...]] = ("float32",)
    """Which values of :attr:`Program.precision` it computes in."""

    @abstractmethod
    def supports(self, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
        """Whether :meth:`build` works for this program, device and dtype, and why not."""

    @abstractmethod
    def build(self, program: Program) -> Kernel:
        """The kernel of a program."""
