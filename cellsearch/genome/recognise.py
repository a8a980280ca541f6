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

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cellsearch import ops
from cellsearch.errors import GenomeError, checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import canonical_values

__all__ = ["Difference", "EditStep", "Recognition", "difference", "nearest", "recognise"]

MAX_TRIALS = 6_000  # matchings tried for one pair of cells
MAX_WORK = 3_000_000  # connections looked at by them
MAX_COMPARED = 300
"""Vertices of the largest simplified cell that is compared with others that are not equal."""
_REFINED = 6  # how many candidates of a search are improved
_OUT = "out"

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
    prepared = _prepared(genome)
    same = tuple(name for name, cell in known.items() if _prepared(cell).key == prepared.key)
    equal = tuple(name for name in same if known[name].key == genome.key)
    compared = [] if _too_large(prepared) else nearest(genome, known, count=count + len(same))
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
    own = _prepared(genome)
    _check_size(own)
    rough = []
    for name, cell in known.items():
        other = _prepared(cell)
        if _too_large(other):
            continue
        rough.append((0 if own.key == other.key else _first_cost(own, other), name))
    rough.sort()
    found = [
        (_distance(own, _prepared(known[name])), name) for _, name in rough[: max(count, _REFINED)]
    ]
    return [(name, distance) for distance, name in sorted(found)[:count]]


def difference(one: Genome, other: Genome) -> Difference:
    """The edits that lead from ``one`` to ``other``, both simplified.

    Raises :class:`GenomeError` for cells of more than ``MAX_COMPARED`` vertices that differ.
    """
    a, b = _prepared(one), _prepared(other)
    if a.key != b.key:
        _check_size(a)
        _check_size(b)
    matching = _match(a, b)
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


def _too_large(cell: _Prepared) -> bool:
    return len(cell.labels) > MAX_COMPARED


def _check_size(cell: _Prepared) -> None:
    if _too_large(cell):
        raise GenomeError(
            f"a cell of {len(cell.labels)} vertices is too large to be compared with another",
            hint=f"at most {MAX_COMPARED}, simplified; equal cells are found at any size",
        )


# -- cells prepared for comparison -----------------------------------------------------------------

