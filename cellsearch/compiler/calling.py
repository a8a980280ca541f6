"""What a module is called with, checked as ``torch.nn.LSTM`` checks it, with its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from cellsearch.genome.graph import Genome

__all__ = [
    "State",
    "cast",
    "check_input",
    "check_states",
    "initial_states",
    "pack_states",
    "within",
]

State = Tensor | tuple[Tensor, ...]
"""One tensor for a cell with one state, else a tuple in the order of ``genome.states``."""


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Tensors, tuples of them and packed sequences in another dtype, as autocast does it: what is
    float64 or no floating-point number stays.
    """
    if isinstance(value, PackedSequence):
        return value._replace(data=cast(value.data, dtype))
    if isinstance(value, (tuple, list)):
        return tuple(cast(part, dtype) for part in value)
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.to(dtype)
    return value


def pack_states(states: list[Tensor]) -> State:
    """States as a module returns them."""
    return states[0] if len(states) == 1 else tuple(states)


def check_input(x: Tensor, dim: int, input_size: int, weight: Tensor | None) -> None:
    """Whether ``x [..., I]`` fits a module with this weight. Raises :class:`ValueError` for another
    dtype, :class:`RuntimeError` for another device or shape.
    """
    if weight is not None and x.dtype != weight.dtype:
        raise ValueError(
            f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
            f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
        )
    if weight is not None and x.device != weight.device:
        raise RuntimeError(
            f"Input and parameter tensors are not at the same device, found input "
            f"at {x.device} and parameters at {weight.device}"
        )
    if x.dim() != dim:
        raise RuntimeError(f"input must have {dim} dimensions, got {x.dim()}")
    if x.shape[-1] != input_size:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size. Expected {input_size}, got {x.shape[-1]}"
        )


def check_states(
    hx: State, names: tuple[str, ...], shapes: Sequence[torch.Size], like: Tensor, *, batched: bool
) -> list[Tensor]:
    """The given states as ``[L * D, B, H]``, which are ``shapes``; without a batch they have no B.
    Raises :class:`RuntimeError` for another number or shape, :class:`ValueError` for another dtype
    or device than those of the input, ``like``.
    """
    given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    if len(given) != len(names):
        raise RuntimeError(
            f"Expected hx to hold the states ({', '.join(names)}), got {len(given)} tensor(s)"
        )
    for state in given:
        if state.dim() != (3 if batched else 2):
            what = "batched 3-D" if batched else "unbatched 2-D"
            raise RuntimeError(
                f"For {what} input, hx should also be {3 if batched else 2}-D but "
                f"got {state.dim()}-D tensor"
            )
    states = [state if batched else state.unsqueeze(1) for state in given]
    for k, (state, shape) in enumerate(zip(states, shapes, strict=True)):
        if state.shape != shape:
            what = f"hidden[{k}]" if len(states) > 1 else "hidden"
            raise RuntimeError(f"Expected {what} size {tuple(shape)}, got {list(state.shape)}")
        if state.dtype != like.dtype or state.device != like.device:
            raise ValueError(
                f"RNN hx ({state.dtype}, {state.device}) does not match input "
                f"({like.dtype}, {like.device}). Convert hx with .to(input)"
            )
    return states


def within(value: float, dtype: torch.dtype) -> float:
    """The number of the dtype's range that is nearest: -1e30, which stands for the logarithm of
    nothing, is not infinity in float16.
    """
    largest = torch.finfo(dtype).max
    return min(max(value, -largest), largest)


def initial_states(genome: Genome, shapes: Sequence[torch.Size], like: Tensor) -> list[Tensor]:
    """The states before the first position, ``[L * D, B, H]``, which are ``shapes``."""
    with torch.inference_mode(False):  # they may be used again in training
        return [
            torch.full(
                shape,
                within(state.initial, like.dtype),
                dtype=like.dtype,
                device=like.device,
            )
            for state, shape in zip(genome.states, shapes, strict=True)
        ]
