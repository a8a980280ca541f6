"""What an instruction of a forward program means in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from cellsearch.compiler.backends.functions import FUNCTIONS, blocks_product, head_norm, layer_norm
from cellsearch.compiler.backends.rounding import rounded_product
from cellsearch.compiler.program import Instruction, Precision

__all__ = ["evaluate", "operation"]


def evaluate(
    instruction: Instruction,
    operands: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    like: Tensor,
    precision: Precision = "float32",
) -> Tensor:
    """The value of an instruction: operands and result ``[..., width]``, fixed ones ``[width]``.
    ``like [..., H]`` says dtype, device and H; ``precision`` is the program's.
    """
    if instruction.op == "const":
        # too large a number becomes infinity
        return torch.tensor([instruction.value], dtype=like.dtype, device=like.device)
    if instruction.op == "zeros":
        return like.new_zeros(like.shape[-1])
    if instruction.op in ("vector", "scalar"):
        return parameters[instruction.parameter].reshape(-1)
    return operation(instruction, parameters, precision)(*operands)


def operation(
    instruction: Instruction, parameters: Mapping[str, Tensor], precision: Precision = "float32"
) -> Callable[..., Tensor]:
    """What an instruction that has operands does to them, each ``[..., width]``."""
    product = _PRODUCTS.get(instruction.op)
    if product is not None:
        weight = parameters[instruction.parameter]
        if precision == "bf16":
            return partial(rounded_product, product, weight=weight)
        return partial(product, weight=weight)
    if instruction.op == "layer_norm":
        return layer_norm
    if instruction.op == "head_norm":
        return partial(head_norm, heads=int(instruction.value))
    return FUNCTIONS[instruction.op]


def _dense_product(a: Tensor, weight: Tensor) -> Tensor:
    return a @ weight.T


_PRODUCTS = {"dense": _dense_product, "blocks": blocks_product}
"""What is multiplied by a matrix, and how."""
