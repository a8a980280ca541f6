"""Columns: values that take part in the same products lie side by side, so that one product serves
them all.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import permutations

__all__ = ["arrange", "runs"]

_EXHAUSTIVE = 6


def arrange(partners: Mapping[int, frozenset[Hashable]]) -> tuple[int, ...]:
    """An order of the items in which the items of each partner lie in few contiguous runs.

    ``partners``: for each item the products it takes part in. Items with the same partners stay
    together, in the given order; up to six such groups are ordered best possible, more by inserting
    one after the other where it costs least.
    """
    groups: dict[frozenset[Hashable], list[int]] = {}
    for item, partner in partners.items():
        groups.setdefault(partner, []).append(item)
    signatures = list(groups)
    if len(signatures) <= _EXHAUSTIVE:
        order = min((list(order) for order in permutations(signatures)), key=_breaks)
    else:
        order = []
        for signature in signatures:
            order = min(
                ([*order[:k], signature, *order[k:]] for k in range(len(order) + 1)), key=_breaks
            )
    return tuple(item for signature in order for item in groups[signature])


def _breaks(order: Sequence[frozenset[Hashable]]) -> int:
    """How many contiguous runs the partners have in total."""
    previous: frozenset[Hashable] = frozenset()
    count = 0
    for signature in order:
        count += len(signature - previous)
        previous = signature
    return count


def runs(columns: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending column numbers as half-open contiguous ranges."""
    found: list[tuple[int, int]] = []
    for column in sorted(columns):
        if found and found[-1][1] == column:
            found[-1] = (found[-1][0], column + 1)
        else:
            found.append((column, column + 1))
    return found
