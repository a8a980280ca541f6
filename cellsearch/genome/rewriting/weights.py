"""Expressions over the weights of a genome, and what they are as arrays (numpy or torch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "Weight",
    "add_weights",
    "apply_weight",
    "blocks_of",
    "column_weight",
    "dense_of",
    "evaluate_weight",
    "negated_weight",
    "sum_bias",
    "times_weight",
]

Weight = tuple[Any, ...]
"""An expression: ``("own", value, operand)`` is a weight of the genome that came in; operand -1 is
its bias.
"""


def negated_weight(a: Weight) -> Weight:
    """-a."""
    return a[1] if a[0] == "negated" else ("negated", a)


def add_weights(a: Weight, b: Weight) -> Weight:
    """A + b."""
    return ("sum", a, b)


def sum_bias(a: Weight | None, b: Weight | None) -> Weight | None:
    """A + b, where ``None`` stands for no bias."""
    if a is None or b is None:
        return b if a is None else a
    return add_weights(a, b)


def column_weight(a: Weight) -> Weight:
    """What multiplies a number: the sum of the columns, for a value that has turned out to be one
    number for all units.
    """
    return a if a[0] == "column" else ("column", a)


def times_weight(a: Weight, b: Weight) -> Weight:
    """What multiplies a value that is first multiplied by ``b`` and then by ``a``: each a matrix, a
    diagonal, or a number.
    """
    return ("times", a, b)


def apply_weight(a: Weight, bias: Weight | None) -> Weight | None:
    """``a`` (a matrix, a diagonal, or a number) times a bias vector."""
    return None if bias is None else ("apply", a, bias)


def evaluate_weight(weight: Weight, own: Mapping[tuple[int, int], Any]) -> Any:
    """The array of a weight; ``own`` holds the arrays (numpy or torch) of the genome that came in,
    by (value, operand).
    """
    kind, *parts = weight
    if kind == "own":
        return own[parts[0], parts[1]]
    first, *rest = (evaluate_weight(part, own) for part in parts)
    if kind == "negated":
        return -first
    if kind == "column":
        return first.sum(1)[:, None]
    second = rest[0]
    if kind == "sum":
        return first + second
    if kind == "apply":
        return first @ second if first.ndim == 2 else first * second
    if first.ndim == 2 and second.ndim == 2:
        return first @ second
    return first[:, None] * second if first.ndim == 1 and second.ndim == 2 else first * second


def dense_of(weight: Any) -> Any:
    """A weight in blocks ``[n, o, i]`` as one matrix ``[n * o, n * i]`` with zeros between them;
    other weights as they are (numpy or torch).
    """
    if weight.ndim != 3:
        return weight
    n, rows, columns = weight.shape
    places = list(range(n))
    whole = weight[:, :, None, :][:, :, [0] * n, :]  # a copy, of the same library
    whole[...] = 0
    whole[places, :, places] = weight
    return whole.reshape(n * rows, n * columns)


def blocks_of(matrix: Any, blocks: int) -> Any:
    """The blocks ``[n, o, i]`` on the diagonal of a matrix; the inverse of :func:`dense_of`."""
    rows, columns = matrix.shape[0] // blocks, matrix.shape[1] // blocks
    places = list(range(blocks))
    return matrix.reshape(blocks, rows, blocks, columns)[places, :, places]
