"""Actions: single torch calls on a list of slots, as closures made once, so that the time loop does
nothing else.

``into`` says that the result's slot holds memory already (a view of a buffer), which is written;
otherwise the slot is set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from cellsearch import ops
from cellsearch.compiler.backends.functions import (
    FUNCTIONS,
    function_of,
    head_norm,
    in_parts,
    layer_norm,
    layer_norm_gradient,
)

__all__ = [
    "Action",
    "accumulate",
    "apply",
    "block_product",
    "combine",
    "fill",
    "in_place",
    "overwrite",
    "sum_rows",
    "transposed_product",
    "vector_product",
]

Slots = list[Tensor]
Action = Callable[[Slots], None]


def _fold(a: Tensor) -> Tensor:
    return a.sum(-1, keepdim=True)


def _blend(gate: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """One call for ``g * a + (1 - g) * b``."""
    return torch.lerp(b, a, gate)


def _head_norm_gradient(g: Tensor, a: Tensor, heads: int) -> Tensor:
    width = a.shape[-1]
    parts = [in_parts(value.expand(*value.shape[:-1], width), heads) for value in (g, a)]
    return layer_norm_gradient(*parts).flatten(-2)


def _blocks_outer(g: Tensor, a: Tensor, blocks: int) -> Tensor:
    """``[n, width(g) / n, width(a) / n]``; fixed values count as one row."""
    left, right = (
        in_parts(value if value.dim() == 2 else value[None], blocks).transpose(0, 1)
        for value in (g, a)
    )
    return torch.bmm(left.mT, right)


_OWN: dict[str, Callable[..., Tensor]] = {
    "blend": _blend,
    "layer_norm": layer_norm,
    "layer_norm_gradient": layer_norm_gradient,
    "fold": _fold,
}
"""What this backend computes its own way."""

_CUT: dict[str, Callable[..., Tensor]] = {
    "head_norm": head_norm,
    "head_norm_gradient": _head_norm_gradient,
    "blocks_outer": _blocks_outer,
}
"""What is told last into how many parts it cuts its operands."""


@cache
def in_place(op: str) -> Callable[[Tensor], Tensor] | None:
    """The function that overwrites the operand of a primitive; ``None`` if there is none."""
    row = ops.OPS.get(op)
    return function_of(row.in_place) if row is not None and row.in_place else None


def _cutting(function: Callable[..., Tensor], parts: int) -> Callable[..., Tensor]:
    return lambda *operands: function(*operands, parts)


def _takes_out(op: str) -> bool:
    """Whether the function of a primitive can write into given memory."""
    return op in ("sign", "erf") or (op in ops.OPS and bool(ops.OPS[op].out))


def apply(op: str, result: int, operands: Sequence[int], parts: int = 0, *, into: bool) -> Action:
    """A primitive other than the products with weights; ``parts``: into how many one cuts."""
    if into and _takes_out(op):
        return _with_out(FUNCTIONS[op], result, operands)
    if op in _CUT:
        function: Callable[..., Tensor] = _cutting(_CUT[op], parts)
    else:
        function = _OWN.get(op) or FUNCTIONS[op]
    if into:

        def copied(env: Slots) -> None:
            env[result].copy_(function(*[env[v] for v in operands]))

        return copied
    if len(operands) == 1:
        (a,) = operands

        def unary(env: Slots) -> None:
            env[result] = function(env[a])

        return unary
    if len(operands) == 2:
        a, b = operands

        def binary(env: Slots) -> None:
            env[result] = function(env[a], env[b])

        return binary

    def general(env: Slots) -> None:
        env[result] = function(*[env[v] for v in operands])

    return general


def _with_out(function: Callable[..., Tensor], result: int, operands: Sequence[int]) -> Action:
    if len(operands) == 1:
        (a,) = operands

        def unary(env: Slots) -> None:
            function(env[a], out=env[result])

        return unary
    a, b = operands

    def binary(env: Slots) -> None:
        function(env[a], env[b], out=env[result])

    return binary


def overwrite(op: str, slot: int) -> Action:
    """A function of one value in place, on a view of neighbouring columns."""
    function = in_place(op)
    assert function is not None

    def run(env: Slots) -> None:
        function(env[slot])

    return run


def fill(result: int, bias: int, source: int, weight: int) -> Action:
    """``result = bias + source @ weight`` into memory, bias ``[columns]``."""

    def run(env: Slots) -> None:
        torch.addmm(env[bias], env[source], env[weight], out=env[result])

    return run


def vector_product(result: int, source: int, weight: int) -> Action:
    """``source @ weight`` of a fixed value ``[width]``."""

    def run(env: Slots) -> None:
        env[result] = torch.matmul(env[source], env[weight])

    return run


def block_product(result: int, source: int, weight: int, *, into: bool) -> Action:
    """Each of n equal parts of ``source`` times its matrix of ``weight [n, part, new part]``, one
    batched product.
    """

    def run(env: Slots) -> None:
        matrices, rows = env[weight], env[source]
        blocks = matrices.shape[0]
        fixed = rows.dim() == 1
        parts = in_parts(rows[None] if fixed else rows, blocks).transpose(0, 1)
        if into:
            target = in_parts(env[result], blocks).transpose(0, 1)
            torch.bmm(parts, matrices, out=target)
        else:
            found = torch.bmm(parts, matrices).transpose(0, 1).flatten(1)
            env[result] = found[0] if fixed else found

    return run


def accumulate(result: int, source: int, weight: int) -> Action:
    """``result += source @ weight`` into memory."""

    def run(env: Slots) -> None:
        env[result].addmm_(env[source], env[weight])

    return run


def combine(
    result: int,
    values: Sequence[int],
    matrices: Sequence[tuple[int, int]],
    pairs: Sequence[tuple[int, int]],
    *,
    into: bool,
) -> Action:
    """``sum(values) + sum(a @ w) + sum(a * b)`` in this order; values whose shape is the full one
    come first.

    ``matrices``: (source, stacked weight); ``pairs``: factors. With ``into`` the memory of
    ``result`` may hold the first value already (``values[0] == result``): the sum is then
    accumulated in place.
    """
    calls: list[tuple[Callable[..., Tensor], tuple[int, ...]]] = []
    rest = list(values)
    if rest:
        start = rest.pop(0)
    elif matrices:
        (a, w), *matrices = matrices
        calls.append((torch.mm, (a, w)))
        start = -1
    else:
        (a, b), *pairs = pairs
        calls.append((torch.mul, (a, b)))
        start = -1
    calls += [(torch.addmm, (-1, a, w)) for a, w in matrices]
    calls += [(torch.addcmul, (-1, a, b)) for a, b in pairs]
    calls += [(torch.add, (-1, v)) for v in rest]
    if start >= 0 and calls:
        function, operands = calls[0]
        calls[0] = (function, (start, *operands[1:]))
    steps = [_call(function, operands, result, into=into) for function, operands in calls]
    if len(steps) == 1:
        return steps[0]

    def run(env: Slots) -> None:
        for step in steps:
            step(env)

    return run


def _call(
    function: Callable[..., Tensor], operands: tuple[int, ...], result: int, *, into: bool
) -> Action:
    """One call; operand -1 is the sum so far, which stands in the slot of the result."""
    slots = tuple(result if v == -1 else v for v in operands)
    if len(slots) == 2:
        a, b = slots
        if into:

            def two_into(env: Slots) -> None:
                function(env[a], env[b], out=env[result])

            return two_into

        def two(env: Slots) -> None:
            env[result] = function(env[a], env[b])

        return two
    a, b, c = slots
    if into:

        def three_into(env: Slots) -> None:
            function(env[a], env[b], env[c], out=env[result])

        return three_into

    def three(env: Slots) -> None:
        env[result] = function(env[a], env[b], env[c])

    return three


def transposed_product(left: int, right: int, results: Sequence[int]) -> Action:
    """``left.T @ right`` over all rows, split by rows into the results: gradients of weights. Fixed
    values count as one row.
    """

    def run(env: Slots) -> None:
        rows = [value if value.dim() == 2 else value[None] for value in (env[left], env[right])]
        product = rows[0].t() @ rows[1]
        for slot, part in zip(results, product.chunk(len(results)), strict=True):
            env[slot] = part

    return run


def sum_rows(source: int, results: Sequence[int]) -> Action:
    """Column sums over all rows, split into the results: gradients of biases and vector weights."""

    def run(env: Slots) -> None:
        total = env[source].sum(0)
        for slot, part in zip(results, total.chunk(len(results)), strict=True):
            env[slot] = part

    return run
