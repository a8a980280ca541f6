"""The moves of the mutation operators, see :mod:`cellsearch.space.mutation`: what each may do to a
draft of a cell, and how likely it is among the moves of its operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from cellsearch import ops
from cellsearch.space.cuts import block_moves, bottleneck_moves
from cellsearch.space.declaration import Declaration
from cellsearch.space.delays import delay_moves
from cellsearch.space.draft import Draft, X
from cellsearch.space.gaps import gap_moves
from cellsearch.space.lots import Group
from cellsearch.space.moves import Move, Place, block, places, put_function, put_gate
from cellsearch.space.steps import free_state_name, initial, new_state
from cellsearch.space.turns import turn_moves

__all__ = ["GROUPED", "OPERATORS", "Change", "function_moves"]

Change = Callable[[Draft], None]
_Moves = Iterator[tuple[Change, float]]
_Groups = Iterator[Group[Change]]


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


class _Sources:
    """Values that a node may read: no x_t unless it is a linear, nothing that is computed from the
    node itself.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft, self._readers = draft, draft.readers()
        self._known: dict[tuple[int, bool], list[int]] = {}

    def of(self, reader: int, *, linear: bool) -> list[int]:
        """Those of a node; of any other reader those that can be read at all."""
        if (reader, linear) not in self._known:
            draft = self._draft
            above = draft.above(reader, self._readers) if reader > 0 else set[int]()
            below = [n for n, node in draft.nodes.items() if n not in above and node.op != "const"]
            found = ([X] if linear else []) + list(draft.states) + below
            self._known[reader, linear] = found
        return self._known[reader, linear]


def _connection(space: Declaration, draft: Draft) -> _Groups:
    sources = _Sources(draft)
    for place in places(draft):
        if (
            place.position < 0
            or draft.nodes.get(place.value, None) is None
            or draft.nodes[place.value].op != "const"
        ):
            reader = place.node if place.position >= 0 else X
            values = [v for v in sources.of(reader, linear=place.linear) if v != place.value]
            yield Group([1.0] * len(values), partial(_reading, place, values))


def _reading(place: Place, values: Sequence[int], k: int) -> Change:
    return partial(_put, place, values[k])


def _put(place: Place, value: int, draft: Draft) -> None:
    place.put(draft, value)


def _variadic(space: Declaration, draft: Draft) -> Iterator[int]:
    return (number for number, node in draft.nodes.items() if ops.OPS[node.op].max_arity is None)


def _connect(space: Declaration, draft: Draft) -> _Moves:
    sources = _Sources(draft)
    for number in _variadic(space, draft):
        node = draft.nodes[number]
        if len(node.inputs) < space.limits.max_operands:
            for value in sources.of(number, linear=node.op == "linear"):
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


def function_moves(space: Declaration, place: Place) -> Iterator[Move]:
    """A function between a value and the place where it is read."""
    if place.value != X:
        for op in space.ops_of_one:
            yield Move("insert", partial(put_function, place, op), space.weight(op))


def _insert(space: Declaration, draft: Draft) -> _Groups:
    """At each place the functions of one value, then each op of two with every value and with a new
    one.
    """
    sources = _Sources(draft)
    functions = [space.weight(op) for op in space.ops_of_one]
    for place in places(draft):
        if place.value == X:
            continue
        values = sources.of(place.node if place.position >= 0 else X, linear=False)
        weights = [*functions]
        for op in space.ops_of_two:
            weights += [space.ops[op] / max(1, len(values))] * len(values)
            weights.append(space.ops[op])
        yield Group(weights, partial(_insertion, space, place, [*values, None]))


def _insertion(space: Declaration, place: Place, values: Sequence[int | None], k: int) -> Change:
    if k < len(space.ops_of_one):
        return partial(put_function, place, space.ops_of_one[k])
    op, value = divmod(k - len(space.ops_of_one), len(values))
    return partial(_pair, place, space.ops_of_two[op], values[value])


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
    readers = draft.readers()
    above = {number: draft.above(number, readers) for number in linear}
    for kept in linear:
        for gone in linear:
            if kept != gone and kept not in above[gone]:
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


GROUPED: dict[str, Callable[[Declaration, Draft], _Groups]] = {
    "connection": _connection,
    "insert": _insert,
}
"""The operators with so many moves that each is made when it is drawn."""


def _each(operator: str, space: Declaration, draft: Draft) -> _Moves:
    for group in GROUPED[operator](space, draft):
        yield from group.each()


OPERATORS: dict[str, Callable[[Declaration, Draft], _Moves]] = {
    "op": _op,
    "connection": partial(_each, "connection"),
    "connect": _connect,
    "disconnect": _disconnect,
    "insert": partial(_each, "insert"),
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
