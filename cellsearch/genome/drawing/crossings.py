"""Order within the rows of a layered layout: few crossings, by barycentres and exchanges of
neighbours (Sugiyama, Tagawa & Toda 1981).
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort

__all__ = ["LARGE", "order_rows"]

LARGE = 700
"""From this number of items on the ordering takes fewer rounds."""


def order_rows(row: list[int], lines: list[tuple[int, int]]) -> list[list[int]]:
    """The items of each row from left to right, so that few lines cross.

    ``row``: of each item; ``lines``: between items of adjacent rows, lower and upper.
    """
    above: list[list[int]] = [[] for _ in row]
    below: list[list[int]] = [[] for _ in row]
    for low, high in lines:
        above[low].append(high)
        below[high].append(low)
    n_rows = 1 + max(row, default=0)
    large = len(row) > LARGE
    starts = [
        _by_walk(row, above, below, n_rows, 0),
        _by_walk(row, below, above, n_rows, n_rows - 1),
    ]
    for seed in range(0 if large else 400 // (20 + len(row))):
        chance = random.Random(seed)  # its random() gives the same numbers everywhere
        starts.append([sorted(r, key=lambda _: chance.random()) for r in starts[0]])
    best: list[list[int]] = []
    fewest = -1
    for start in starts:
        order = start
        for turn in range(6 if large else 14):
            order = _sweep(order, below if turn % 2 == 0 else above, upwards=turn % 2 == 0)
            if not large:
                _exchange(order, above, below)
            crossings = _crossings(order, above)
            if fewest < 0 or crossings < fewest:
                best, fewest = [list(r) for r in order], crossings
            if fewest == 0:
                return best
    return best


def _by_walk(
    row: list[int], onward: list[list[int]], back: list[list[int]], n_rows: int, first: int
) -> list[list[int]]:
    """Items in the order of a depth-first walk from the given row, so that what belongs together
    starts together.
    """
    order: list[list[int]] = [[] for _ in range(n_rows)]
    seen: set[int] = set()
    starts = sorted(range(len(row)), key=lambda k: (bool(back[k]), abs(row[k] - first), k))
    for start in starts:
        stack = [start]
        while stack:
            k = stack.pop()
            if k not in seen:
                seen.add(k)
                order[row[k]].append(k)
                stack.extend(reversed(onward[k]))
    return order


def _sweep(
    order: list[list[int]], neighbours: list[list[int]], *, upwards: bool
) -> list[list[int]]:
    """Sort each row by the mean place of the neighbours in the row done before; items without any
    keep their place.
    """
    result = [list(r) for r in order]
    rows = range(1, len(order)) if upwards else range(len(order) - 2, -1, -1)
    for r in rows:
        place = {k: p for p, k in enumerate(result[r - 1 if upwards else r + 1])}
        scale = max(1, len(place) - 1) / max(1, len(result[r]) - 1)
        centre = {
            k: (
                sum(place[j] for j in neighbours[k]) / len(neighbours[k])
                if neighbours[k]
                else p * scale
            )
            for p, k in enumerate(result[r])
        }
        result[r].sort(key=lambda k: centre[k])
    return result


def _exchange(order: list[list[int]], above: list[list[int]], below: list[list[int]]) -> None:
    """Exchange neighbours within a row as long as that removes crossings."""
    for r, items in enumerate(order):
        places = [
            {k: p for p, k in enumerate(order[j])} if 0 <= j < len(order) else {}
            for j in (r - 1, r + 1)
        ]
        ends = {
            k: (sorted(places[0][j] for j in below[k]), sorted(places[1][j] for j in above[k]))
            for k in items
        }
        for _ in range(len(items)):
            changed = False
            for p in range(len(items) - 1):
                left, right = ends[items[p]], ends[items[p + 1]]
                now = sum(_pairs(a, b) for a, b in zip(left, right, strict=True))
                then = sum(_pairs(b, a) for a, b in zip(left, right, strict=True))
                if then < now:
                    items[p], items[p + 1] = items[p + 1], items[p]
                    changed = True
            if not changed:
                break


def _pairs(left: list[int], right: list[int]) -> int:
    """Crossings between the lines of two neighbours, given the sorted places of their other
    ends.
    """
    return sum(bisect_left(right, a) for a in left)


def _crossings(order: list[list[int]], above: list[list[int]]) -> int:
    total = 0
    for r in range(len(order) - 1):
        place = {k: p for p, k in enumerate(order[r + 1])}
        seen: list[int] = []
        for k in order[r]:
            ends = sorted(place[j] for j in above[k])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total
