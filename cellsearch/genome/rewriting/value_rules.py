"""Rules of :func:`cellsearch.genome.rewriting.simplify.simplify` that leave every weight as it is.

A rule takes the graph and a value and returns the value that may stand in its place, or ``None``.
Equality is that of real numbers: rounding may differ, and so may results that are not finite (``a -
a`` is 0 here, also where ``a`` overflows).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cellsearch import ops
from cellsearch.genome.rewriting.graph import RewriteGraph
from cellsearch.genome.rewriting.sums_products import (
    ProductForm,
    SumForm,
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
    "one_head",
    "opened_blend",
    "silu_product",
    "turned",
    "turned_blend",
    "unit_of_multiple",
    "within_bounds",
    "written_blend",
]


def constant(graph: RewriteGraph, value: int) -> int | None:
    """A function of a number is a number: tanh(0) -> 0."""
    vertex = graph.at(value)
    number = graph.number(vertex.operands[0])
    if number is None:
        return None
    function = ops.OPS[vertex.op].numeric
    if function is None:
        return None
    try:
        result = function(number)
    except (OverflowError, ValueError):  # exp(1000), sqrt(-1): left as they are
        return None
    return graph.const(tidy(result)) if math.isfinite(result) else None


def flat_sum(graph: RewriteGraph, value: int) -> int | None:
    """Sums of sums, numbers, like terms, double negation: a - (b - a) -> 2 * a - b, 1 - (1 - a) ->
    a.
    """
    form = sum_of(graph, value)
    return write_sum(graph, form) if form.finite() else None


def flat_product(graph: RewriteGraph, value: int) -> int | None:
    """Products of products, quotients, numbers and signs: (a / b) * (-c) -> -((a * c) / b), a * a
    -> square(a).
    """
    form = product_of(graph, value)
    return None if form is None else write_product(graph, form)


def silu_product(graph: RewriteGraph, value: int) -> int | None:
    """A * sigmoid(a) -> silu(a)."""
    form = product_of(graph, value)
    if form is None:
        return None
    for gate in form.factors:
        if (
            graph.op(gate) == "sigmoid"
            and graph.at(gate).operands[0] in form.factors
            and graph.single(gate)
        ):
            rest = list(form.factors)
            rest.remove(gate)
            rest.remove(graph.at(gate).operands[0])
            return write_product(
                graph,
                ProductForm(
                    form.coefficient,
                    [*rest, graph.make("silu", *graph.at(gate).operands)],
                    form.divisors,
                ),
            )
    return None


# -- functions of one value ------------------------------------------------------------------------


def _without_sign(graph: RewriteGraph, value: int) -> int | None:
    """``a`` for ``-a``, ``2 * a`` for ``-2 * a``; ``None`` if the value shows no sign."""
    vertex = graph.at(value)
    if vertex.op == "neg":
        return vertex.operands[0]
    if vertex.op == "mul":
        form = product_of(graph, value)
        if form is not None and form.coefficient < 0:
            return write_product(graph, ProductForm(-form.coefficient, form.factors, form.divisors))
    return None


def odd_function(graph: RewriteGraph, value: int) -> int | None:
    """tanh(-a) -> -tanh(a); sin and layer_norm alike."""
    vertex = graph.at(value)
    inner = _without_sign(graph, vertex.operands[0])
    return None if inner is None else graph.make("neg", graph.again(vertex, inner))


def one_head(graph: RewriteGraph, value: int) -> int | None:
    """head_norm(a, 1) -> layer_norm(a)."""
    vertex = graph.at(value)
    return graph.make("layer_norm", *vertex.operands) if vertex.number == 1.0 else None


def even_function(graph: RewriteGraph, value: int) -> int | None:
    """abs(-a) -> abs(a); cos and square alike."""
    vertex = graph.at(value)
    inner = _without_sign(graph, vertex.operands[0])
    return None if inner is None else graph.make(vertex.op, inner)


def complement_of_sigmoid(graph: RewriteGraph, value: int) -> int | None:
    """sigmoid(-a) -> 1 - sigmoid(a), hard_sigmoid alike, softplus(-a) -> -log_sigmoid(a),
    log_sigmoid(-a) -> -softplus(a).
    """
    vertex = graph.at(value)
    inner = _without_sign(graph, vertex.operands[0])
    if inner is None:
        return None
    if vertex.op in ("sigmoid", "hard_sigmoid"):
        return graph.make("sub", graph.const(1.0), graph.make(vertex.op, inner))
    return graph.make(
        "neg", graph.make("log_sigmoid" if vertex.op == "softplus" else "softplus", inner)
    )


def nonnegative(graph: RewriteGraph, value: int) -> int | None:
    """relu(a), leaky_relu(a) and abs(a) -> a, where a is never negative: relu(sigmoid(b)) ->
    sigmoid(b).
    """
    inner = graph.at(value).operands[0]
    row = ops.OPS.get(graph.op(inner))
    return inner if row is not None and row.nonnegative else None


_WITHIN_ONE = frozenset({"tanh", "hard_tanh", "softsign", "sin", "cos", "unit"})
"""Functions whose values lie in [-1, 1]; gates do too."""


def within_bounds(graph: RewriteGraph, value: int) -> int | None:
    """hard_tanh(a) -> a, where a lies in [-1, 1]: hard_tanh(tanh(b)) -> tanh(b)."""
    inner = graph.at(value).operands[0]
    row = ops.OPS.get(graph.op(inner))
    bounded = row is not None and (row.gate or row.name in _WITHIN_ONE)
    return inner if bounded else None


def function_of_function(graph: RewriteGraph, value: int) -> int | None:
    """exp(log_sigmoid(a)) -> sigmoid(a), sqrt(square(a)) -> abs(a), square(abs(a)) -> square(a)."""
    vertex = graph.at(value)
    inner = graph.at(vertex.operands[0])
    known = {
        ("exp", "log_sigmoid"): "sigmoid",
        ("sqrt", "square"): "abs",
        ("square", "abs"): "square",
    }.get((vertex.op, inner.op))
    return None if known is None else graph.make(known, *inner.operands)


def unit_of_multiple(graph: RewriteGraph, value: int) -> int | None:
    """unit(2 * a) -> unit(a), unit(unit(a)) -> unit(a), unit(0) -> 0."""
    inner = graph.at(value).operands[0]
    if graph.op(inner) == "unit" or graph.number(inner) == 0.0:
        return inner
    form = product_of(graph, inner) if graph.op(inner) in ("mul", "div") else None
    if form is None or abs(form.coefficient) in (0.0, 1.0) or not form.factors:
        return None
    sign = math.copysign(1.0, form.coefficient)
    form = ProductForm(sign, form.factors, form.divisors)
    return graph.make("unit", write_product(graph, form))


def turned(graph: RewriteGraph, value: int) -> int | None:
    """rotate(a, 0) -> a, rotate(rotate(a, b), c) -> rotate(a, b + c), rotate(-a, b) ->
    -rotate(a, b), rotate(0, b) -> 0.
    """
    operand, angle = graph.at(value).operands
    if graph.number(angle) == 0.0 or graph.number(operand) == 0.0:
        return operand
    inner = graph.at(operand)
    if inner.op == "rotate" and graph.single(operand):
        both = graph.make("add", inner.operands[1], angle)
        return graph.make("rotate", inner.operands[0], both)
    positive = _without_sign(graph, operand)
    return None if positive is None else graph.make("neg", graph.make("rotate", positive, angle))


def extremum(graph: RewriteGraph, value: int) -> int | None:
    """max(a, a) -> a, max(a, 0) -> relu(a), min(a, 0) -> -relu(-a), max(-a, -b) -> -min(a, b), and
    numbers.
    """
    vertex = graph.at(value)
    a, b = vertex.operands
    if a == b:
        return a
    number_a, number_b = graph.number(a), graph.number(b)
    if number_a is not None and number_b is not None:
        return graph.const(
            max(number_a, number_b) if vertex.op == "max" else min(number_a, number_b)
        )
    for number, other in ((number_a, b), (number_b, a)):
        if number == 0.0:
            if vertex.op == "max":
                return graph.make("relu", other)
            return graph.make("neg", graph.make("relu", scaled(graph, other, -1.0)))
    if graph.op(a) == graph.op(b) == "neg":
        return graph.make(
            "neg",
            graph.make(
                "min" if vertex.op == "max" else "max",
                graph.at(a).operands[0],
                graph.at(b).operands[0],
            ),
        )
    return None


# -- blend(g, a, b) = g*a + (1-g)*b ----------------------------------------------------------------


def degenerate_blend(graph: RewriteGraph, value: int) -> int | None:
    """blend(g, a, a) -> a, blend(g, a, 0) -> g * a, blend(g, 0, b) -> (1 - g) * b, blend(0.3, a, b)
    -> 0.3 * a + 0.7 * b.
    """
    gate, one, other = graph.at(value).operands
    if one == other:
        return one
    share = graph.number(gate)
    if share is not None:
        return graph.make(
            "add",
            graph.make("mul", gate, one),
            graph.make("mul", graph.const(tidy(1.0 - share)), other),
        )
    if graph.number(other) == 0.0:
        return graph.make("mul", gate, one)
    if graph.number(one) == 0.0:
        return graph.make("mul", graph.make("sub", graph.const(1.0), gate), other)
    return None


def turned_blend(graph: RewriteGraph, value: int) -> int | None:
    """blend(1 - g, a, b) -> blend(g, b, a)."""
    gate, one, other = graph.at(value).operands
    vertex = graph.at(gate)
    if vertex.op == "sub" and graph.number(vertex.operands[0]) == 1.0:
        return graph.make("blend", vertex.operands[1], other, one)
    return None


def written_blend(graph: RewriteGraph, value: int) -> int | None:
    """G * a + (1 - g) * b -> blend(g, a, b)."""
    form = sum_of(graph, value)
    if len(form.terms) < 2:
        return None
    holders = _holders(graph, form)
    for v, c in form.terms.items():
        for gate in _factors(graph, v):
            rest = complement(graph, gate)
            if rest is None:
                continue
            for w in holders.get(rest, ()):
                if w != v and form.terms[w] == c:
                    blend = graph.make(
                        "blend", gate, _without(graph, v, gate), _without(graph, w, rest)
                    )
                    return _with_terms(graph, form, (v, w), blend, c)
    return None


def opened_blend(graph: RewriteGraph, value: int) -> int | None:
    """B + g * (a - b) -> blend(g, a, b), and b + g * a - g * b alike."""
    form = sum_of(graph, value)
    if len(form.terms) < 2:
        return None
    products = [(v, gate) for v in form.terms for gate in _factors(graph, v)]
    if not products:
        return None
    holders = _holders(graph, form)
    about: dict[int, list[tuple[int, int]]] = {}
    for position, (b, c) in enumerate(form.terms.items()):
        if position == 2:  # the first two have looked at every product, so now all is known
            about = _products_about(graph, products)
        for v, gate in products if position < 2 else about.get(b, ()):
            if v == b:
                continue
            found = _blend_of_difference(
                graph, form, (b, c), (v, form.terms[v]), gate
            ) or _blend_of_products(graph, form, (b, c), (v, form.terms[v]), gate, holders)
            if found is not None:
                return found
    return None


def _holders(graph: RewriteGraph, form: SumForm) -> dict[int, list[int]]:
    """For each factor the terms that have it, so that a long sum is not searched for each term."""
    holders: dict[int, list[int]] = {}
    for v in form.terms:
        for factor in _factors(graph, v):
            holders.setdefault(factor, []).append(v)
    return holders


def _products_about(
    graph: RewriteGraph, products: list[tuple[int, int]]
) -> dict[int, list[tuple[int, int]]]:
    """For each value the products g * (a - value) and g * value, as (product, g)."""
    about: dict[int, list[tuple[int, int]]] = {}
    for v, gate in products:
        rest = _without(graph, v, gate)
        for b in dict.fromkeys((*sum_of(graph, rest).terms, rest)):
            about.setdefault(b, []).append((v, gate))
    return about


def _blend_of_difference(
    graph: RewriteGraph,
    form: SumForm,
    base: tuple[int, float],
    product: tuple[int, float],
    gate: int,
) -> int | None:
    """For c*b + d*(g*(a - k*b)) with d*k <= c: the sum with d*k*blend(g, a/k, b) and the rest of b
    in the place of the two terms.
    """
    (b, c), (v, d) = base, product
    inside = sum_of(graph, _without(graph, v, gate))
    share = -d * inside.terms.get(b, 0.0)
    if share * c <= 0.0 or abs(share) > abs(c) or (len(inside.terms) == 1 and not inside.constant):
        return None
    others = {u: k * d / share for u, k in inside.terms.items() if u != b}
    a = write_sum(graph, SumForm(inside.constant * d / share, others))
    rest = SumForm(form.constant, {u: k for u, k in form.terms.items() if u != v})
    rest.add(b, -share)
    rest.add(graph.make("blend", gate, a, b), share)
    return write_sum(graph, rest)


def _blend_of_products(
    graph: RewriteGraph,
    form: SumForm,
    base: tuple[int, float],
    product: tuple[int, float],
    gate: int,
    holders: Mapping[int, Sequence[int]],
) -> int | None:
    """For c*b - c*g*b + c*g*a: the sum with c*blend(g, a, b) in the place of the three terms."""
    (b, c), (v, d) = base, product
    if d != -c or _without(graph, v, gate) != b:
        return None
    for w in holders.get(gate, ()):
        if form.terms[w] == c and w not in (b, v):
            return _with_terms(
                graph, form, (b, v, w), graph.make("blend", gate, _without(graph, w, gate), b), c
            )
    return None


def _factors(graph: RewriteGraph, value: int) -> tuple[int, ...]:
    """The factors of a product that nothing else reads."""
    vertex = graph.at(value)
    return (
        tuple(dict.fromkeys(vertex.operands)) if vertex.op == "mul" and graph.single(value) else ()
    )


def _without(graph: RewriteGraph, value: int, factor: int) -> int:
    """The product without one factor."""
    factors = list(graph.at(value).operands)
    factors.remove(factor)
    return factors[0] if len(factors) == 1 else write_product(graph, ProductForm(1.0, factors))


def _with_terms(
    graph: RewriteGraph, form: SumForm, gone: tuple[int, ...], new: int, coefficient: float
) -> int:
    rest = SumForm(form.constant, {v: c for v, c in form.terms.items() if v not in gone})
    rest.add(new, coefficient)
    return write_sum(graph, rest)
