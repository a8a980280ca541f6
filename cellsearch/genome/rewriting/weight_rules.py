"""Rules of :func:`cellsearch.genome.rewriting.simplify.simplify` that let one weight take in
another: the family of functions stays the same.

A matrix times a matrix is a matrix, and so on; this holds only for a node that nothing else reads,
as its weights would otherwise act in two places. Signs are taken in too, except by ``scale``:
matrices, diagonals and biases start symmetrically around 0, a ``scale`` starts at 1. Numbers are
never taken in: ``linear(...) + 1`` (a forget bias) starts elsewhere than ``linear(...)``, so a
search has to tell them apart.
"""

from __future__ import annotations

from cellsearch.genome.rewriting.graph import (
    Draft,
    Vertex,
    Weight,
    add_weights,
    apply_weight,
    column_weight,
    negated_weight,
    sum_bias,
    times_weight,
)
from cellsearch.genome.rewriting.sums_products import (
    Product,
    Sum,
    is_odd_function,
    product_of,
    sum_of,
    write_product,
    write_sum,
)

__all__ = [
    "absorbed_complement",
    "absorbed_product_sign",
    "absorbed_sign",
    "diagonal_of_weighted",
    "free_gate",
    "linear_of_linear",
    "linear_of_repeated",
    "scale_of_weighted",
    "sum_of_diagonals",
    "sum_of_linears",
    "takes_sign",
    "turned_free_blend",
]

_OUTER_DIAGONAL = frozenset({"linear", "diag", "scale", "bias"})


def _weighted(draft: Draft, value: int) -> list[tuple[int, Weight]]:
    """Operands and matrices of a linear; the matrix of a number is a column."""
    vertex = draft.at(value)
    pairs = zip(vertex.operands, vertex.weights, strict=True)
    return [(v, column_weight(w) if draft.op(v) == "const" else w) for v, w in pairs]


def _linear(draft: Draft, pairs: list[tuple[int, Weight]], bias: Weight | None) -> int:
    operands, weights = zip(*pairs, strict=True)
    return draft.add(Vertex("linear", operands, weights=weights, bias=bias))


def linear_of_repeated(draft: Draft, value: int) -> int | None:
    """linear(a, a, b) -> linear(a, b), linear(0, b) -> linear(b)."""
    vertex = draft.at(value)
    merged: dict[int, Weight] = {}
    for operand, weight in _weighted(draft, value):
        if draft.number(operand) != 0.0:
            merged[operand] = add_weights(merged[operand], weight) if operand in merged else weight
    if len(merged) == len(vertex.operands):
        return None
    if merged:
        return _linear(draft, list(merged.items()), vertex.bias)
    return draft.const(0.0) if vertex.bias is None else draft.add(Vertex("bias", bias=vertex.bias))


def linear_of_linear(draft: Draft, value: int) -> int | None:
    """linear(linear(a, b), d) -> linear(a, b, d); what is below may also be diag, scale or -a, and
    a bias goes into the bias.
    """
    vertex = draft.at(value)
    pairs: list[tuple[int, Weight]] = []
    bias = vertex.bias
    for operand, weight in _weighted(draft, value):
        inner = draft.at(operand)
        if inner.op == "neg":
            pairs.append((inner.operands[0], negated_weight(weight)))
        elif (
            draft.single(operand)
            and inner.op in ("linear", "diag", "scale")
            and not _of_number(draft, inner)
        ):
            pairs += [
                (u, times_weight(weight, w))
                for u, w in zip(inner.operands, inner.weights, strict=True)
            ]
            bias = sum_bias(bias, apply_weight(weight, inner.bias))
        else:
            pairs.append((operand, weight))
    return None if tuple(v for v, _ in pairs) == vertex.operands else _linear(draft, pairs, bias)


def diagonal_of_weighted(draft: Draft, value: int) -> int | None:
    """diag(linear(a, b)) -> linear(a, b); below a diag may also be diag, scale, bias or -a."""
    return _outer(draft, value, _OUTER_DIAGONAL)


