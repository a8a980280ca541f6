"""Steps of growth that are larger than one op: each keeps what a value was and opens something new
beside it, so that no cell that is worse for the moment stands between two good ones.

======== ==========================================================================================
``gate``   ``sigmoid(L) * v``
``view``   ``tanh(L) * v``: another view of the same inputs, with a sign
``blend``  ``blend(sigmoid(L), s, v)`` with a previous state s
``keep``   ``sigmoid(L) * s + v``
``mix``    ``sigmoid(L) * s + sigmoid(L) * v``
``state``  a new state ``c[t] = sigmoid(L) * c[t-1] + v``, read where v was
``memory`` a new state ``c[t] = sigmoid(L) * c[t-1] + sigmoid(L) * v``, read where v was; or read by
           a linear besides its operands
``delay``  ``v * c[t-1]`` or ``v + c[t-1]`` with a new state ``c[t] = L``; or read by a linear
``split``  the state that is put out becomes two: one keeps, the other shows ``sigmoid(L) * c[t]``
======== ==========================================================================================

L is a new linear of its own each time, tanh the space's squashing function with a sign, sigmoid its
gate. A linear that no function squashes may be squashed by the step that gates, views or remembers
it: the product of an unsquashed linear over the state with anything else often diverges. Sums with
the past may be read through a squashing function, unless one reads them anyway.

Gates: Hochreiter & Schmidhuber 1997, Gers et al. 2000; blends: Cho et al. 2014; products of views:
Wu et al. 2016 (multiplicative integration); the two halves of a state: Hochreiter & Schmidhuber.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from cellsearch import ops
from cellsearch.space.declaration import Declaration
from cellsearch.space.draft import Draft, X
from cellsearch.space.moves import Move, Place, block, put_gate, times

__all__ = [
    "Step",
    "free_state_name",
    "initial",
    "new_state",
    "steps_at",
    "steps_into_linear",
    "steps_of",
    "view_of",
]

BARE = 1 / 3
"""How often a step leaves a bare linear as it is, for one time that it squashes it as well."""
SUMS = ("keep", "mix", "state", "memory")
"""Steps that may squash what they make: a state that sums up without it can grow with every step,
and every linear that reads it with it.
"""
_Change = Callable[[Draft, int], int]
"""Adds to a draft what is made of a value; returns the number of the result."""
Step = tuple[str, float, _Change]
"""What can be made of a value, with its kind and the weight of that."""


def steps_at(
    space: Declaration, draft: Draft, place: Place, changes: Sequence[Step]
) -> Iterator[Move]:
    """The steps on a value that is read elementwise. Their weights say how likely each is among
    those of its kind, and how likely the space chooses the kind. ``changes``: :func:`steps_of` the
    draft.
    """
    squash = view_of(space)
    value, reader = draft.nodes.get(place.value), draft.nodes.get(place.node)
    safe = reader is not None and ops.OPS[reader.op].squashing
    bare = value is not None and value.op == "linear" and bool(squash) and not safe
    inner: list[tuple[_Change, float]] = [(_same, BARE if bare else 1.0)]
    if bare:
        inner.append((partial(_squashed, squash), 1.0))
    for change, share in inner:
        for name, weight, outer in changes:
            yield Move(name, partial(_put, place, change, outer, ""), weight * share)
            if name in SUMS and squash and not safe:
                yield Move(name, partial(_put, place, change, outer, squash), weight * share)
    if _can_split(space, draft, place):
        for show in ("", squash) if squash else ("",):
            yield Move("split", partial(_split, space, place, show), space.ops["mul"])


def steps_into_linear(space: Declaration, draft: Draft, place: Place) -> Iterator[Move]:
    """The steps on a state that a linear reads, and, once for each linear, those that let it read
    one value more.
    """
    squash = view_of(space)
    if place.value < 0 and "mul" in space.ops:
        for gate in space.gate_ops:
            yield Move("gate", partial(put_gate, place, gate), space.ops["mul"])
        if squash:
            yield Move("view", partial(put_gate, place, squash), space.ops["mul"])
    room = len(draft.nodes[place.node].inputs) < space.limits.max_operands
    if place.position or not room or not _free(space, draft):
        return
    yield Move("delay", partial(_read_delayed, space, place.node), space.ops.get("mul", 1.0))
    if {"mul", "add"} <= space.ops.keys():
        for gate in space.gate_ops[:1]:
            edit = partial(_read_memory, space, place.node, gate, squash)
            yield Move("memory", edit, space.ops["add"])


def view_of(space: Declaration) -> str:
    """The squashing function with a sign that the space chooses most often; ``""`` if it has
    none.
    """
    return space.lots.get("view", space, partial(_view_of, space))


def _view_of(space: Declaration) -> str:
    found = [
        op
        for op, weight in space.ops.items()
        if weight > 0 and ops.OPS[op].squashing and ops.OPS[op].odd and ops.OPS[op].keeps_unit
    ]
    return max(found, key=lambda op: space.ops[op], default="")


def _free(space: Declaration, draft: Draft) -> bool:
    """Whether the cell may have one state more."""
    return len(draft.states) < len(space.states)


def _can_split(space: Declaration, draft: Draft, place: Place) -> bool:
    """Whether the value is the next one of the state that is put out, which keeps itself by an
    elementwise path.
    """
    if place.position >= 0 or place.node != draft.output_state or "mul" not in space.ops:
        return False
    return _free(space, draft) and any(
        place.node in draft.nodes[number].inputs and draft.nodes[number].op != "linear"
        for number in draft.below(place.value)
    )


def steps_of(space: Declaration, draft: Draft) -> Iterator[Step]:
    """What can be made of any value of the draft."""
    squash = view_of(space)
    product, sums = space.ops.get("mul", 0), {"mul", "add"} <= space.ops.keys()
    free = _free(space, draft)
    if squash and "mul" in space.ops:
        yield "view", product, partial(times, squash)
    for gate in space.gate_ops:
        if "mul" in space.ops:
            yield "gate", product, partial(times, gate)
        for state in draft.states:
            if "blend" in space.ops:
                often = max(space.ops["blend"], space.ops.get("add", 0))
                yield "blend", often, partial(_blend, gate, state)
            if sums:
                yield "keep", space.ops["add"], partial(_keep, gate, state)
                yield "mix", space.ops["add"], partial(_mix, gate, state)
        if sums and free:
            yield "state", space.ops["add"], partial(_remember, space, gate, False)
            yield "memory", space.ops["add"], partial(_remember, space, gate, True)
    for op in ("mul", "add"):
        if free and op in space.ops:
            yield "delay", space.ops[op], partial(_delayed, space, op)


# -- what is made of a value -----------------------------------------------------------------------


def _put(place: Place, inner: _Change, outer: _Change, squash: str, draft: Draft) -> None:
    made = outer(draft, inner(draft, place.value))
    place.put(draft, draft.add(squash, made) if squash else made)


def _same(draft: Draft, value: int) -> int:
    return value


def _squashed(op: str, draft: Draft, value: int) -> int:
    return draft.add(op, value)


def _blend(gate: str, state: int, draft: Draft, value: int) -> int:
    return draft.add("blend", draft.add(gate, block(draft)), state, value)


def _keep(gate: str, state: int, draft: Draft, value: int) -> int:
    return draft.add("add", times(gate, draft, state), value)


def _mix(gate: str, state: int, draft: Draft, value: int) -> int:
    return draft.add("add", times(gate, draft, state), times(gate, draft, value))


def _remember(space: Declaration, gate: str, gated: bool, draft: Draft, value: int) -> int:
    """A new state that keeps the value; its next value."""
    state = draft.add_state(free_state_name(space, draft), X, initial(space))
    draft.set_end(state, (_mix if gated else _keep)(gate, state, draft, value))
    return draft.ends[state]


def _delayed(space: Declaration, op: str, draft: Draft, value: int) -> int:
    return draft.add(op, _linear_state(space, draft), value)


def _linear_state(space: Declaration, draft: Draft) -> int:
    """A new state that holds a new linear for the next step."""
    state = draft.add_state(free_state_name(space, draft), X, initial(space))
    draft.set_end(state, block(draft))
    return state


# -- steps of other shapes -------------------------------------------------------------------------


def _read_delayed(space: Declaration, reader: int, draft: Draft) -> None:
    state = _linear_state(space, draft)
    draft.set_inputs(reader, (*draft.nodes[reader].inputs, state))


def _read_memory(space: Declaration, reader: int, gate: str, squash: str, draft: Draft) -> None:
    """Let a linear read a new state besides, which sums up gated values of its own."""
    value = block(draft)
    value = draft.add(squash, value) if squash else value
    _remember(space, gate, True, draft, value)
    new = min(draft.states)  # the newest has the lowest number
    draft.set_inputs(reader, (*draft.nodes[reader].inputs, new))


def _split(space: Declaration, place: Place, show: str, draft: Draft) -> None:
    """A new state takes over the value and what is read elementwise below it; the old one shows
    it.
    """
    old = place.node
    new = draft.add_state(free_state_name(space, draft), place.value, initial(space))
    for number in draft.below(place.value):
        node = draft.nodes[number]
        if old in node.inputs and node.op != "linear":
            draft.set_inputs(number, tuple(new if v == old else v for v in node.inputs))
    shown = draft.ends[new]
    shown = draft.add(show, shown) if show else shown
    place.put(draft, times(space.gate_ops[0], draft, shown))


# -- new states ------------------------------------------------------------------------------------


def new_state(space: Declaration, place: Place, gate: str, draft: Draft) -> None:
    """A state ``s[t] = gate * s[t-1] + value`` that is read where the value was."""
    place.put(draft, _remember(space, gate, False, draft, place.value))


def initial(space: Declaration) -> float:
    """The value that a new state starts with: 0 where that is allowed."""
    return 0.0 if 0.0 in space.initial else space.initial[0]


def free_state_name(space: Declaration, draft: Draft) -> str:
    """The first of the space's state names that the cell does not use yet, else a fresh one."""
    taken = (
        {s.name for s in draft.states.values()}
        | {n.name for n in draft.nodes.values()}
        | {draft.output_name}
    )
    return next((name for name in space.states if name not in taken), "") or draft.fresh_name("s")
