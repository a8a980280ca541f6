"""Random cells: grown from the ends (next states) downwards, until a number of nodes drawn
uniformly is used up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

from cellsearch import ops
from cellsearch.errors import GenomeError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space.cuts import cut_some
from cellsearch.space.declaration import Declaration
from cellsearch.space.delays import reach_back
from cellsearch.space.draft import Draft, X
from cellsearch.space.gaps import read_gaps
from cellsearch.space.lots import Lot
from cellsearch.space.moves import Place, wrap
from cellsearch.space.mutation import mutate
from cellsearch.space.turns import has_turns, turn_some

__all__ = ["sample"]

_NUMBER = re.compile(r"\d[\d,.]*")

TRIES = 2000
MUTATIONS = 6
OWN_OUTPUT = 0.5
READ_X = 0.85
READ_STATE = 0.6
READ_NODE = 0.15
SHARE = 0.25
"""Chances that a new linear reads x_t, each state, a further node; and that an open place takes a
value that exists already. ``MUTATIONS``: at most so many lead from a cell with frozen parts to a
sample; ``OWN_OUTPUT``: chance that a diagonal cell has an output that is not a state."""


def sample(space: Declaration, rng: np.random.Generator) -> Genome:
    """See :meth:`SearchSpace.sample`."""
    if space.frozen is not None:
        return _around_the_frozen(space, space.frozen.cell, rng)
    complaints: Counter[str] = Counter()
    texts: dict[str, str] = {}
    for _ in range(TRIES):
        size = int(rng.integers(space.limits.min_nodes, space.limits.max_nodes + 1))
        states = int(rng.integers(1, len(space.states) + 1))
        draft = (
            _grown(space, size, states, rng) if space.dense else _diagonal(space, size, states, rng)
        )
        if space.limits.max_delay:
            reach_back(space, draft, rng)
        if len(space.inputs) > 1:
            read_gaps(space, draft, rng)
        if has_turns(space):
            turn_some(space, draft, rng)
        cut_some(space, draft, rng)
        try:
            genome = draft.build()
        except GenomeError as error:
            complaints[error.message] += 1
            continue
        found = space.contains(genome)
        if found is None:
            genome = space.tidy(genome)
            if len(genome.nodes) >= space.limits.min_nodes:
                return genome
            complaints[f"fewer than min_nodes = {space.limits.min_nodes} nodes"] += 1
        else:
            rule = f"{_NUMBER.sub('#', found.what)} {found.allowed}"  # broken by whatever amount
            complaints[rule] += 1
            texts.setdefault(rule, f"{found.what} (allowed: {found.allowed})")
    often, count = complaints.most_common(1)[0]
    often = texts.get(often, often)
    raise SpaceError(
        f"{TRIES} random cells, none of them legal; {count} of them: {often}",
        where=space.source,
        hint="the constraints or limits leave too little: widen them",
    )


def _around_the_frozen(space: Declaration, cell: Genome, rng: np.random.Generator) -> Genome:
    """A few random mutations of the cell whose parts are frozen: a cell grown at random would never
    hold them.
    """
    for _ in range(int(rng.integers(1, MUTATIONS + 1))):
        cell = mutate(space, cell, rng).genome
    return cell


def _diagonal(space: Declaration, size: int, states: int, rng: np.random.Generator) -> Draft:
    """States ``a_t * s_<t-1> + b_t`` with a_t a squashing function, and an output that is one of
    them or reads them.

    a_t and b_t are grown over x_t alone. With an output of its own the first name of the space is
    the output's.
    """
    own_output = rng.random() < OWN_OUTPUT
    draft = Draft(output_name=space.states[0], dense=False)
    names = [*space.states[own_output:], "s"][:states]
    squashing = [op for op in _unary(space) if ops.OPS[op].squashing] or _unary(space)
    squash = Lot(squashing, [space.ops[op] for op in squashing])
    open_places: list[Place] = []
    for name in names:
        state = draft.add_state(name, X, space.initial[int(rng.integers(len(space.initial)))])
        decay = draft.add(squash.draw(rng), X)
        open_places.append(Place(decay, 0, X))
        if (
            space.ops.get("blend", 0) > 0
            and ops.OPS[draft.nodes[decay].op].gate
            and rng.random() < 0.5
        ):
            end = draft.add("blend", decay, state, X)
            open_places.append(Place(end, 2, X))
        else:
            end = draft.add("add", draft.add("mul", decay, state), X)
            open_places.append(Place(end, 1, X))
        draft.set_end(state, end)
    if own_output:
        factors = []
        for state in draft.states:
            read = draft.ends[state]
            if rng.random() < 0.5:
                read = draft.add(squash.draw(rng), read)
            factors.append(read)
        gate = draft.add(space.gate_ops[0], X)
        open_places.append(Place(gate, 0, X))
        total = factors[0] if len(factors) == 1 else draft.add("add", *factors)
        draft.set_output(draft.add("mul", gate, total) if rng.random() < 0.5 else total)
    _grow(space, draft, open_places, size, rng)
    return draft


def _unary(space: Declaration) -> list[str]:
    return [op for op in space.ops if ops.OPS[op].unary and space.ops[op] > 0]


def _grown(space: Declaration, size: int, states: int, rng: np.random.Generator) -> Draft:
    draft = Draft(output_name=space.states[0], heads=min(space.limits.max_blocks, 2))
    for name in space.states[:states]:
        draft.add_state(name, X, space.initial[int(rng.integers(len(space.initial)))])
    _grow(space, draft, [Place(state, -1, X) for state in draft.states], size, rng)
    return draft


def _grow(
    space: Declaration, draft: Draft, open_places: list[Place], size: int, rng: np.random.Generator
) -> None:
    """Fill the open places, and those that open below them, with up to ``size`` nodes."""
    lots = {room: _new_ops(space, room) for room in _ROOMS}
    while open_places:
        place = open_places.pop(int(rng.integers(len(open_places))))
        room = size - len(draft.nodes) - 2 * len(open_places)
        if place.position >= 0 and (room < 2 or rng.random() < SHARE):
            place.put(
                draft,
                _existing(draft, place, rng)
                if room < 1 or rng.random() < 0.5
                else _linear(draft, rng),
            )
            continue
        value, below = _node(space, draft, rng, room, lots)
        place.put(draft, value)
        open_places += below


def _existing(draft: Draft, place: Place, rng: np.random.Generator) -> int:
    """A previous state, or a node that is not computed from the place's own."""
    above = draft.above(place.node)
    done = [
        n
        for n, node in draft.nodes.items()
        if n not in above and (node.op == "const" or X not in node.inputs or node.op == "linear")
    ]
    values = [*draft.states, *(n for n in done if draft.nodes[n].op != "const")]
    if (
        not draft.dense
    ):  # nothing that depends on a previous state: a linear of x_t where there is nothing else
        values = [n for n in values if n > 0 and draft.nodes[n].op == "linear"] or [
            _linear(draft, rng)
        ]
    return values[int(rng.integers(len(values)))]