def scale_of_weighted(draft: Draft, value: int) -> int | None:
    """scale(linear(a, b)) -> linear(a, b), scale(scale(a)) -> scale(a); below a scale may also be
    diag or bias.
    """
    return _outer(draft, value, _OUTER_DIAGONAL)


def _outer(draft: Draft, value: int, allowed: frozenset[str]) -> int | None:
    vertex = draft.at(value)
    operand, weight = vertex.operands[0], vertex.weights[0]
    inner = draft.at(operand)
    if draft.number(operand) == 0.0:
        return operand
    if inner.op == "neg" and vertex.op == "diag":
        return draft.add(Vertex("diag", inner.operands, weights=(negated_weight(weight),)))
    if inner.op not in allowed or not draft.single(operand) or _of_number(draft, inner):
        return None
    op = "diag" if inner.op == "scale" else inner.op
    weights = tuple(times_weight(weight, w) for w in inner.weights)
    return draft.add(
        Vertex(
            vertex.op if inner.op == "scale" else op,
            inner.operands,
            weights=weights,
            bias=apply_weight(weight, inner.bias),
        )
    )


def _of_number(draft: Draft, vertex: Vertex) -> bool:
    return any(draft.op(v) == "const" for v in vertex.operands)


# -- sums of weights -------------------------------------------------------------------------------


def sum_of_linears(draft: Draft, value: int) -> int | None:
    """linear(a) + linear(b) -> linear(a, b), linear(a) + bias() -> linear(a) with a bias, bias() +
    bias() -> bias().
    """
    form = sum_of(draft, value)
    linears = [v for v in _plain_terms(draft, form) if draft.op(v) == "linear"]
    biases = [v for v in _plain_terms(draft, form) if draft.op(v) == "bias"]
    if len(linears) + len(biases) < 2:
        return None
    bias: Weight | None = None
    pairs: list[tuple[int, Weight]] = []
    for v in (*linears, *biases):
        vertex = draft.at(v)
        bias = sum_bias(bias, vertex.bias)
        pairs += _weighted(draft, v)
    merged = _linear(draft, pairs, bias) if pairs else draft.add(Vertex("bias", bias=bias))
    return _in_place_of(draft, form, [*linears, *biases], merged)


def sum_of_diagonals(draft: Draft, value: int) -> int | None:
    """diag(a) + diag(a) -> diag(a), scale(a) + scale(a) -> scale(a)."""
    form = sum_of(draft, value)
    seen: dict[tuple[str, int], int] = {}
    for v in _plain_terms(draft, form):
        vertex = draft.at(v)
        if vertex.op in ("diag", "scale"):
            other = seen.setdefault((vertex.op, vertex.operands[0]), v)
            if other != v:
                weight = add_weights(draft.at(other).weights[0], vertex.weights[0])
                return _in_place_of(
                    draft,
                    form,
                    [other, v],
                    draft.add(Vertex(vertex.op, vertex.operands, weights=(weight,))),
                )
    return None


def _plain_terms(draft: Draft, form: Sum) -> list[int]:
    """Terms with the coefficient 1 that nothing else reads."""
    return [v for v, c in form.terms.items() if c == 1.0 and draft.single(v)]


def _in_place_of(draft: Draft, form: Sum, gone: list[int], new: int) -> int:
    rest = Sum(form.constant, {v: c for v, c in form.terms.items() if v not in gone})
    rest.add(new, 1.0)
    return write_sum(draft, rest)


# -- signs -----------------------------------------------------------------------------------------


def absorbed_sign(draft: Draft, value: int) -> int | None:
    """A - linear(b) -> a + linear(b), -tanh(linear(b)) -> tanh(linear(b)): the weights change their
    sign.
    """
    form = sum_of(draft, value)
    for v, c in form.terms.items():
        negative = _negative(draft, v) if c < 0 else None
        if negative is not None:
            rest = Sum(
                form.constant,
                {negative if u == v else u: -k if u == v else k for u, k in form.terms.items()},
            )
            return write_sum(draft, rest)
    return None


