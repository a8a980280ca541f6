"""Growth: a leaf, or a value on the way to one, becomes a node over leaves, so every step is a
complete, trainable cell.

A *leaf* is x_t, a previous state, or a ``linear`` that reads nothing else and is read once (x_t
cannot be used elementwise, so its linear is the leaf there). What was there stays an operand of the
new node, with its weights; the other operands are new leaves:

* a function of a leaf; a sum, product, ... of a leaf and another leaf;
* a larger step on any value, :mod:`cellsearch.space.steps`: a gate, a blend with the past, a new
  state, and what else keeps the value and opens something new;
* what the space has besides: a product reads dt or the mask, a state decays with time (``gap``),
  turns (``turn``) or is read earlier (``earlier``), a product gets blocks (``blocks``) or goes
  through fewer numbers (``bottleneck``).

So the cell grows from the output towards x_t and h_<t-1>. No generator or ranker is trained: which
extension comes next is decided by rules and by the scores of the cells before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.space.cuts import block_moves, bottleneck_moves
from cellsearch.space.declaration import Declaration, Edit
from cellsearch.space.delays import delay_moves
from cellsearch.space.draft import Draft, X
from cellsearch.space.gaps import gap_moves
from cellsearch.space.moves import (
    Move,
    Place,
    apply,
    block,
    places,
    put_function,
    wrap,
)
from cellsearch.space.steps import Step, initial, steps_at, steps_into_linear, steps_of
from cellsearch.space.turns import has_turns, turn_moves

__all__ = ["extension", "extensions", "growth_moves", "start"]

FUNCTION = 0.5
BELOW_SQUASHING = 0.1
"""How often a bare function of a leaf comes, for one time that the space chooses the op: it opens
nothing new, least of all below a function that squashes anyway."""
IN_GATE = 0.25
"""The same for everything that makes a gate larger: from the output down, its value matters less
than what it lets through."""


OPENING = 2.0
"""How often a part comes that only some spaces have, beside the weights of the space's ops."""


def start(space: Declaration) -> Genome:
    """See :meth:`SearchSpace.start`."""
    if space.frozen is not None:
        return space.frozen.cell
    draft = Draft(output_name=space.states[0], dense=space.dense)
    state = draft.add_state(space.states[0], X, initial(space))
    if space.dense:
        draft.set_end(state, block(draft))
    else:
        kept = draft.add("mul", draft.add(space.gate_ops[0], block(draft)), state)
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
        grown = _grown(space, genome, move)
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
    chances = _chances(left, weights)
    wild: Edit | None = None  # only when there is nothing else
    while left and sum(chances) > 0 and most > 0:
        most -= 1
        k = int(rng.choice(len(left), p=np.array(chances) / sum(chances)))
        move = left.pop(k)
        chances.pop(k)
        grown = _grown(space, genome, move)
        if grown is None or grown.key in avoid:
            continue
        if not multiplies_states(grown) or multiplies_states(genome):
            return Edit(grown, move.operator)
        wild = wild or Edit(grown, move.operator)
    return None if tries else wild


def _grown(space: Declaration, genome: Genome, move: Move) -> Genome | None:
    """What a move leads to, if that is another cell and no smaller one: a leaf that gives way may
    have been all that read a state.
    """
    grown = apply(space, genome, move.edit)
    if grown is None or grown.key == genome.key or len(grown.nodes) < len(genome.nodes):
        return None
    return grown


def multiplies_states(genome: Genome) -> bool:
    """Whether the next value of a state is a product of two unbounded values that depend on
    previous states: then it grows like ``a, a^2, a^4, ...`` from the first weights that are large
    enough, and its training diverges.
    """
    first, bounded = genome.first_node, set[int]()
    while True:
        degree = [int(genome.is_state(v) and v not in bounded) for v in range(first)]
        for node in genome.nodes:
            row, below = ops.OPS[node.op], [degree[v] for v in node.inputs]
            if row.squashing or row.kind == "normalisation" or not below:
                degree.append(0)
            elif node.op == "mul":
                degree.append(sum(below))
            elif node.op == "blend":
                degree.append(below[0] + max(below[1:]))
            elif node.op == "rotate":  # of the angle there are sines and cosines only
                degree.append(below[0])
            else:
                degree.append((1 + row.superlinear) * max(below))
        calm = {
            state
            for state, end in enumerate(genome.next_states, start=len(genome.inputs))
            if degree[end] == 0
        }
        if calm <= bounded:
            return any(degree[end] > 1 for end in genome.next_states)
        bounded |= calm


