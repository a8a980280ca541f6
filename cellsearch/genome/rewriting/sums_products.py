"""Sums and products of a graph as lists of terms and factors, and back.

A sum is ``constant + coefficient * value + ...``; written out, positive terms come before ``sub``,
a coefficient stands in ``mul(number, value)``. A product is ``coefficient * factors / divisors``. A
part that something else reads too stays one term, so that nothing is computed twice; a part with
one operand that is not a number (``-a``, ``1 - a``, ``2 * a``) is always taken apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from cellsearch import ops
from cellsearch.genome.rewriting.graph import RewriteGraph

__all__ = [
    "PRODUCT_OPS",
    "SUM_OPS",
    "ProductForm",
    "SumForm",
    "complement",
    "is_odd_function",
    "product_of",
    "scaled",
    "sum_of",
    "tidy",
    "write_product",
    "write_sum",
]

MAX_POWERS = 256
"""Factors up to which squares of products are multiplied out: a chain of n squares has 2^n."""
SUM_OPS = frozenset({"add", "sub", "neg"})
PRODUCT_OPS = frozenset({"mul", "div", "square"})


def is_odd_function(op: str) -> bool:
    """Whether f(-a) = -f(a), and no sum."""
    row = ops.OPS.get(op)
    return row is not None and row.odd and op not in SUM_OPS


@dataclass(slots=True)
class SumForm:
    """``constant + coefficient * value + ...``."""

    constant: float = 0.0
    terms: dict[int, float] = field(default_factory=dict)
    """The coefficient of each value."""

    def add(self, value: int, coefficient: float) -> None:
        """Add a term; terms that cancel disappear."""
        total = self.terms.get(value, 0.0) + coefficient
        if total:
            self.terms[value] = total
        else:
            self.terms.pop(value, None)

    def finite(self) -> bool:
        """Whether all numbers are."""
        return math.isfinite(self.constant) and all(map(math.isfinite, self.terms.values()))


@dataclass(slots=True)
class ProductForm:
    """``coefficient * factors / divisors``; a value may stand there several times."""

    coefficient: float = 1.0
    factors: list[int] = field(default_factory=list)
    divisors: list[int] = field(default_factory=list)


def sum_of(graph: RewriteGraph, value: int) -> SumForm:
    """The sum that a value is; one term if it is something else. It belongs to the graph: who
    wants another one changes a copy.
    """
    known: SumForm | None = graph.forms.get(("sum", value))
    if known is None:
        known = graph.forms["sum", value] = _sum_of(graph, value)
    return known


def _sum_of(graph: RewriteGraph, value: int) -> SumForm:
    form = SumForm()
    stack = [(value, 1.0, True)]
    while stack:
        v, coefficient, own = stack.pop()
        own = own and (
            v == value or graph.single(v)
        )  # whether nothing but this sum reads what is below
        vertex = graph.at(v)
        inner = vertex.operands
        if vertex.op == "const":
            form.constant += coefficient * vertex.number
        elif vertex.op in SUM_OPS and (own or _one_unknown(graph, inner)):
            signs = (
                (1.0, -1.0)
                if vertex.op == "sub"
                else (-1.0,)
                if vertex.op == "neg"
                else (1.0,) * len(inner)
            )
            stack += [
                (u, coefficient * sign, own)
                for u, sign in zip(reversed(inner), reversed(signs), strict=True)
            ]
        elif vertex.op == "mul" and len(inner) == 2 and _one_unknown(graph, inner):
            number, other = inner if graph.op(inner[0]) == "const" else inner[::-1]
            stack.append((other, coefficient * graph.vertices[number].number, own))
        else:
            form.add(v, coefficient)
    return form


def product_of(graph: RewriteGraph, value: int) -> ProductForm | None:
    """The product that a value is, one factor if it is something else, or a power of more than
    ``MAX_POWERS`` factors; ``None`` where it divides by 0 or the numbers overflow.

    It belongs to the graph: who wants another one changes a copy.
    """
    if ("product", value) not in graph.forms:
        graph.forms["product", value] = _product_of(graph, value)
    known: ProductForm | None = graph.forms["product", value]
    return known


def _product_of(graph: RewriteGraph, value: int) -> ProductForm | None:
    form = ProductForm()
    stack = [(value, False, True)]
    squares = False
    while stack:
        v, below, own = stack.pop()
        if squares and len(form.factors) + len(form.divisors) + len(stack) >= MAX_POWERS:
            return ProductForm(factors=[value])
        own = own and (v == value or graph.single(v))
        vertex = graph.at(v)
        inner = vertex.operands
        if vertex.op == "const":
            if below and not vertex.number:
                return None
            form.coefficient = (
                form.coefficient / vertex.number if below else form.coefficient * vertex.number
            )
        elif vertex.op == "neg":
            form.coefficient = -form.coefficient
            stack.append((inner[0], below, own))
        elif vertex.op in PRODUCT_OPS and (
            own or (vertex.op != "square" and _one_unknown(graph, inner))
        ):
            squares |= vertex.op == "square"
            if vertex.op == "div":
                stack += [(inner[1], not below, own), (inner[0], below, own)]
            else:
                operands = inner * 2 if vertex.op == "square" else inner
                stack += [(u, below, own) for u in reversed(operands)]
        else:
            if vertex.op == "sub" and (graph.number(inner[1]) or 0.0) > 0.0:  # a - 1 is -(1 - a)
                form.coefficient = -form.coefficient
                v = graph.make("sub", inner[1], inner[0])
            (form.divisors if below else form.factors).append(v)
    return form if math.isfinite(form.coefficient) else None


def _one_unknown(graph: RewriteGraph, operands: Sequence[int]) -> bool:
    unknown = [v for v in operands if graph.vertices[v].op != "const"]
    return len(unknown) <= 1


def tidy(number: float) -> float:
    """A computed number to 14 digits, so that it does not depend on the order in which it was
    computed.
    """
    return float(f"{number:.14g}")


def scaled(graph: RewriteGraph, value: int, coefficient: float) -> int:
    """``coefficient * value`` as a value."""
    if coefficient != 1.0:
        coefficient = tidy(coefficient)
    if coefficient == 1.0:
        return value
    number = graph.number(value)
    if number is not None:
        return graph.const(tidy(coefficient * number))
    return (
        graph.make("neg", value)
        if coefficient == -1.0
        else graph.make("mul", graph.const(coefficient), value)
    )


def write_sum(graph: RewriteGraph, form: SumForm) -> int:
    """The value of a sum."""
    positive = [scaled(graph, v, c) for v, c in form.terms.items() if c > 0]
    negative = [scaled(graph, v, -c) for v, c in form.terms.items() if c < 0]
    if form.constant:
        (positive if form.constant > 0 else negative).append(graph.const(tidy(abs(form.constant))))
    if not negative:
        return _joined(graph, "add", positive, 0.0)
    if positive:
        return graph.make(
            "sub", _joined(graph, "add", positive, 0.0), _joined(graph, "add", negative, 0.0)
        )
    if len(negative) == 1:
        return (
            scaled(graph, *next(iter(form.terms.items())))
            if form.terms
            else graph.const(tidy(form.constant))
        )
    return graph.make("neg", graph.make("add", *negative))


def write_product(graph: RewriteGraph, form: ProductForm) -> int:
    """The value of a product."""
    if not form.coefficient:
        return graph.const(0.0)
    if not form.divisors:
        return scaled(graph, _joined(graph, "mul", form.factors, 1.0), form.coefficient)
    below = _joined(graph, "mul", form.divisors, 1.0)
    if not form.factors:
        return graph.make("div", graph.const(tidy(form.coefficient)), below)
    return scaled(
        graph, graph.make("div", _joined(graph, "mul", form.factors, 1.0), below), form.coefficient
    )


def _joined(graph: RewriteGraph, op: str, values: Sequence[int], empty: float) -> int:
    if not values:
        return graph.const(empty)
    if len(values) == 1:
        return values[0]
    if op == "mul" and len(values) == 2 and values[0] == values[1]:
        return graph.make("square", values[0])
    return graph.make(op, *values)


def complement(graph: RewriteGraph, value: int) -> int | None:
    """The value ``1 - value`` if the graph has it."""
    vertex = graph.at(value)
    if vertex.op == "sub" and graph.number(vertex.operands[0]) == 1.0:
        return vertex.operands[1]
    one = graph.known.get(("const", 1.0, ()))
    found = None if one is None else graph.known.get(("sub", 0.0, (graph.find(one), value)))
    return None if found is None or found in graph.replaced else found
