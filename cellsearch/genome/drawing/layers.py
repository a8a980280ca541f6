"""Layered layout: rows from the bottom up, few crossings, lines that run between the boxes.

The steps are those of Sugiyama, Tagawa & Toda 1981: rows by longest path, order within a row by
barycentres and exchanges of neighbours, then coordinates. All lines from one vertex share one trunk
through the rows that they only pass. Coordinates minimise the squared horizontal length of the
lines row by row, exactly, under minimal distances (pool-adjacent-violators). The result depends on
the graph alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cellsearch.genome.drawing.crossings import LARGE, order_rows

__all__ = ["Box", "Layout", "lay_out"]

Rank = Literal["", "bottom", "top"]
Point = tuple[float, float]
COLUMN_GAP = 16.0
TRUNK_WIDTH = 6.0
ROW_GAP = 36.0
MAX_ROW_GAP = 76.0


@dataclass(frozen=True, slots=True)
class Box:
    """Size of a vertex."""

    width: float
    height: float
    rank: Rank = ""
    """Pins it to the lowest or the highest row."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where boxes and wires lie."""

    centres: list[Point]
    """Of each box."""
    routes: list[list[Point]]
    """For each wire the points at which it enters and leaves the rows, bottom to top."""
    up: list[bool]
    """For each wire whether it runs from its source upwards; else its points go from target to
    source."""
    width: float
    height: float


@dataclass(slots=True)
class _Rows:
    """The items of all rows: the boxes first, then the pieces of trunks."""

    row: list[int]
    """Of each item."""
    wide: list[float]
    """Width of each item."""
    lines: list[tuple[int, int]]
    """Between items of adjacent rows: lower, upper."""
    trunk: dict[tuple[int, int], int]
    """The piece of the trunk of a box in a row."""
    n_boxes: int


def lay_out(boxes: Sequence[Box], wires: Sequence[tuple[int, int]]) -> Layout:
    """Lay out boxes joined by wires (source, target); a wire that would close a cycle runs
    downwards.
    """
    up = _acyclic(len(boxes), wires)
    edges = [(s, t) if ahead else (t, s) for (s, t), ahead in zip(wires, up, strict=True)]
    row = _rows(boxes, edges)
    items = _expand(boxes, edges, row)
    order = order_rows(items.row, items.lines)
    x = _columns(items, order)
    return _place(boxes, edges, items, order, x, up)


# -- rows ------------------------------------------------------------------------------------------


def _acyclic(n: int, wires: Sequence[tuple[int, int]]) -> list[bool]:
    """Which wires may run upwards: all of a graph without cycles; of a cycle those given first."""
    above: list[set[int]] = [set() for _ in range(n)]
    up: list[bool] = []
    for source, target in wires:
        closes = source == target or _reaches(above, target, source)
        up.append(not closes)
        if closes:
            above[target].add(source)
        else:
            above[source].add(target)
    return up


def _reaches(above: list[set[int]], start: int, goal: int) -> bool:
    seen, stack = {start}, [start]
    while stack:
        for k in above[stack.pop()]:
            if k == goal:
                return True
            if k not in seen:
                seen.add(k)
                stack.append(k)
    return False