Connection = tuple[
    int, int, int
]  # from, to, position: 0 for commutative ops, -1 from a value to the state that takes it


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A simplified cell: its vertices in canonical order, the output last."""

    genome: Genome
    key: str
    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    connections: Counter[Connection]

    def name(self, vertex: int) -> str:
        """The vertex in the words of the graph form."""
        return self.genome.labels[self.values[vertex][0]] if self.values[vertex] else "the output"


@lru_cache(maxsize=1024)
def _prepared(genome: Genome) -> _Prepared:
    simple = genome.simplify()
    groups = canonical_values(simple)
    vertex = {value: k for k, values in enumerate(groups) for value in values}
    connections: Counter[Connection] = Counter()
    labels, kinds = [], []
    for k, values in enumerate(groups):
        node = simple.node(values[0])
        if node is None:
            kinds.append("x" if simple.is_input(values[0]) else "state")
            labels.append(
                "x"
                if simple.is_input(values[0])
                else f"state {simple.states[values[0] - 1].initial:g}"
            )
            continue
        kinds.append("node")
        labels.append(
            f"{node.op} {node.value!r}"
            if node.op == "const"
            else f"{node.op} {'with' if node.bias else 'without'} bias"
            if node.op == "linear"
            else node.op
        )
        for position, operand in enumerate(node.inputs):
            connections[vertex[operand], k, 0 if ops.OPS[node.op].commutative else position] += 1
    for state, value in enumerate(simple.next_states, start=1):
        if state in vertex and value in vertex:
            connections[vertex[value], vertex[state], -1] += 1
    connections[vertex[simple.output], len(groups), -1] += 1
    named = tuple(tuple(values) for values in groups)
    return _Prepared(simple, simple.key, (*labels, _OUT), (*kinds, _OUT), (*named, ()), connections)


# -- matching --------------------------------------------------------------------------------------


def _distance(one: _Prepared, other: _Prepared) -> int:
    return 0 if one.key == other.key else _cost(one, other, _match(one, other))


def _match(one: _Prepared, other: _Prepared) -> tuple[int, ...]:
    """For each vertex of ``one`` its vertex of ``other``, -1 for none; the same pairs the other way
    round.
    """
    if (len(one.labels), one.key) <= (len(other.labels), other.key):
        return _best_matching(one, other)
    back = _best_matching(other, one)
    partner = {j: i for i, j in enumerate(back) if j >= 0}
    return tuple(partner.get(i, -1) for i in range(len(one.labels)))


def _first_cost(one: _Prepared, other: _Prepared) -> int:
    """The cost of the first matching, before it is improved; the same both ways."""
    if (len(one.labels), one.key) > (len(other.labels), other.key):
        one, other = other, one
    return _cost(one, other, _first_matching(one, other))


@lru_cache(maxsize=4096)
def _best_matching_of_keys(one: Genome, other: Genome) -> tuple[int, ...]:
    return _improved(_prepared(one), _prepared(other))


def _best_matching(one: _Prepared, other: _Prepared) -> tuple[int, ...]:
    return _best_matching_of_keys(one.genome, other.genome)


def _improved(one: _Prepared, other: _Prepared) -> tuple[int, ...]:
    """The first matching, improved by giving vertices other partners as long as that lowers the
    cost.
    """
    if one.key == other.key:
        return tuple(range(len(one.labels)))  # both are in canonical order
    matching = list(_first_matching(one, other))
    cost = _cost(one, other, matching)
    most = min(MAX_TRIALS, MAX_WORK // (1 + len(one.connections)))
    trials = 0
    better = True
    while better and trials < most:
        better = False
        for i, kind in enumerate(one.kinds):
            if kind not in ("state", "node"):
                continue
            for j in (-1, *(j for j, other_kind in enumerate(other.kinds) if other_kind == kind)):
                if j == matching[i] or trials >= most:
                    continue
                tried = list(matching)
                if j >= 0 and j in matching:
                    tried[matching.index(j)] = matching[i]
                tried[i] = j
                trials += 1
                new = _cost(one, other, tried)
                if new < cost:
                    matching, cost, better = tried, new, True
    return tuple(matching)


def _cost(one: _Prepared, other: _Prepared, matching: Sequence[int]) -> int:
    """Number of edits that a matching leaves."""
    changed = unmatched = 0
    for label, j in zip(one.labels, matching, strict=True):
        if j < 0:
            unmatched += 1
        elif label != other.labels[j]:
            changed += 1
    unmatched += len(other.labels) - (len(one.labels) - unmatched)
    kept = 0
    connections = other.connections
    for (source, target, position), count in one.connections.items():
        there = connections.get((matching[source], matching[target], position))
        if there:
            kept += min(count, there)
    return changed + unmatched + one.connections.total() + connections.total() - 2 * kept


def _first_matching(one: _Prepared, other: _Prepared) -> tuple[int, ...]:
    """Greedy: the most similar pair first."""
    similar = _similarity(one, other)
    matching = [-1] * len(one.labels)
    free = set(range(len(other.labels)))
    for flat in np.argsort(-similar, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(other.labels))
        if similar[i, j] < 0:
            break
        if matching[i] < 0 and j in free:
            matching[i] = j
            free.discard(j)
    return tuple(matching)


def _similarity(one: _Prepared, other: _Prepared) -> NDArray[np.float64]:
    """How alike each pair of vertices is, from their labels and from how alike their neighbours
    are; negative for different kinds.
    """
    kind = np.array([[a == b for b in other.kinds] for a in one.kinds])
    same = np.array([[a == b for b in other.labels] for a in one.labels])
    op = np.array([[a.split()[0] == b.split()[0] for b in other.labels] for a in one.labels])
    base = 0.1 * kind + 0.3 * op + 0.6 * same
    down, down_other = _adjacency(one), _adjacency(other)
    up, up_other = _by_row(down.T), _by_row(down_other.T)
    down, down_other = _by_row(down), _by_row(down_other)
    similar = base
    for _ in range(6):
        similar = base + 0.5 * (down @ similar @ down_other.T + up @ similar @ up_other.T)
    return np.where(kind, np.round(similar, 9), -1.0)


def _adjacency(cell: _Prepared) -> NDArray[np.float64]:
    matrix = np.zeros((len(cell.labels), len(cell.labels)))
    for (source, target, _), count in cell.connections.items():
        matrix[target, source] += count
    return matrix


def _by_row(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0))


# -- edits -----------------------------------------------------------------------------------------


def _vertex_edits(
    a: _Prepared, b: _Prepared, matching: Sequence[int], partner: Mapping[int, int]
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
    a: _Prepared, b: _Prepared, matching: Sequence[int], partner: Mapping[int, int]
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


def _missing(one: _Prepared, other: _Prepared, matching: Sequence[int]) -> list[Connection]:
    """The connections of ``one`` that ``other`` does not have."""
    missing = []
    for (source, target, position), count in one.connections.items():
        there = other.connections.get((matching[source], matching[target], position), 0)
        missing += [(source, target, position)] * max(0, count - there)
    return missing


def _place(position: int) -> str:
    return f" (operand {position + 1})" if position > 0 else ""
