"""What an instruction of a forward program means in plain torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cellsearch.compiler.backends.functions import FUNCTIONS, layer_norm
from cellsearch.compiler.program import Instruction

__all__ = ["evaluate"]


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
    if instruction.op == "dense":
        return operands[0] @ parameters[instruction.parameter].T
    if instruction.op == "layer_norm":
        return layer_norm(operands[0])
    return FUNCTIONS[instruction.op](*operands)