def _rows(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> list[int]:
    above: list[list[int]] = [[] for _ in boxes]
    below: list[list[int]] = [[] for _ in boxes]
    for low, high in edges:
        above[low].append(high)
        below[high].append(low)
    order = _topological(above, below)
    row = [0] * len(boxes)
    for k in order:
        floor = 0 if boxes[k].rank == "bottom" else 1
        row[k] = max([floor, *(row[j] + 1 for j in below[k])])
    for k in reversed(
        order
    ):  # a box with more readers than operands, or without operands, moves up to its readers
        if above[k] and not boxes[k].rank:
            free = [row[j] for j in above[k] if boxes[j].rank != "top"]
            room = min(free) - 1 if free else row[k]
            if room > row[k] and len(set(above[k])) > len(set(below[k])):
                row[k] = room
    top = 1 + max((row[k] for k, box in enumerate(boxes) if box.rank != "top"), default=0)
    return [top if box.rank == "top" else row[k] for k, box in enumerate(boxes)]


def _topological(above: list[list[int]], below: list[list[int]]) -> list[int]:
    missing = [len(set(b)) for b in below]
    ready = [k for k, n in enumerate(missing) if n == 0]
    order: list[int] = []
    for k in ready:
        order.append(k)
        for j in dict.fromkeys(above[k]):
            missing[j] -= 1
            if missing[j] == 0:
                ready.append(j)
    return order


def _expand(boxes: Sequence[Box], edges: Sequence[tuple[int, int]], row: list[int]) -> _Rows:
    """Cut lines over several rows into pieces; all lines from one box share the pieces."""
    items = _Rows(list(row), [box.width for box in boxes], [], {}, len(boxes))
    for low, high in dict.fromkeys(edges):
        previous = low
        for r in range(row[low] + 1, row[high]):
            if (low, r) not in items.trunk:
                items.trunk[low, r] = len(items.row)
                items.row.append(r)
                items.wide.append(TRUNK_WIDTH)
                items.lines.append((previous, items.trunk[low, r]))
            previous = items.trunk[low, r]
        items.lines.append((previous, high))
    return items


# -- coordinates -----------------------------------------------------------------------------------


def _columns(items: _Rows, order: list[list[int]]) -> list[float]:
    """Horizontal centre of each item."""
    near: list[list[tuple[int, float]]] = [[] for _ in items.row]
    for low, high in items.lines:
        weight = (
            1.0 + 3.0 * (low >= items.n_boxes) + 3.0 * (high >= items.n_boxes)
        )  # trunks run straight
        near[low].append((high, weight))
        near[high].append((low, weight))
    x = [0.0] * len(items.row)
    for r in order:
        at = 0.0
        for k in r:
            x[k] = at + items.wide[k] / 2
            at += items.wide[k] + COLUMN_GAP
        for k in r:
            x[k] -= at / 2
    for turn in range(8 if len(items.row) > LARGE else 40):
        for r in order if turn % 2 == 0 else reversed(order):
            _settle(r, x, near, items.wide)
    for _ in range(3):
        _straighten(items, order, x)
        for k in range(items.n_boxes, len(items.row)):
            near[k] = [(k, 1e6)]  # trunks stay where they are; boxes settle between them
        for r in order:
            _settle(r, x, near, items.wide)
    _straighten(items, order, x)
    return x


def _straighten(items: _Rows, order: list[list[int]], x: list[float]) -> None:
    """Make each trunk run straight up from its box, with as few shifts aside as the boxes that it
    passes allow.
    """
    beside = {
        k: (r[p - 1] if p else -1, r[p + 1] if p + 1 < len(r) else -1)
        for r in order
        for p, k in enumerate(r)
    }
    trunks: dict[int, list[int]] = {}
    for source, r in sorted(items.trunk):
        trunks.setdefault(source, []).append(items.trunk[source, r])
    for source, pieces in trunks.items():
        run: list[int] = []
        wanted, floor, ceiling = x[source], -math.inf, math.inf
        for k in pieces:
            left, right = beside[k]
            low = (
                -math.inf
                if left < 0
                else x[left] + (items.wide[left] + items.wide[k]) / 2 + COLUMN_GAP
            )
            high = (
                math.inf
                if right < 0
                else x[right] - (items.wide[right] + items.wide[k]) / 2 - COLUMN_GAP
            )
            low, high = min(low, x[k]), max(high, x[k])
            if run and max(floor, low) > min(ceiling, high):
                wanted = min(max(wanted, floor), ceiling)
                for piece in run:
                    x[piece] = wanted
                run, floor, ceiling = [], -math.inf, math.inf
            run.append(k)
            floor, ceiling = max(floor, low), min(ceiling, high)
        for piece in run:
            x[piece] = min(max(wanted, floor), ceiling)


def _settle(
    row: list[int], x: list[float], near: list[list[tuple[int, float]]], wide: list[float]
) -> None:
    """Move the items of one row to the places that minimise the squared length of their lines,
    keeping order and distances.
    """
    offset, at = [], 0.0
    for p, k in enumerate(row):
        at += (wide[row[p - 1]] + wide[k]) / 2 + COLUMN_GAP if p else 0.0
        offset.append(at)
    blocks: list[tuple[float, float, int]] = []  # weight, wanted place, number of items
    for p, k in enumerate(row):
        # Exact sums: those of the built-in differ in the last digit from Python 3.12 on.
        weight = math.fsum(w for _, w in near[k])
        wanted = math.fsum(x[j] * w for j, w in near[k]) / weight if weight else x[k]
        block = (weight or 0.01, wanted - offset[p], 1)
        while blocks and blocks[-1][1] >= block[1]:
            w, place, n = blocks.pop()
            block = (w + block[0], (w * place + block[0] * block[1]) / (w + block[0]), n + block[2])
        blocks.append(block)
    p = 0
    for _, place, n in blocks:
        for _ in range(n):
            x[row[p]] = place + offset[p]
            p += 1


def _place(
    boxes: Sequence[Box],
    edges: Sequence[tuple[int, int]],
    items: _Rows,
    order: list[list[int]],
    x: list[float],
    up: list[bool],
) -> Layout:
    left = min((x[k] - items.wide[k] / 2 for r in order for k in r), default=0.0)
    right = max((x[k] + items.wide[k] / 2 for r in order for k in r), default=0.0)
    x = [place - left for place in x]
    tall = [max([0.0, *(boxes[k].height for k in r if k < items.n_boxes)]) for r in order]
    gap = [ROW_GAP] * len(order)
    for low, high in items.lines:
        wanted = ROW_GAP + 0.16 * abs(x[low] - x[high])
        gap[items.row[low]] = max(gap[items.row[low]], min(MAX_ROW_GAP, wanted))
    height = math.fsum(tall + gap[:-1])
    low_edge, edge = [], height
    for r in range(len(order)):
        low_edge.append(edge)
        edge -= tall[r] + gap[r]
    middle = [low_edge[r] - tall[r] / 2 for r in range(len(order))]
    routes: list[list[Point]] = []
    for low, high in edges:
        points = [(x[low], low_edge[items.row[low]] - tall[items.row[low]])]
        for r in range(items.row[low] + 1, items.row[high]):
            k = items.trunk[low, r]
            points += [(x[k], low_edge[r]), (x[k], low_edge[r] - tall[r])]
        points.append((x[high], low_edge[items.row[high]]))
        routes.append(points)
    centres = [(x[k], middle[items.row[k]]) for k in range(items.n_boxes)]
    return Layout(centres, routes, up, right - left, height)
