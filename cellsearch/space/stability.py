"""What the graph of a cell says of its training before there is one: a state that stays zero, and
states that may grow without end.
"""

from __future__ import annotations

from dataclasses import dataclass

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Node

__all__ = ["has_zero_state", "may_explode"]


def has_zero_state(genome: Genome) -> bool:
    """Whether a state is zero at every step, whatever the cell reads and whatever its weights are:
    it begins as zero, and its next value is a product with itself, or with another such state. The
    cell computes what a smaller one does, and if the state is put out, nothing.
    """
    first = len(genome.inputs)
    zero = {first + k for k, state in enumerate(genome.states) if state.initial == 0.0}
    while zero:
        values = set(zero)
        for value, node in enumerate(genome.nodes, start=genome.first_node):
            if _is_zero(node, values):
                values.add(value)
        kept = {state for state in zero if genome.next_states[state - first] in values}
        if kept == zero:
            return True
        zero = kept
    return False


def _is_zero(node: Node, zero: set[int]) -> bool:
    there = [value in zero for value in node.inputs]
    if node.op == "mul":
        return any(there)
    if node.op == "blend":
        return all(there[1:])
    return bool(there) and all(there) and ops.OPS[node.op].keeps_zero


@dataclass(frozen=True, slots=True)
class _Size:
    """How large a value gets. ``grows``: it is unbounded because a state is; ``amplified``: it may
    be larger than that state by any factor; ``small``: within -1 and 1.
    """

    grows: bool = False
    amplified: bool = False
    small: bool = False


def may_explode(genome: Genome) -> bool:
    """Whether a state that nothing bounds gets into a next state through a matrix, a factor that
    may be larger than 1, or another such state, so that it can grow exponentially. A state that is
    only added up, through gates, cannot: not the memory of an LSTM or of a RAN.
    """
    first, bounded = len(genome.inputs), set[int]()
    while True:
        sizes = [
            _Size(grows=genome.is_state(value) and value not in bounded)
            for value in range(genome.first_node)
        ]
        for node in genome.nodes:
            sizes.append(_size(node, [sizes[value] for value in node.inputs]))
        calm = {
            state
            for state, end in enumerate(genome.next_states, start=first)
            if not sizes[end].grows
        }
        if calm <= bounded:
            return any(sizes[end].amplified for end in genome.next_states)
        bounded |= calm


def _size(node: Node, read: list[_Size]) -> _Size:
    row = ops.OPS[node.op]
    if row.squashing or row.kind == "normalisation":
        return _Size(small=row.squashing)
    grows, amplified = any(v.grows for v in read), any(v.amplified for v in read)
    small = bool(read) and all(v.small for v in read)
    if node.op == "mul":
        others = [v.small for v in read if not v.grows]
        return _Size(
            grows,
            amplified or (grows and not (all(others) and len(others) >= len(read) - 1)),
            small,
        )
    if node.op == "blend":
        wild = read[0].grows or (grows and not read[0].small)
        return _Size(grows, amplified or wild, small)
    if row.parametric or row.superlinear:
        return _Size(grows, amplified or grows)
    return _Size(grows, amplified, small and node.op in ("identity", "neg", "abs", "max", "min"))
