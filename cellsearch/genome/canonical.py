"""Canonical order of a coloured acyclic graph whose states lead back to their start: exact, by
colour refinement and search.

Refinement gives every vertex a colour from its text, its operands with their positions, its users,
and for a state the value that it takes next; it is repeated until no class splits. Vertices of one
colour that are left are told apart by *individualisation*: one of them gets a colour of its own,
and the refinement goes on. Three things keep symmetric cells cheap:

- vertices with a colour of their own are fixed, so what hangs together without them is ordered on
  its own (eight gates written alike are eight small problems, not one large one);
- only one vertex of each orbit is tried: automorphisms found on the way are kept, and the others
  are looked for directly;
- after ``MAX_WORK`` steps the first choice is taken as it is. No recurrent cell needs it; the order
  then still describes the graph exactly, so different cells are never confused, but two ways of
  writing such a monster might not be recognised as one.

References: McKay & Piperno 2014, "Practical graph isomorphism, II"; colour refinement: Weisfeiler &
Leman 1968.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from hashlib import blake2b
from itertools import pairwise

from cellsearch.genome.parts import Node

__all__ = ["ColouredGraph", "canonical_order"]

MAX_WORK = 1_000_000  # edges visited by the search, about a second
MAX_LEVELS = 150

# Colours are 64-bit numbers, mixed by multiplication with odd constants; equal colours of different
# vertices only cost time.
_MASK = (1 << 64) - 1
_MIX = 0x9E3779B97F4A7C15
_DOWN = 0xC2B2AE3D27D4EB4F
_NEXT = 0x165667B19E3779F9
_ROOT = 0x27D4EB2F165667C5
_CHOSEN = 0x85EBCA77C2B2AE63
_POSITIONS = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0xD6E8FEB86659FD93)

Colours = dict[int, int]
Mapping = dict[int, int]


class ColouredGraph:
    """Vertices in topological order: a text, operands (a multiset if commutative), a next value for
    states, marked roots.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.operands: list[tuple[int, ...]] = []
        self.commutative: list[bool] = []
        self.nodes: list[Node | None] = []
        self.next_of: dict[int, int] = {}
        self.marked: set[int] = set()

    def add(
        self,
        text: str,
        operands: tuple[int, ...] = (),
        commutative: bool = False,
        node: Node | None = None,
    ) -> int:
        """Add a vertex; returns its number."""
        self.texts.append(text)
        self.operands.append(operands)
        self.commutative.append(commutative)
        self.nodes.append(node)
        return len(self.texts) - 1

    def set_next(self, state: int, value: int) -> None:
        """Say which value a state takes next."""
        self.next_of[state] = value

    def mark(self, vertex: int) -> None:
        """Make the vertex different from all that are not marked."""
        self.marked.add(vertex)

    def part(self, vertices: Collection[int], root: int) -> _Part:
        """The sub-graph on these vertices, with the root marked and without next values."""
        return _Part(self, sorted(vertices), root)


class _Part(ColouredGraph):
    """A sub-graph that keeps the numbers of its vertices."""

    def __init__(self, whole: ColouredGraph, vertices: Sequence[int], root: int) -> None:
        super().__init__()
        self.texts, self.operands, self.commutative, self.nodes = (
            whole.texts,
            whole.operands,
            whole.commutative,
            whole.nodes,
        )
        self.vertices = vertices
        self.mark(root)


def canonical_order(graph: ColouredGraph) -> list[int]:
    """The vertices in an order that is the same for every way of numbering the graph (see
    ``MAX_WORK`` for the one exception).
    """
    vertices: Iterable[int] = (
        graph.vertices if isinstance(graph, _Part) else range(len(graph.texts))
    )
    colour = {v: _text_colour(graph.texts[v]) for v in vertices}
    for v in graph.marked:
        colour[v] ^= _ROOT
    edges = {v: _weighted(graph, v) for v in colour}
    _refine(edges, graph.next_of, colour)
    if len(set(colour.values())) == len(colour):
        return sorted(colour, key=colour.__getitem__)
    return _Search(graph, edges).order(colour, 0)[0]


