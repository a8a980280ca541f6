"""What each pointwise primitive means in torch: one callable a primitive, equal to the op table's
expression (a test compares them).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

__all__ = ["FUNCTIONS", "LAYER_NORM_EPS", "layer_norm", "layer_norm_gradient"]

LAYER_NORM_EPS = 1e-5


def _leaky_relu(a: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(a, 0.01)


def _blend(gate: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return gate * a + (1 - gate) * b


def _step(a: torch.Tensor) -> torch.Tensor:
    return (a > 0).to(a.dtype)


FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "add": torch.add,
    "mul": torch.mul,
    "sub": torch.sub,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "blend": _blend,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": _leaky_relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "softplus": functional.softplus,
    "log_sigmoid": functional.logsigmoid,
    "exp": torch.exp,
    "neg": torch.neg,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "step": _step,
    "sign": torch.sign,
    "erf": torch.erf,
}
"""Primitive -> function of its operands."""


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