def _chances(moves: Sequence[Move], rates: Mapping[str, float] | None) -> list[float]:
    """How likely each move is drawn: first the op or step by its weight, then where by weight and
    by the rates of the kinds (all alike without any), then one of the moves of this kind by their
    weights. So a cell with many places for one step has not more of it than of another.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    heaviest: defaultdict[str, float] = defaultdict(float)
    for move in moves:
        sums[move.operator] += move.weight
        heaviest[move.operator] = max(heaviest[move.operator], move.weight)
    places = Counter(kind.partition("@")[0] for kind in sums)
    chances = []
    for move in moves:
        kind = move.operator
        rate = 1.0 if rates is None else rates.get(kind, 0.0)
        share = move.weight / sums[kind] if sums[kind] > 0 else 0.0
        chances.append(heaviest[kind] * rate * share / places[kind.partition("@")[0]])
    return chances


def growth_moves(space: Declaration, genome: Genome) -> list[Move]:
    """Every extension, not yet tried for legality.

    The operator is the op that it adds, or the step (:mod:`cellsearch.space.steps`), and where:
    ``gate@linear`` adds a gate below a linear. The place is the op that reads the value,
    ``output`` or ``state`` (the next value of a state that is not put out); ``gap@cell`` and what
    else only some spaces have is anywhere in the cell.
    """
    return list(space.growths.get("growth", genome, partial(_growth_moves, space, genome)))


def _growth_moves(space: Declaration, genome: Genome) -> tuple[Move, ...]:
    draft = Draft.of(genome)
    changes = tuple(steps_of(space, draft))
    moves: list[Move] = []
    for place in places(draft):
        where = _role(draft, place)
        often = IN_GATE if where in ops.OPS and ops.OPS[where].gate else 1.0
        moves += [
            Move(f"{move.operator}@{where}", move.edit, often * move.weight)
            for move in _at(space, draft, place, changes)
        ]
    return (*moves, *_openings(space, draft))


def _openings(space: Declaration, draft: Draft) -> Iterator[Move]:
    """What only spaces with further inputs, turns, sizes, blocks or delays have, and never what
    takes such a part back.
    """
    limits = space.limits
    for name, there, found in (
        ("gap", len(space.inputs) > 1, gap_moves),
        ("turn", has_turns(space), turn_moves),
        ("blocks", limits.max_blocks > 1, block_moves),
        ("bottleneck", limits.max_bottleneck > 1, bottleneck_moves),
        ("earlier", limits.max_delay > 0, delay_moves),
    ):
        if there:
            for edit, weight in found(space, draft, back=False):
                yield Move(f"{name}@cell", edit, OPENING * weight)


def _at(space: Declaration, draft: Draft, place: Place, changes: Sequence[Step]) -> Iterator[Move]:
    """The extensions at one place; ``changes``: :func:`steps_of`."""
    node = draft.nodes.get(place.value)
    if place.linear:
        if place.value <= 0:
            yield from _inside_linear(space, place)
            yield from steps_into_linear(space, draft, place)
        return
    if place.value < 0 or _is_block(draft, place.value):
        yield from _on_leaf(space, draft, place)
    if place.value < 0 or (node is not None and node.op != "const" and not ops.OPS[node.op].gate):
        yield from steps_at(space, draft, place, changes)


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
    """A leaf that a linear reads gives way to a function of a linear."""
    for op in space.ops_of_one:
        if op in ops.OPS and ops.OPS[op].unary:
            yield Move(op, partial(_function_of_block, place, op), FUNCTION * space.weight(op))


def _on_leaf(space: Declaration, draft: Draft, place: Place) -> Iterator[Move]:
    """A leaf that is read elementwise: functions of it, and it with another leaf."""
    reader = draft.nodes.get(place.node)
    squashed = reader is not None and ops.OPS[reader.op].squashing
    for op in space.ops_of_one:
        if place.value < 0 or not (op in ops.OPS and ops.OPS[op].parametric):
            often = BELOW_SQUASHING if squashed else FUNCTION
            yield Move(op, partial(put_function, place, op), often * space.weight(op))
    for op in space.ops_of_two:
        for leaf in (None, *(state for state in draft.states if state != place.value)):
            yield Move(op, partial(_pair, place, op, leaf, False), space.weight(op))
            if not ops.OPS[op].commutative:
                yield Move(op, partial(_pair, place, op, leaf, True), space.weight(op))


def _function_of_block(place: Place, op: str, draft: Draft) -> None:
    place.put(draft, wrap(draft, op, block(draft)))


def _pair(place: Place, op: str, leaf: int | None, leaf_first: bool, draft: Draft) -> None:
    other = block(draft) if leaf is None else leaf
    operands = (other, place.value) if leaf_first else (place.value, other)
    place.put(draft, draft.add(op, *operands))
