"""Products in ``"bf16"`` (:class:`cellsearch.compiler.program.Program`) by plain torch: operands
rounded to bfloat16 and back, multiplied and summed in their own dtype.

bfloat16 has the exponents of float32 and 8 significant bits, so a rounded number is within 1/256
of its own, and the product of two of them is exact in float32 (Kalamkar et al. 2019, arXiv
1905.12322). What is rounded has the gradient of what is not: ``dx = r(dy) @ r(W)`` and ``dW =
r(dy).T @ r(x)``, r being :func:`rounded`. Any dtype and device; gradients of any order, under
``torch.func`` and forward-mode differentiation too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["rounded", "rounded_product"]


def rounded(a: Tensor) -> Tensor:
    """The nearest numbers of bfloat16, halfway to even, in the dtype of ``a`` (float64 by way of
    float32); its gradient passes as it is.
    """
    made: Tensor = _Rounded.apply(a)  # type: ignore[no-untyped-call]
    return made


def rounded_product(
    product: Callable[[Tensor, Tensor], Tensor], a: Tensor, weight: Tensor
) -> Tensor:
    """A product of two tensors, linear in each, of which all three are rounded where they are
    multiplied: its operands, and its gradient.
    """
    result = product(rounded(a), rounded(weight))
    made: Tensor = _GradientRounded.apply(result)  # type: ignore[no-untyped-call]
    return made


class _Rounded(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor) -> Tensor:
        return a.to(torch.float32).to(torch.bfloat16).to(a.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.view_as(tangent)


class _GradientRounded(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor) -> Tensor:
        return a.view_as(a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return rounded(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.view_as(tangent)
