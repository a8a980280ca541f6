"""Rotations in spaces whose ops have ``rotate``: a state that is read unit by unit turns first.

The angles are a trainable vector, or a ``linear`` of x, of size H/2. The mutation ``turn`` puts a
rotation in, takes one out, or gives it angles of the other kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Node, attributes
from cellsearch.space.declaration import Declaration
from cellsearch.space.draft import Draft, X
from cellsearch.space.moves import Place, places

__all__ = ["angles", "has_turns", "turn_moves", "turn_some"]

SHARE = 0.4
"""How often a sample turns a state that it reads unit by unit."""
_Moves = Iterator[tuple[Callable[[Draft], None], float]]


def has_turns(space: Declaration) -> bool:
    """Whether the space makes rotations."""
    return space.ops.get("rotate", 0) > 0


def angles(genome: Genome) -> frozenset[int]:
    """The values that serve nothing but the angles of rotations."""
    found: set[int] = set()
    ends = {*genome.next_states, genome.output}
    for value in range(genome.n_values - 1, genome.first_node - 1, -1):
        readers = genome.uses[value]
        if readers and value not in ends:
            nodes = [genome.nodes[reader - genome.first_node] for reader in readers]
            if all(
                reader in found or (node.op == "rotate" and node.inputs[0] != value)
                for reader, node in zip(readers, nodes, strict=True)
            ):
                found.add(value)
    return frozenset(found)


def turn_moves(space: Declaration, draft: Draft, *, back: bool = True) -> _Moves:
    """A state turns before it is read, or (``back``) no longer, or by other angles."""
    for place in _turning(draft):
        for kind in _kinds(space):
            yield partial(_turn, place, kind), 1.0
    for number, node in draft.nodes.items() if back else ():
        if node.op == "rotate":
            yield partial(_unturn, number, node.inputs[0]), 1.0
            angle = draft.nodes.get(node.inputs[1])
            for kind in _kinds(space):
                if angle is None or angle.op != kind:
                    yield partial(_turn_by, number, kind), 1.0


def turn_some(space: Declaration, draft: Draft, rng: np.random.Generator) -> None:
    """Let some states of a grown cell turn."""
    kinds = _kinds(space)
    for place in list(_turning(draft)):
        if rng.random() < SHARE:
            _turn(place, kinds[int(rng.integers(len(kinds)))], draft)


def _turning(draft: Draft) -> Iterator[Place]:
    """Where a state is read unit by unit, and not turned yet."""
    for place in places(draft):
        unit_by_unit = place.position >= 0 and not place.linear
        if place.value in draft.states and unit_by_unit and draft.nodes[place.node].op != "rotate":
            yield place


def _kinds(space: Declaration) -> list[str]:
    return ["linear", *(["bias"] if space.ops.get("bias", 0) > 0 else [])]


def _angle(kind: str, draft: Draft) -> int:
    inputs, said = ((X,), {"bias": True}) if kind == "linear" else ((), {})
    attrs = attributes(kind, {**said, "size": "H/2"})
    return draft.put(Node(draft.fresh_name(), kind, inputs, attrs))


def _turn(place: Place, kind: str, draft: Draft) -> None:
    place.put(draft, draft.add("rotate", place.value, _angle(kind, draft)))


def _unturn(number: int, value: int, draft: Draft) -> None:
    draft.bypass(number, value)


def _turn_by(number: int, kind: str, draft: Draft) -> None:
    draft.set_input(number, 1, _angle(kind, draft))
