"""Models without memory for their weights: for who only asks how large they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["shapes_only"]


@contextmanager
def shapes_only() -> Iterator[None]:
    """While entered, new tensors have a shape and no memory (torch's device ``meta``), and nothing
    is drawn for them: torch draws for such tensors by way of its compiler, which takes over a
    second to load.
    """
    with torch.device("meta"), _DrawNothing():
        yield


class _DrawNothing(TorchFunctionMode):
    """Leaves a tensor as it is where it would be filled with first values."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        named = named or {}
        if getattr(function, "__module__", "") == "torch.nn.init" or function in _DRAWING:
            return arguments[0] if arguments else named["tensor"]
        return function(*arguments, **named)


_DRAWING = frozenset(
    (
        torch.Tensor.bernoulli_,
        torch.Tensor.exponential_,
        torch.Tensor.log_normal_,
        torch.Tensor.normal_,
        torch.Tensor.random_,
        torch.Tensor.uniform_,
    )
)
