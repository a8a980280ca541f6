"""In which range the values of a cell lie, as far as its graph shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Node

__all__ = ["constant", "gates", "switches"]


def constant(genome: Genome, value: int) -> float | None:
    """The number that a value is; ``None``: it is no constant."""
    node = genome.node(value)
    return node.value if node is not None and node.op == "const" else None


def gates(genome: Genome) -> tuple[bool, ...]:
    """For each value whether it lies in [0, 1], as far as the graph shows: gates, 1 - gate, their
    products, shares f / (f + i), the mask, decays exp(-a) with a >= 0.
    """
    found = [*_masks(genome), *[False] * len(genome.nodes)]
    signs = _signs(genome)
    for value, node in genome.numbered():
        found[value] = _is_gate(genome, node, found, signs)
    return tuple(found)


def switches(genome: Genome) -> tuple[bool, ...]:
    """For each value whether it is made of the mask and numbers alone; it can be 1 at each step."""
    found = _masks(genome)
    for _, node in genome.numbered():
        found.append(not ops.OPS[node.op].parametric and all(found[v] for v in node.inputs))
    return tuple(found)


def _masks(genome: Genome) -> list[bool]:
    """For each input and previous state whether it is the mask, of this step or the one before."""
    now = [name == "mask" for name in genome.inputs]
    return now + [end < len(now) and now[end] for end in genome.next_states]


def _is_gate(
    genome: Genome, node: Node, found: Sequence[bool], signs: Sequence[frozenset[int]]
) -> bool:
    inputs = node.inputs
    if ops.OPS[node.op].gate:
        return True
    if node.op == "const":
        return 0.0 <= node.value <= 1.0
    if node.op == "sub":
        return constant(genome, inputs[0]) == 1.0 and found[inputs[1]]
    if node.op == "div":  # f / (f + i) with f, i >= 0; minLSTM, Feng et al. 2024
        below = genome.node(inputs[1])
        return (
            below is not None
            and below.op == "add"
            and inputs[0] in below.inputs
            and all(found[v] for v in below.inputs)
        )
    if node.op == "exp" and -1 in signs[inputs[0]]:  # a decay; GRU-D, Che et al. 2016, eq. 10
        return True
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


def _signs(genome: Genome) -> list[frozenset[int]]:
    """For each value the signs that it is known to have, 0 apart: 1, -1, neither, or both (0)."""
    unknown: frozenset[int] = frozenset()
    signs = [frozenset({1}) if name in ("dt", "mask") else unknown for name in genome.inputs]
    signs += [unknown] * len(genome.states)
    for _, node in genome.numbered():
        signs.append(frozenset(s for s in (1, -1) if _has_sign(node, s, signs)))
    return signs


def _has_sign(node: Node, sign: int, signs: Sequence[frozenset[int]]) -> bool:
    """Whether a node is never of the opposite sign, given the signs of the values before it."""
    row, inputs = ops.OPS[node.op], node.inputs
    if node.op == "const":
        return node.value * sign >= 0
    if (row.nonnegative and sign == 1) or (row.nonpositive and sign == -1):
        return True
    if node.op in ("add", "identity"):
        return all(sign in signs[v] for v in inputs)
    if node.op == "neg":
        return -sign in signs[inputs[0]]
    if node.op == "sub":
        return sign in signs[inputs[0]] and -sign in signs[inputs[1]]
    if node.op in ("mul", "div"):
        known = math.prod(next(iter(signs[v]), 0) for v in inputs)
        return known == sign
    if node.op in ("max", "min"):
        enough = any if (node.op == "max") == (sign == 1) else all
        return enough(sign in signs[v] for v in inputs)
    return False