def absorbed_complement(draft: Draft, value: int) -> int | None:
    """1 - sigmoid(linear(b)) -> sigmoid(linear(b)): the weights change their sign."""
    form = sum_of(draft, value)
    if form.constant != 1.0 or list(form.terms.values()) != [-1.0]:
        return None
    gate = next(iter(form.terms))
    return _turned(draft, gate) if free_gate(draft, gate) else None


def free_gate(draft: Draft, gate: int) -> bool:
    """Whether ``1 - gate`` costs nothing: a sigmoid of weights that act nowhere else."""
    return (
        draft.op(gate) == "sigmoid"
        and draft.single(gate)
        and takes_sign(draft, draft.at(gate).operands[0])
    )


def _turned(draft: Draft, gate: int) -> int | None:
    negative = _negative(draft, draft.at(gate).operands[0])
    return None if negative is None else draft.make("sigmoid", negative)


def turned_free_blend(draft: Draft, value: int) -> int | None:
    """blend(sigmoid(linear(c)), a, b) = blend(sigmoid(linear(c)), b, a): the weights change their
    sign, and one order is kept.
    """
    gate, one, other = draft.at(value).operands
    turned = _turned(draft, gate)
    return None if turned is None else draft.make("blend", turned, other, one)


def absorbed_product_sign(draft: Draft, value: int) -> int | None:
    """-2 * linear(b) -> 2 * linear(b): the weights change their sign."""
    form = product_of(draft, value)
    if form is None or form.coefficient >= 0:
        return None
    for k, v in enumerate(form.factors):
        negative = _negative(draft, v)
        if negative is not None:
            return write_product(
                draft,
                Product(
                    -form.coefficient,
                    [*form.factors[:k], negative, *form.factors[k + 1 :]],
                    form.divisors,
                ),
            )
    return None


def takes_sign(draft: Draft, value: int) -> bool:
    """Whether ``-value`` costs nothing, because weights that act nowhere else can take the
    sign in.
    """
    return _sign_path(draft, value) is not None


def _sign_path(draft: Draft, value: int) -> list[tuple[int, int]] | None:
    """The values through which the sign goes, each with the position of the operand; at its end a
    node with weights.
    """
    path: list[tuple[int, int]] = []
    while draft.single(value):
        vertex = draft.at(value)
        if vertex.op in ("linear", "diag", "bias"):
            return [*path, (value, -1)]
        place = _sign_carrier(draft, vertex)
        if place is None:
            return None
        path.append((value, place))
        value = vertex.operands[place]
    return None


def _negative(draft: Draft, value: int) -> int | None:
    """-value, if weights that act nowhere else can take the sign in."""
    path = _sign_path(draft, value)
    if path is None:
        return None
    end = draft.at(path[-1][0])
    bias = None if end.bias is None else negated_weight(end.bias)
    negative = draft.add(
        Vertex(
            end.op, end.operands, weights=tuple(negated_weight(w) for w in end.weights), bias=bias
        )
    )
    for v, place in reversed(path[:-1]):
        vertex = draft.at(v)
        negative = draft.make(
            vertex.op, *vertex.operands[:place], negative, *vertex.operands[place + 1 :]
        )
    return negative


def _sign_carrier(draft: Draft, vertex: Vertex) -> int | None:
    """Position of the operand whose sign is the sign of the value."""
    if is_odd_function(vertex.op):
        return 0
    if vertex.op in ("mul", "div"):
        numerators = vertex.operands if vertex.op == "mul" else vertex.operands[:1]
        for place, operand in enumerate(numerators):
            op = draft.op(operand)
            if draft.single(operand) and (
                op in ("linear", "diag", "bias", "mul", "div") or is_odd_function(op)
            ):
                return place
    return None
