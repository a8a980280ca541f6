"""A cell that grew out of another starts as the other: weights that the parent does not have are
set so that they change nothing.

Function-preserving growth (Chen, Goodfellow & Shlens 2016, Net2Net, arXiv 1511.05641, section 2)
for the extensions of :mod:`cellsearch.space.growth`: a new ``linear`` that is added starts at 0;
one that multiplies or divides starts at 1; a gate starts open (0.98) where it multiplies what was
there, and closed (0.02) where it lets in what was not: the state of a ``blend``, a state that was
not read there, the past of a new state. A view (``tanh(linear)``) that multiplies starts at 0.96, a
new operand of an old ``linear`` with weight 0, a new ``diag`` or ``scale`` at 1. Nothing of the
kind is possible for a function of an old value (``tanh(a)``), or for the sum of an old value and a
state: those start changed.

Weights that got another name, because the value around them has another name now, are taken over as
well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.training.checkpoint import Checkpoint

__all__ = ["GATE_BIAS", "quiet_start", "quiet_values", "renamed"]

GATE_BIAS = 4.0
"""Bias of a new gate: sigmoid(4) = 0.982."""
VIEW_BIAS = 2.0
"""Bias of a new view: tanh(2) = 0.964, and its slope is still 0.07."""
_OTHER_BIAS = {"hard_sigmoid": 6 / (1 + math.exp(-GATE_BIAS)) - 3}
"""The bias of the gates that take another to be as open: hard_sigmoid has slope 0 at 4."""


def quiet_start(stored: Checkpoint, genome: Genome, layer: nn.Module, *, source: str = "") -> int:
    """Set the weights of a compiled ``layer`` that the parent, whose checkpoint is ``stored``, does
    not have; returns how many. ``source``: what errors call the checkpoint.
    """
    given = stored.cell_weights()
    parent = Genome.from_json(stored.meta["identity"]["genome"], source=source)
    elsewhere = renamed(genome, parent)
    start = quiet_values(genome, parent)
    count = 0
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            place, _, own = name.partition(".")
            old: Tensor | None = (
                given.get(f"{place}.{elsewhere[own]}") if own in elsewhere else None
            )
            if old is not None and old.shape == weight.shape:
                weight.copy_(old)
            elif own in start:
                weight.fill_(start[own])
            else:
                continue
            count += 1
    return count


def quiet_values(genome: Genome, parent: Genome) -> Mapping[str, float]:
    """The number that each new weight of a cell starts with, for those where one keeps the parent's
    function.
    """
    old = {spec.name for spec in parent.parameters}
    moved = renamed(genome, parent)
    by_node: dict[int, list[str]] = {}
    for spec in genome.parameters:
        by_node.setdefault(spec.node, []).append(spec.name)
    start: dict[str, float] = {}
    for value, names in by_node.items():
        node = genome.nodes[value - genome.first_node]
        new = [name for name in names if name not in old and name not in moved]
        if len(new) < len(names):
            if node.op == "linear":
                start |= dict.fromkeys(new, 0.0)
            continue
        if node.op in ("diag", "scale"):
            start |= dict.fromkeys(names, 1.0)
        elif node.op == "linear" and node.bias:
            bias = _bias(genome, parent, value)
            if bias is not None:
                start |= {name: bias if name.endswith(".bias") else 0.0 for name in names}
    return start


def _bias(genome: Genome, parent: Genome, value: int) -> float | None:
    """The constant that a new linear must put out so that its reader changes nothing; ``None``
    where there is no such number.
    """
    delayed = _delayed(genome, parent, value)
    if delayed is not None:
        return delayed
    reader = _only_reader(genome, value)
    if _is_view(genome, reader):
        return VIEW_BIAS
    while reader is not None and _passes_zero(genome, reader):
        following = _only_reader(genome, reader)
        if following is None or not (
            _passes_zero(genome, following)
            or genome.nodes[following - genome.first_node].op in ("add", "sub")
        ):
            return None
        value, reader = reader, following
    if reader is None:
        return None
    node = genome.nodes[reader - genome.first_node]
    if node.op == "add" or (node.op == "sub" and node.inputs[1] == value):
        return 0.0
    if node.op == "mul" or (node.op == "div" and node.inputs[1] == value):
        return 1.0
    return _gate_bias(genome, parent, reader) if ops.OPS[node.op].gate else None


def _is_view(genome: Genome, reader: int | None) -> bool:
    """Whether a value is squashed with its sign, and then multiplies."""
    following = _only_reader(genome, reader) if reader is not None else None
    if reader is None or following is None:
        return False
    row = ops.OPS[genome.nodes[reader - genome.first_node].op]
    multiplies = genome.nodes[following - genome.first_node].op == "mul"
    return multiplies and row.squashing and row.odd and row.keeps_unit


def _delayed(genome: Genome, parent: Genome, value: int) -> float | None:
    """The constant for a linear that a new state holds for one step, by what reads the state."""
    for k, state in enumerate(genome.states):
        if genome.next_states[k] == value and state.name not in parent.state_names:
            reader = _only_reader(genome, len(genome.inputs) + k)
            op = "" if reader is None else genome.nodes[reader - genome.first_node].op
            return {"mul": 1.0, "add": 0.0}.get(op)
    return None


def _passes_zero(genome: Genome, value: int) -> bool:
    """Whether the node is a function of one value that is 0 at 0 and goes on through it: one that
    turns there (``abs``) or ends there (``sqrt``) would not let a new weight learn.
    """
    row = ops.OPS[genome.nodes[value - genome.first_node].op]
    return row.unary and row.keeps_zero and not row.even and not row.half_line


def _gate_bias(genome: Genome, parent: Genome, gate: int) -> float | None:
    reader = _only_reader(genome, gate)
    if reader is None:
        return None
    node = genome.nodes[reader - genome.first_node]
    bias = _OTHER_BIAS.get(genome.nodes[gate - genome.first_node].op, GATE_BIAS)
    if node.op == "blend" and node.inputs[0] == gate:
        return -bias  # the third operand is what was there before
    if node.op != "mul":
        return None
    new_states = {
        len(genome.inputs) + k
        for k, state in enumerate(genome.states)
        if state.name not in parent.state_names
    }
    let_in = new_states & set(node.inputs) or _lets_in_a_state(genome, parent, reader)
    return -bias if let_in else bias


def _lets_in_a_state(genome: Genome, parent: Genome, product: int) -> bool:
    """Whether a gate and an old state are multiplied and added to something, and the parent has no
    sum that reads the state.
    """
    node, reader = genome.nodes[product - genome.first_node], _only_reader(genome, product)
    if reader is None or genome.nodes[reader - genome.first_node].op != "add":
        return False
    states = [v for v in node.inputs if len(genome.inputs) <= v < genome.first_node]
    if len(node.inputs) != 2 or not states:
        return False
    name = genome.states[states[0] - len(genome.inputs)].name
    if name not in parent.state_names:
        return True
    old = len(parent.inputs) + parent.state_names.index(name)
    return not any(n.op == "add" and old in n.inputs for n in parent.nodes)


def _only_reader(genome: Genome, value: int) -> int | None:
    """The node that reads a value, if nothing else does."""
    users = set(genome.uses[value])
    ends = {*genome.next_states, genome.output}
    return users.pop() if len(users) == 1 and value not in ends else None


def renamed(genome: Genome, parent: Genome) -> Mapping[str, str]:
    """Weights of a cell that are the parent's under another name -> the name there.

    Two causes: an anonymous node stands in another statement now, and an operand of a linear has
    become a product with what it was.
    """
    now, before = _by_owner(genome), _by_owner(parent)
    named = {node.name for node in genome.nodes if node.name}
    fresh = [owner for owner in now if owner not in before and owner not in named]
    lost = [owner for owner in before if owner not in now]
    found: dict[str, str] = {}
    for new, old in zip(fresh, lost, strict=False):
        found |= {
            f"{new}.{suffix}": f"{old}.{suffix}" for suffix in now[new] if suffix in before[old]
        }
    for owner in now.keys() & before.keys():
        gone = [suffix for suffix in before[owner] if suffix not in now[owner]]
        come = [suffix for suffix in now[owner] if suffix not in before[owner]]
        if len(gone) == len(come) == 1:
            found[f"{owner}.{come[0]}"] = f"{owner}.{gone[0]}"
    return found


def _by_owner(genome: Genome) -> dict[str, list[str]]:
    """Owner of weights -> the second parts of their names, in order of appearance."""
    owners: dict[str, list[str]] = {}
    for spec in genome.parameters:
        owner, _, suffix = spec.name.partition(".")
        owners.setdefault(owner, []).append(suffix)
    return owners
