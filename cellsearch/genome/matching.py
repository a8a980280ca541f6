"""Which node of one cell is which of another: simplified cells in canonical order, and the best
matching of two that is found.

Similarity flooding (Melnik et al. 2002) proposes pairs, exchanging them improves the matching; see
:mod:`cellsearch.genome.recognise`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import canonical_values
from cellsearch.genome.parts import Node

__all__ = [
    "CellEdge",
    "CellOutline",
    "PreparedCell",
    "first_cost",
    "match",
    "matched_distance",
    "prepared",
]

MAX_TRIALS = 6_000  # matchings tried for one pair of cells
MAX_WORK = 3_000_000  # connections looked at by them

CellEdge = tuple[int, int, int]
"""A connection: from, to, position (0 for commutative ops, -1 from a value to the state that takes
it).
"""
_OUT = "out"


@dataclass(frozen=True, slots=True)
class CellOutline:
    """What a rough comparison looks at: the vertices of a simplified cell in canonical order, the
    output last.
    """

    key: str
    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    connections: Counter[CellEdge]


@dataclass(frozen=True, slots=True)
class PreparedCell(CellOutline):
    """A simplified cell with its outline; ``values``: those that a vertex stands for."""

    genome: Genome
    values: tuple[tuple[int, ...], ...]

    def name(self, vertex: int) -> str:
        """The vertex in the words of the graph form."""
        return self.genome.labels[self.values[vertex][0]] if self.values[vertex] else "the output"


@lru_cache(maxsize=1024)
def prepared(genome: Genome) -> PreparedCell:
    """The simplified cell, ready to be compared; worked out once a cell."""
    simple = genome.simplify()
    groups = canonical_values(simple)
    vertex = {value: k for k, values in enumerate(groups) for value in values}
    connections: Counter[CellEdge] = Counter()
    labels, kinds = [], []
    for k, values in enumerate(groups):
        node = simple.node(values[0])
        if node is None:
            if simple.is_input(values[0]):
                kinds.append("x")
                labels.append(simple.inputs[values[0]])
            else:
                kinds.append("state")
                first = len(simple.inputs)
                labels.append(f"state {simple.states[values[0] - first].initial:g}")
            continue
        kinds.append("node")
        labels.append(
            f"{node.op} {node.value!r}"
            if node.op == "const"
            else f"{node.op} {'with' if node.bias else 'without'} bias{_cut(node)}"
            if node.op == "linear"
            else f"{node.op}{_cut(node)}"
        )
        for position, operand in enumerate(node.inputs):
            connections[vertex[operand], k, 0 if ops.OPS[node.op].commutative else position] += 1
    for state, value in enumerate(simple.next_states, start=len(simple.inputs)):
        if state in vertex and value in vertex:
            connections[vertex[value], vertex[state], -1] += 1
    connections[vertex[simple.output], len(groups), -1] += 1
    named = tuple(tuple(values) for values in groups)
    return PreparedCell(
        simple.key, (*labels, _OUT), (*kinds, _OUT), connections, simple, (*named, ())
    )


def _cut(node: Node) -> str:
    """What a node says of its size and parts, where it says something."""
    said = [f"{name}={value}" for name, value in node.attrs if name in ("blocks", "heads", "size")]
    return "".join(f", {text}" for text in said)


def matched_distance(one: PreparedCell, other: PreparedCell) -> int:
    """The number of edits that the best matching found leaves."""
    return 0 if one.key == other.key else _cost(one, other, match(one, other))


def match(one: PreparedCell, other: PreparedCell) -> tuple[int, ...]:
    """For each vertex of ``one`` its vertex of ``other``, -1 for none; the same pairs the other way
    round.
    """
    if (len(one.labels), one.key) <= (len(other.labels), other.key):
        return _best_matching(one, other)
    back = _best_matching(other, one)
    partner = {j: i for i, j in enumerate(back) if j >= 0}
    return tuple(partner.get(i, -1) for i in range(len(one.labels)))


def first_cost(one: CellOutline, other: CellOutline) -> int:
    """The cost of the first matching, before it is improved; the same both ways."""
    if (len(one.labels), one.key) > (len(other.labels), other.key):
        one, other = other, one
    return _cost(one, other, _first_matching(one, other))


@lru_cache(maxsize=4096)
def _best_matching_of_keys(one: Genome, other: Genome) -> tuple[int, ...]:
    return _improved(prepared(one), prepared(other))


def _best_matching(one: PreparedCell, other: PreparedCell) -> tuple[int, ...]:
    return _best_matching_of_keys(one.genome, other.genome)


def _improved(one: PreparedCell, other: PreparedCell) -> tuple[int, ...]:
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


def _cost(one: CellOutline, other: CellOutline, matching: Sequence[int]) -> int:
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


def _first_matching(one: CellOutline, other: CellOutline) -> tuple[int, ...]:
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


def _similarity(one: CellOutline, other: CellOutline) -> NDArray[np.float64]:
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


def _adjacency(cell: CellOutline) -> NDArray[np.float64]:
    matrix = np.zeros((len(cell.labels), len(cell.labels)))
    for (source, target, _), count in cell.connections.items():
        matrix[target, source] += count
    return matrix


def _by_row(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0))
