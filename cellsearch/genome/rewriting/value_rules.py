"""Rules of :func:`cellsearch.genome.rewriting.simplify.simplify` that leave every weight as it is.

A rule takes the draft and a value and returns the value that may stand in its place, or ``None``.
Equality is that of real numbers: rounding may differ, and so may results that are not finite (``a -
a`` is 0 here, also where ``a`` overflows).
"""

from __future__ import annotations

import math

from cellsearch import ops
from cellsearch.genome.rewriting.graph import Draft
from cellsearch.genome.rewriting.sums_products import (
    Product,
    Sum,
    complement,
    product_of,
    scaled,
    sum_of,
    tidy,
    write_product,
    write_sum,
)

__all__ = [
    "complement_of_sigmoid",
    "constant",
    "degenerate_blend",
    "even_function",
    "extremum",
    "flat_product",
    "flat_sum",
    "function_of_function",
    "nonnegative",
    "odd_function",
    "opened_blend",
    "silu_product",
    "turned_blend",
    "written_blend",
]


def constant(draft: Draft, value: int) -> int | None:
    """A function of a number is a number: tanh(0) -> 0."""
    vertex = draft.at(value)
    number, function = draft.number(vertex.operands[0]), ops.OPS[vertex.op].numeric
    if number is None or function is None:
        return None
    try:
        result = function(number)
    except (OverflowError, ValueError):  # exp(1000), sqrt(-1): left as they are
        return None
    return draft.const(tidy(result)) if math.isfinite(result) else None


def flat_sum(draft: Draft, value: int) -> int | None:
    """Sums of sums, numbers, like terms, double negation: a - (b - a) -> 2 * a - b, 1 - (1 - a) ->
    a.
    """
    form = sum_of(draft, value)
    return write_sum(draft, form) if form.finite() else None


def flat_product(draft: Draft, value: int) -> int | None:
    """Products of products, quotients, numbers and signs: (a / b) * (-c) -> -((a * c) / b), a * a
    -> square(a).
    """
    form = product_of(draft, value)
    return None if form is None else write_product(draft, form)


def silu_product(draft: Draft, value: int) -> int | None:
    """A * sigmoid(a) -> silu(a)."""
    form = product_of(draft, value)
    if form is None:
        return None
    for gate in form.factors:
        if (
            draft.op(gate) == "sigmoid"
            and draft.at(gate).operands[0] in form.factors
            and draft.single(gate)
        ):
            rest = list(form.factors)
            rest.remove(gate)
            rest.remove(draft.at(gate).operands[0])
            return write_product(
                draft,
                Product(
                    form.coefficient,
                    [*rest, draft.make("silu", *draft.at(gate).operands)],
                    form.divisors,
                ),
            )
    return None


# -- functions of one value ------------------------------------------------------------------------


def _without_sign(draft: Draft, value: int) -> int | None:
    """``a`` for ``-a``, ``2 * a`` for ``-2 * a``; ``None`` if the value shows no sign."""
    vertex = draft.at(value)
    if vertex.op == "neg":
        return vertex.operands[0]
    if vertex.op == "mul":
        form = product_of(draft, value)
        if form is not None and form.coefficient < 0:
            form.coefficient = -form.coefficient
            return write_product(draft, form)
    return None


def odd_function(draft: Draft, value: int) -> int | None:
    """tanh(-a) -> -tanh(a); sin and layer_norm alike."""
    vertex = draft.at(value)
    inner = _without_sign(draft, vertex.operands[0])
    return None if inner is None else draft.make("neg", draft.make(vertex.op, inner))


def even_function(draft: Draft, value: int) -> int | None:
    """abs(-a) -> abs(a); cos and square alike."""
    vertex = draft.at(value)
    inner = _without_sign(draft, vertex.operands[0])
    return None if inner is None else draft.make(vertex.op, inner)


def complement_of_sigmoid(draft: Draft, value: int) -> int | None:
    """sigmoid(-a) -> 1 - sigmoid(a), softplus(-a) -> -log_sigmoid(a), log_sigmoid(-a) ->
    -softplus(a).
    """
    vertex = draft.at(value)
    inner = _without_sign(draft, vertex.operands[0])
    if inner is None:
        return None
    if vertex.op == "sigmoid":
        return draft.make("sub", draft.const(1.0), draft.make("sigmoid", inner))
    return draft.make(
        "neg", draft.make("log_sigmoid" if vertex.op == "softplus" else "softplus", inner)
    )


def nonnegative(draft: Draft, value: int) -> int | None:
    """relu(a), leaky_relu(a) and abs(a) -> a, where a is never negative: relu(sigmoid(b)) ->
    sigmoid(b).
    """
    inner = draft.at(value).operands[0]
    row = ops.OPS.get(draft.op(inner))
    return inner if row is not None and row.nonnegative else None


def function_of_function(draft: Draft, value: int) -> int | None:
    """exp(log_sigmoid(a)) -> sigmoid(a), sqrt(square(a)) -> abs(a), square(abs(a)) -> square(a)."""
    vertex = draft.at(value)
    inner = draft.at(vertex.operands[0])
    known = {
        ("exp", "log_sigmoid"): "sigmoid",
        ("sqrt", "square"): "abs",
        ("square", "abs"): "square",
    }.get((vertex.op, inner.op))
    return None if known is None else draft.make(known, *inner.operands)


