"""Random cells: grown from the ends (next states) downwards, until a number of nodes drawn uniformly is used up."""

from __future__ import annotations

import numpy as np

from cellsearch import ops
from cellsearch.errors import GenomeError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space.draft import Draft, X
from cellsearch.space.model import SearchSpace
from cellsearch.space.moves import COMPLEMENT, Place, of_one, of_two, weight, wrap

__all__ = ["sample"]

TRIES = 2000
READ_X = 0.85
READ_STATE = 0.6
READ_NODE = 0.15
SHARE = 0.25
"""Chances that a new linear reads x_t, each state, a further node; and that an open place takes a value that exists already."""


def sample(space: SearchSpace, rng: np.random.Generator) -> Genome:
    """See :meth:`SearchSpace.sample`."""
    for _ in range(TRIES):
        size = int(rng.integers(space.limits.min_nodes, space.limits.max_nodes + 1))
        states = int(rng.integers(1, len(space.states) + 1))
        draft = _grown(space, size, states, rng)
        try:
            genome = draft.build()
        except GenomeError:
            continue
        if space.contains(genome) is None:
            genome = space.tidy(genome)
            if len(genome.nodes) >= space.limits.min_nodes:
                return genome
    raise SpaceError(
        f"{TRIES} random cells, none of them legal", where=space.source, hint="the constraints or limits leave too little: widen them"
    )


def _grown(space: SearchSpace, size: int, states: int, rng: np.random.Generator) -> Draft:
    draft = Draft(output_name=space.states[0])
    for name in space.states[:states]:
        draft.add_state(name, X, space.initial[int(rng.integers(len(space.initial)))])
    open_places = [Place(state, -1, X) for state in draft.states]
    while open_places:
        place = open_places.pop(int(rng.integers(len(open_places))))
        room = size - len(draft.nodes) - 2 * len(open_places)
        if place.position >= 0 and (room < 2 or rng.random() < SHARE):
            place.put(draft, _existing(draft, place, rng) if room < 1 or rng.random() < 0.5 else _linear(draft, rng))
            continue
        value, below = _node(space, draft, rng, room)
        place.put(draft, value)
        open_places += below
    return draft


def _existing(draft: Draft, place: Place, rng: np.random.Generator) -> int:
    """A previous state, or a node that is not computed from the place's own."""
    above = draft.above(place.node)
    done = [n for n, node in draft.nodes.items() if n not in above and (node.op == "const" or X not in node.inputs or node.op == "linear")]
    values = [*draft.states, *(n for n in done if draft.nodes[n].op != "const")]
    return values[int(rng.integers(len(values)))]


def _linear(draft: Draft, rng: np.random.Generator) -> int:
    states = [state for state in draft.states if rng.random() < READ_STATE]
    inputs = ([X] if rng.random() < READ_X else []) + states
    return draft.add("linear", *(inputs or [X]), name=draft.fresh_name())


def _node(space: SearchSpace, draft: Draft, rng: np.random.Generator, room: int) -> tuple[int, list[Place]]:
    """A new node by the weights of the ops, and the places below it that are still open."""
    one, two = of_one(space), of_two(space)
    names = ["linear", *one, *(two if room >= 3 else ()), *(["blend"] if space.ops.get("blend", 0) > 0 and room >= 5 else [])]
    chances = np.array([weight(space, op) for op in names])
    op = names[int(rng.choice(len(names), p=chances / chances.sum()))]
    if op == "linear":
        value = _linear(draft, rng)
        inputs = draft.nodes[value].inputs
        if room >= 4 and rng.random() < READ_NODE and len(inputs) < space.limits.max_operands:
            draft.set_inputs(value, (*inputs, X))
            return value, [Place(value, len(inputs), X, linear=True)]
        return value, []
    if op == COMPLEMENT or op in one:
        value = wrap(draft, op, X)
        return value, [Place(value, len(draft.nodes[value].inputs) - 1, X)]
    arity = 3 if op == "blend" else 2
    if ops.OPS[op].max_arity is None and space.limits.max_operands > 2 and rng.random() < 0.15:
        arity = 3
    value = draft.add(op, *[X] * arity)
    return value, [Place(value, position, X) for position in range(arity)]
