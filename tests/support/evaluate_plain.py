"""A second, plain evaluation of a genome: numpy float64, one value after the other, written without
looking at the op table.

It shares nothing with the compiler but the names of the weights, so that each can show the other
wrong. Slow, meant for tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.genome.graph import Genome, Node

__all__ = ["Array", "evaluate_plain", "layer_norm", "plain_step", "plain_values", "random_weights"]

Array = NDArray[np.float64]


def random_weights(
    genome: Genome, rng: np.random.Generator, input_size: int, hidden_size: int, spread: float = 1.0
) -> dict[str, Array]:
    """Normal weights by parameter name, ``[H, I]``, ``[H, H]``, ``[H]`` or ``[]``; dense ones are
    divided by sqrt(H).
    """
    weights = {}
    for spec in genome.parameters:
        shape = spec.sizes(input_size, hidden_size)
        weights[spec.name] = np.asarray(
            rng.normal(size=shape) * spread / (math.sqrt(hidden_size) if len(shape) == 2 else 1.0)
        )
    return weights


def evaluate_plain(
    genome: Genome,
    weights: Mapping[str, Array],
    x: Array,
    states: Mapping[str, Array] | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Run the cell over ``x [T, B, I]``; returns the outputs ``[T, B, H]`` and the final states,
    each ``[B, H]``.

    ``states``: the states before the first step (default: their initial values).
    """
    steps, batch, _ = x.shape
    hidden = _hidden_size(genome, weights, x.shape[2])
    now = {s.name: np.full((batch, hidden), s.initial) for s in genome.states}
    now.update(states or {})
    outputs = []
    for t in range(steps):
        y, now = plain_step(genome, weights, x[t], now)
        outputs.append(y)
    return np.stack(outputs), now


def plain_step(
    genome: Genome, weights: Mapping[str, Array], x: Array, states: Mapping[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """One step on ``x [B, I]`` and states ``[B, H]``; returns the output ``[B, H]`` and the next
    states.
    """
    values = plain_values(genome, weights, x, states)
    following = {
        s.name: np.broadcast_to(values[v], states[s.name].shape)
        for s, v in zip(genome.states, genome.next_states, strict=True)
    }
    output, shape = values[genome.output], next(iter(states.values())).shape
    width = output.shape[-1] if output.ndim else shape[-1]
    return np.broadcast_to(output, (shape[0], width)), following


def plain_values(
    genome: Genome, weights: Mapping[str, Array], x: Array, states: Mapping[str, Array]
) -> list[Array]:
    """The value of everything in one step, by number; numbers are arrays without axes. A time is 1
    and everything observed, as where a layer is given x alone.
    """
    own: dict[int, dict[int, Array]] = {}
    for spec in genome.parameters:
        own.setdefault(spec.node, {})[spec.operand] = weights[spec.name]
    hidden = next(iter(states.values())).shape[-1]
    given = {"x": np.asarray(x, np.float64), "dt": np.ones((len(x), 1)), "mask": np.ones_like(x)}
    values: list[Array] = [
        *(given[name] for name in genome.inputs),
        *(np.asarray(states[s.name], np.float64) for s in genome.states),
    ]
    with np.errstate(all="ignore"):
        for value, node in genome.numbered():
            values.append(
                np.asarray(
                    _node_value(node, [values[v] for v in node.inputs], own.get(value, {}), hidden)
                )
            )
    return values


def layer_norm(a: Array) -> Array:
    """Zero mean and unit variance over the last axis, eps 1e-5 (Ba et al. 2016, eq. 4)."""
    mean = a.mean(axis=-1, keepdims=True)
    variance = ((a - mean) ** 2).mean(axis=-1, keepdims=True)
    return np.asarray((a - mean) / np.sqrt(variance + 1e-5))


def _node_value(node: Node, operands: list[Array], own: Mapping[int, Array], hidden: int) -> Any:
    if node.op == "linear":
        total = own[-1] if node.bias else np.zeros(hidden)
        for k, operand in enumerate(operands):
            weight = own[k]
            total = total + (operand @ weight.T if operand.ndim else operand * weight.sum(axis=1))
        return total
    if node.op in ("diag", "scale"):
        return own[0] * operands[0]
    if node.op == "bias":
        return own[-1]
    if node.op == "const":
        return np.float64(node.value)
    if node.op == "layer_norm":
        return layer_norm(operands[0] if operands[0].ndim else np.full(hidden, operands[0]))
    if node.op == "head_norm":
        vector = operands[0] if operands[0].ndim else np.full(hidden, operands[0])
        heads = vector.reshape(*vector.shape[:-1], node.parts, -1)
        return layer_norm(heads).reshape(vector.shape)
    if node.op == "rotate":
        a, angle = operands
        turned = (a[..., 0::2] + 1j * a[..., 1::2]) * np.exp(1j * angle)
        return np.stack([turned.real, turned.imag], axis=-1).reshape(a.shape)
    if node.op == "unit":
        vector = operands[0] if operands[0].ndim else np.full(hidden, operands[0])
        length = np.sqrt(np.sum(vector**2, axis=-1, keepdims=True))
        return np.where(length == 0, 0.0, vector / length)
    if node.op in ("add", "mul"):
        total = operands[0]
        for operand in operands[1:]:
            total = total + operand if node.op == "add" else total * operand
        return total
    if len(operands) == 1:
        return _unary(node.op, operands[0])
    return _pair(node.op, operands)


def _pair(op: str, operands: list[Array]) -> Any:
    if op == "blend":
        gate, one, other = operands
        return gate * one + (1.0 - gate) * other
    a, b = operands
    if op == "sub":
        return a - b
    if op == "div":
        return a / b
    if op == "max":
        return np.maximum(a, b)
    if op == "min":
        return np.minimum(a, b)
    raise NotImplementedError(f"the plain evaluation does not know the op {op}")


def _unary(op: str, a: Array) -> Any:  # a table in words
    if op == "sigmoid":
        return _sigmoid(a)
    if op in ("tanh", "exp", "sin", "cos", "square", "sqrt", "abs"):
        return getattr(np, op)(a)
    if op == "relu":
        return np.where(a > 0, a, 0.0 * a)
    if op == "leaky_relu":
        return np.where(a > 0, a, 0.01 * a)
    if op == "hard_sigmoid":
        return np.clip(a + 3.0, 0.0, 6.0) / 6.0
    if op == "hard_tanh":
        return np.clip(a, -1.0, 1.0)
    if op == "softsign":
        return a / (1.0 + np.abs(a))
    if op == "silu":
        return a * _sigmoid(a)
    if op == "gelu":
        return 0.5 * a * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(a / math.sqrt(2.0)))
    if op == "softplus":
        return np.logaddexp(0.0, a)
    if op == "log_sigmoid":
        return -np.logaddexp(0.0, -a)
    if op == "identity":
        return a
    if op == "neg":
        return -a
    raise NotImplementedError(f"the plain evaluation does not know the op {op}")


def _sigmoid(a: Array) -> Any:
    return np.where(
        a >= 0, 1.0 / (1.0 + np.exp(-np.abs(a))), np.exp(-np.abs(a)) / (1.0 + np.exp(-np.abs(a)))
    )


def _hidden_size(genome: Genome, weights: Mapping[str, Array], input_size: int) -> int:
    """H, read off the first weight that shows it; a cell without such a weight has H = I."""
    for spec in genome.parameters:
        if "H" in spec.shape:
            return int(weights[spec.name].shape[spec.shape.index("H")])
    return input_size