@cache
def _text_colour(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _weighted(graph: ColouredGraph, vertex: int) -> list[tuple[int, int]]:
    """The operands with a factor for their position, the same for all positions of a commutative
    op.
    """
    operands = graph.operands[vertex]
    if graph.commutative[vertex] or len(operands) == 1:
        return [(u, _MIX) for u in operands]
    return list(zip(operands, _POSITIONS, strict=False))


Edges = dict[int, list[tuple[int, int]]]


def _refine(edges: Edges, next_of: Mapping, colour: Colours) -> int:
    """Refine the colours in place until no class splits; returns the number of edges visited.

    ``colour`` has its vertices in topological order; operands and next values outside of it are
    taken to be fixed.
    """
    classes = len(set(colour.values()))
    size = sum(map(len, edges.values())) + len(colour)
    work = 0
    while classes < len(colour):
        _sweep(edges, next_of, colour)
        work += 2 * size
        found = len(set(colour.values()))
        if found == classes:
            break
        classes = found
    return work


def _sweep(edges: Edges, next_of: Mapping, colour: Colours) -> None:
    """One pass up (a vertex sees its operands), one down (it sees its users), and the states see
    what they become.
    """
    for v, operands in edges.items():
        total = colour[v]
        for u, weight in operands:
            total += colour[u] * weight
        total &= _MASK
        colour[v] = ((total ^ (total >> 31)) * _MIX) & _MASK
    seen = dict.fromkeys(colour, 0)
    for state, value in next_of.items():
        if state in seen and value in seen:
            seen[value] += colour[state] * _NEXT
    for v in reversed(colour):
        total = (colour[v] * _DOWN + seen[v]) & _MASK
        total = colour[v] = ((total ^ (total >> 31)) * _MIX) & _MASK
        for u, weight in edges[v]:
            seen[u] += total * weight
    ends = [
        (state, colour[value])
        for state, value in next_of.items()
        if state in seen and value in seen
    ]
    for state, end in ends:  # read first, as a state may be what another one becomes
        total = (colour[state] * _DOWN + end * _NEXT) & _MASK
        colour[state] = ((total ^ (total >> 31)) * _MIX) & _MASK


class _Search:
    """Tells vertices of one stable colour apart. Colours are stable (refined) wherever they are
    passed on.
    """

    def __init__(self, graph: ColouredGraph, edges: Edges) -> None:
        self.graph = graph
        self.edges = edges
        self.work = 0

    # -- one colouring -----------------------------------------------------------------------------

    def order(self, colour: Colours, level: int) -> tuple[list[int], list[Mapping]]:
        """The vertices in canonical order, and automorphisms that were found on the way."""
        single, parts = self.split(colour)
        ordered = sorted(single, key=colour.__getitem__)
        automorphisms: list[Mapping] = []
        solved = []
        for part in parts:
            members, found = self.component(part, level)
            automorphisms += found
            solved.append((self.certificate(members, part), members))
        solved.sort(key=lambda pair: pair[0])
        for (one, first), (other, second) in pairwise(solved):
            if one == other:
                automorphisms.append(_exchange(first, second))
        for _, members in solved:
            ordered += members
        return ordered, automorphisms

    def split(self, colour: Colours) -> tuple[list[int], list[Colours]]:
        """The vertices with a colour of their own, and what hangs together without them."""
        counts = Counter(colour.values())
        single = [v for v, c in colour.items() if counts[c] == 1]
        rest = {v: c for v, c in colour.items() if counts[c] > 1}
        parent = {v: v for v in rest}
        for v in rest:
            for u, _ in self.edges[v]:
                if u in rest:
                    _join(parent, u, v)
            value = self.graph.next_of.get(v)
            if value in rest:
                _join(parent, value, v)
        parts: dict[int, Colours] = defaultdict(dict)
        for v, c in rest.items():
            parts[_find(parent, v)][v] = c
        self.work += 2 * len(colour)
        return single, list(parts.values())

    def component(self, colour: Colours, level: int) -> tuple[list[int], list[Mapping]]:
        """Canonical order of a connected part; everything outside of it is fixed."""
        cell = _target_cell(colour)
        if len(cell) == 1:
            return sorted(colour, key=colour.__getitem__), []
        if level >= MAX_LEVELS or self.work > 4 * MAX_WORK:
            return sorted(colour, key=lambda v: (colour[v], v)), []
        chosen = self.individualise(colour, cell[0])
        best, automorphisms = self.order(chosen, level + 1)
        best_certificate = self.certificate(best, colour)
        tried = [cell[0]]
        orbits = {v: v for v in cell}
        _join_all(orbits, automorphisms)
        for vertex in cell[1:]:
            if self.work > MAX_WORK:
                break
            if any(_find(orbits, vertex) == _find(orbits, other) for other in tried):
                continue
            other_choice = self.individualise(colour, vertex)
            mapping = self.match(chosen, other_choice, level + 1)
            if mapping is not None and self.is_automorphism(mapping):
                automorphisms.append(mapping)
                _join_all(orbits, [mapping])
                continue
            tried.append(vertex)
            members, found = self.order(other_choice, level + 1)
            automorphisms += found
            _join_all(orbits, found)
            certificate = self.certificate(members, colour)
            if certificate < best_certificate:
                best, best_certificate = members, certificate
        return best, automorphisms

    def individualise(self, colour: Colours, vertex: int) -> Colours:
        """The stable colours after the vertex got one of its own."""
        chosen = dict(colour)
        chosen[vertex] ^= _CHOSEN
        inside = {v: [edge for edge in self.edges[v] if edge[0] in colour] for v in colour}
        self.work += _refine(inside, self.graph.next_of, chosen) + len(colour)
        return chosen

    def certificate(
        self, order: Sequence[int], colour: Colours
    ) -> list[tuple[int, list[int], int]]:
        """The part written out in this order: equal for two orders exactly if one can be mapped to
        the other.
        """
        rank = {v: k for k, v in enumerate(order)}
        lines = []
        for v in order:
            operands = [rank.get(u, -1) for u, _ in self.edges[v]]
            if self.graph.commutative[v]:
                operands.sort()
            lines.append((colour[v], operands, rank.get(self.graph.next_of.get(v, -1), -1)))
        self.work += len(order)
        return lines

    # -- two colourings ----------------------------------------------------------------------------

    def match(self, one: Colours, other: Colours, level: int) -> Mapping | None:
        """A mapping of the vertices of ``one`` to those of ``other`` with the same colours and
        edges, or ``None``.
        """
        if sorted(one.values()) != sorted(other.values()):
            return None
        single, parts = self.split(one)
        other_single, other_parts = self.split(other)
        by_colour = {other[v]: v for v in other_single}
        mapping = {v: by_colour[one[v]] for v in single}
        for part in parts:
            for k, candidate in enumerate(other_parts):
                found = self.match_component(part, candidate, level)
                if found is not None:
                    mapping |= found
                    del other_parts[k]
                    break
            else:
                return None
        return mapping

    def match_component(self, one: Colours, other: Colours, level: int) -> Mapping | None:
        """As :meth:`match`, for connected parts: tries the vertices of one cell until one fits."""
        if (
            self.work > MAX_WORK
            or level >= MAX_LEVELS
            or len(one) != len(other)
            or sorted(one.values()) != sorted(other.values())
        ):
            return None
        cell = _target_cell(one)
        if len(cell) == 1:
            by_colour = {c: v for v, c in other.items()}
            return {v: by_colour[c] for v, c in one.items()}
        chosen = self.individualise(one, cell[0])
        for vertex, c in other.items():
            if c == one[cell[0]]:
                found = self.match(chosen, self.individualise(other, vertex), level + 1)
                if found is not None:
                    return found
        return None

    def is_automorphism(self, mapping: Mapping) -> bool:
        """Whether the graph is the same after the exchange, vertex by vertex and edge by edge."""
        graph = self.graph
        for v, image in mapping.items():
            operands = [mapping.get(u, u) for u in graph.operands[v]]
            images = list(graph.operands[image])
            if graph.commutative[v]:
                operands.sort()
                images.sort()
            if (
                graph.texts[v] != graph.texts[image]
                or operands != images
                or (v in graph.marked) != (image in graph.marked)
            ):
                return False
            if (
                v in graph.next_of
                and mapping.get(graph.next_of[v], graph.next_of[v]) != graph.next_of[image]
            ):
                return False
        self.work += len(mapping)
        return True


def _target_cell(colour: Colours) -> list[int]:
    """The smallest class of vertices of one colour that holds several; a class of one vertex if
    there is none.
    """
    cells: dict[int, list[int]] = defaultdict(list)
    for v, c in colour.items():
        cells[c].append(v)
    several = [(len(cell), c) for c, cell in cells.items() if len(cell) > 1]
    return cells[min(several)[1]] if several else next(iter(cells.values()))


def _exchange(first: Sequence[int], second: Sequence[int]) -> Mapping:
    return dict(zip((*first, *second), (*second, *first), strict=True))


def _find(parent: Mapping, v: int) -> int:
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


def _join(parent: Mapping, v: int, w: int) -> None:
    parent[_find(parent, v)] = _find(parent, w)


def _join_all(orbits: Mapping, automorphisms: Iterable[Mapping]) -> None:
    for mapping in automorphisms:
        for v in orbits:
            image = mapping.get(v, v)
            if image in orbits:
                _join(orbits, v, image)
