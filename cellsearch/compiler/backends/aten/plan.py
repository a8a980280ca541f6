"""The plan: which torch calls run a program over time, in which phase, on which memory.

Two kinds of fusion come from where values lie:

* *Accumulators*: the sums that receive dense products are columns of one buffer Z ``[rows, k *
  H]``. It is filled with the products of time-parallel values before the loop; in the loop each
  source adds its products to all its columns in one call. A function of one value of such a sum
  overwrites it, neighbours in one call.
* *Deltas*: values that are multiplied by transposed weights (gradients of sums) are columns of a
  buffer D. A sum of such products is one product of a run of columns, and the gradients of the
  weights at a source are one product of D with the source over all rows.

Values are slots of one list, numbered like the program's values; views of buffers and stacked
weights get slots of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cellsearch.compiler.backends.aten import actions
from cellsearch.compiler.backends.aten.actions import Action, in_place
from cellsearch.compiler.backends.aten.columns import arrange, runs
from cellsearch.compiler.backends.aten.pending import PendingAction, in_order
from cellsearch.compiler.backends.aten.sums import FlatSum, find_sums
from cellsearch.compiler.program import Instruction, Program
from cellsearch.compiler.scheduling.phases import Phase, phases

__all__ = ["ActionPlan", "Stack", "View", "make_plan"]


@dataclass(frozen=True, slots=True)
class Stack:
    """Weights stacked once a call: ``slot`` holds them row by row, transposed if ``transposed``."""

    slot: int
    parameters: tuple[str, ...]
    transposed: bool


@dataclass(frozen=True, slots=True)
class View:
    """Columns ``start`` to ``stop`` (in units of H) of a buffer: ``"z"``, ``"d"``, or ``"bias"``
    (the row that Z starts with).
    """

    slot: int
    buffer: str
    start: int
    stop: int


@dataclass
class ActionPlan:
    """See the module docstring. ``owned``: values of the loop with a buffer of their own; one that
    becomes the state ``heads[value]`` has the initial state before it. ``copied``: carried values
    that are wanted over all positions, with the slot of their buffer. ``blank``: ranges of columns
    of Z that start as their bias. ``loop_slots``: slots that the loop reads or writes row block by
    row block.
    """

    program: Program
    phase: tuple[Phase, ...]
    n_slots: int
    z_columns: int = 0
    d_columns: int = 0
    biases: tuple[tuple[int, ...], ...] = ()
    blank: tuple[tuple[int, int], ...] = ()
    stacks: list[Stack] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    owned: list[int] = field(default_factory=list)
    heads: dict[int, int] = field(default_factory=dict)
    copied: list[tuple[int, int]] = field(default_factory=list)
    actions: dict[Phase, list[Action]] = field(default_factory=dict)
    loop_slots: tuple[int, ...] = ()


def make_plan(program: Program, kept: Iterable[int] = (), *, backwards: bool = False) -> ActionPlan:
    """``kept``: values of extent ``step`` that are wanted over all positions besides the outputs;
    ``backwards``: time runs backwards.
    """
    return _Planner(program, frozenset(kept), backwards).make()


class _Planner:
    def __init__(self, program: Program, kept: frozenset[int], backwards: bool) -> None:
        self.program = program
        self.phase = phases(program)
        self.kept = kept
        self.backwards = backwards
        self.standing = kept | frozenset(
            program.ends
        )  # values that nothing may absorb or overwrite
        self.plan = ActionPlan(program, self.phase, program.n_values)
        found = find_sums(program, self.phase, self.standing)
        self.sums, self.absorbed, self.factors = found.sums, found.absorbed, found.factors
        self.z_column: dict[
            int, int
        ] = {}  # root of a sum, or the value that overwrites it -> column
        self.d_column: dict[int, int] = {}
        self.overwriting: dict[int, int] = {}  # value -> root of the sum that it overwrites
        self.tasks: list[PendingAction] = []
        self.singles: list[
            PendingAction
        ] = []  # the tasks of ``overwriting`` one by one, should joined ones wait for each other

    def make(self) -> ActionPlan:
        self.place_accumulators()
        self.place_deltas()
        self.place_flat()
        arrivals = self.add_products()
        for total in self.sums.values():
            self.add_sum(total, arrivals)
        joined = self.add_overwriting()
        self.add_instructions()
        self.add_reductions()
        ordered = in_order([*self.tasks, *joined], self.phase) or in_order(
            [*self.tasks, *self.singles], self.phase
        )
        assert ordered is not None, "a program's instructions are in order"
        for phase in Phase:
            self.plan.actions[phase] = [
                t.action for t in ordered if t.phase is phase and t.action is not None
            ]
        self.plan.loop_slots = self.find_loop_slots(ordered)
        return self.plan

    def instruction(self, value: int) -> Instruction:
        found = self.program.instruction(value)
        assert found is not None
        return found

    # -- memory ------------------------------------------------------------------------------------

    def new_slot(self) -> int:
        self.plan.n_slots += 1
        return self.plan.n_slots - 1

    def view(self, buffer: str, start: int, stop: int, slot: int | None = None) -> int:
        view = View(self.new_slot() if slot is None else slot, buffer, start, stop)
        self.plan.views.append(view)
        return view.slot

    def stack(self, parameters: Sequence[str], *, transposed: bool) -> int:
        stack = Stack(self.new_slot(), tuple(parameters), transposed)
        self.plan.stacks.append(stack)
        return stack.slot

    def place_accumulators(self) -> None:
        """Give each sum with dense products a column of Z; a sum that continues one of an earlier
        phase shares its column.
        """
        columns: list[list[FlatSum]] = []
        biases: list[list[int]] = []
        open_columns: dict[int, int] = {}  # root of the last sum of a column -> column
        for total in sorted(
            (s for s in self.sums.values() if s.dense), key=lambda s: (s.phase, s.root)
        ):
            base = next((v for v in total.rest if self.can_continue(v, total, open_columns)), None)
            if base is None:
                columns.append([])
                biases.append([])
                column = len(columns) - 1
            else:
                total.rest.remove(base)
                column = open_columns.pop(base)
            columns[column].append(total)
            open_columns[total.root] = column
            fixed = [v for v in total.rest if self.phase[v] is Phase.FIXED]
            biases[column] += fixed
            total.rest = [v for v in total.rest if v not in fixed]
        self.find_overwriting(open_columns)
        activation = {
            open_columns[root]: self.instruction(value).op
            for value, root in self.overwriting.items()
        }
        partners = {
            k: frozenset(
                (total.phase, self.instruction(d).inputs[0])
                for total in columns[k]
                for d in total.dense
            )
            for k in sorted(range(len(columns)), key=lambda k: activation.get(k, ""))
        }
        order = arrange(partners)
        for place, k in enumerate(order):
            for total in columns[k]:
                total.column = self.z_column[total.root] = place
                self.view("z", place, place + 1, total.root)
        for value, root in self.overwriting.items():
            self.z_column[value] = self.z_column[root]
            self.view("z", self.z_column[value], self.z_column[value] + 1, value)
        self.plan.z_columns = len(columns)
        self.plan.biases = tuple(tuple(biases[k]) for k in order)

    def can_continue(self, value: int, total: FlatSum, open_columns: dict[int, int]) -> bool:
        return (
            value in open_columns
            and self.phase[value] < total.phase
            and len(self.program.uses[value]) == 1
            and value not in self.standing
        )

    def find_overwriting(self, roots: Iterable[int]) -> None:
        for root in roots:
            users = self.program.uses[root]
            if len(users) == 1 and root not in self.standing:
                user = users[0]
                if (
                    in_place(self.instruction(user).op) is not None
                    and self.phase[user] is self.phase[root]
                    and user not in self.absorbed
                ):
                    self.overwriting[user] = root

    def place_deltas(self) -> None:
        """Columns of D for computed values that are multiplied by transposed weights or summed into
        gradients of weights.
        """
        partners: dict[int, set[object]] = {}
        member = {d: total.root for total in self.sums.values() for d in total.deltas}
        for value, instruction in self.program.numbered():
            if instruction.op in ("dense_t", "outer"):
                delta = instruction.inputs[0]
                shape = self.program.shapes[delta]
                computed = (
                    self.program.instruction(delta) is not None
                    and delta not in self.z_column
                    and shape.extent == "step"
                )
                if computed and shape.width == "H":
                    partner = (
                        member.get(value, value)
                        if instruction.op == "dense_t"
                        else ("outer", instruction.inputs[1])
                    )
                    partners.setdefault(delta, set()).add(partner)
        order = arrange({delta: frozenset(found) for delta, found in partners.items()})
        self.d_column = {delta: k for k, delta in enumerate(order)}
        self.plan.d_columns = len(order)
        for delta, k in self.d_column.items():
            self.view("d", k, k + 1, delta)

    def place_flat(self) -> None:
        """Buffers for values of the loop that are wanted after it."""
        program = self.program
        wanted = {
            v for v in (*self.kept, *(v for _, v in program.outputs)) if self.phase[v] is Phase.LOOP
        }
        for value, instruction in program.numbered():
            if self.phase[value] > Phase.LOOP:
                wanted |= {v for v in instruction.inputs if self.phase[v] is Phase.LOOP}
        states = [v for v in range(len(program.inputs), program.first) if v in wanted]
        owned = {v for v in wanted if v >= program.first and not self.is_placed(v)}
        for state in states:
            following = program.next_states[state - len(program.inputs)]
            can_own = (
                following >= program.first
                and self.phase[following] is Phase.LOOP
                and not self.is_placed(following)
            )
            if can_own and not self.backwards and following not in self.plan.heads:
                owned.add(following)
                self.plan.heads[following] = state
            else:
                self.plan.copied.append((state, self.new_slot()))
        self.plan.owned = sorted(owned)

    def is_placed(self, value: int) -> bool:
        return value in self.z_column or value in self.d_column

    def into(self, value: int) -> bool:
        """Whether the value's slot holds memory that its action writes."""
        return self.is_placed(value) or value in self.plan.owned

    # -- tasks -------------------------------------------------------------------------------------

    def add_products(self) -> dict[int, set[int]]:
        """Products into Z, one task a source and run of columns; for each root the (negative)
        numbers of its products.
        """
        arrivals: dict[int, set[int]] = {}
        wanted: dict[tuple[Phase, int, int], dict[int, tuple[int, str]]] = {}
        for total in self.sums.values():
            seen: dict[int, int] = {}
            for d in total.dense:
                instruction = self.instruction(d)
                source = instruction.inputs[0]
                seen[source] = (
                    seen.get(source, 0) + 1
                )  # two products of one source with one sum are two rounds
                wanted.setdefault((total.phase, source, seen[source]), {})[total.column] = (
                    total.root,
                    instruction.parameter,
                )
        filled: set[int] = set()
        touched: set[int] = set()
        for phase, source, turn in sorted(wanted):
            found = wanted[phase, source, turn]
            for start, stop in runs(list(found)):
                columns = range(start, stop)
                target = self.view("z", start, stop)
                weight = self.stack([found[k][1] for k in columns], transposed=True)
                number = -1 - len(self.tasks)
                fills = (
                    set(columns) if phase is Phase.BEFORE and not touched & set(columns) else set()
                )
                after = {
                    -1 - k
                    for k, task in enumerate(self.tasks)
                    if task.phase is phase and task.fills & set(columns)
                }
                if fills:
                    action = actions.fill(target, self.view("bias", start, stop), source, weight)
                else:
                    action = actions.accumulate(target, source, weight)
                filled |= fills
                touched |= set(columns)
                self.tasks.append(
                    PendingAction(
                        phase,
                        {source, *after},
                        (number,),
                        action,
                        slots={target, source},
                        fills=fills,
                    )
                )
                for k in columns:
                    arrivals.setdefault(found[k][0], set()).add(number)
        self.plan.blank = tuple(runs([k for k in range(self.plan.z_columns) if k not in filled]))
        return arrivals

    def add_sum(self, total: FlatSum, arrivals: dict[int, set[int]]) -> None:
        values = [v for v in total.rest if v not in self.factors]
        pairs = [self.operand_pair(v) for v in total.rest if v in self.factors]
        step = [v for v in values if self.program.shapes[v].extent == "step"]
        values = step + [v for v in values if v not in step]
        matrices = self.matrices(total)
        needs = {*values, *(v for pair in (*pairs, *matrices) for v in pair)} | {
            v for d in total.deltas for v in self.instruction(d).inputs
        }
        needs |= arrivals.get(total.root, set())
        action: Action | None = None
        if total.dense:
            if values or pairs or matrices:
                action = actions.combine(
                    total.root, [total.root, *values], matrices, pairs, into=True
                )
        else:
            action = actions.combine(
                total.root, values, matrices, pairs, into=self.into(total.root)
            )
        self.tasks.append(
            PendingAction(total.phase, needs, (total.root,), action, slots={*needs, total.root})
        )

    def operand_pair(self, value: int) -> tuple[int, int]:
        a, b = self.instruction(value).inputs
        return (a, b)

    def matrices(self, total: FlatSum) -> list[tuple[int, int]]:
        """Products with transposed weights: (slot of the deltas, slot of the stacked weights), one
        for each run of columns of D.
        """
        by_column: dict[int, list[str]] = {}
        found: list[tuple[int, int]] = []
        for d in total.deltas:
            instruction = self.instruction(d)
            delta = instruction.inputs[0]
            if delta in self.d_column and self.d_column[delta] not in by_column:
                by_column[self.d_column[delta]] = [instruction.parameter]
            else:
                found.append((delta, self.stack([instruction.parameter], transposed=False)))
        for start, stop in runs(list(by_column)):
            weight = self.stack([by_column[k][0] for k in range(start, stop)], transposed=False)
            found.append((self.view("d", start, stop), weight))
        return found

    def add_overwriting(self) -> list[PendingAction]:
        """Functions of one value on columns of Z: neighbours with one function in one call."""
        joined: list[PendingAction] = []
        groups: dict[tuple[Phase, str], dict[int, int]] = {}
        for value in self.overwriting:
            groups.setdefault((self.phase[value], self.instruction(value).op), {})[
                self.z_column[value]
            ] = value
        for (phase, op), members in groups.items():
            for start, stop in runs(list(members)):
                values = tuple(members[k] for k in range(start, stop))
                joined.append(
                    self.overwriting_task(
                        phase,
                        op,
                        values,
                        self.view("z", start, stop) if len(values) > 1 else values[0],
                    )
                )
                self.singles += [self.overwriting_task(phase, op, (v,), v) for v in values]
        return joined

    def overwriting_task(
        self, phase: Phase, op: str, values: tuple[int, ...], slot: int
    ) -> PendingAction:
        return PendingAction(
            phase,
            {self.overwriting[v] for v in values},
            values,
            actions.overwrite(op, slot),
            slots={slot, *values},
        )

    def add_instructions(self) -> None:
        """All other instructions, one call each."""
        given = {"const", "zeros", "vector", "scalar", "total", "outer"}
        for value, instruction in self.program.numbered():
            if (
                instruction.op in given
                or value in self.sums
                or value in self.absorbed
                or value in self.overwriting
            ):
                continue
            needs = set(instruction.inputs)
            if instruction.op in ("dense", "dense_t"):
                weight = self.stack([instruction.parameter], transposed=instruction.op == "dense")
                action = actions.vector_product(value, instruction.inputs[0], weight)
            else:
                action = actions.apply(
                    instruction.op, value, instruction.inputs, into=self.into(value)
                )
            self.tasks.append(
                PendingAction(self.phase[value], needs, (value,), action, slots={*needs, value})
            )

    def add_reductions(self) -> None:
        """Gradients of weights: one product for each source and run of deltas; sums of deltas in
        one call.
        """
        totals: dict[int, int] = {}
        outers: dict[int, dict[int, int]] = {}
        for value, instruction in self.program.numbered():
            column = self.d_column.get(instruction.inputs[0]) if instruction.inputs else None
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
                    self.view("d", start, stop),
                    tuple(members[k] for k in range(start, stop)),
                    source,
                )

    def reduction(self, left: int, values: tuple[int, ...], right: int | None) -> None:
        needs = {v for value in values for v in self.instruction(value).inputs}
        action = (
            actions.sum_rows(left, values)
            if right is None
            else actions.transposed_product(left, right, values)
        )
        self.tasks.append(PendingAction(self.phase[values[0]], needs, values, action, slots=set()))

    def find_loop_slots(self, ordered: Iterable[PendingAction]) -> tuple[int, ...]:
        """Slots of the loop that hold memory over all positions: what is given or computed before,
        and what is written into buffers.
        """
        before = {v for v in range(self.program.n_values) if self.phase[v] is Phase.BEFORE}
        memory = (
            before
            | {view.slot for view in self.plan.views if view.buffer != "bias"}
            | set(self.plan.owned)
        )
        touched = {
            slot for task in ordered if task.phase is Phase.LOOP for slot in task.slots
        } | set(self.program.next_states)
        return tuple(sorted(memory & touched | {slot for _, slot in self.plan.copied}))
