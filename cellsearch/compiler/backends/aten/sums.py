"""Sums: chains of additions seen as one sum of terms, which is what products are accumulated
into.
"""

from __future__ import annotations

from dataclasses import dataclass

from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.phases import Phase

__all__ = ["FlatSum", "Sums", "find_sums"]


@dataclass
class FlatSum:
    """A value as a sum of terms."""

    root: int
    """The value."""
    phase: Phase
    dense: list[int]
    """Products with weights, H wide, that only this sum reads."""
    deltas: list[int]
    """Products with transposed weights, or of another width, that only this sum reads."""
    rest: list[int]
    """Other values."""
    column: int = -1
    """Its column of Z, if it has dense products."""


@dataclass(frozen=True)
class Sums:
    """All sums of a program."""

    sums: dict[int, FlatSum]
    """By root."""
    absorbed: frozenset[int]
    """Instructions that are not values of their own any more."""
    factors: frozenset[int]
    """Products ``a * b`` among them."""


def find_sums(program: Program, phase: tuple[Phase, ...], standing: frozenset[int]) -> Sums:
    """All sums of extent ``step``; a dense product that no sum reads is a sum of one. ``standing``
    values stay values.
    """
    sums: dict[int, FlatSum] = {}
    absorbed: set[int] = set()
    factors: set[int] = set()

    def products(total: FlatSum, value: int) -> list[int]:
        """Those of the sum among which this product belongs: Z is counted in H."""
        into = program.made_by(value).op == "dense" and program.shapes[value].width == "H"
        return total.dense if into else total.deltas

    def is_private(value: int, total: FlatSum) -> bool:
        """Whether only this sum reads the value, in the same phase."""
        return (
            value >= program.first
            and len(program.uses[value]) == 1
            and value not in standing
            and phase[value] is total.phase
        )

    for value, instruction in reversed(list(program.numbered())):
        if (
            value in absorbed
            or program.shapes[value].extent == "fixed"
            or instruction.op not in ("add", "dense", "dense_t")
        ):
            continue
        total = sums[value] = FlatSum(value, phase[value], [], [], [])
        if instruction.op != "add":
            products(total, value).append(value)
            continue
        stack = list(instruction.inputs)
        while stack:
            term = stack.pop(0)
            below = program.instruction(term)
            if (
                below is None
                or not is_private(term, total)
                or below.op not in ("add", "dense", "dense_t", "mul")
            ):
                total.rest.append(term)
                continue
            absorbed.add(term)
            if below.op == "add":
                stack = [*below.inputs, *stack]
            elif below.op == "mul":
                factors.add(term)
                total.rest.append(term)
            else:
                products(total, term).append(term)
    return Sums(sums, frozenset(absorbed), frozenset(factors))
