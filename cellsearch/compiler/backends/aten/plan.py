"""The plan: which torch calls run a program over time, in which phase, on which memory
(:mod:`~cellsearch.compiler.backends.aten.places`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cellsearch.compiler.backends.aten import actions
from cellsearch.compiler.backends.aten.actions import Action
from cellsearch.compiler.backends.aten.columns import runs
from cellsearch.compiler.backends.aten.pending import PendingAction, in_order
from cellsearch.compiler.backends.aten.places import (
    Places,
    SlotTable,
    Stack,
    View,
    place_values,
)
from cellsearch.compiler.backends.aten.sums import FlatSum
from cellsearch.compiler.program import BasePlace, Program, base_places
from cellsearch.compiler.scheduling.phases import Phase, phases

__all__ = ["ActionPlan", "make_plan"]


@dataclass(frozen=True)
class ActionPlan:
    """Calls, and the memory that they need."""

    program: Program
    places: Places
    n_slots: int
    stacks: tuple[Stack, ...]
    views: tuple[View, ...]
    blank: tuple[tuple[int, int], ...]
    """Ranges of columns of Z that start as their bias."""
    bases: Mapping[str, BasePlace]
    """Where the numbers of the sizes show."""
    actions: Mapping[Phase, tuple[Action, ...]]
    loop_slots: tuple[int, ...]
    """Slots that the loop reads or writes row block by row block."""


def make_plan(program: Program, kept: Iterable[int] = (), *, backwards: bool = False) -> ActionPlan:
    """``kept``: values of extent ``step`` that are wanted over all positions besides the outputs;
    ``backwards``: time runs backwards.
    """
    phase = phases(program)
    slots = SlotTable(program.n_values)
    places = place_values(program, phase, frozenset(kept), slots, backwards=backwards)
    planner = _Planner(program, phase, places, slots)
    blank = planner.add_products()
    for total in places.sums.values():
        planner.add_sum(total)
    joined, single = planner.overwriting()
    planner.add_instructions()
    planner.add_reductions()
    pending = planner.pending
    # Joined ones may wait for each other; those one by one do not.
    ordered = in_order([*pending, *joined]) or in_order([*pending, *single])
    assert ordered is not None, "a program's instructions are in order"
    return ActionPlan(
        program=program,
        places=places,
        n_slots=slots.count,
        stacks=tuple(slots.stacks),
        views=tuple(slots.views),
        blank=blank,
        bases=base_places(program),
        actions={
            part: tuple(p.action for p in ordered if p.phase is part and p.action is not None)
            for part in Phase
        },
        loop_slots=_loop_slots(program, phase, places, slots, ordered),
    )


class _Planner:
    """Actions as they come, and what they wait for."""

    def __init__(
        self, program: Program, phase: tuple[Phase, ...], places: Places, slots: SlotTable
    ) -> None:
        self.program = program
        self.phase = phase
        self.places = places
        self.slots = slots
        self.pending: list[PendingAction] = []
        self.arrivals: dict[int, set[int]] = {}
        """For each root the (negative) numbers of its products."""

    # -- actions -----------------------------------------------------------------------------------

    def add_products(self) -> tuple[tuple[int, int], ...]:
        """Products into Z, one action a source and run of columns; the ranges of columns that none
        of them begins.
        """
        wanted = self.wanted_products()
        filled: set[int] = set()
        touched: set[int] = set()
        for phase, source, turn in sorted(wanted):
            found = wanted[phase, source, turn]
            for start, stop in runs(list(found)):
                columns = set(range(start, stop))
                fills = columns if phase is Phase.BEFORE and not touched & columns else set()
                self.add_product(phase, source, (start, stop), found, fills)
                filled |= fills
                touched |= columns
        return tuple(runs([k for k in range(len(self.places.biases)) if k not in filled]))

    def wanted_products(self) -> dict[tuple[Phase, int, int], dict[int, tuple[int, str]]]:
        """For each phase, source and round: column -> (root, weight). Two products of one source
        with one sum are two rounds.
        """
        wanted: dict[tuple[Phase, int, int], dict[int, tuple[int, str]]] = {}
        for total in self.places.sums.values():
            seen: dict[int, int] = {}
            for d in total.dense:
                instruction = self.program.made_by(d)
                source = instruction.inputs[0]
                seen[source] = seen.get(source, 0) + 1
                columns = wanted.setdefault((total.phase, source, seen[source]), {})
                columns[total.column] = (total.root, instruction.parameter)
        return wanted

    def add_product(
        self,
        phase: Phase,
        source: int,
        run: tuple[int, int],
        found: Mapping[int, tuple[int, str]],
        fills: set[int],
    ) -> None:
        """``found``: of each column the root and the weight; ``fills``: columns that it begins."""
        columns = range(*run)
        target = self.slots.view("z", *run)
        weight = self.slots.stack([found[k][1] for k in columns], transposed=True)
        number = -1 - len(self.pending)
        after = {
            -1 - k
            for k, before in enumerate(self.pending)
            if before.phase is phase and before.fills.intersection(columns)
        }
        if fills:
            action = actions.fill(target, self.slots.view("bias", *run), source, weight)
        else:
            action = actions.accumulate(target, source, weight)
        self.pending.append(
            PendingAction(
                phase, {source, *after}, (number,), action, slots={target, source}, fills=fills
            )
        )
        for k in columns:
            self.arrivals.setdefault(found[k][0], set()).add(number)

    def add_sum(self, total: FlatSum) -> None:
        """What a sum adds to the products that arrive in its memory, or all of it."""
        values = [v for v in total.rest if v not in self.places.factors]
        pairs = [self.factors(v) for v in total.rest if v in self.places.factors]
        values.sort(key=lambda v: self.program.shapes[v].extent != "step")
        matrices = self.matrices(total)
        needs = {*values, *(v for pair in (*pairs, *matrices) for v in pair)}
        needs.update(v for d in total.deltas for v in self.program.made_by(d).inputs)
        needs |= self.arrivals.get(total.root, set())
        action: Action | None = None
        if not total.dense:
            into = self.places.has_memory(total.root)
            action = actions.combine(total.root, values, matrices, pairs, into=into)
        elif values or pairs or matrices:
            operands = [total.root, *values]
            action = actions.combine(total.root, operands, matrices, pairs, into=True)
        self.pending.append(
            PendingAction(total.phase, needs, (total.root,), action, slots={*needs, total.root})
        )

    def factors(self, value: int) -> tuple[int, int]:
        a, b = self.program.made_by(value).inputs
        return (a, b)

    def matrices(self, total: FlatSum) -> list[tuple[int, int]]:
        """Products outside Z: (slot of the source, slot of the stacked weights), those with
        transposed weights one for each run of columns of D.
        """
        by_column: dict[int, str] = {}
        found: list[tuple[int, int]] = []
        for d in total.deltas:
            instruction = self.program.made_by(d)
            delta, parameter = instruction.inputs[0], instruction.parameter
            forward = instruction.op == "dense"
            column = None if forward else self.places.d_column.get(delta)
            if column is not None and column not in by_column:
                by_column[column] = parameter
            else:
                found.append((delta, self.slots.stack([parameter], transposed=forward)))
        for start, stop in runs(list(by_column)):
            names = [by_column[k] for k in range(start, stop)]
            weight = self.slots.stack(names, transposed=False)
            found.append((self.slots.view("d", start, stop), weight))
        return found

    def overwriting(self) -> tuple[list[PendingAction], list[PendingAction]]:
        """Functions of one value on columns of Z: neighbours with one function in one call, and
        one by one.
        """
        joined: list[PendingAction] = []
        single: list[PendingAction] = []
        groups: dict[tuple[Phase, str], dict[int, int]] = {}
        for value in self.places.overwriting:
            key = (self.phase[value], self.program.made_by(value).op)
            groups.setdefault(key, {})[self.places.z_column[value]] = value
        for (phase, op), members in groups.items():
            for start, stop in runs(list(members)):
                values = tuple(members[k] for k in range(start, stop))
                slot = self.slots.view("z", start, stop) if len(values) > 1 else values[0]
                joined.append(self.overwrite(phase, op, values, slot))
                single += [self.overwrite(phase, op, (v,), v) for v in values]
        return joined, single

    def overwrite(self, phase: Phase, op: str, values: tuple[int, ...], slot: int) -> PendingAction:
        needs = {self.places.overwriting[v] for v in values}
        action = actions.overwrite(op, slot)
        return PendingAction(phase, needs, values, action, slots={slot, *values})

    def add_instructions(self) -> None:
        """All other instructions, one call each."""
        given = {"const", "zeros", "vector", "scalar", "total", "outer"}
        taken = {*self.places.sums, *self.places.absorbed, *self.places.overwriting}
        for value, instruction in self.program.numbered():
            op, inputs = instruction.op, instruction.inputs
            if op in given or value in taken:
                continue
            if op in ("dense", "dense_t"):
                weight = self.slots.stack([instruction.parameter], transposed=op == "dense")
                action = actions.vector_product(value, inputs[0], weight)
            elif op in ("blocks", "blocks_t"):
                weight = self.slots.stack([instruction.parameter], transposed=op == "blocks")
                into = self.places.has_memory(value)
                action = actions.block_product(value, inputs[0], weight, into=into)
            else:
                into = self.places.has_memory(value)
                parts = int(instruction.value)
                action = actions.apply(op, value, inputs, parts, into=into)
            needs = set(inputs)
            self.pending.append(
                PendingAction(self.phase[value], needs, (value,), action, slots={*needs, value})
            )

    def add_reductions(self) -> None:
        """Gradients of weights: one product for each source and run of deltas; sums of deltas in
        one call.
        """
        totals: dict[int, int] = {}
        outers: dict[int, dict[int, int]] = {}
        for value, instruction in self.program.numbered():
            column = self.places.d_column.get(instruction.inputs[0]) if instruction.inputs else None
            if instruction.op == "total" and column is not None and column not in totals:
                totals[column] = value
            elif (
                instruction.op == "outer"
                and column is not None
                and column not in outers.get(instruction.inputs[1], {})
            ):
                outers.setdefault(instruction.inputs[1], {})[column] = value
            elif instruction.op == "total":
                self.reduction(instruction.inputs[0], (value,), None)
            elif instruction.op == "outer":
                self.reduction(instruction.inputs[0], (value,), instruction.inputs[1])
        for source, members in (*((None, totals),), *outers.items()):
            for start, stop in runs(list(members)):
                self.reduction(
                    self.slots.view("d", start, stop),
                    tuple(members[k] for k in range(start, stop)),
                    source,
                )

    def reduction(self, left: int, values: tuple[int, ...], right: int | None) -> None:
        needs = {v for value in values for v in self.program.made_by(value).inputs}
        action = (
            actions.sum_rows(left, values)
            if right is None
            else actions.transposed_product(left, right, values)
        )
        self.pending.append(
            PendingAction(self.phase[values[0]], needs, values, action, slots=set())
        )


def _loop_slots(
    program: Program,
    phase: tuple[Phase, ...],
    places: Places,
    slots: SlotTable,
    ordered: Iterable[PendingAction],
) -> tuple[int, ...]:
    """Slots of the loop that hold memory over all positions: what is given or computed before, and
    what is written into buffers.
    """
    memory = {v for v in range(program.n_values) if phase[v] is Phase.BEFORE}
    memory |= {view.slot for view in slots.views if view.buffer != "bias"}
    memory |= set(places.owned)
    touched = {slot for p in ordered if p.phase is Phase.LOOP for slot in p.slots}
    touched |= set(program.next_states)
    return tuple(sorted(memory & touched | {slot for _, slot in places.copied}))
