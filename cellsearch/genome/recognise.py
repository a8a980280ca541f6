"""Recognition: which known cells a cell equals or is nearest to, and the difference as a list of
edits.

Cells are compared after simplification. The distance counts edits: a node added, removed or with
another op, a connection added or removed, 1 each; a connection is an operand (with its position
where that matters), the way from a value to the state that takes it, or to the output. Exact graph
edit distance is NP-hard; this one is the cost of the best matching found, so it is an upper bound:
similarity flooding (Melnik et al. 2002) proposes which node is which, exchanging pairs improves it.
It does not depend on how the cells are written, is symmetric, and is 0 exactly for cells with equal
search keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cellsearch.errors import GenomeError, checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.genome.matching import (
    CellEdge,
    CellOutline,
    PreparedCell,
    first_cost,
    match,
    matched_distance,
    prepared,
)

__all__ = [
    "Difference",
    "EditStep",
    "Recognition",
    "difference",
    "nearest",
    "recognise",
    "recognise_among",
]

MAX_COMPARED = 300
"""Vertices of the largest simplified cell that is compared with others that are not equal."""
_REFINED = 6  # how many candidates of a search are improved

Mark = Literal["add", "remove", "change"]


@dataclass(frozen=True, slots=True)
class EditStep:
    """One step from the first cell to the second, in the names of the cells."""

    mark: Mark
    what: Literal["node", "state", "connection"]
    text: str
    """Which one."""

    def __str__(self) -> str:
        return f"{self.mark} {self.what} {self.text}"


@dataclass(frozen=True, slots=True)
class Difference:
    """The way from the simplified cell ``one`` to the simplified cell ``other``."""

    distance: int
    """The number of ``edits``."""
    edits: tuple[EditStep, ...]
    one: Genome
    other: Genome
    pairs: tuple[tuple[int, int], ...]
    """Values of ``one`` and ``other`` that correspond."""
    added: frozenset[int]
    """Values of ``other`` that are new."""
    changed: frozenset[int]
    """Values of ``other`` with another op than in ``one``."""
    removed: frozenset[int]
    """Values of ``one`` that are gone."""
    new_connections: frozenset[tuple[int, int]]
    """(from, to) in values of ``other``."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a cell is among known ones, by their names."""

    equal: tuple[str, ...]
    """Known cells with its key."""
    same: tuple[str, ...]
    """Known cells with its search key."""
    near: tuple[tuple[str, int], ...]
    """The nearest others, with their distances; none for a cell of more than ``MAX_COMPARED``."""
    difference: Difference | None
    """From the nearest known cell; ``None`` if none is known, or nearest."""


@checked_arguments
def recognise(genome: Genome, known: Mapping[str, Genome], *, count: int = 3) -> Recognition:
    """Compare with known cells by name; ``difference`` leads from the nearest one to ``genome``
    (``None`` if nothing is known).
    """
    return recognise_among(genome, known, {}, count=count)


def recognise_among(
    genome: Genome,
    known: Mapping[str, Genome],
    outlines: Mapping[str, CellOutline],
    *,
    count: int = 3,
) -> Recognition:
    """:func:`recognise`, with the outlines of known cells that were worked out before: of these
    only the nearest are looked up in ``known``.
    """
    own = prepared(genome)
    shapes = _shapes(known, outlines)
    same = tuple(name for name in known if shapes(name).key == own.key)
    equal = tuple(name for name in same if known[name].key == genome.key)
    compared = [] if _too_large(own) else _nearest(own, known, shapes, count + len(same))
    near = tuple(pair for pair in compared if pair[0] not in same)[:count]
    closest = same[0] if same else near[0][0] if near else None
    return Recognition(
        equal, same, near, None if closest is None else difference(known[closest], genome)
    )


@checked_arguments
def nearest(
    genome: Genome, known: Mapping[str, Genome], *, count: int = 3
) -> list[tuple[str, int]]:
    """Names and distances of the nearest known cells, nearest first.

    All are compared roughly; only the ``max(count, 6)`` most similar are compared well, and
    returned from. Raises :class:`GenomeError` for a cell of more than ``MAX_COMPARED`` vertices.
    """
    own = prepared(genome)
    _check_size(own)
    return _nearest(own, known, _shapes(known, {}), count)


_Shapes = Callable[[str], CellOutline]


def _shapes(known: Mapping[str, Genome], outlines: Mapping[str, CellOutline]) -> _Shapes:
    """The outline of a known cell, by its name."""
    return lambda name: outlines.get(name) or prepared(known[name])


