"""What stands between torch's calls and their numbers, where memory is read by its address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from cellsearch.errors import BackendError

__all__ = ["beside_the_graph", "check_gradients", "refuse_gradients", "transform_of"]

# One call a time step in streams: what is looked up here costs as much as the call.
_interpreter = torch._C._functorch.peek_interpreter_stack
_is_tracing = torch._C._is_tracing
_modes = torch._C._len_torch_dispatch_stack
_is_batched = torch._C._functorch.is_legacy_batchedtensor
_TRACING_MODES = ("FakeTensorMode", "FunctionalTensorMode", "ProxyTorchDispatchMode")


@_disable_dynamo  # torch.compiler.disable would load all of dynamo at once
def beside_the_graph(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a function that ``torch.compile`` leaves as it is: its graph ends before the call."""
    return function(*arguments, **named)


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
        refuse_gradients(backend, what or "vmap")


def refuse_gradients(backend: str, what: str) -> NoReturn:
    """Raise the error of :func:`check_gradients`; ``what`` stands between calls and numbers."""
    raise BackendError(
        f"the {backend} backend cannot run backward under {what}",
        hint='compile the cell with backend="reference"; of a package take the plain class',
    )