def _linear(draft: Draft, rng: np.random.Generator) -> int:
    states = [state for state in draft.states if draft.dense and rng.random() < READ_STATE]
    inputs = ([X] if rng.random() < READ_X else []) + states
    return draft.add("linear", *(inputs or [X]), name=draft.fresh_name())


_ROOMS = range(2, 6)
"""Less room is as good as the least, and more as the most."""


def _new_ops(space: Declaration, room: int) -> Lot[str]:
    """The ops of a new node, by their weights, where there is room for so many nodes."""

    def made() -> Lot[str]:
        names = [
            "linear",
            *space.ops_of_one,
            *(space.ops_of_two if room >= 3 else ()),
            *(["blend"] if space.ops.get("blend", 0) > 0 and room >= 5 else []),
        ]
        return Lot(names, [space.weight(op) for op in names])

    return space.lots.get(f"op, room {room}", space, made)


def _node(
    space: Declaration,
    draft: Draft,
    rng: np.random.Generator,
    room: int,
    lots: Mapping[int, Lot[str]],
) -> tuple[int, list[Place]]:
    """A new node by the weights of the ops, and the places below it that are still open. ``lots``:
    what is drawn from, by the room that there is.
    """
    op = lots[min(max(room, _ROOMS[0]), _ROOMS[-1])].draw(rng)
    if op == "linear":
        value = _linear(draft, rng)
        inputs = draft.nodes[value].inputs
        if (
            room >= 4
            and draft.dense
            and rng.random() < READ_NODE
            and len(inputs) < space.limits.max_operands
        ):
            draft.set_inputs(value, (*inputs, X))
            return value, [Place(value, len(inputs), X, linear=True)]
        return value, []
    if op in space.ops_of_one:
        value = wrap(draft, op, X)
        return value, [Place(value, len(draft.nodes[value].inputs) - 1, X)]
    arity = 3 if op == "blend" else 2
    if ops.OPS[op].max_arity is None and space.limits.max_operands > 2 and rng.random() < 0.15:
        arity = 3
    value = draft.add(op, *[X] * arity)
    return value, [Place(value, position, X) for position in range(arity)]
