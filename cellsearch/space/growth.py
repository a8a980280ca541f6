"""Growth: one leaf occurrence becomes a node over leaves, so every step on the way is a complete,
trainable cell.

A *leaf* is x_t, a previous state, or a ``linear`` that reads nothing else and is read once (x_t
cannot be used elementwise, so its linear is the leaf there). The old leaf stays an operand of the
new node, with its weights; the other operands are new leaves:

* a function of the leaf;
* a sum, product, ... of the leaf and another leaf; a product with a gate over a new linear;
* a blend of a previous state and the leaf;
* a new state: it takes over the leaf by the simplest update that keeps what it had, ``s[t] = gate *
  s[t-1] + leaf``, and is read in the leaf's place.

So the cell grows from the output towards x_t and h_<t-1>. No generator or ranker is trained: which
extension comes next is decided by rules and by the scores of the cells before.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.space.declaration import Declaration, Edit
from cellsearch.space.draft import Draft, X
from cellsearch.space.moves import (
    Move,
    Place,
    apply,
    block,
    gates,
    of_one,
    of_two,
    places,
    put_function,
    put_gate,
    weight,
    wrap,
)

__all__ = [
    "extension",
    "extensions",
    "free_state_name",
    "growth_moves",
    "initial",
    "new_state",
    "start",
]


def start(space: Declaration) -> Genome:
    """See :meth:`SearchSpace.start`."""
    if space.frozen is not None:
        return space.frozen.cell
    draft = Draft(output_name=space.states[0], dense=space.dense)
    state = draft.add_state(space.states[0], X, initial(space))
    if space.dense:
        draft.set_end(state, block(draft))
    else:
        kept = draft.add("mul", draft.add(gates(space)[0], block(draft)), state)
        draft.set_end(state, draft.add("add", kept, block(draft)))
    smallest = draft.build()
    legal = [genome for genome in space.seeds.values() if space.constraints.require_ops]
    if (
        space.contains(smallest) is not None and legal
    ):  # it lacks a required op, as every cell does that is small enough
        return min(legal, key=lambda genome: (len(genome.nodes), genome.key))
    return space.require(smallest, "the smallest cell, a linear over x_t and one state,")


def extensions(space: Declaration, genome: Genome) -> Iterator[Edit]:
    """See :meth:`SearchSpace.growth`; each key once."""
    seen = {genome.key}
    for move in growth_moves(space, genome):
        grown = apply(space, genome, move)
        if grown is not None and grown.key not in seen:
            seen.add(grown.key)
            yield Edit(grown, move.operator)


def extension(
    space: Declaration,
    genome: Genome,
    rng: np.random.Generator,
    weights: Mapping[str, float] | None,
    avoid: Container[str],
    tries: int = 0,
) -> Edit | None:
    """See :meth:`SearchSpace.extension`."""
    left = growth_moves(space, genome)
    most = tries or len(left)
    chances = [
        move.weight * (1.0 if weights is None else weights.get(move.operator, 0.0)) for move in left
    ]
    while left and sum(chances) > 0 and most > 0:
        most -= 1
        k = int(rng.choice(len(left), p=np.array(chances) / sum(chances)))
        move = left.pop(k)
        chances.pop(k)
        grown = apply(space, genome, move)
        if grown is not None and grown.key != genome.key and grown.key not in avoid:
            return Edit(grown, move.operator)
    return None


def growth_moves(space: Declaration, genome: Genome) -> list[Move]:
    """Every extension, not yet tried for legality.

    The operator is the op that it adds, ``gate`` or ``state``, and where: ``gate@linear`` adds a
    gate below a linear. The place is the op that reads the leaf, ``output`` or ``state`` (the next
    value of a state that is not put out).
    """
    draft = Draft.of(genome)
    moves: list[Move] = []
    for place in places(draft):
        found: Iterable[Move]
        if place.linear:
            found = _inside_linear(space, place) if place.value <= 0 else ()
        elif place.value < 0 or _is_block(draft, place.value):
            found = _elementwise(space, draft, place)
        else:
            found = ()
        where = _role(draft, place)
        moves += [replace(move, operator=f"{move.operator}@{where}") for move in found]
    return moves


def _role(draft: Draft, place: Place) -> str:
    if place.position >= 0:
        return draft.nodes[place.node].op
    return "output" if place.node in (X, draft.output_state) else "state"


def _is_block(draft: Draft, value: int) -> bool:
    """Whether the value is a linear over leaves alone, read once."""
    node = draft.nodes.get(value)
    if node is None or node.op != "linear" or any(v > 0 for v in node.inputs):
        return False
    reads = sum(node.inputs.count(value) for node in draft.nodes.values()) + list(
        draft.ends.values()
    ).count(value)
    return reads + (draft.output_state is None and draft.output == value) == 1


def _inside_linear(space: Declaration, place: Place) -> Iterator[Move]:
    """A leaf that a linear reads: x_t gives way to a function of a linear, a state also to a gated
    state.
    """
    for op in of_one(space):
        if op in ops.OPS and ops.OPS[op].unary:
            yield Move(op, partial(_function_of_block, place, op), weight(space, op))
    if place.value < 0 and "mul" in space.ops:
        for gate in gates(space):
            yield Move("gate", partial(put_gate, place, gate), space.ops["mul"])


def _elementwise(space: Declaration, draft: Draft, place: Place) -> Iterator[Move]:
    for op in of_one(space):
        if place.value < 0 or not (op in ops.OPS and ops.OPS[op].parametric):
            yield Move(op, partial(put_function, place, op), weight(space, op))
    for op in of_two(space):
        for leaf in (None, *(state for state in draft.states if state != place.value)):
            yield Move(op, partial(_pair, place, op, leaf, False), weight(space, op))
            if not ops.OPS[op].commutative:
                yield Move(op, partial(_pair, place, op, leaf, True), weight(space, op))
    for gate in gates(space):
        if "mul" in space.ops:
            yield Move("gate", partial(put_gate, place, gate), space.ops["mul"])
        if "blend" in space.ops:
            for state in draft.states:
                yield Move("blend", partial(_blend, place, gate, state), space.ops["blend"])
        if len(draft.states) < len(space.states) and {"mul", "add"} <= space.ops.keys():
            yield Move("state", partial(new_state, space, place, gate), space.ops["add"])


def _function_of_block(place: Place, op: str, draft: Draft) -> None:
    place.put(draft, wrap(draft, op, block(draft)))


def _pair(place: Place, op: str, leaf: int | None, leaf_first: bool, draft: Draft) -> None:
    other = block(draft) if leaf is None else leaf
    operands = (other, place.value) if leaf_first else (place.value, other)
    place.put(draft, draft.add(op, *operands))


def _blend(place: Place, gate: str, state: int, draft: Draft) -> None:
    place.put(draft, draft.add("blend", draft.add(gate, block(draft)), state, place.value))


def new_state(space: Declaration, place: Place, gate: str, draft: Draft) -> None:
    """A state ``s[t] = gate * s[t-1] + value`` that is read where the value was."""
    state = draft.add_state(free_state_name(space, draft), X, initial(space))
    kept = draft.add("mul", draft.add(gate, block(draft)), state)
    draft.set_end(state, draft.add("add", kept, place.value))
    place.put(draft, draft.ends[state])


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
