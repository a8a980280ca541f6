"""Crossover: one sub-graph of a cell takes the place of one with the same role in another cell.

Genes are aligned by content: a sub-graph's id is the key of everything below it, so equal parts of
unrelated or imported cells are the same gene. Two things follow. Only places with different genes
are exchanged; and where the donated sub-graph holds a part that the receiver has too, the
receiver's own part is used, with its weights, instead of a copy.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from cellsearch import ops
from cellsearch.errors import GenomeError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import subgraph_keys
from cellsearch.space.declaration import Declaration
from cellsearch.space.draft import GIVEN, Draft, X
from cellsearch.space.moves import Place, places
from cellsearch.space.steps import free_state_name

__all__ = ["crossover", "roles"]

TRIES = 60
EVERYWHERE = 0.5
"""Chance that all readers of the value that is replaced read the donated one, and not only the
chosen place.
"""


def crossover(
    space: Declaration, first: Genome, second: Genome, rng: np.random.Generator
) -> Genome:
    """See :meth:`SearchSpace.crossover`."""
    giver = Draft.of(second)
    takes, gives = roles(Draft.of(first)), roles(giver)
    own = dict(zip(_numbers(first), subgraph_keys(first), strict=True))
    theirs = dict(zip(_numbers(second), subgraph_keys(second), strict=True))
    by_role: dict[str, list[tuple[Place, int]]] = {}
    for role in takes.keys() & gives.keys():
        values = [(value, theirs[value]) for value in _values(gives[role])]
        by_role[role] = [
            (place, value)
            for place in takes[role]
            for value, gene in values
            if own[place.value] != gene
        ]
    names = sorted(role for role, pairs in by_role.items() if pairs)
    for _ in range(TRIES if names else 0):
        among = by_role[names[int(rng.integers(len(names)))]]
        place, value = among[int(rng.integers(len(among)))]
        child = _child(
            space, first, giver, place, value, own, theirs, everywhere=rng.random() < EVERYWHERE
        )
        if child is not None and child.key not in (first.key, second.key):
            return child
    raise SpaceError(
        "no exchange between the two cells gives a new cell of the space", where=space.source
    )


def roles(draft: Draft) -> dict[str, list[Place]]:
    """The places of a draft by role: next value of the output's state, of another state, gate,
    factor, term, operand of linear, ...
    """
    found: dict[str, list[Place]] = defaultdict(list)
    for place in places(draft):
        if place.value in GIVEN.values() or (
            place.value > 0 and draft.nodes[place.value].op == "const"
        ):
            continue
        found[_role(draft, place)].append(place)
    return found


def _role(draft: Draft, place: Place) -> str:
    if place.position < 0:
        return "output" if place.node in (X, draft.output_state) else "state"
    reader = draft.nodes[place.node]
    if reader.op == "linear":
        return "operand"
    value = draft.nodes.get(place.value)
    if reader.op == "mul" or (reader.op == "blend" and place.position == 0):
        return "gate" if value is not None and ops.OPS[value.op].gate else "factor"
    if reader.op in ("add", "sub", "blend", "max", "min"):
        return "term"
    return "argument"


def _numbers(genome: Genome) -> list[int]:
    """The draft's number of each value of the genome."""
    states = range(len(genome.states))
    return [
        *(GIVEN[name] for name in genome.inputs),
        *(-1 - k for k in states),
        *range(genome.first_node, genome.n_values),
    ]


def _child(
    space: Declaration,
    first: Genome,
    giver: Draft,
    place: Place,
    value: int,
    own: dict[int, str],
    theirs: dict[int, str],
    *,
    everywhere: bool,
) -> Genome | None:
    """The first cell with the sub-graph ``value`` of the giver at ``place``; ``None`` when that is
    not legal.
    """
    draft = Draft.of(first)
    everywhere = everywhere and place.value > 0
    above = (
        draft.above(place.value)
        if everywhere
        else draft.above(place.node)
        if place.position >= 0
        else set()
    )
    known = {
        **{given: given for given in GIVEN.values()},
        **_aligned(theirs, {number: key for number, key in own.items() if number not in above}),
    }
    try:
        _bring_states(space, draft, giver, value, known)
        if everywhere:
            readers = [reader for reader in places(draft) if reader.value == place.value]
            donated = draft.copy_in(giver, value, known)
            for reader in readers:
                reader.put(draft, donated)
        else:
            place.put(draft, draft.copy_in(giver, value, known))
        child = draft.build()
    except GenomeError:
        return None
    return space.tidy(child) if space.contains(child) is None else None


def _aligned(theirs: dict[int, str], mine: dict[int, str]) -> dict[int, int]:
    """For each of their nodes the one of mine with the same key; of several alike the first goes
    with the first, and so on.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for number, key in mine.items():
        if number > 0:
            alike[key].append(number)
    return {
        number: alike[key].pop(0) for number, key in theirs.items() if number > 0 and alike.get(key)
    }


def _bring_states(
    space: Declaration, draft: Draft, giver: Draft, value: int, known: dict[int, int]
) -> None:
    """Say what the giver's states are here: the one of the same rank, or, if there is none and room
    for it, a new one with its update.
    """
    mine = list(draft.states)
    brought: list[int] = []
    for rank, state in enumerate(giver.states):
        if rank < len(mine):
            known[state] = mine[rank]
        elif len(draft.states) < len(space.states) and _reads(giver, value, state, known):
            known[state] = draft.add_state(
                free_state_name(space, draft), X, giver.states[state].initial
            )
            brought.append(state)
        else:
            known[state] = mine[-1]
    for state in brought:
        draft.set_end(known[state], draft.copy_in(giver, giver.ends[state], known))


def _reads(giver: Draft, value: int, state: int, known: dict[int, int]) -> bool:
    return (
        any(state in giver.nodes[number].inputs for number in giver.needed(value, known))
        or value == state
    )


def _values(among: list[Place]) -> list[int]:
    return list(dict.fromkeys(place.value for place in among))
