"""Static checks: what the graph alone says against a cell, with the reason.

Each finding is a fact about the graph, not a verdict: the intersection cell wants I = H, and the
constant error carousel of the first LSTM is a sum without decay on purpose. The growth check
follows magnitudes: what is squashed stays bounded, a gate in [0, 1] lets decay, everything a weight
or an unsquashed value multiplies may grow. It errs on the side of a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square
from cellsearch.genome.parts import Node

__all__ = ["Finding", "Growth", "gates", "growth_of_states", "static_checks"]

Code = Literal[
    "input-unseen",
    "state-unseen",
    "no-influence",
    "grows-exponentially",
    "grows-linearly",
    "square",
    "divides-by-zero",
    "divides-by-gates",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the graph."""

    code: Code
    """For machines."""
    where: str
    """A label of the graph."""
    message: str
    """What is the case."""
    reason: str
    """Why it matters."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.reason})"


class Growth(IntEnum):
    """How a value grows with the previous states; a larger one includes the smaller ones."""

    BOUNDED = 0  # squashed, or free of states that grow
    DECAYS = 1  # a state times something in [0, 1]
    KEEPS = 2  # a state as it was
    ADDS = 3  # a state plus something
    MULTIPLIES = 4  # a state times a weight or an unsquashed value


def static_checks(genome: Genome) -> list[Finding]:
    """All findings, most serious first; an empty list for a cell without any."""
    return [
        *_unseen_input(genome),
        *_divisions(genome),
        *_unseen_states(genome),
        *_without_influence(genome),
        *_growth(genome),
        *_square(genome),
    ]


def _unseen_input(genome: Genome) -> list[Finding]:
    if 0 in _below(genome, [genome.output]):
        return []
    return [
        Finding(
            "input-unseen",
            f"{genome.output_name}_t",
            "the output does not see x_t in its own step",
            "it answers a step late; all 34 such recipes of NAS-Bench-NLP failed to train",
        )
    ]


def _unseen_states(genome: Genome) -> list[Finding]:
    seen = _seen_by_output(genome)
    return [
        Finding(
            "state-unseen",
            f"{state.name}_t",
            "the state never reaches the output",
            "it is computed in every step and has no effect",
        )
        for value, state in enumerate(genome.states, start=len(genome.inputs))
        if value not in seen
    ]


def _without_influence(genome: Genome) -> list[Finding]:
    seen = _seen_by_output(genome)
    return [
        Finding(
            "no-influence",
            genome.labels[value],
            f"this {node.op} has no influence on the output",
            _why_dead(node),
        )
        for value, node in genome.numbered()
        if value not in seen
    ]


def _divisions(genome: Genome) -> list[Finding]:
    in_unit = gates(genome)
    findings = []
    for value, node in genome.numbered():
        if node.op != "div" or value not in genome.live:
            continue
        if _constant(genome, node.inputs[1]) == 0.0:
            findings.append(
                Finding(
                    "divides-by-zero",
                    genome.labels[value],
                    "it divides by the constant 0",
                    "the loss is nan or infinite from the first step on",
                )
            )
        elif node.inputs[1] in _closing(genome, in_unit):
            findings.append(
                Finding(
                    "divides-by-gates",
                    genome.labels[value],
                    "it divides by gates that may all be closed",
                    "0 / 0 is nan, in float32 from inputs of about -100 on; f / (f + i) of "
                    "f = sigmoid(a), i = sigmoid(b) is sigmoid(log_sigmoid(a) - log_sigmoid(b)), "
                    "which stays finite",
                )
            )
    return findings


def _closing(genome: Genome, in_unit: Sequence[bool]) -> set[int]:
    """The values that are 0 in floating point when the gates below them are closed: sigmoids,
    their products with gates, and sums, roots and extrema of such.
    """
    closing: set[int] = set()
    for value, node in genome.numbered():
        among = [v in closing for v in node.inputs]
        if ops.OPS[node.op].gate:
            closes = True
        elif node.op == "mul":
            closes = any(among) and all(in_unit[v] or v in closing for v in node.inputs)
        elif node.op == "sub":  # 1 - gate, where the gate is open
            closes = _constant(genome, node.inputs[0]) == 1.0 and among[1]
        elif node.op in ("add", "max", "blend", "diag", "scale", "identity", "sqrt", "square"):
            closes = all(among)
        elif node.op in ("min", "div"):
            closes = any(among) if node.op == "min" else among[0]
        else:
            closes = False
        if closes:
            closing.add(value)
    return closing


def _why_dead(node: Node) -> str:
    return "its weights get no gradient" if ops.OPS[node.op].parametric else "it can be left out"


def _square(genome: Genome) -> list[Finding]:
    place = requires_square(genome)
    if not place:
        return []
    return [
        Finding(
            "square",
            place,
            "x_t meets a state elementwise",
            "the cell needs input_size = hidden_size",
        )
    ]


def _below(genome: Genome, roots: Sequence[int]) -> set[int]:
    """The values from which the roots are computed within a step."""
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            node = genome.node(value)
            stack.extend(node.inputs if node else ())
    return seen


def _seen_by_output(genome: Genome) -> set[int]:
    """The values that the output depends on, in this step or a later one."""
    roots = [genome.output]
    while True:
        seen = _below(genome, roots)
        more = [
            end
            for state, end in enumerate(genome.next_states, start=len(genome.inputs))
            if state in seen and end not in roots
        ]
        if not more:
            return seen
        roots += more


# -- growth ----------------------------------------------------------------------------------------


def _growth(genome: Genome) -> list[Finding]:
    findings = []
    for state, growth in zip(genome.states, growth_of_states(genome), strict=True):
        if growth is Growth.MULTIPLIES:
            message = "the state is multiplied by an unsquashed value on its way to itself"
            findings.append(
                Finding(
                    "grows-exponentially",
                    f"{state.name}_t",
                    message,
                    "it can grow exponentially with the steps",
                )
            )
        elif growth is Growth.ADDS:
            findings.append(
                Finding(
                    "grows-linearly",
                    f"{state.name}_t",
                    "the state is summed without decay",
                    "it can grow with every step",
                )
            )
    return sorted(findings, key=lambda finding: finding.code)


def growth_of_states(genome: Genome) -> tuple[Growth, ...]:
    """How each state grows on its way back to itself; states that stay bounded or decay do not make
    others grow.
    """
    in_unit = gates(genome)
    tame: set[int] = set()
    while True:
        level = _levels(genome, in_unit, tame)
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


def _levels(genome: Genome, in_unit: Sequence[bool], tame: set[int]) -> list[Growth]:
    """The growth of each value when the ``tame`` states are bounded."""
    level: list[Growth] = []
    for value in range(genome.n_values):
        node = genome.node(value)
        if node is None:
            grows = genome.is_state(value) and value not in tame
            level.append(Growth.KEEPS if grows else Growth.BOUNDED)
        else:
            level.append(_level(genome, node, in_unit, level))
    return level


def _level(genome: Genome, node: Node, in_unit: Sequence[bool], level: Sequence[Growth]) -> Growth:
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
        zeros = all(_constant(genome, v) == 0.0 for v in node.inputs if v not in growing)
        return worst if len(growing) == 1 and zeros else max(worst, _summed(level, growing))
    if node.op == "mul":
        if len(growing) > 1:
            return Growth.MULTIPLIES
        factors = [_factor(genome, v, in_unit) for v in node.inputs if v not in growing]
        return (
            Growth.MULTIPLIES
            if None in factors
            else worst
            if all(f == 1.0 for f in factors)
            else _decayed(worst)
        )
    if node.op == "div":
        divisor = _constant(genome, node.inputs[1])
        return worst if divisor is not None and abs(divisor) >= 1.0 else Growth.MULTIPLIES
    if node.op == "blend":
        gate, one, other = node.inputs
        if not in_unit[gate]:
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


def _constant(genome: Genome, value: int) -> float | None:
    node = genome.node(value)
    return node.value if node is not None and node.op == "const" else None


def _factor(genome: Genome, value: int, in_unit: Sequence[bool]) -> float | None:
    """A bound of the magnitude of what multiplies a state: at most 1, or ``None`` if it is not
    known to be.
    """
    number = _constant(genome, value)
    if number is not None:
        return abs(number) if abs(number) <= 1.0 else None
    node = genome.node(value)
    return 0.5 if in_unit[value] or (node is not None and ops.OPS[node.op].squashing) else None


def gates(genome: Genome) -> tuple[bool, ...]:
    """For each value whether it lies in [0, 1], as far as the graph shows: gates, 1 - gate, their
    products, shares f / (f + i).
    """
    found = [False] * genome.n_values
    for value, node in genome.numbered():
        found[value] = _is_gate(genome, node, found)
    return tuple(found)


def _is_gate(genome: Genome, node: Node, found: Sequence[bool]) -> bool:
    inputs = node.inputs
    if ops.OPS[node.op].gate:
        return True
    if node.op == "const":
        return 0.0 <= node.value <= 1.0
    if node.op == "sub":
        return _constant(genome, inputs[0]) == 1.0 and found[inputs[1]]
    if node.op == "div":  # f / (f + i) with f, i >= 0; minLSTM, Feng et al. 2024
        below = genome.node(inputs[1])
        return (
            below is not None
            and below.op == "add"
            and inputs[0] in below.inputs
            and all(found[v] for v in below.inputs)
        )
    if node.op == "exp":  # exp(a - max(a, b)); sLSTM, Beck et al. 2024, eq. 15
        inner = genome.node(inputs[0])
        highest = genome.node(inner.inputs[1]) if inner is not None and inner.op == "sub" else None
        return (
            inner is not None
            and highest is not None
            and highest.op == "max"
            and inner.inputs[0] in highest.inputs
        )
    return ops.OPS[node.op].keeps_unit and all(found[v] for v in inputs)


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
