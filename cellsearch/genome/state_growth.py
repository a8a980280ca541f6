"""How large the states of a cell can become: what the graph alone shows.

What is squashed stays bounded, a factor in [0, 1] lets decay, everything a weight or an unsquashed
value multiplies may grow. It errs on the side of growth.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Node
from cellsearch.genome.ranges import constant, gates, switches

__all__ = ["Growth", "growth_of_states"]


class Growth(IntEnum):
    """How a value grows with the previous states; a larger one includes the smaller ones."""

    BOUNDED = 0  # squashed, or free of states that grow
    DECAYS = 1  # a state times something in [0, 1]
    KEEPS = 2  # a state as it was
    ADDS = 3  # a state plus something
    MULTIPLIES = 4  # a state times a weight or an unsquashed value


class _Known(NamedTuple):
    """What does not depend on which states grow."""

    in_unit: Sequence[bool]
    factors: Sequence[float | None]


def growth_of_states(genome: Genome) -> tuple[Growth, ...]:
    """How each state grows on its way back to itself; states that stay bounded or decay do not make
    others grow.
    """
    in_unit = gates(genome)
    known = _Known(in_unit, _factors(genome, in_unit))
    tame: set[int] = set()
    while True:
        level = _levels(genome, known, tame)
        calm = {state for state, end in _ends(genome) if _is_calm(genome, state, end, level)}
        if calm <= tame:
            break
        tame |= calm
    loops = _states_on_loops(genome, level)
    return tuple(
        Growth.BOUNDED if state in tame else level[end] if state in loops else Growth.KEEPS
        for state, end in _ends(genome)
    )


def _ends(genome: Genome) -> list[tuple[int, int]]:
    """Each previous state with its next value."""
    return list(enumerate(genome.next_states, start=len(genome.inputs)))


def _is_calm(genome: Genome, state: int, end: int, level: Sequence[Growth]) -> bool:
    """Whether a state is bounded, or decays on its own; what decays towards another state follows
    that one.
    """
    return level[end] is Growth.BOUNDED or (
        level[end] is Growth.DECAYS and _growing_states(genome, end, level) <= {state}
    )


def _levels(genome: Genome, known: _Known, tame: set[int]) -> list[Growth]:
    """The growth of each value when the ``tame`` states are bounded."""
    level: list[Growth] = []
    for value in range(genome.n_values):
        node = genome.node(value)
        if node is None:
            grows = genome.is_state(value) and value not in tame
            level.append(Growth.KEEPS if grows else Growth.BOUNDED)
        elif known.in_unit[value]:
            level.append(Growth.BOUNDED)
        else:
            level.append(_level(genome, node, known, level))
    return level


def _level(genome: Genome, node: Node, known: _Known, level: Sequence[Growth]) -> Growth:
    growing = [v for v in node.inputs if level[v] > Growth.BOUNDED]
    worst = max((level[v] for v in node.inputs), default=Growth.BOUNDED)
    row = ops.OPS[node.op]
    if not growing or row.squashing or row.kind == "normalisation":
        return Growth.BOUNDED
    if row.parametric or row.superlinear:
        return Growth.MULTIPLIES
    if node.op == "rotate":
        return level[node.inputs[0]]  # a rotation keeps the length
    if node.op in ("add", "sub"):
        zeros = all(constant(genome, v) == 0.0 for v in node.inputs if v not in growing)
        return worst if len(growing) == 1 and zeros else max(worst, _summed(level, growing))
    if node.op == "mul":
        if len(growing) > 1:
            return Growth.MULTIPLIES
        factors = [known.factors[v] for v in node.inputs if v not in growing]
        return (
            Growth.MULTIPLIES
            if None in factors
            else worst
            if all(f == 1.0 for f in factors)
            else _decayed(worst)
        )
    if node.op == "div":
        divisor = constant(genome, node.inputs[1])
        return worst if divisor is not None and abs(divisor) >= 1.0 else Growth.MULTIPLIES
    if node.op == "blend":
        gate, one, other = node.inputs
        if not known.in_unit[gate]:
            return Growth.MULTIPLIES
        return worst if level[one] and level[other] else _decayed(worst)
    return worst  # a function that grows no faster than its operand, or an extremum


def _summed(level: Sequence[Growth], growing: Sequence[int]) -> Growth:
    """A sum of a decaying state and a bounded value still decays; a state that keeps its size grows
    by what is added.
    """
    if len(growing) == 1 and level[growing[0]] is Growth.DECAYS:
        return Growth.DECAYS
    return Growth.ADDS if len(growing) == 1 else Growth.MULTIPLIES


def _decayed(growth: Growth) -> Growth:
    return Growth.DECAYS if growth <= Growth.ADDS else growth


def _factors(genome: Genome, in_unit: Sequence[bool]) -> tuple[float | None, ...]:
    """A bound of the magnitude of each value where it multiplies a state: at most 1, or ``None`` if
    it is not known to be. Below 1 the state decays: a gate is never open at every step.
    """
    bounds: list[float | None] = []
    for value, (gate, switch) in enumerate(zip(in_unit, switches(genome), strict=True)):
        node = genome.node(value)
        number = constant(genome, value)
        if number is not None:
            bounds.append(abs(number) if abs(number) <= 1.0 else None)
        elif gate and switch:
            bounds.append(1.0)
        else:
            squashed = node is not None and ops.OPS[node.op].squashing
            bounds.append(0.5 if gate or squashed else None)
    return tuple(bounds)


def _growing_states(genome: Genome, end: int, level: Sequence[Growth]) -> set[int]:
    """The previous states that a value grows with."""
    seen: set[int] = set()
    stack = [end]
    while stack:
        value = stack.pop()
        if value not in seen and level[value] > Growth.BOUNDED:
            seen.add(value)
            node = genome.node(value)
            stack.extend(node.inputs if node else ())
    return {value for value in seen if genome.is_state(value)}


def _states_on_loops(genome: Genome, level: Sequence[Growth]) -> set[int]:
    """The states that grow with themselves, in one step or in several."""
    reach = {state: _growing_states(genome, end, level) for state, end in _ends(genome)}
    loops = set()
    for state in reach:
        seen: set[int] = set()
        stack = list(reach[state])
        while stack:
            other = stack.pop()
            if other not in seen:
                seen.add(other)
                stack.extend(reach[other])
        if state in seen:
            loops.add(state)
    return loops
