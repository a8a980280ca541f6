"""Rules of :func:`cellsearch.genome.rewriting.simplify.simplify` that let one weight take in
another: the family of functions stays the same.

A matrix times a matrix is a matrix, and so on; this holds only for a node that nothing else reads,
as its weights would otherwise act in two places. Signs are taken in too, except by ``scale``:
matrices, diagonals and biases start symmetrically around 0, a ``scale`` starts at 1. Numbers are
never taken in: ``linear(...) + 1`` (a forget bias) starts elsewhere than ``linear(...)``, so a
search has to tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from cellsearch.genome.rewriting.graph import RewriteGraph, Vertex
from cellsearch.genome.rewriting.sums_products import (
    ProductForm,
    SumForm,
    is_odd_function,
    product_of,
    sum_of,
    write_product,
    write_sum,
)
from cellsearch.genome.rewriting.weights import (
    Weight,
    add_weights,
    apply_weight,
    column_weight,
    negated_weight,
    sum_bias,
    times_weight,
)
from cellsearch.genome.sizes import ratio

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

MAX_PATH = 100
"""Values through which a sign is carried to the weights that take it in."""
MAX_VISITS = 1_000
"""Values that are looked at for such a way."""
_TAKE_SIGN = ("linear", "diag", "bias")
_TAKEN_IN = frozenset({"neg", "linear", "diag", "scale"})
_OUTER_DIAGONAL = frozenset({"linear", "diag", "scale", "bias"})


def _weighted(graph: RewriteGraph, value: int) -> list[tuple[int, Weight]]:
    """Operands and matrices of a linear; the matrix of a number is a column."""
    vertex = graph.at(value)
    pairs = zip(vertex.operands, vertex.weights, strict=True)
    return [(v, column_weight(w) if graph.op(v) == "const" else w) for v, w in pairs]


def _linear(
    graph: RewriteGraph, pairs: list[tuple[int, Weight]], bias: Weight | None, like: Vertex
) -> int:
    """A linear of the size and blocks of ``like``."""
    operands, weights = zip(*pairs, strict=True)
    return graph.add(
        Vertex("linear", operands, 0.0, weights, bias, size=like.size, blocks=like.blocks)
    )


def linear_of_repeated(graph: RewriteGraph, value: int) -> int | None:
    """linear(a, a, b) -> linear(a, b), linear(0, b) -> linear(b)."""
    vertex = graph.at(value)
    operands = vertex.operands
    if len(set(operands)) == len(operands) and all(graph.number(v) != 0.0 for v in operands):
        return None
    merged: dict[int, Weight] = {}
    for operand, weight in _weighted(graph, value):
        if graph.number(operand) != 0.0:
            merged[operand] = add_weights(merged[operand], weight) if operand in merged else weight
    if merged:
        return _linear(graph, list(merged.items()), vertex.bias, vertex)
    if vertex.bias is None:
        return graph.const(0.0)
    return graph.add(Vertex("bias", bias=vertex.bias, size=vertex.size))


def linear_of_linear(graph: RewriteGraph, value: int) -> int | None:
    """linear(linear(a, b), d) -> linear(a, b, d); what is below may also be diag, scale or -a, and
    a bias goes into the bias. Not where the size between them limits the rank.
    """
    vertex = graph.at(value)
    if all(graph.op(v) not in _TAKEN_IN for v in vertex.operands):
        return None
    like = vertex
    pairs: list[tuple[int, Weight]] = []
    bias = vertex.bias
    for operand, weight in _weighted(graph, value):
        inner = graph.at(operand)
        if inner.op == "neg":
            pairs.append((inner.operands[0], negated_weight(weight)))
        elif (
            graph.single(operand)
            and inner.op in ("linear", "diag", "scale")
            and not _of_number(graph, inner)
            and (blocks := _blocks_of_both(graph, vertex, inner))
        ):
            like = vertex._replace(blocks=blocks)
            pairs += [
                (u, times_weight(weight, w))
                for u, w in zip(inner.operands, inner.weights, strict=True)
            ]
            bias = sum_bias(bias, apply_weight(weight, inner.bias))
        else:
            pairs.append((operand, weight))
    unchanged = tuple(v for v, _ in pairs) == vertex.operands
    return None if unchanged else _linear(graph, pairs, bias, like)


def _blocks_of_both(graph: RewriteGraph, outer: Vertex, inner: Vertex) -> int:
    """In how many blocks one matrix does what a linear does to a linear, a diag or a scale; 0 if
    none does all that both can, and nothing else.
    """
    if inner.op != "linear":
        return outer.blocks
    blocks = min(outer.blocks, inner.blocks)
    if max(outer.blocks, inner.blocks) % blocks:
        return 0
    if blocks != outer.blocks and len(outer.operands) > 1:
        return 0
    if blocks == inner.blocks and (ratio(inner.size, outer.size) or 0) >= 1:
        return blocks  # the outer one can choose any rows of the inner one
    kept = len(inner.operands) == 1 and (outer.bias is not None or inner.bias is None)
    width = graph.width(inner.operands[0])
    if blocks == outer.blocks and kept and width != "1" and (ratio(inner.size, width) or 0) >= 1:
        return blocks  # the inner one can hand on all that it reads
    return 0


def diagonal_of_weighted(graph: RewriteGraph, value: int) -> int | None:
    """diag(linear(a, b)) -> linear(a, b); below a diag may also be diag, scale, bias or -a."""
    return _outer(graph, value, _OUTER_DIAGONAL)


def scale_of_weighted(graph: RewriteGraph, value: int) -> int | None:
    """scale(linear(a, b)) -> linear(a, b), scale(scale(a)) -> scale(a); below a scale may also be
    diag or bias.
    """
    return _outer(graph, value, _OUTER_DIAGONAL)


def _outer(graph: RewriteGraph, value: int, allowed: frozenset[str]) -> int | None:
    vertex = graph.at(value)
    operand, weight = vertex.operands[0], vertex.weights[0]
    inner = graph.at(operand)
    if graph.number(operand) == 0.0:
        return operand
    if inner.op == "neg" and vertex.op == "diag":
        return graph.add(Vertex("diag", inner.operands, weights=(negated_weight(weight),)))
    if inner.op not in allowed or not graph.single(operand) or _of_number(graph, inner):
        return None
    op = "diag" if inner.op == "scale" else inner.op
    weights = tuple(times_weight(weight, w) for w in inner.weights)
    return graph.add(
        Vertex(
            vertex.op if inner.op == "scale" else op,
            inner.operands,
            weights=weights,
            bias=apply_weight(weight, inner.bias),
            size=inner.size,
            blocks=inner.blocks,
        )
    )


def _of_number(graph: RewriteGraph, vertex: Vertex) -> bool:
    return any(graph.op(v) == "const" for v in vertex.operands)


# -- sums of weights -------------------------------------------------------------------------------


def sum_of_linears(graph: RewriteGraph, value: int) -> int | None:
    """linear(a) + linear(b) -> linear(a, b), linear(a) + bias() -> linear(a) with a bias, bias() +
    bias() -> bias(). Linears of different blocks stay apart, with one bias, of the fewest blocks.
    """
    form = sum_of(graph, value)
    linears = [v for v in _plain_terms(graph, form) if graph.op(v) == "linear"]
    biases = [v for v in _plain_terms(graph, form) if graph.op(v) == "bias"]
    if len(linears) + len(biases) < 2:
        return None
    bias: Weight | None = None
    pairs: dict[int, list[tuple[int, Weight]]] = {}
    for v in (*linears, *biases):
        vertex = graph.at(v)
        bias = sum_bias(bias, vertex.bias)
        if vertex.op == "linear":
            pairs.setdefault(vertex.blocks, []).extend(_weighted(graph, v))
    size = graph.at((*linears, *biases)[0]).size
    groups = _absorbed_blocks(pairs)
    if len(groups) > 1 and _is_grouped(graph, linears, biases, groups):
        return None
    made = [
        _linear(graph, group, bias if k == 0 else None, Vertex("linear", size=size, blocks=blocks))
        for k, (blocks, group) in enumerate(groups)
    ] or [graph.add(Vertex("bias", bias=bias, size=size))]
    return _in_place_of(graph, form, [*linears, *biases], made)


def _absorbed_blocks(
    pairs: Mapping[int, list[tuple[int, Weight]]],
) -> list[tuple[int, list[tuple[int, Weight]]]]:
    """Operands and weights by number of blocks, the fewest first; blocks within larger blocks of
    the same operand are part of those.
    """
    groups: list[tuple[int, list[tuple[int, Weight]]]] = []
    for blocks, group in sorted(pairs.items()):
        rest = []
        for operand, weight in group:
            for coarser, others in groups:
                place = [k for k, (v, _) in enumerate(others) if v == operand]
                if place and blocks % coarser == 0:
                    others[place[0]] = (operand, add_weights(others[place[0]][1], weight))
                    break
            else:
                rest.append((operand, weight))
        if rest:
            groups.append((blocks, rest))
    return groups


def _is_grouped(
    graph: RewriteGraph,
    linears: list[int],
    biases: list[int],
    groups: list[tuple[int, list[tuple[int, Weight]]]],
) -> bool:
    """Whether the linears of a sum are what their groups would make of them."""
    now = sorted((graph.at(v).blocks, graph.at(v).operands) for v in linears)
    other = [v for v in linears if graph.at(v).bias is not None]
    return (
        not biases
        and [(blocks, len(operands)) for blocks, operands in now]
        == [(blocks, len(group)) for blocks, group in groups]
        and [graph.at(v).blocks for v in other] in ([], [groups[0][0]])
    )


def sum_of_diagonals(graph: RewriteGraph, value: int) -> int | None:
    """diag(a) + diag(a) -> diag(a), scale(a) + scale(a) -> scale(a)."""
    form = sum_of(graph, value)
    seen: dict[tuple[str, int], int] = {}
    for v in _plain_terms(graph, form):
        vertex = graph.at(v)
        if vertex.op in ("diag", "scale"):
            other = seen.setdefault((vertex.op, vertex.operands[0]), v)
            if other != v:
                weight = add_weights(graph.at(other).weights[0], vertex.weights[0])
                both = graph.add(Vertex(vertex.op, vertex.operands, weights=(weight,)))
                return _in_place_of(graph, form, [other, v], [both])
    return None


def _plain_terms(graph: RewriteGraph, form: SumForm) -> list[int]:
    """Terms with the coefficient 1 that nothing else reads."""
    return [v for v, c in form.terms.items() if c == 1.0 and graph.single(v)]


def _in_place_of(graph: RewriteGraph, form: SumForm, gone: list[int], new: list[int]) -> int:
    rest = SumForm(form.constant, {v: c for v, c in form.terms.items() if v not in gone})
    for v in new:
        rest.add(v, 1.0)
    return write_sum(graph, rest)


# -- signs -----------------------------------------------------------------------------------------


def absorbed_sign(graph: RewriteGraph, value: int) -> int | None:
    """A - linear(b) -> a + linear(b), -tanh(linear(b)) -> tanh(linear(b)): the weights change their
    sign.
    """
    form = sum_of(graph, value)
    for v, c in form.terms.items():
        negative = _negative(graph, v) if c < 0 else None
        if negative is not None:
            rest = SumForm(
                form.constant,
                {negative if u == v else u: -k if u == v else k for u, k in form.terms.items()},
            )
            return write_sum(graph, rest)
    return None


def absorbed_complement(graph: RewriteGraph, value: int) -> int | None:
    """1 - sigmoid(linear(b)) -> sigmoid(linear(b)): the weights change their sign."""
    form = sum_of(graph, value)
    if form.constant != 1.0 or list(form.terms.values()) != [-1.0]:
        return None
    gate = next(iter(form.terms))
    return _turned(graph, gate) if free_gate(graph, gate) else None


def free_gate(graph: RewriteGraph, gate: int) -> bool:
    """Whether ``1 - gate`` costs nothing: a sigmoid of weights that act nowhere else."""
    return (
        graph.op(gate) == "sigmoid"
        and graph.single(gate)
        and takes_sign(graph, graph.at(gate).operands[0])
    )


def _turned(graph: RewriteGraph, gate: int) -> int | None:
    negative = _negative(graph, graph.at(gate).operands[0])
    return None if negative is None else graph.make("sigmoid", negative)


def turned_free_blend(graph: RewriteGraph, value: int) -> int | None:
    """blend(sigmoid(linear(c)), a, b) = blend(sigmoid(linear(c)), b, a): the weights change their
    sign, and one order is kept.
    """
    gate, one, other = graph.at(value).operands
    turned = _turned(graph, gate)
    return None if turned is None else graph.make("blend", turned, other, one)


def absorbed_product_sign(graph: RewriteGraph, value: int) -> int | None:
    """-2 * linear(b) -> 2 * linear(b): the weights change their sign."""
    form = product_of(graph, value)
    if form is None or form.coefficient >= 0:
        return None
    for k, v in enumerate(form.factors):
        negative = _negative(graph, v)
        if negative is not None:
            return write_product(
                graph,
                ProductForm(
                    -form.coefficient,
                    [*form.factors[:k], negative, *form.factors[k + 1 :]],
                    form.divisors,
                ),
            )
    return None


def takes_sign(graph: RewriteGraph, value: int) -> bool:
    """Whether ``-value`` costs nothing, because weights that act nowhere else can take the
    sign in.
    """
    return _sign_path(graph, value) is not None


def _sign_path(graph: RewriteGraph, value: int) -> list[tuple[int, int]] | None:
    """The values through which the sign goes, each with the position of the operand; at its end a
    node with weights.

    Of a product any factor may take the sign: where one leads to no weights, as tanh(sigmoid(a)),
    the next is tried. Every value is read once, so none is looked at twice.
    """
    stack: list[tuple[int, tuple[tuple[int, int], ...]]] = [(value, ())]
    for _ in range(MAX_VISITS):
        if not stack:
            return None
        value, path = stack.pop()
        if not graph.single(value) or len(path) >= MAX_PATH:
            continue
        vertex = graph.at(value)
        if vertex.op in _TAKE_SIGN:
            return [*path, (value, -1)]
        stack += [
            (vertex.operands[place], (*path, (value, place)))
            for place in reversed(_sign_carriers(graph, vertex))
        ]
    return None


def _negative(graph: RewriteGraph, value: int) -> int | None:
    """-value, if weights that act nowhere else can take the sign in."""
    path = _sign_path(graph, value)
    if path is None:
        return None
    end = graph.at(path[-1][0])
    bias = None if end.bias is None else negated_weight(end.bias)
    negative = graph.add(
        end._replace(weights=tuple(negated_weight(w) for w in end.weights), bias=bias)
    )
    for v, place in reversed(path[:-1]):
        vertex = graph.at(v)
        operands = (*vertex.operands[:place], negative, *vertex.operands[place + 1 :])
        negative = graph.again(vertex, *operands)
    return negative


def _sign_carriers(graph: RewriteGraph, vertex: Vertex) -> list[int]:
    """Positions of the operands whose sign is the sign of the value."""
    if is_odd_function(vertex.op):
        return [0]
    if vertex.op not in ("mul", "div"):
        return []
    numerators = vertex.operands if vertex.op == "mul" else vertex.operands[:1]
    # what lies in a unit may not be able to
    places = sorted(range(len(numerators)), key=lambda k: graph.op(numerators[k]) == "unit")
    carriers = []
    for place in places:
        op = graph.op(numerators[place])
        if graph.single(numerators[place]) and (
            op in _TAKE_SIGN or op in ("mul", "div") or is_odd_function(op)
        ):
            carriers.append(place)
    return carriers
