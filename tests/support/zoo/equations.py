"""The published equations of every zoo cell, as plain numpy functions that do not read the
``.cell`` files.

A function takes the weights, the input ``x [B, I]`` and the states ``[B, H]`` of the step before,
and returns the output and the new states. Weights go by the names that they have in a compiled
module: ``affine(w, "i", x=x, h=h)`` is ``i.weight_x x + i.weight_h h + i.bias``, ``dense`` the same
without a bias, ``w["i.weight_c"]`` one weight. :class:`Weights` notes which weights were read, so a
term that is missing here shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Equations",
    "States",
    "Weights",
    "affine",
    "blocks",
    "dense",
    "layer_norm",
    "relu",
    "run",
    "sigmoid",
    "silu",
    "softplus",
    "tanh",
]

Array = NDArray[np.float64]
States = dict[str, Array]


class Weights:
    """Weights by name; ``unread`` are those that nothing asked for yet. ``dt [B, 1]`` and ``mask
    [B, I]``: of this step.
    """

    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values = dict(values)
        self.unread = set(values)
        self.dt = self.mask = np.ones((1, 1))

    def __getitem__(self, name: str) -> Array:
        self.unread.discard(name)
        return self.values[name]


Equations = Callable[[Weights, Array, States], tuple[Array, States]]


def run(
    equations: Equations,
    weights: Weights,
    x: Array,
    states: States,
    beside: Mapping[str, Array] | None = None,
) -> tuple[Array, States]:
    """Apply the equations along ``x [T, B, I]``, with ``dt [T, B]`` and ``mask [T, B, I]`` beside
    it where they are read; returns the outputs ``[T, B, H]`` and the final states.
    """
    outputs = []
    for t, x_t in enumerate(x):
        if beside and "dt" in beside:
            weights.dt = beside["dt"][t][:, None]
        if beside and "mask" in beside:
            weights.mask = beside["mask"][t]
        y, states = equations(weights, x_t, states)
        outputs.append(y)
    return np.stack(outputs), states


def dense(w: Weights, node: str, **operands: Array) -> Array:
    """Sum of matrix times operand: ``node.weight_<operand>``; ``h_`` (the new h) reads
    ``node.weight_h_t``.
    """
    total: Array | None = None
    for name, value in operands.items():
        matrix = w[f"{node}.weight_{name.removesuffix('_')}{'_t' if name.endswith('_') else ''}"]
        term: Array = np.einsum("oi,bi->bo", matrix, value)
        total = term if total is None else total + term
    assert total is not None
    return total


def affine(w: Weights, node: str, **operands: Array) -> Array:
    """:func:`dense` plus ``node.bias``."""
    return dense(w, node, **operands) + w[f"{node}.bias"]


def blocks(weight: Array, value: Array) -> Array:
    """Each of n equal parts of ``value [B, n * i]`` times its matrix of ``weight [n, o, i]``."""
    parts = np.split(value, len(weight), axis=1)
    return np.concatenate([part @ w.T for w, part in zip(weight, parts, strict=True)], axis=1)


def sigmoid(a: Array) -> Array:
    """Logistic function, written with tanh so that it cannot overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * a)))


def tanh(a: Array) -> Array:
    """Hyperbolic tangent."""
    return np.asarray(np.tanh(a))


def relu(a: Array) -> Array:
    """Positive part."""
    return np.maximum(a, 0.0)


def silu(a: Array) -> Array:
    """``a * sigmoid(a)``."""
    return a * sigmoid(a)


def softplus(a: Array) -> Array:
    """``log(1 + exp(a))``."""
    return np.asarray(np.logaddexp(0.0, a))


def layer_norm(a: Array) -> Array:
    """Zero mean and unit variance over the units, epsilon 1e-5."""
    return np.asarray(
        (a - a.mean(axis=-1, keepdims=True)) / np.sqrt(a.var(axis=-1, keepdims=True) + 1e-5)
    )
