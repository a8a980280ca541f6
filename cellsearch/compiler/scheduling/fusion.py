"""Making few large products of many small ones: the order of columns, and which products become
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from cellsearch.compiler.scheduling.commands import DenseProduct, Home, Piece
from cellsearch.compiler.scheduling.dataflow import Dataflow

__all__ = ["adjacent_runs", "fuse_products", "order_columns"]

_T = TypeVar("_T")
_SEARCHED = 24
"""Groups up to this size are improved by moving single columns; larger ones are only sorted."""


def order_columns(labels: Mapping[int, set[str]]) -> list[int]:
    """An order of the values in which those that share a label stand together, as far as a short
    search finds one.
    """
    everything = sorted(set().union(*labels.values())) if labels else []
    order = sorted(labels, key=lambda v: ([label not in labels[v] for label in everything], v))
    if len(order) > _SEARCHED:
        return order
    best, improved = _runs(order, labels, everything), True
    while improved and best > len(everything):
        improved = False
        for source in range(len(order)):
            for target in range(len(order)):
                trial = list(order)
                trial.insert(target, trial.pop(source))
                count = _runs(trial, labels, everything)
                if count < best:
                    order, best, improved = trial, count, True
    return order


def _runs(order: Sequence[int], labels: Mapping[int, set[str]], everything: Sequence[str]) -> int:
    """In how many unbroken runs the values of each label stand, added up over labels."""
    count = 0
    for label in everything:
        inside = False
        for value in order:
            count += label in labels[value] and not inside
            inside = label in labels[value]
    return count


def adjacent_runs(items: Iterable[tuple[Home, int, _T]]) -> list[list[tuple[Home, int, _T]]]:
    """Items (home, value, anything) sorted by home and cut where they do not lie side by side."""
    runs: list[list[tuple[Home, int, _T]]] = []
    for item in sorted(items, key=lambda i: (i[0].buffer, i[0].shift, i[0].column, i[1])):
        before = runs[-1][-1][0] if runs else None
        if before is not None and item[0] == _right_of(before):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _right_of(home: Home) -> Home:
    return Home(home.buffer, home.shift, home.column + 1)


class _Rectangle(NamedTuple):
    """Products of adjacent sources with adjacent accumulators."""

    sources: tuple[int, ...]
    targets: tuple[int, ...]
    weights: tuple[tuple[tuple[str, bool], ...], ...]  # [source][target]
    start: Literal["zero", "result"] | Home


def fuse_products(
    products: Sequence[tuple[int, int, str, bool]],
    flow: Dataflow,
    homes: Mapping[int, Home],
    started: set[int],
) -> list[DenseProduct]:
    """Products (source, accumulator, parameter, transposed) that are possible at the same time, as
    few as can be.

    ``started``: accumulators that hold something already; it is brought up to date.
    """
    rectangles: list[_Rectangle] = []
    by_source: dict[int, list[tuple[int, str, bool]]] = {}
    for source, target, parameter, transposed in products:
        by_source.setdefault(source, []).append((target, parameter, transposed))
    for source in sorted(
        by_source, key=lambda v: (homes[v].buffer, homes[v].shift, homes[v].column, v)
    ):
        for row in _rows(source, by_source[source], flow, homes, started):
            last = rectangles[-1] if rectangles else None
            if last is not None and _joins(last, row, homes):
                rectangles[-1] = _Rectangle(
                    (*last.sources, source), last.targets, last.weights + row.weights, last.start
                )
            else:
                rectangles.append(row)
    return [_product(rectangle, flow, homes) for rectangle in rectangles]


def _rows(
    source: int,
    targets: Sequence[tuple[int, str, bool]],
    flow: Dataflow,
    homes: Mapping[int, Home],
    started: set[int],
) -> list[_Rectangle]:
    """The products of one source, cut where accumulators are not adjacent or do not start alike."""
    rows: list[_Rectangle] = []
    pending = sorted(
        targets, key=lambda t: (homes[t[0]].buffer, homes[t[0]].shift, homes[t[0]].column)
    )
    for target, parameter, transposed in pending:
        item = flow.sums[target]
        start: Literal["zero", "result"] | Home = "zero"
        if target in started or item.begin is not None:
            start = "result"
        elif item.bias is not None:
            start = homes[item.bias]
        started.add(target)
        before = rows[-1] if rows else None
        adjacent = before is not None and homes[target] == _right_of(homes[before.targets[-1]])
        if (
            before is not None
            and adjacent
            and before.start == start
            and not isinstance(start, Home)
        ):
            weights = ((*before.weights[0], (parameter, transposed)),)
            rows[-1] = _Rectangle((source,), (*before.targets, target), weights, start)
        else:
            rows.append(_Rectangle((source,), (target,), (((parameter, transposed),),), start))
    return rows


def _joins(above: _Rectangle, row: _Rectangle, homes: Mapping[int, Home]) -> bool:
    """Whether a row continues a rectangle: same accumulators, the next source column, adding to
    what is there.
    """
    last = homes[above.sources[-1]]
    return (
        above.targets == row.targets
        and row.start == "result"
        and homes[row.sources[0]] == _right_of(last)
    )


def _product(rectangle: _Rectangle, flow: Dataflow, homes: Mapping[int, Home]) -> DenseProduct:
    pieces = tuple(
        Piece(parameter, row, column, transposed)
        for row, line in enumerate(rectangle.weights)
        for column, (parameter, transposed) in enumerate(line)
    )
    return DenseProduct(
        source=homes[rectangle.sources[0]],
        target=homes[rectangle.targets[0]],
        depth=(len(rectangle.sources), flow.of(rectangle.sources[0]).width),
        width=(len(rectangle.targets), flow.of(rectangle.targets[0]).width),
        pieces=pieces,
        start=rectangle.start,
    )
