"""``schedule``: from a program to commands in order, in four parts.

1. :mod:`~cellsearch.compiler.scheduling.dataflow`: values with phases and levels, sums as
   accumulators;
2. :mod:`~cellsearch.compiler.scheduling.placement`: the stage of each value, and who reads it;
3. :mod:`~cellsearch.compiler.scheduling.homes`: where it lies;
4. here: the commands of each phase.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.commands import (
    Buffer,
    Command,
    Home,
    Operation,
    Outer,
    ProgramSchedule,
    Stage,
    StageWidth,
)
from cellsearch.compiler.scheduling.dataflow import Dataflow, FlowNode, dataflow
from cellsearch.compiler.scheduling.fusion import adjacent_runs, fuse_products
from cellsearch.compiler.scheduling.homes import Homes, find_homes
from cellsearch.compiler.scheduling.phases import Phase
from cellsearch.compiler.scheduling.placement import Placement, StagePlace, place_values
from cellsearch.genome.parameters import Width

__all__ = ["schedule"]


def schedule(
    program: Program,
    *,
    keep: Iterable[int] = (),
    given: Mapping[int, tuple[Buffer, Home]] | None = None,
    square: bool = False,
    weights: Mapping[str, tuple[Width, ...]] | None = None,
) -> ProgramSchedule:
    """The schedule of a program.

    ``keep``: values whose homes must last (``Lifetime.TIME``). ``given``: buffers and homes of
    inputs that lie somewhere special. ``square``: I = H, so the widths need not be told apart.
    ``weights``: shapes of the weights whose gradients the program puts out, if it is a gradient;
    its positions then run from the last to the first.
    """
    flow = dataflow(program, keep, square=square, weights=weights)
    placement = place_values(flow)
    homes = find_homes(flow, placement, given or {})
    return _Commands(flow, placement, homes).schedule()


class _Commands:
    """The commands of a data flow whose values have their places and homes."""

    def __init__(self, flow: Dataflow, placement: Placement, homes: Homes) -> None:
        self.flow = flow
        self.placement = placement
        self.homes = homes
        self.started: set[int] = set()
        """Accumulators that a product of an earlier phase has written."""
        self.fresh: set[str] = set()
        """Weights whose gradients have been written."""

    def schedule(self) -> ProgramSchedule:
        """Everything phase by phase; the order of these calls is the order in which it runs."""
        flow, of = self.flow, self.homes.of
        prologue, epilogue = self.prologue(), self.epilogue()
        first = len(flow.program.inputs)
        states = range(len(flow.program.states))
        return ProgramSchedule(
            prologue=prologue,
            before=self.phase(Phase.BEFORE),
            loop=self.phase(Phase.LOOP),
            after=self.phase(Phase.AFTER),
            gradients=self.outers(fixed=False),
            epilogue=(*epilogue, *self.outers(fixed=True)),
            carried=tuple((of[first + k], self.homes.initial(k)) for k in states),
            final=tuple(of[value] for value in self.placement.next_values),
            outputs={name: self.homes.output(name, v) for name, v in flow.outputs.items()},
            kept={value: of[value] for value in sorted(flow.keep)},
            zero=frozenset(flow.zero),
            buffers=self.homes.buffers,
        )

    # -- phases in time ----------------------------------------------------------------------------

    def phase(self, phase: Phase) -> tuple[Command, ...]:
        """The stages of a phase, each followed by the products that it makes possible."""
        flow = self.flow
        products: dict[int, list[tuple[int, int, str, bool]]] = {}
        for value, item in flow.sums.items():
            for source, parameter, transposed, when in () if item.fixed else item.products:
                if when is phase:
                    products.setdefault(flow.level(source, phase), []).append(
                        (source, value, parameter, transposed)
                    )
        stages: dict[int, dict[StagePlace, list[int]]] = {}
        for value, place in self.placement.places.items():
            if place.phase is phase:
                stages.setdefault(place.stage, {}).setdefault(place, []).append(value)
        last = max([*stages, *products], default=-1)
        commands: list[Command] = []
        for stage in range(last + 1):
            for place, values in sorted(stages.get(stage, {}).items()):
                commands.append(self.stage(values, "H" if place.width == "1" else place.width))
            commands += fuse_products(products.get(stage, []), flow, self.homes.of, self.started)
        return tuple(commands)

    def stage(self, values: Iterable[int], width: StageWidth) -> Stage:
        """The pointwise work that makes these values."""
        nodes, homes = self.flow.nodes, self.homes.of
        made = [(value, nodes[value]) for value in values]
        operations = tuple(
            [Operation(v, node.op, node.inputs, node.number, homes.get(v)) for v, node in made]
        )
        read = {operand for _, node in made for operand in node.inputs}.difference(
            [value for value, _ in made]
        )
        numbers = {
            v: n.number for v in sorted(read) if (n := nodes.get(v)) is not None and n.op == "const"
        }
        return Stage(width, operations, {v: homes[v] for v in sorted(read)}, numbers)

    # -- once --------------------------------------------------------------------------------------

    def prologue(self) -> tuple[Command, ...]:
        """Totals begin with 0; then the values that depend on weights only."""
        totals = [
            _single(node.width, Operation(value, "const", (), 0.0, self.homes.of[value]))
            for value, node in self.flow.nodes.items()
            if node.op == "total"
        ]
        return (*totals, *self.fixed_values(Phase.FIXED))

    def epilogue(self) -> tuple[Command, ...]:
        """What follows from sums over all positions; then gradients go where they belong."""
        commands = self.fixed_values(Phase.END)
        for name, value in self.flow.outputs.items():
            if name in self.flow.weights:
                commands += self.store_gradient(name, value)
        return tuple(commands)

    def fixed_values(self, phase: Phase) -> list[Command]:
        """Fixed values, in order."""
        commands: list[Command] = []
        for value in self.flow.order:
            item = self.flow.of(value)
            if not item.fixed or item.phase is not phase:
                continue
            if not isinstance(item, FlowNode):
                commands += self.fixed_product(value)
            elif item.op not in ("vector", "total"):
                commands += self.fixed_operation(value, item)
        return commands

    def fixed_operation(self, value: int, node: FlowNode) -> list[Command]:
        home = self.homes.of[value]
        if node.op == "scalar":
            parameter = self.homes.parameter(node.parameter, "1")
            store = _single("unit", Operation(value, "move", (-1,), 0.0, home), parameter)
            return [store, self.spread(value)]
        if node.op != "fold":
            return [self.stage([value], node.width)]
        below = self.flow.of(node.inputs[0]).width
        if below == "1":  # the sum over one column
            source = self.homes.of[node.inputs[0]]
            return [_single("1", Operation(value, "move", node.inputs, 0.0, home), source)]
        return [self.stage([value], below), self.spread(value)]

    def spread(self, value: int) -> Stage:
        """The first number of a value of width 1 into all columns."""
        home = self.homes.of[value]
        return _single("1", Operation(value, "spread", (-1,), 0.0, home), home)

    def fixed_product(self, value: int) -> list[Command]:
        item = self.flow.sums[value]
        products = [(p.source, value, p.parameter, p.transposed) for p in item.products]
        commands: list[Command] = [*fuse_products(products, self.flow, self.homes.of, set())]
        return [*commands, self.spread(value)] if item.width == "1" else commands

    # -- gradients of weights ----------------------------------------------------------------------

    def store_gradient(self, name: str, value: int) -> list[Command]:
        """Copy a fixed value into the gradient of a weight, if it was not computed there."""
        home, source = self.homes.gradient(name), self.homes.of[value]
        if source == home:
            return []
        width = self.homes.buffers[home.buffer].width
        copy = Operation(-2, "move", (value,), 0.0, home)
        return [_single("unit" if width == "1" else width, copy, source)]

    def outers(self, *, fixed: bool) -> tuple[Outer, ...]:
        """Weight gradients, those of adjacent left factors and the same right factor together."""
        flow, of = self.flow, self.homes.of
        commands: list[Outer] = []
        chosen = [outer for outer in flow.outers if outer.fixed == fixed]
        for right in dict.fromkeys(outer.right for outer in chosen):
            mine = [(of[o.left], o.left, o.parameter) for o in chosen if o.right == right]
            for run in adjacent_runs(mine):
                pieces: list[tuple[str, int, bool]] = []
                for _, _, name in run:
                    self.homes.gradient(name)
                    pieces.append((name, len(pieces), name not in self.fresh))
                    self.fresh.add(name)
                home, left, _ = run[0]
                width = (len(run), flow.of(left).width)
                commands.append(Outer(home, of[right], width, flow.of(right).width, tuple(pieces)))
        return tuple(commands)


def _single(width: StageWidth, operation: Operation, source: Home | None = None) -> Stage:
    """A stage of one operation, of one operand at most."""
    sources = {} if source is None else {operation.inputs[0]: source}
    return Stage(width, (operation,), sources, {})
