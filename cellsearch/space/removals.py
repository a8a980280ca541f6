"""What can be taken out of a cell, one thing at a time, and the cell that is left: ablation.

What is removed is no edit that a search space must allow: what is left is a legal cell of the
language, whatever the run may propose. The rules, which :data:`MEANINGS` says in words:

* A *gate* (the value of an op that is a gate, such as ``sigmoid``, or ``1 -`` such a value) is 1
  wherever it is read. A blend whose gate is 1 both ways is the sum of its two values.
* Any other *value*, and a *state* of the step before, is 0 wherever it is read.
* A *function* of one value is left out: what it read takes its place.
* A *connection* is one place where one value is read: the operand of a ``linear`` goes with its
  weights, a term is 0, a factor is 1.

What follows from that is worked out as pruning does (:mod:`cellsearch.space.pruning`): a sum goes
on without the term, a product with a zero is zero, a function that keeps zero gives zero, and a
value that has lost all it was computed from is a constant: 1 as a factor, 0 as a term. A state that
is zero is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from cellsearch import ops
from cellsearch.errors import GenomeError, checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.genome.parts import Node
from cellsearch.genome.text.writer import expression
from cellsearch.space.draft import Draft
from cellsearch.space.pruning import Left, without

__all__ = ["MEANINGS", "Removal", "Removals", "removals"]

RemovalKind = Literal["gate", "value", "state", "function", "connection"]
MEANINGS: Mapping[str, str] = {
    "gate": "the gate is 1",
    "value": "the value is 0",
    "state": "the state is 0",
    "function": "what it reads takes its place",
    "operand": "the operand goes, with its weights",
    "term": "the term is 0",
    "factor": "the factor is 1",
}
"""What is meant by the removal of each."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that was taken out."""

    name: str
    """What, in the words of the cell: ``f``, ``i * g``, ``h[t-1] in f``; no two are alike."""
    kind: RemovalKind
    meaning: str
    """What that means, one of :data:`MEANINGS`."""
    genome: Genome
    """What is left."""
    also: tuple[str, ...] = ()
    """Other removals that leave a cell which computes the same."""


@dataclass(frozen=True)
class Removals:
    """All of them."""

    distinct: tuple[Removal, ...]
    """Those that leave different cells."""
    idle: tuple[str, ...] = ()
    """Those that leave a cell which computes the same as the whole."""
    impossible: Mapping[str, str] = field(default_factory=dict)
    """Those that leave no cell, each with the reason."""


Edit = Callable[[Draft], Genome]
Step = tuple[str, RemovalKind, str, Edit]
"""Name, kind, meaning, and what it does."""


@checked_arguments
def removals(genome: Genome) -> Removals:
    """Each node, state and connection of a cell taken out in turn; cells that compute the same are
    one, by the key that a search deduplicates by.
    """
    whole = search_key(genome)
    distinct: dict[str, Removal] = {}
    idle: list[str] = []
    impossible: dict[str, str] = {}
    for name, kind, meaning, edit in _unique(_steps(genome)):
        try:
            left = edit(Draft.of(genome))
        except GenomeError as error:
            impossible[name] = str(error)
            continue
        key = search_key(left)
        if key == whole:
            idle.append(name)
        elif key in distinct:
            known = distinct[key]
            distinct[key] = replace(known, also=(*known.also, name))
        else:
            distinct[key] = Removal(name, kind, meaning, left)
    return Removals(tuple(distinct.values()), tuple(idle), impossible)


def _unique(steps: Iterator[Step]) -> Iterator[Step]:
    """The same, with numbers behind names that there are already."""
    taken: set[str] = set()
    for name, kind, meaning, edit in steps:
        number, unique = 1, name
        while unique in taken:
            number += 1
            unique = f"{name} ({number})"
        taken.add(unique)
        yield unique, kind, meaning, edit


def _steps(genome: Genome) -> Iterator[Step]:
    """Everything that can be taken out; of two that come to the same, what names it best first."""
    nodes = [(value, node) for value, node in genome.numbered() if node.op != "const"]
    named = [(v, node) for v, node in nodes if node.name or v in genome.slots]
    yield from (_value(genome, *pair) for pair in named if _is_gate(genome, pair[1]))
    yield from (_value(genome, *pair) for pair in named if not _is_gate(genome, pair[1]))
    for position, state in enumerate(genome.states):
        edit = _take({-1 - position: Left.NOTHING})
        yield f"{state.name}[t-1]", "state", MEANINGS["state"], edit
    known = {value for value, _ in named}
    yield from (_value(genome, *pair) for pair in reversed(nodes) if pair[0] not in known)
    for value, node in nodes:
        if len(node.inputs) == 1 and node.op not in ("linear", "identity"):
            name = f"{node.op} in {_place(genome, value)}"
            yield name, "function", MEANINGS["function"], _pass(value)
    for value, node in nodes:
        for position, operand in enumerate(node.inputs):
            name = f"{expression(genome, operand)} in {_place(genome, value)}"
            yield name, "connection", _meaning(node, position), _cut(value, position)


def _value(genome: Genome, value: int, node: Node) -> Step:
    gate = _is_gate(genome, node)
    kind: RemovalKind = "gate" if gate else "value"
    left = Left.CONSTANT if gate else Left.NOTHING
    return expression(genome, value), kind, MEANINGS[kind], _take({value: left})


def _is_gate(genome: Genome, node: Node) -> bool:
    if node.op == "sub":
        one, gate = (genome.node(operand) for operand in node.inputs)
        if one is not None and gate is not None and one.op == "const" and one.value == 1:
            return ops.OPS[gate.op].gate
    return ops.OPS[node.op].gate


def _meaning(node: Node, position: int) -> str:
    if ops.OPS[node.op].parametric:
        return MEANINGS["operand"]
    factor = node.op == "mul" or (node.op == "blend" and position == 0)
    return MEANINGS["factor" if factor else "term"]


def _place(genome: Genome, value: int) -> str:
    """Where a node stands: its name, that of the statement that is all it computes for (``f`` for
    the linear of a gate ``f``), or what it computes.
    """
    seen = value
    while True:
        node = genome.nodes[seen - genome.first_node]
        if node.name or seen in genome.slots:
            return expression(genome, seen)
        user = genome.uses[seen][0]
        if len(genome.nodes[user - genome.first_node].inputs) > 1:
            return expression(genome, value)
        seen = user


def _take(values: Mapping[int, Left]) -> Edit:
    return lambda draft: without(draft, set(), values, open_blends=True)


def _cut(value: int, position: int) -> Edit:
    return lambda draft: without(draft, {(value, position)}, open_blends=True)


def _pass(value: int) -> Edit:
    def edit(draft: Draft) -> Genome:
        draft.bypass(value, draft.nodes[value].inputs[0])
        return draft.build()

    return edit
