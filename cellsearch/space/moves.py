"""What edits have in common: places in a cell, ops by the number of their operands, and moves that
can be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cellsearch import ops
from cellsearch.errors import GenomeError
from cellsearch.genome.graph import Genome
from cellsearch.space.declaration import COMPLEMENT, Declaration
from cellsearch.space.draft import Draft, X

__all__ = [
    "Move",
    "Place",
    "apply",
    "block",
    "places",
    "put_function",
    "put_gate",
    "times",
    "wrap",
]


class Move(NamedTuple):
    """One edit that can be tried."""

    operator: str
    edit: Callable[[Draft], None]
    """What it does to a draft of the genome."""
    weight: float = 1.0
    """How likely it is among those of its operator."""


class Place(NamedTuple):
    """Where a value is read: by a node, by a state as its next value, or as the output."""

    node: int
    """Number of the reader: a node, a state, or 0 for an output of its own."""
    position: int
    """Position of the operand; -1 where a state or the output reads."""
    value: int
    """Number of the value that is read."""
    linear: bool = False
    """Whether the reader is a linear node."""

    def put(self, draft: Draft, value: int) -> None:
        """Let another value be read here."""
        if self.position >= 0:
            draft.set_input(self.node, self.position, value)
        elif self.node == X:
            draft.set_output(value)
        else:
            draft.set_end(self.node, value)


def places(draft: Draft) -> Iterator[Place]:
    """Every place where a value is read."""
    for number, node in draft.nodes.items():
        for position, value in enumerate(node.inputs):
            yield Place(number, position, value, node.op == "linear")
    for state, value in draft.ends.items():
        yield Place(state, -1, value)
    if draft.output_state is None:
        yield Place(X, -1, draft.output)


def wrap(draft: Draft, op: str, value: int) -> int:
    """A new node that applies an op of one value."""
    if op == COMPLEMENT:
        return draft.add("sub", draft.const(1.0), value)
    return draft.add(op, value, name=draft.fresh_name() if ops.OPS[op].parametric else "")


def block(draft: Draft) -> int:
    """The cheapest value that depends on the input: a new linear of x_t and the state that is put
    out (else the first).

    Of x_t alone where a linear may not read states.
    """
    if not draft.dense:
        return draft.add("linear", X, name=draft.fresh_name())
    state = draft.output_state
    if state is None:
        state = next(iter(draft.states))
    return draft.add("linear", X, state, name=draft.fresh_name())


def put_function(place: Place, op: str, draft: Draft) -> None:
    """Let an op of one value stand between a value and the place where it is read."""
    place.put(draft, wrap(draft, op, place.value))


def put_gate(place: Place, gate: str, draft: Draft) -> None:
    """Let a product with a new gate over a new linear stand there."""
    place.put(draft, times(gate, draft, place.value))


def times(op: str, draft: Draft, value: int) -> int:
    """The product of a value with a function, a gate for example, of a new linear."""
    return draft.add("mul", draft.add(op, block(draft)), value)


def apply(
    space: Declaration, genome: Genome, edit: Callable[[Draft], None], *, tidy: bool = True
) -> Genome | None:
    """The legal genome that an edit leads to, tidied; ``None`` when it leads to none."""
    draft = Draft.of(genome)
    draft.dense, draft.heads = space.dense, min(space.limits.max_blocks, 2)
    try:
        edit(draft)
        edited = draft.build()
    except GenomeError:
        return None
    if space.contains(edited) is not None:
        return None
    return space.tidy(edited) if tidy else edited
