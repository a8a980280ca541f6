"""What an instruction of a forward program means in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from cellsearch.compiler.backends.functions import FUNCTIONS, blocks_product, head_norm, layer_norm
from cellsearch.compiler.program import Instruction

__all__ = ["evaluate", "operation"]


def evaluate(
    instruction: Instruction,
    operands: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    like: Tensor,
) -> Tensor:
    """The value of an instruction: operands and result ``[..., width]``, fixed ones ``[width]``.
    ``like [..., H]`` says dtype, device and H.
    """
    if instruction.op == "const":
        # too large a number becomes infinity
        return torch.tensor([instruction.value], dtype=like.dtype, device=like.device)
    if instruction.op == "zeros":
        return like.new_zeros(like.shape[-1])
    if instruction.op in ("vector", "scalar"):
        return parameters[instruction.parameter].reshape(-1)
    return operation(instruction, parameters)(*operands)


def operation(instruction: Instruction, parameters: Mapping[str, Tensor]) -> Callable[..., Tensor]:
    """What an instruction that has operands does to them, each ``[..., width]``."""
    if instruction.op == "dense":
        weight = parameters[instruction.parameter]
        return lambda a: a @ weight.T
    if instruction.op == "blocks":
        return partial(blocks_product, weight=parameters[instruction.parameter])
    if instruction.op == "layer_norm":
        return layer_norm
    if instruction.op == "head_norm":
        return partial(head_norm, heads=int(instruction.value))
    return FUNCTIONS[instruction.op]
