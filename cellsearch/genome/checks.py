"""Static checks: what the graph alone says against a cell, with the reason.

Each finding is a fact about the graph, not a verdict: the intersection cell wants I = H, and the
constant error carousel of the first LSTM is a sum without decay on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square
from cellsearch.genome.parts import Node
from cellsearch.genome.ranges import constant, gates
from cellsearch.genome.state_growth import Growth, growth_of_states

__all__ = ["Finding", "static_checks"]

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
        if constant(genome, node.inputs[1]) == 0.0:
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
            closes = constant(genome, node.inputs[0]) == 1.0 and among[1]
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
