"""Sums and products of a draft as lists of terms and factors, and back.

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
from cellsearch.genome.rewriting.graph import Draft

__all__ = [
    "PRODUCT_OPS",
    "SUM_OPS",
    "Product",
    "Sum",
    "complement",
    "is_odd_function",
    "product_of",
    "scaled",
    "sum_of",
    "tidy",
    "write_product",
    "write_sum",
]

SUM_OPS = frozenset({"add", "sub", "neg"})
PRODUCT_OPS = frozenset({"mul", "div", "square"})


def is_odd_function(op: str) -> bool:
    """Whether f(-a) = -f(a), and no sum."""
    row = ops.OPS.get(op)
    return row is not None and row.odd and op not in SUM_OPS


@dataclass(slots=True)
class Sum:
    """``constant`` plus the terms: value -> coefficient."""

    constant: float = 0.0
    terms: dict[int, float] = field(default_factory=dict)

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
class Product:
    """``coefficient`` times the factors over the divisors; a value may stand there several
    times.
    """

    coefficient: float = 1.0
    factors: list[int] = field(default_factory=list)
    divisors: list[int] = field(default_factory=list)


def sum_of(draft: Draft, value: int) -> Sum:
    """The sum that a value is; one term if it is something else. The caller may change it."""
    known: Sum | None = draft.forms.get(("sum", value))
    if known is None:
        known = draft.forms["sum", value] = _sum_of(draft, value)
    return Sum(known.constant, dict(known.terms))


def _sum_of(draft: Draft, value: int) -> Sum:
    form = Sum()
    stack = [(value, 1.0, True)]
    while stack:
        v, coefficient, own = stack.pop()
        own = own and (
            v == value or draft.single(v)
        )  # whether nothing but this sum reads what is below
        vertex = draft.at(v)
        inner = vertex.operands
        if vertex.op == "const":
            form.constant += coefficient * vertex.number
        elif vertex.op in SUM_OPS and (own or _one_unknown(draft, inner)):
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
        elif vertex.op == "mul" and len(inner) == 2 and _one_unknown(draft, inner):
            number, other = inner if draft.op(inner[0]) == "const" else inner[::-1]
            stack.append((other, coefficient * draft.vertices[number].number, own))
        else:
            form.add(v, coefficient)
    return form


def product_of(draft: Draft, value: int) -> Product | None:
    """The product that a value is, one factor if it is something else; ``None`` where it divides by
    0 or the numbers overflow.

    The caller may change it.
    """
    if ("product", value) not in draft.forms:
        draft.forms["product", value] = _product_of(draft, value)
    known: Product | None = draft.forms["product", value]
    return (
        None
        if known is None
        else Product(known.coefficient, list(known.factors), list(known.divisors))
    )


def _product_of(draft: Draft, value: int) -> Product | None:
    form = Product()
    stack = [(value, False, True)]
    while stack:
        v, below, own = stack.pop()
        own = own and (v == value or draft.single(v))
        vertex = draft.at(v)
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
            own or (vertex.op != "square" and _one_unknown(draft, inner))
        ):
            operands = inner * 2 if vertex.op == "square" else inner
            stack.extend(
                (u, below != (vertex.op == "div" and k == 1), own)
                for k, u in reversed(list(enumerate(operands)))
            )
        else:
            if vertex.op == "sub" and (draft.number(inner[1]) or 0.0) > 0.0:  # a - 1 is -(1 - a)
                form.coefficient = -form.coefficient
                v = draft.make("sub", inner[1], inner[0])
            (form.divisors if below else form.factors).append(v)
    return form if math.isfinite(form.coefficient) else None


def _one_unknown(draft: Draft, operands: Sequence[int]) -> bool:
    return sum(draft.op(v) != "const" for v in operands) <= 1


def tidy(number: float) -> float:
    """A computed number to 14 digits, so that it does not depend on the order in which it was
    computed.
    """
    return float(f"{number:.14g}")


def scaled(draft: Draft, value: int, coefficient: float) -> int:
    """``coefficient * value`` as a value."""
    if coefficient != 1.0:
        coefficient = tidy(coefficient)
    if coefficient == 1.0:
        return value
    number = draft.number(value)
    if number is not None:
        return draft.const(tidy(coefficient * number))
    return (
        draft.make("neg", value)
        if coefficient == -1.0
        else draft.make("mul", draft.const(coefficient), value)
    )


def write_sum(draft: Draft, form: Sum) -> int:
    """The value of a sum."""
    positive = [scaled(draft, v, c) for v, c in form.terms.items() if c > 0]
    negative = [scaled(draft, v, -c) for v, c in form.terms.items() if c < 0]
    if form.constant:
        (positive if form.constant > 0 else negative).append(draft.const(tidy(abs(form.constant))))
    if not negative:
        return _joined(draft, "add", positive, 0.0)
    if positive:
        return draft.make(
            "sub", _joined(draft, "add", positive, 0.0), _joined(draft, "add", negative, 0.0)
        )
    if len(negative) == 1:
        return (
            scaled(draft, *next(iter(form.terms.items())))
            if form.terms
            else draft.const(tidy(form.constant))
        )
    return draft.make("neg", draft.make("add", *negative))


def write_product(draft: Draft, form: Product) -> int:
    """The value of a product."""
    if not form.coefficient:
        return draft.const(0.0)
    if not form.divisors:
        return scaled(draft, _joined(draft, "mul", form.factors, 1.0), form.coefficient)
    below = _joined(draft, "mul", form.divisors, 1.0)
    if not form.factors:
        return draft.make("div", draft.const(tidy(form.coefficient)), below)
    return scaled(
        draft, draft.make("div", _joined(draft, "mul", form.factors, 1.0), below), form.coefficient
    )


def _joined(draft: Draft, op: str, values: Sequence[int], empty: float) -> int:
    if not values:
        return draft.const(empty)
    if len(values) == 1:
        return values[0]
    if op == "mul" and len(values) == 2 and values[0] == values[1]:
        return draft.make("square", values[0])
    return draft.make(op, *values)


def complement(draft: Draft, value: int) -> int | None:
    """The value ``1 - value`` if the draft has it."""
    vertex = draft.at(value)
    if vertex.op == "sub" and draft.number(vertex.operands[0]) == 1.0:
        return vertex.operands[1]
    one = draft.known.get(("const", 1.0, ()))
    found = None if one is None else draft.known.get(("sub", 0.0, (draft.find(one), value)))
    return None if found is None or found in draft.replaced else found
