"""The second part of scheduling: in which stage of which phase each value is computed, and where it
is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cellsearch.compiler.scheduling.dataflow import Dataflow, FlowNode
from cellsearch.compiler.scheduling.phases import Phase
from cellsearch.genome.parameters import Width

__all__ = ["Placement", "StagePlace", "place_values"]

STAGE_LIMIT = 120
"""Operations of one stage; a longer one is cut, because the operands of a stage have to stay in the
first-level cache.
"""

_IN_TIME = (Phase.BEFORE, Phase.LOOP, Phase.AFTER)
_ENDS = ("move", "total")
"""What leads to ends only, so nothing asks for it earlier than its operands do."""


class StagePlace(NamedTuple):
    """Where in a step something happens; stages of two widths are apart."""

    phase: Phase
    stage: int
    change: int = 0
    """Changes of width within the stage on the longest path to it."""
    part: int = 0
    """Of a long stage that was cut."""
    width: str = ""


@dataclass(frozen=True)
class Placement:
    """Where everything is computed and read."""

    next_values: tuple[int, ...]
    """For each state the value that becomes it, which is written where the state lies."""
    places: Mapping[int, StagePlace]
    """Of each node that a stage computes, in the order of the data flow."""
    readers: Mapping[int, set[StagePlace | None]]
    """Where each value is read; ``None``: by a product or as a factor of a weight gradient, which
    needs it in memory.
    """

    def is_read_outside_loop(self, value: int) -> bool:
        """Whether something outside the loop reads the value."""
        return any(
            place is not None and place.phase is not Phase.LOOP
            for place in self.readers.get(value, ())
        )

    def needs_home(self, value: int) -> bool:
        """Whether something other than the value's own stage reads it."""
        own = self.places.get(value)
        return any(place is None or place != own for place in self.readers.get(value, ()))


def place_values(flow: Dataflow) -> Placement:
    """The places of all values. Ends that cannot be written where they belong get a copy in
    ``flow``.
    """
    next_values = _settle_states(flow)
    _settle_outputs(flow, next_values)
    places = _places(flow)
    return Placement(next_values, places, _readers(flow, places))


def _settle_states(flow: Dataflow) -> tuple[int, ...]:
    """The next value of each state: what is computed in the loop is written there at once, the rest
    is copied.
    """
    settled: list[int] = []
    program = flow.program
    for value, width in zip(program.next_states, program.state_widths, strict=True):
        own = value not in settled and _can_be_written_at_once(flow, value)
        settled.append(value if own else flow.move(value, Phase.LOOP, width))
    return tuple(settled)


def _can_be_written_at_once(flow: Dataflow, value: int) -> bool:
    item = flow.of(value)
    if isinstance(item, FlowNode):
        computed = item.computed
    else:
        # A sum that is begun before the loop needs a place for all positions, which a state need
        # not have.
        computed = all(product.phase is Phase.LOOP for product in item.products)
    return computed and item.phase is Phase.LOOP and not item.fixed


def _settle_outputs(flow: Dataflow, next_values: tuple[int, ...]) -> None:
    """Copy outputs that no stage computes. The gradient of a weight is stored at the end; an output
    that is a state lies there already.
    """
    for name, value in list(flow.outputs.items()):
        item = flow.of(value)
        if name in flow.weights or value in next_values:
            continue
        if item.fixed or value < flow.program.first:
            width = flow.program.output_width if item.width == "1" else item.width
            flow.outputs[name] = flow.move(value, max(item.phase, Phase.BEFORE), width)


def _places(flow: Dataflow) -> dict[int, StagePlace]:
    """Every node of a phase in time gets its stage: as late as its readers allow, or at once if
    only ends read it.
    """
    latest, needed = _latest_stages(flow)
    stages = dict(latest)
    for value, stage in latest.items():
        node = flow.nodes[value]
        if node.op in _ENDS and node.latest is None and value not in needed:
            source = node.inputs[0]
            beside = latest.get(source, 0) if flow.of(source).phase is node.phase else 0
            stages[value] = max(stage, beside)
    changes = _changes_of_width(flow, stages)
    counts: dict[tuple[Phase, int, int, str], int] = {}
    places: dict[int, StagePlace] = {}
    for value in flow.order:
        if value not in stages:
            continue
        width = _stage_width(flow, value)
        key = (flow.nodes[value].phase, stages[value], changes[value], width)
        counts[key] = counts.get(key, 0) + 1
        places[value] = StagePlace(*key[:3], (counts[key] - 1) // STAGE_LIMIT, width)
    return places


def _changes_of_width(flow: Dataflow, stages: Mapping[int, int]) -> dict[int, int]:
    """How often the width changes within a stage before each node, which the node may wait for: on
    the longest path to it, or as often as its readers allow.
    """
    below = {
        value: [
            (operand, _stage_width(flow, operand) != _stage_width(flow, value))
            for operand in flow.nodes[value].inputs
            if stages.get(operand) == stages[value]
            and flow.nodes[operand].phase is flow.nodes[value].phase
        ]
        for value in flow.order
        if value in stages
    }
    found: dict[int, int] = {}
    for value, operands in below.items():
        found[value] = max([found[operand] + changes for operand, changes in operands], default=0)
    latest: dict[int, int] = {}
    for value, operands in reversed(below.items()):
        found[value] = latest.get(value, found[value])
        for operand, changes in operands:
            allowed = found[value] - changes
            latest[operand] = min(latest.get(operand, allowed), allowed)
    return found


def _latest_stages(flow: Dataflow) -> tuple[dict[int, int], set[int]]:
    """The stage of each node, seen from its readers; and the values that anything asked for."""
    needed: dict[int, list[int]] = {}

    def need(value: int, phase: Phase, stage: int) -> None:
        if value in flow.nodes and flow.nodes[value].phase is phase:
            needed.setdefault(value, []).append(stage)

    for item in flow.sums.values():
        for product in item.products:
            need(product.source, product.phase, flow.level(product.source, product.phase))
    stages: dict[int, int] = {}
    for value in reversed(flow.order):
        node = flow.nodes.get(value)
        if node is None or node.phase not in _IN_TIME or not node.computed:
            continue
        if node.fixed and node.op != "total":
            continue
        limits = needed.get(value, []) + ([node.latest] if node.latest is not None else [])
        stages[value] = max(node.level, min(limits)) if limits else node.level
        if limits or node.op not in _ENDS:
            for operand in node.inputs:
                need(operand, node.phase, stages[value])
    return stages, set(needed)


def _stage_width(flow: Dataflow, value: int) -> Width:
    """The width that a node's stage has: that of its operand for a total."""
    node = flow.nodes[value]
    return flow.of(node.inputs[0]).width if node.op == "total" else node.width


def _readers(flow: Dataflow, places: Mapping[int, StagePlace]) -> dict[int, set[StagePlace | None]]:
    readers: dict[int, set[StagePlace | None]] = {}
    for value, node in flow.nodes.items():
        if node.inputs:
            place = places.get(value) or StagePlace(node.phase, 0)
            for operand in node.inputs:
                readers.setdefault(operand, set()).add(place)
    for item in flow.sums.values():
        for product in item.products:
            place = StagePlace(product.phase, 0, width="product")
            readers.setdefault(product.source, set()).update({None, place})
    for outer in flow.outers:
        for factor in (outer.left, outer.right):
            readers.setdefault(factor, set()).update({None, StagePlace(Phase.END, 0)})
    return readers