def extremum(draft: Draft, value: int) -> int | None:
    """max(a, a) -> a, max(a, 0) -> relu(a), min(a, 0) -> -relu(-a), max(-a, -b) -> -min(a, b), and
    numbers.
    """
    vertex = draft.at(value)
    a, b = vertex.operands
    if a == b:
        return a
    number_a, number_b = draft.number(a), draft.number(b)
    if number_a is not None and number_b is not None:
        return draft.const(
            max(number_a, number_b) if vertex.op == "max" else min(number_a, number_b)
        )
    for number, other in ((number_a, b), (number_b, a)):
        if number == 0.0:
            if vertex.op == "max":
                return draft.make("relu", other)
            return draft.make("neg", draft.make("relu", scaled(draft, other, -1.0)))
    if draft.op(a) == draft.op(b) == "neg":
        return draft.make(
            "neg",
            draft.make(
                "min" if vertex.op == "max" else "max",
                draft.at(a).operands[0],
                draft.at(b).operands[0],
            ),
        )
    return None


# -- blend(g, a, b) = g*a + (1-g)*b ----------------------------------------------------------------


def degenerate_blend(draft: Draft, value: int) -> int | None:
    """blend(g, a, a) -> a, blend(g, a, 0) -> g * a, blend(g, 0, b) -> (1 - g) * b, blend(0.3, a, b)
    -> 0.3 * a + 0.7 * b.
    """
    gate, one, other = draft.at(value).operands
    if one == other:
        return one
    share = draft.number(gate)
    if share is not None:
        return draft.make(
            "add",
            draft.make("mul", gate, one),
            draft.make("mul", draft.const(tidy(1.0 - share)), other),
        )
    if draft.number(other) == 0.0:
        return draft.make("mul", gate, one)
    if draft.number(one) == 0.0:
        return draft.make("mul", draft.make("sub", draft.const(1.0), gate), other)
    return None


def turned_blend(draft: Draft, value: int) -> int | None:
    """blend(1 - g, a, b) -> blend(g, b, a)."""
    gate, one, other = draft.at(value).operands
    vertex = draft.at(gate)
    if vertex.op == "sub" and draft.number(vertex.operands[0]) == 1.0:
        return draft.make("blend", vertex.operands[1], other, one)
    return None


def written_blend(draft: Draft, value: int) -> int | None:
    """G * a + (1 - g) * b -> blend(g, a, b)."""
    form = sum_of(draft, value)
    for v, c in form.terms.items():
        for gate in _factors(draft, v):
            rest = complement(draft, gate)
            for w, d in form.terms.items():
                if rest is not None and w != v and c == d and rest in _factors(draft, w):
                    blend = draft.make(
                        "blend", gate, _without(draft, v, gate), _without(draft, w, rest)
                    )
                    return _with_terms(draft, form, (v, w), blend, c)
    return None


def opened_blend(draft: Draft, value: int) -> int | None:
    """B + g * (a - b) -> blend(g, a, b), and b + g * a - g * b alike."""
    form = sum_of(draft, value)
    for b, c in form.terms.items():
        for v, d in form.terms.items():
            for gate in _factors(draft, v) if v != b else ():
                found = _blend_of_difference(
                    draft, form, (b, c), (v, d), gate
                ) or _blend_of_products(draft, form, (b, c), (v, d), gate)
                if found is not None:
                    return found
    return None


def _blend_of_difference(
    draft: Draft, form: Sum, base: tuple[int, float], product: tuple[int, float], gate: int
) -> int | None:
    """For c*b + d*(g*(a - k*b)) with d*k <= c: the sum with d*k*blend(g, a/k, b) and the rest of b
    in the place of the two terms.
    """
    (b, c), (v, d) = base, product
    inside = sum_of(draft, _without(draft, v, gate))
    share = -d * inside.terms.get(b, 0.0)
    if share * c <= 0.0 or abs(share) > abs(c) or (len(inside.terms) == 1 and not inside.constant):
        return None
    del inside.terms[b]
    a = write_sum(
        draft, Sum(inside.constant * d / share, {u: k * d / share for u, k in inside.terms.items()})
    )
    rest = Sum(form.constant, {u: k for u, k in form.terms.items() if u != v})
    rest.add(b, -share)
    rest.add(draft.make("blend", gate, a, b), share)
    return write_sum(draft, rest)


def _blend_of_products(
    draft: Draft, form: Sum, base: tuple[int, float], product: tuple[int, float], gate: int
) -> int | None:
    """For c*b - c*g*b + c*g*a: the sum with c*blend(g, a, b) in the place of the three terms."""
    (b, c), (v, d) = base, product
    if d != -c or _without(draft, v, gate) != b:
        return None
    for w, e in form.terms.items():
        if e == c and w not in (b, v) and gate in _factors(draft, w):
            return _with_terms(
                draft, form, (b, v, w), draft.make("blend", gate, _without(draft, w, gate), b), c
            )
    return None


def _factors(draft: Draft, value: int) -> tuple[int, ...]:
    """The factors of a product that nothing else reads."""
    vertex = draft.at(value)
    return (
        tuple(dict.fromkeys(vertex.operands)) if vertex.op == "mul" and draft.single(value) else ()
    )


def _without(draft: Draft, value: int, factor: int) -> int:
    """The product without one factor."""
    factors = list(draft.at(value).operands)
    factors.remove(factor)
    return factors[0] if len(factors) == 1 else write_product(draft, Product(1.0, factors))


def _with_terms(
    draft: Draft, form: Sum, gone: tuple[int, ...], new: int, coefficient: float
) -> int:
    rest = Sum(form.constant, {v: c for v, c in form.terms.items() if v not in gone})
    rest.add(new, coefficient)
    return write_sum(draft, rest)
