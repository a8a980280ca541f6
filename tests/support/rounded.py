"""A second evaluation of a cell in bf16: its program and the program of its gradient, interpreted
in numpy. Rounding is done on the bits of the numbers; nothing is left to torch's autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cellsearch.compiler.backends import functions
from cellsearch.compiler.gradient import gradient
from cellsearch.compiler.program import Instruction, Program
from support.evaluate_plain import Array

__all__ = ["cut", "nearest", "run_rounded"]

Rounding = Callable[[Array], Array]


def nearest(a: Array) -> Array:
    """The nearest number of 8 significant bits, halfway to even, by the bits of float32."""
    bits = np.asarray(a, np.float32).view(np.uint32)
    lowest = (bits >> np.uint32(16)) & np.uint32(1)
    up = (bits + np.uint32(0x7FFF) + lowest) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(a), np.nan, up.view(np.float32)).astype(np.float64)


def cut(a: Array) -> Array:
    """The same towards zero: what a careless implementation does."""
    bits = np.asarray(a, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


def run_rounded(
    program: Program,
    weights: Mapping[str, Array],
    x: Array,
    states: Sequence[Array],
    d_output: Array,
    d_states: Sequence[Array],
    round_: Rounding = nearest,
) -> dict[str, Array]:
    """Forward and backward over ``x [T, B, I]`` from ``states [B, size]``: output, final states,
    and the gradients of ``sum(output * d_output) + sum(final * d_states)``, by the names of
    :func:`cellsearch.testing.backends.run_module`.
    """
    backward = gradient(program)
    kept, carried, outputs = [], list(states), []
    for x_t in x:
        values: list[Any] = [x_t, *carried]
        for instruction in program.instructions:
            operands = [values[v] for v in instruction.inputs]
            values.append(_value(instruction, operands, weights, round_, states[0].shape[1]))
        carried = [
            _full(values[v], state) for v, state in zip(program.next_states, states, strict=True)
        ]
        outputs.append(_full(values[program.output], d_output[0]))
        kept.append([values[v] for v in backward.saved])
    found = {"output": np.stack(outputs)}
    found |= {f"state {k}": state for k, state in enumerate(carried)}
    found |= _backward(backward.program, kept, weights, d_output, d_states, round_)
    return found


_SUMS = ("total", "fold", "outer", "blocks_outer")


def _backward(
    program: Program,
    kept: list[list[Array]],
    weights: Mapping[str, Array],
    d_output: Array,
    d_states: Sequence[Array],
    round_: Rounding,
) -> dict[str, Array]:
    """A gradient program, from the last step to the first, then its sums over all steps."""
    late: set[int] = set()
    for value, instruction in program.numbered():
        if instruction.op in _SUMS or not late.isdisjoint(instruction.inputs):
            late.add(value)
    hidden = d_states[0].shape[1]
    steps, carried = [], list(d_states)
    for saved, d_y in zip(reversed(kept), d_output[::-1], strict=True):
        values: list[Any] = [*saved, d_y, *carried]
        for value, instruction in program.numbered():
            operands = [values[v] for v in instruction.inputs]
            made = None if value in late else _value(instruction, operands, weights, round_, hidden)
            values.append(made)
        carried = [_full(values[v], d) for v, d in zip(program.next_states, d_states, strict=True)]
        steps.append(values)
    last = steps[-1]
    for value, instruction in program.numbered():
        if value in late and instruction.op in _SUMS:
            by_step = [[values[v] for v in instruction.inputs] for values in steps]
            stepwise = program.shapes[instruction.inputs[0]].extent == "step"
            parts = [_summand(instruction, row, round_) for row in by_step[0 if stepwise else -1 :]]
            last[value] = sum(parts)
        elif value in late:
            operands = [last[v] for v in instruction.inputs]
            last[value] = _value(instruction, operands, weights, round_, hidden)
    found = {"gradient of x": np.stack([values[program.output] for values in steps[::-1]])}
    found |= {f"gradient of initial state {k}": d for k, d in enumerate(carried)}
    found |= {f"gradient of l0.{name}": last[value] for name, value in program.outputs[1:]}
    return found


def _summand(instruction: Instruction, operands: list[Array], round_: Rounding) -> Array:
    """What one step adds to a sum; of fixed values, all of it."""
    if instruction.op == "fold":
        return operands[0].sum(-1, keepdims=True)
    if instruction.op == "total":
        return operands[0].sum(0)
    g, a = (np.atleast_2d(round_(operand)) for operand in operands)
    if instruction.op == "outer":
        return g.T @ a
    parts = int(instruction.value)
    pairs = zip(np.split(g, parts, 1), np.split(a, parts, 1), strict=True)
    return np.stack([p.T @ q for p, q in pairs])


def _value(
    instruction: Instruction,
    operands: list[Array],
    weights: Mapping[str, Array],
    round_: Rounding,
    hidden: int,
) -> Array:
    op = instruction.op
    if op == "const":
        return np.array([instruction.value])
    if op == "zeros":
        return np.zeros(hidden)
    if op in ("vector", "scalar"):
        return weights[instruction.parameter].reshape(-1)
    if op in ("dense", "dense_t", "blocks", "blocks_t"):
        weight, a = round_(weights[instruction.parameter]), round_(operands[0])
        if op.startswith("dense"):
            return a @ (weight.T if op == "dense" else weight)
        parts = zip(np.split(a, len(weight), -1), weight, strict=True)
        return np.concatenate([p @ (w.T if op == "blocks" else w) for p, w in parts], -1)
    given = [torch.from_numpy(operand) for operand in operands]
    if op in ("layer_norm", "layer_norm_gradient"):
        return getattr(functions, op)(*given).numpy()  # type: ignore[no-any-return]
    return functions.FUNCTIONS[op](*given).numpy()


def _full(value: Array, like: Array) -> Array:
    width = like.shape[-1] if value.shape[-1] == 1 else value.shape[-1]
    return np.array(np.broadcast_to(value, (len(like), width)))
