"""Mutation: small edits that together reach the whole space.

====================
==================================================================================================
``op``                a node computes another function of the same operands
``connection``        an operand is read from elsewhere
``connect``           a linear, sum or product reads one value more
``disconnect``        a linear, sum or product reads one value less
``insert``            a function, or an op with a second value, between a value and its reader
``delete``            a node goes, one of its operands takes its place
``gate``              a value is multiplied by a new gate over a new linear
``duplicate``         a gate is copied, with weights of its own, and multiplies another value too
``share``             two linear nodes become one
``unshare``           a reader of a linear that has several gets its own copy
``add_state``         a new state: it remembers a value for the next step, or accumulates one
``remove_state``      a state goes, its readers read another one
``delay``             x or a state is read one step earlier, or one later, up to ``max_delay``
``gap``               a linear reads dt or the mask, or no longer; a state decays with the time
``turn``              a state turns before it is read, or no longer, or by other angles
``blocks``            a product gets twice or half as many blocks, up to ``max_blocks``
``bottleneck``        a product goes through fewer numbers, or more, down to H / ``max_bottleneck``
====================
==================================================================================================

A move is drawn in two steps, the operator by the caller's weights and then the move by the weights
of the ops that it adds, and drawn again when it leads outside the space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from cellsearch import ops
from cellsearch.errors import ConfigError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space.cuts import block_moves, bottleneck_moves
from cellsearch.space.declaration import Declaration, Edit
from cellsearch.space.delays import delay_moves
from cellsearch.space.draft import Draft, X
from cellsearch.space.gaps import gap_moves
from cellsearch.space.lots import Lot
from cellsearch.space.moves import (
    Move,
    Place,
    apply,
    block,
    places,
    put_function,
    put_gate,
)
from cellsearch.space.steps import free_state_name, initial, new_state
from cellsearch.space.turns import has_turns, turn_moves

__all__ = ["OPERATORS", "moves", "mutate", "neighbours", "operators"]

TRIES = 60
"""Moves drawn before all are tried in order."""

_LIST = (
    "op",
    "connection",
    "connect",
    "disconnect",
    "delete",
    "gate",
    "share",
    "unshare",
    "add_state",
    "remove_state",
)
"""The operators of :func:`neighbours`; of ``insert`` it takes the functions of one value."""


_OF_LIMITS = ("delay", "blocks", "bottleneck", "gap", "turn")
"""Those of spaces whose limits, inputs or ops allow what they make."""


def operators(space: Declaration) -> tuple[str, ...]:
    """See :meth:`SearchSpace.operators`."""
    needs_product = {"gate", "duplicate"} if "mul" not in space.ops else set()
    needs_states = {"add_state", "remove_state"} if len(space.states) < 2 else set()
    needs_delay = set() if space.limits.max_delay else {"delay"}
    needs_cuts = set() if space.limits.max_blocks > 1 else {"blocks"}
    needs_cuts |= set() if space.limits.max_bottleneck > 1 else {"bottleneck"}
    needs_gaps = set() if len(space.inputs) > 1 else {"gap"}
    needs_turns = set() if has_turns(space) else {"turn"}
    lacking = needs_product | needs_states | needs_delay | needs_cuts | needs_gaps | needs_turns
    return tuple(name for name in OPERATORS if name not in lacking)


def mutate(
    space: Declaration,
    genome: Genome,
    rng: np.random.Generator,
    weights: Mapping[str, float] | None = None,
    *,
    tidy: bool = True,
) -> Edit:
    """See :meth:`SearchSpace.mutation`."""
    names = operators(space)
    for name in weights or ():
        if name not in OPERATORS:
            raise ConfigError(
                f"unknown mutation operator {name!r}", hint="allowed: " + ", ".join(OPERATORS)
            )
    chances = [1.0 if weights is None else weights.get(name, 0.0) for name in names]
    if not sum(chances) > 0:
        raise ConfigError(
            "no mutation operator of this space has a weight above 0",
            hint="operators: " + ", ".join(names),
        )
    operator = Lot(names, chances)
    for _ in range(TRIES):
        name = operator.draw(rng)
        lot = space.lots.get(name, genome, partial(_lot, space, genome, name))
        if lot.things:
            edited = apply(space, genome, lot.draw(rng), tidy=tidy)
            if edited is not None and (not tidy or edited.key != genome.key):
                return Edit(edited, name)
    for name in names:
        for move in moves(space, genome, name) if chances[names.index(name)] > 0 else ():
            edited = apply(space, genome, move.edit)
            if edited is not None and edited.key != genome.key:
                return Edit(edited, name)
    raise SpaceError(
        "no mutation of the cell is in the space",
        where=space.source,
        hint="widen the limits or the ops of the space",
    )


def _lot(space: Declaration, genome: Genome, operator: str) -> Lot[Change]:
    """What the moves of an operator do, by their weights."""
    found = list(OPERATORS[operator](space, Draft.of(genome)))
    return Lot([edit for edit, _ in found], [chance for _, chance in found])


def neighbours(space: Declaration, genome: Genome) -> tuple[Genome, ...]:
    """See :meth:`SearchSpace.neighbours`."""
    found: dict[str, Genome] = {}
    draft = Draft.of(genome)
    listed = (*_LIST, *(name for name in _OF_LIMITS if name in operators(space)))
    tried = [move for name in listed for move in moves(space, genome, name)]
    tried += [move for place in places(draft) for move in _wrap_moves(space, place)]
    for move in tried:
        edited = apply(space, genome, move.edit)
        if edited is not None and edited.key != genome.key:
            found.setdefault(edited.key, edited)
    return tuple(found.values())


def moves(space: Declaration, genome: Genome, operator: str) -> list[Move]:
    """All moves of an operator, not yet tried for legality."""
    draft = Draft.of(genome)
    return [Move(operator, edit, chance) for edit, chance in OPERATORS[operator](space, draft)]


Change = Callable[[Draft], None]
_Moves = Iterator[tuple[Change, float]]


# -- ops and connections ---------------------------------------------------------------------------


def _op(space: Declaration, draft: Draft) -> _Moves:
    for number, node in draft.nodes.items():
        if node.op in ("linear", "const", "bias", "blend"):
            continue
        alike = (
            space.ops_of_one
            if len(node.inputs) == 1
            else [op for op in space.ops_of_two if ops.OPS[op].accepts(len(node.inputs))]
        )
        for op in alike:
            if op not in (node.op, "complement"):
                yield partial(_set_op, number, op), space.weight(op)


def _set_op(number: int, op: str, draft: Draft) -> None:
    draft.set_op(number, op)
    if ops.OPS[op].parametric and not draft.nodes[number].name:
        draft.set_name(number, draft.fresh_name())


def _sources(draft: Draft, reader: int, *, linear: bool) -> list[int]:
    """Values that a node may read: no x_t unless it is a linear, nothing that is computed from the
    node itself.
    """
    above = draft.above(reader) if reader > 0 else set()
    below = [
        number for number, node in draft.nodes.items() if number not in above and node.op != "const"
    ]
    return ([X] if linear else []) + list(draft.states) + below


def _connection(space: Declaration, draft: Draft) -> _Moves:
    sources: dict[int, list[int]] = {}  # of each reader
    for place in places(draft):
        if (
            place.position < 0
            or draft.nodes.get(place.value, None) is None
            or draft.nodes[place.value].op != "const"
        ):
            reader = place.node if place.position >= 0 else X
            if reader not in sources:
                sources[reader] = _sources(draft, reader, linear=place.linear)
            for value in sources[reader]:
                if value != place.value:
                    yield partial(_put, place, value), 1.0


def _put(place: Place, value: int, draft: Draft) -> None:
    place.put(draft, value)


def _variadic(space: Declaration, draft: Draft) -> Iterator[int]:
    return (number for number, node in draft.nodes.items() if ops.OPS[node.op].max_arity is None)


def _connect(space: Declaration, draft: Draft) -> _Moves:
    for number in _variadic(space, draft):
        node = draft.nodes[number]
        if len(node.inputs) < space.limits.max_operands:
            for value in _sources(draft, number, linear=node.op == "linear"):
                if value not in node.inputs:
                    yield partial(_set_inputs, number, (*node.inputs, value)), 1.0


def _disconnect(space: Declaration, draft: Draft) -> _Moves:
    for number in _variadic(space, draft):
        inputs = draft.nodes[number].inputs
        if len(inputs) > ops.OPS[draft.nodes[number].op].min_arity:
            for position in range(len(inputs)):
                yield partial(_set_inputs, number, inputs[:position] + inputs[position + 1 :]), 1.0


def _set_inputs(number: int, inputs: tuple[int, ...], draft: Draft) -> None:
    draft.set_inputs(number, inputs)


# -- nodes -----------------------------------------------------------------------------------------


def _wrap_moves(space: Declaration, place: Place) -> Iterator[Move]:
    if place.value != X:
        for op in space.ops_of_one:
            yield Move("insert", partial(put_function, place, op), space.weight(op))


def _insert(space: Declaration, draft: Draft) -> _Moves:
    sources: dict[int, list[int]] = {}  # of each reader
    for place in places(draft):
        for move in _wrap_moves(space, place):
            yield move.edit, move.weight
        if place.value == X:
            continue
        reader = place.node if place.position >= 0 else X
        if reader not in sources:
            sources[reader] = _sources(draft, reader, linear=False)
        for op in space.ops_of_two:
            chance = space.ops[op] / max(1, len(sources[reader]))
            for value in sources[reader]:
                yield partial(_pair, place, op, value), chance
            yield partial(_pair, place, op, None), space.ops[op]


def _pair(place: Place, op: str, value: int | None, draft: Draft) -> None:
    other = block(draft) if value is None else value
    place.put(draft, draft.add(op, place.value, other))


def _delete(space: Declaration, draft: Draft) -> _Moves:
    for number, node in draft.nodes.items():
        for value in dict.fromkeys(node.inputs):
            if value != X and not (value > 0 and draft.nodes[value].op == "const"):
                yield partial(_bypass, number, value), 1.0


def _bypass(number: int, value: int, draft: Draft) -> None:
    draft.bypass(number, value)


# -- gates and sharing -----------------------------------------------------------------------------


def _gate(space: Declaration, draft: Draft) -> _Moves:
    for place in places(draft):
        if place.value != X:
            for gate in space.gate_ops:
                yield partial(put_gate, place, gate), space.weight(gate)


def _duplicate(space: Declaration, draft: Draft) -> _Moves:
    for number, node in draft.nodes.items():
        if (
            ops.OPS[node.op].unary
            and draft.nodes.get(node.inputs[0]) is not None
            and draft.nodes[node.inputs[0]].op == "linear"
        ):
            below = draft.below(number)
            for place in places(draft):
                if place.value != X and place.node not in below:
                    yield partial(_copy_gate, number, place), 1.0


def _copy_gate(number: int, place: Place, draft: Draft) -> None:
    place.put(draft, draft.add("mul", _copy(draft, number), place.value))


def _copy(draft: Draft, number: int) -> int:
    """A copy of a linear, or of a function and the linear below it, with weights of its own."""
    node = draft.nodes[number]
    if node.op == "linear":
        return draft.put(replace(node, name=draft.fresh_name()))
    return draft.add(node.op, _copy(draft, node.inputs[0]))


def _share(space: Declaration, draft: Draft) -> _Moves:
    linear = [number for number, node in draft.nodes.items() if node.op == "linear"]
    for kept in linear:
        for gone in linear:
            if kept != gone and kept not in draft.above(gone):
                yield partial(_merge, kept, gone), 1.0


def _merge(kept: int, gone: int, draft: Draft) -> None:
    draft.substitute(gone, kept)
    del draft.nodes[gone]


def _unshare(space: Declaration, draft: Draft) -> _Moves:
    for number in draft.nodes:
        root = number
        if ops.OPS[draft.nodes[root].op].unary:
            root = draft.nodes[root].inputs[0]
        if root > 0 and draft.nodes[root].op == "linear":
            readers = [place for place in places(draft) if place.value == number]
            for place in readers if len(readers) > 1 else ():
                yield partial(_own_copy, number, place), 1.0


def _own_copy(number: int, place: Place, draft: Draft) -> None:
    place.put(draft, _copy(draft, number))


# -- states ----------------------------------------------------------------------------------------


def _add_state(space: Declaration, draft: Draft) -> _Moves:
    readers = [
        n
        for n, node in draft.nodes.items()
        if node.op == "linear" and len(node.inputs) < space.limits.max_operands
    ]
    if draft.output_state is None:
        for reader in readers:
            yield partial(_keep_output, space, reader), 3.0
    if len(draft.states) >= len(space.states):
        return
    for value in draft.nodes:
        if draft.nodes[value].op not in ("const", "linear"):
            for reader in readers:
                yield partial(_delay, space, value, reader), 1.0
    if {"mul", "add"} <= space.ops.keys():
        for place in places(draft):
            if place.value != X and not place.linear:
                for gate in space.gate_ops:
                    yield partial(new_state, space, place, gate), 3.0


def _keep_output(space: Declaration, reader: int, draft: Draft) -> None:
    """Let the output be a state, and a linear read it."""
    name = draft.output_name
    state = draft.add_state(name, draft.output, initial(space))
    draft.set_inputs(reader, (*draft.nodes[reader].inputs, state))


def _delay(space: Declaration, value: int, reader: int, draft: Draft) -> None:
    """A state that remembers a value for one step, read by a linear."""
    state = draft.add_state(free_state_name(space, draft), value, initial(space))
    draft.set_inputs(reader, (*draft.nodes[reader].inputs, state))


def _remove_state(space: Declaration, draft: Draft) -> _Moves:
    for gone in draft.states:
        for kept in draft.states:
            if kept != gone:
                yield partial(_read_instead, gone, kept), 1.0


def _read_instead(gone: int, kept: int, draft: Draft) -> None:
    for number, node in list(draft.nodes.items()):
        if gone in node.inputs:
            inputs = [kept if v == gone else v for v in node.inputs]
            draft.set_inputs(number, dict.fromkeys(inputs) if node.op == "linear" else inputs)
    for state, end in draft.ends.items():
        if end == gone:
            draft.set_end(state, kept)


OPERATORS: dict[str, Callable[[Declaration, Draft], _Moves]] = {
    "op": _op,
    "connection": _connection,
    "connect": _connect,
    "disconnect": _disconnect,
    "insert": _insert,
    "delete": _delete,
    "gate": _gate,
    "duplicate": _duplicate,
    "share": _share,
    "unshare": _unshare,
    "add_state": _add_state,
    "remove_state": _remove_state,
    "delay": delay_moves,
    "gap": gap_moves,
    "turn": turn_moves,
    "blocks": block_moves,
    "bottleneck": bottleneck_moves,
}
"""The mutation operators by name."""
