"""What every backend is: something that turns a program into a kernel that runs a whole
sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.autograd import forward_ad
from torch.nn import functional
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from cellsearch.compiler.program import Program
from cellsearch.errors import BackendError

__all__ = ["Backend", "Kernel", "Support", "beside_the_graph", "check_gradients", "transform_of"]

# One call a time step in streams: what is looked up here costs as much as the call.
_interpreter = torch._C._functorch.peek_interpreter_stack
_is_tracing = torch._C._is_tracing
_modes = torch._C._len_torch_dispatch_stack
_is_batched = torch._C._functorch.is_legacy_batchedtensor
_TRACING_MODES = ("FakeTensorMode", "FunctionalTensorMode", "ProxyTorchDispatchMode")


@_disable_dynamo  # torch.compiler.disable would load all of dynamo at once
def beside_the_graph(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that ``torch.compile`` leaves as it is: its graph ends before the call."""
    return function(*arguments)


def transform_of(tensors: Iterable[Tensor]) -> str:
    """What stands between torch's calls and their numbers at the moment (``"torch.func"``,
    ``"torch.jit.trace"``, ...), so that memory must neither be read by its address nor kept; empty
    in an ordinary call. ``tensors``: some of those at hand.
    """
    if torch.compiler.is_exporting():
        return "torch.export"
    if _interpreter() is not None:
        return "torch.func"
    if _is_tracing():
        return "torch.jit.trace"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if _modes():
        for mode in _get_current_dispatch_mode_stack():
            if type(mode).__name__ in _TRACING_MODES:  # their modules are slow to load
                return type(mode).__name__
    for tensor in tensors:
        kind = type(tensor)
        if (
            kind is not Tensor
            and kind is not nn.Parameter
            and kind.__torch_dispatch__ is not Tensor.__torch_dispatch__
        ):
            return kind.__name__
    return ""


def check_gradients(backend: str, gradients: Iterable[Tensor | None]) -> None:
    """Raise :class:`BackendError` in a backward pass under a transform, ``vmap`` for example
    (``is_grads_batched=True``, ``vectorize=True``).
    """
    given = [gradient for gradient in gradients if gradient is not None][:1]  # all are alike
    what = transform_of(given)
    if what or (given and _is_batched(given[0])):
        raise BackendError(
            f"the {backend} backend cannot run backward under {what or 'vmap'}",
            hint='compile the cell with backend="reference"; of a package take the plain class',
        )


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
    plain_torch: ClassVar[bool] = True
    """It consists of differentiable torch calls, so it runs under ``torch.func``, tracing and fake
    tensors too (:func:`transform_of`).
    """

    @abstractmethod
    def __call__(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``x [T, B, I]``, ``states`` each ``[B, H]``, ``parameters`` by name (``i.weight_x [H,
        I]``) -> ``(output [T, B, H], states)``.

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
        return self(functional.embedding(tokens, embedding), states, parameters, batch_sizes)


class Backend(ABC):
    """A code generator. ``name`` is what ``compile_cell(..., backend=name)`` calls it."""

    name: ClassVar[str]

    @abstractmethod
    def supports(self, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
        """Whether :meth:`build` works for this program, device and dtype, and why not."""

    @abstractmethod
    def build(self, program: Program) -> Kernel:
        """The kernel of a program."""
