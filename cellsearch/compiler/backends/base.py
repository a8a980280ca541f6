"""What every backend is: something that turns a program into a kernel that runs a whole
sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import torch

    from cellsearch.compiler.program import Program

__all__ = ["Backend", "Kernel", "Support", "TokenKernel"]


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a backend can run a program; ``reason`` says why not."""

    ok: bool
    reason: str = ""


class Kernel(Protocol):
    """Runs one layer in one direction over a whole sequence, differentiably."""

    def __call__(
        self,
        x: torch.Tensor,
        states: Sequence[torch.Tensor],
        parameters: Mapping[str, torch.Tensor],
        batch_sizes: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """``x [T, B, I]``, ``states`` each ``[B, H]``, ``parameters`` by name (``i.weight_x [H,
        I]``) -> ``(output [T, B, H], states)``.

        ``batch_sizes``: number of sequences still running at each position, never increasing (rows
        sorted by length, longest first); ``None``: all at every position. Output beyond the end of
        a sequence is zero; its final state is that of its last position.
        """
        ...


class TokenKernel(Kernel, Protocol):
    """A kernel that can take tokens in the place of x, and gains by it."""

    def run_tokens(
        self,
        tokens: torch.Tensor,
        embedding: torch.Tensor,
        states: Sequence[torch.Tensor],
        parameters: Mapping[str, torch.Tensor],
        batch_sizes: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The same as calling the kernel on ``embedding[tokens]``: ``tokens [T, B]`` (int64),
        ``embedding [V, I]``; gradients too.

        Raises :class:`IndexError` for a token that is not in the embedding.
        """
        ...


class Backend(ABC):
    """A code generator. ``name`` is what ``compile_cell(..., backend=name)`` calls it."""

    name: ClassVar[str]

    @abstractmethod
    def supports(self, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
        """Whether :meth:`build` works for this program, device and dtype, and why not."""

    @abstractmethod
    def build(self, program: Program) -> Kernel:
        """The kernel of a program."""