def _nearest(
    own: PreparedCell, known: Mapping[str, Genome], shapes: _Shapes, count: int
) -> list[tuple[str, int]]:
    rough = []
    for name in known:
        other = shapes(name)
        if _too_large(other):
            continue
        rough.append((0 if own.key == other.key else first_cost(own, other), name))
    rough.sort()
    found = [
        (matched_distance(own, prepared(known[name])), name)
        for _, name in rough[: max(count, _REFINED)]
    ]
    return [(name, distance) for distance, name in sorted(found)[:count]]


def difference(one: Genome, other: Genome) -> Difference:
    """The edits that lead from ``one`` to ``other``, both simplified.

    Raises :class:`GenomeError` for cells of more than ``MAX_COMPARED`` vertices that differ.
    """
    a, b = prepared(one), prepared(other)
    if a.key != b.key:
        _check_size(a)
        _check_size(b)
    matching = match(a, b)
    partner = {j: i for i, j in enumerate(matching) if j >= 0}
    edits = [*_vertex_edits(a, b, matching, partner), *_connection_edits(a, b, matching, partner)]
    fresh = _missing(b, a, [partner.get(j, -1) for j in range(len(b.labels))])
    real = [(i, j) for i, j in enumerate(matching) if j >= 0 and a.values[i] and b.values[j]]
    return Difference(
        distance=len(edits),
        edits=tuple(edits),
        one=a.genome,
        other=b.genome,
        pairs=tuple((a.values[i][0], b.values[j][0]) for i, j in real),
        added=frozenset(v for j, values in enumerate(b.values) if j not in partner for v in values),
        changed=frozenset(v for i, j in real if a.labels[i] != b.labels[j] for v in b.values[j]),
        removed=frozenset(
            v for i, values in enumerate(a.values) if matching[i] < 0 for v in values
        ),
        new_connections=frozenset(
            (b.values[s][0], b.values[d][0]) for s, d, _ in fresh if b.values[s] and b.values[d]
        ),
    )


def _too_large(cell: CellOutline) -> bool:
    return len(cell.labels) > MAX_COMPARED


def _check_size(cell: CellOutline) -> None:
    if _too_large(cell):
        raise GenomeError(
            f"a cell of {len(cell.labels)} vertices is too large to be compared with another",
            hint=f"at most {MAX_COMPARED}, simplified; equal cells are found at any size",
        )


# -- edits -----------------------------------------------------------------------------------------


def _vertex_edits(
    a: PreparedCell, b: PreparedCell, matching: Sequence[int], partner: Mapping[int, int]
) -> list[EditStep]:
    edits = []
    for i, j in enumerate(matching):
        what: Literal["node", "state"] = "state" if a.kinds[i] == "state" else "node"
        if j < 0:
            edits.append(EditStep("remove", what, f"{a.name(i)} ({a.labels[i]})"))
        elif a.labels[i] != b.labels[j]:
            edits.append(
                EditStep(
                    "change", what, f"{a.name(i)} ({a.labels[i]}) to {b.name(j)} ({b.labels[j]})"
                )
            )
    for j, label in enumerate(b.labels):
        if j not in partner:
            edits.append(
                EditStep(
                    "add", "state" if b.kinds[j] == "state" else "node", f"{b.name(j)} ({label})"
                )
            )
    return edits


def _connection_edits(
    a: PreparedCell, b: PreparedCell, matching: Sequence[int], partner: Mapping[int, int]
) -> list[EditStep]:
    gone = _missing(a, b, matching)
    new = _missing(b, a, [partner.get(j, -1) for j in range(len(b.labels))])
    removed = [
        EditStep("remove", "connection", f"{a.name(s)} -> {a.name(d)}{_place(p)}")
        for s, d, p in gone
    ]
    return [
        *removed,
        *(
            EditStep("add", "connection", f"{b.name(s)} -> {b.name(d)}{_place(p)}")
            for s, d, p in new
        ),
    ]


def _missing(one: PreparedCell, other: PreparedCell, matching: Sequence[int]) -> list[CellEdge]:
    """The connections of ``one`` that ``other`` does not have."""
    missing = []
    for (source, target, position), count in one.connections.items():
        there = other.connections.get((matching[source], matching[target], position), 0)
        missing += [(source, target, position)] * max(0, count - there)
    return missing


def _place(position: int) -> str:
    return f" (operand {position + 1})" if position > 0 else ""
