"""What each pointwise primitive means in torch: a callable each, made from the op table."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from cellsearch import ops
from cellsearch.errors import ConfigError

__all__ = [
    "FUNCTIONS",
    "LAYER_NORM_EPS",
    "blocks_product",
    "function_of",
    "head_norm",
    "in_parts",
    "layer_norm",
    "layer_norm_gradient",
    "pairs",
    "turn",
    "twice",
    "unit",
    "unit_gradient",
]

LAYER_NORM_EPS = 1e-5
_CALL = re.compile(r"torch\.([\w.]+)\(\{0\}(?:, \{1\})?\)")
"""A call of the operands in their order: nothing stands between such a function and its caller."""


def function_of(text: str) -> Callable[..., torch.Tensor]:
    """The function that an expression of the op table is."""
    call = _CALL.fullmatch(text)
    if call:
        return _of_torch(call[1])
    operands = sorted(set(re.findall(r"\{(\d)\}", text)))
    source = f"lambda {', '.join(f'a{k}' for k in operands)}: " + re.sub(r"\{(\d)\}", r"a\1", text)
    # The table is code: ours, or an installed package's, whose row was checked when it was added.
    made: Callable[..., torch.Tensor] = eval(source, {"torch": torch})  # noqa: S307
    return made


def _of_torch(path: str) -> Callable[..., torch.Tensor]:
    found: Any = torch
    for name in path.split("."):
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]


def _step(a: torch.Tensor) -> torch.Tensor:
    return (a > 0).to(a.dtype)


class _Functions(dict[str, Callable[..., torch.Tensor]]):
    """Finds the function of an op that was registered later when it is asked for."""

    def __missing__(self, name: str) -> Callable[..., torch.Tensor]:
        row = ops.OPS[name]
        try:
            made = self[name] = _of_torch(row.out) if row.out else function_of(row.torch)
        except AttributeError as error:
            raise ConfigError(f"{row.torch}: {error}", where=f"op {name}") from None
        return made


def _restart(reset: torch.Tensor, start: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    return torch.where(reset > 0, start, state)


def turn(a: torch.Tensor) -> torch.Tensor:
    """``[..., W] -> [..., W]``: each pair (a_2j, a_2j+1) turned by a quarter, (-a_2j+1, a_2j)."""
    return torch.stack([-a[..., 1::2], a[..., 0::2]], -1).flatten(-2)


def twice(a: torch.Tensor) -> torch.Tensor:
    """``[..., W] -> [..., 2W]``: each number twice, side by side."""
    return a.repeat_interleave(2, -1)


def pairs(a: torch.Tensor) -> torch.Tensor:
    """``[..., 2W] -> [..., W]``: the sum of each pair of neighbours."""
    return a[..., 0::2] + a[..., 1::2]


def unit(a: torch.Tensor) -> torch.Tensor:
    """``[..., W] -> [..., W]``: a / |a| with the Euclidean norm over the last dimension; 0 where a
    is 0, and where its squares vanish in the dtype (below 1e-22 in float32).
    """
    return a / _length(a)


def unit_gradient(g: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Gradient with respect to ``a`` of :func:`unit`, given the gradient ``g`` of its value; all
    ``[..., W]``. 0 where a is 0.
    """
    length = _length(a)
    y = a / length
    return (g - y * (g * y).sum(-1, keepdim=True)) / length


def _length(a: torch.Tensor) -> torch.Tensor:
    """The norm, ``[..., 1]``; infinite where it is 0, which makes a quotient and its gradient 0."""
    norm = torch.linalg.vector_norm(a, dim=-1, keepdim=True)
    return torch.where(norm == 0, torch.inf, norm)


FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = _Functions(
    step=_step,
    sign=torch.sign,
    erf=torch.erf,
    restart=_restart,
    turn=turn,
    twice=twice,
    pairs=pairs,
    unit=unit,
    unit_gradient=unit_gradient,
)
"""Primitive -> function of its operands (a sum or product of two)."""


def layer_norm(a: torch.Tensor) -> torch.Tensor:
    """``[..., W] -> [..., W]``: zero mean and unit variance over the last dimension (Ba et al.
    2016, eq. 4, no gain, no bias).
    """
    return functional.layer_norm(a, a.shape[-1:], eps=LAYER_NORM_EPS)


def layer_norm_gradient(g: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Gradient with respect to ``a`` of :func:`layer_norm`, given the gradient ``g`` of its value;
    all ``[..., W]``.
    """
    centred = a - a.mean(-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + LAYER_NORM_EPS)
    y = centred * scale
    return scale * (g - g.mean(-1, keepdim=True) - y * (g * y).mean(-1, keepdim=True))


def head_norm(a: torch.Tensor, heads: int) -> torch.Tensor:
    """``[..., W] -> [..., W]``: :func:`layer_norm` of each of the equal parts of the last dimension
    (the group norm of Wu & He 2018, arXiv 1803.08494, over units, no gain, no bias).
    """
    return layer_norm(in_parts(a, heads)).reshape(a.shape)


def blocks_product(a: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``[..., n * i] -> [..., n * o]``: each of the n equal parts of ``a`` times its matrix of
    ``weight [n, o, i]``.
    """
    parts = torch.einsum("...ni,noi->...no", in_parts(a, weight.shape[0]), weight)
    return parts.reshape(*a.shape[:-1], weight.shape[0] * weight.shape[1])


def in_parts(a: torch.Tensor, parts: int) -> torch.Tensor:
    """``[..., n * i] -> [..., n, i]``, a view."""
    return a.reshape(*a.shape[:-1], parts, a.shape[-1] // parts)
