"""The second half of scheduling: stages, homes and commands, from the data flow of a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.commands import (
    Buffer,
    Command,
    Home,
    Lifetime,
    Operation,
    Outer,
    ProgramSchedule,
    Role,
    Stage,
    StageWidth,
)
from cellsearch.compiler.scheduling.dataflow import Dataflow, FlowNode, dataflow
from cellsearch.compiler.scheduling.fusion import adjacent_runs, fuse_products, order_columns
from cellsearch.compiler.scheduling.phases import Phase
from cellsearch.genome.parameters import Width

__all__ = ["make_schedule"]

STAGE_LIMIT = 120
"""Operations of one stage; a longer one is cut, because the operands of a stage have to stay in the
first-level cache.
"""

_IN_TIME = (Phase.BEFORE, Phase.LOOP, Phase.AFTER)


class _Place(NamedTuple):
    """Where in a step something happens: phase, stage, part of a long stage, and width (stages of
    two widths are apart).
    """

    phase: Phase
    stage: int
    part: int = 0
    width: str = ""


def make_schedule(
    program: Program,
    weights: Mapping[str, tuple[Width, ...]] | None,
    keep: frozenset[int],
    given: Mapping[int, tuple[Buffer, Home]],
    square: bool,
) -> ProgramSchedule:
    """See :func:`cellsearch.compiler.scheduling.commands.schedule`."""
    return _Scheduler(program, weights, keep, given, square).run()


class _Scheduler:
    """The work of one call."""

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, tuple[Width, ...]] | None,
        keep: frozenset[int],
        given: Mapping[int, tuple[Buffer, Home]],
        square: bool,
    ) -> None:
        self.program = program
        self.weights = weights or {}
        self.keep = keep
        self.square = square
        self.flow: Dataflow = dataflow(
            program, keep, square=square, is_gradient=weights is not None
        )
        self.read_shift, self.write_shift = (0, 1) if weights is None else (1, 0)
        self.given = given
        self.buffers: dict[str, Buffer] = {}
        self.homes: dict[int, Home] = {}
        self.places: dict[int, _Place] = {}

    def run(self) -> ProgramSchedule:
        self.move_ends()
        self.set_places()
        self.readers = self._readers()
        self.set_homes()
        outputs = {name: self.output_home(name, value) for name, value in self.flow.outputs.items()}
        carried = [
            self.homes[len(self.program.inputs) + k] for k in range(len(self.program.states))
        ]
        prologue, epilogue = self.once(Phase.FIXED), self.once(Phase.END)
        started: set[int] = set()
        fresh: set[str] = set()
        return ProgramSchedule(
            before=self.commands(Phase.BEFORE, started),
            loop=self.commands(Phase.LOOP, started),
            after=self.commands(Phase.AFTER, started),
            gradients=self.outer_commands(False, fresh),
            epilogue=(*epilogue, *self.outer_commands(True, fresh)),
            prologue=prologue,
            carried=tuple((home, self.initial(k)) for k, home in enumerate(carried)),
            final=tuple(self.next_home(k) for k in range(len(self.program.states))),
            outputs=outputs,
            kept={value: self.homes[value] for value in sorted(self.keep)},
            zero=frozenset(self.flow.zero),
            buffers=self.buffers,
        )

    # -- ends --------------------------------------------------------------------------------------

    def move_ends(self) -> None:
        """Decide which next states and outputs are written where they belong at once, and copy the
        others there.
        """
        self.natural: dict[int, int] = {}  # value -> state whose next value it is
        self.next_value: list[int] = []
        for k, value in enumerate(self.program.next_states):
            item = self.flow.of(value)
            # A sum that is begun before the loop needs a place for all positions, which a state
            # need not have.
            in_loop = (
                all(product[3] is Phase.LOOP for product in item.products)
                if not isinstance(item, FlowNode)
                else True
            )
            computed = in_loop if not isinstance(item, FlowNode) else item.computed
            if (
                computed
                and item.phase is Phase.LOOP
                and not item.fixed
                and value not in self.natural
            ):
                self.natural[value] = k
            else:
                value = self.flow.move(value, Phase.LOOP, "H")
                self.natural[value] = k
            self.next_value.append(value)
        for name, value in list(self.flow.outputs.items()):
            item = self.flow.of(value)
            if name in self.weights or value in self.natural:
                # a gradient of a weight is stored at the end; an output that is a state lies there
                # already
                continue
            if item.fixed or value < self.program.first:
                width = "H" if item.width == "1" else item.width
                self.flow.outputs[name] = self.flow.move(
                    value, max(item.phase, Phase.BEFORE), width
                )

    # -- stages ------------------------------------------------------------------------------------

    def set_places(self) -> None:
        """Every node of a phase in time gets its stage: as late as its readers allow, or at once if
        only ends read it.
        """
        flow = self.flow
        needed: dict[int, list[int]] = {}

        def need(value: int, phase: Phase, stage: int) -> None:
            if value in flow.nodes and flow.nodes[value].phase is phase:
                needed.setdefault(value, []).append(stage)

        for item in flow.sums.values():
            for source, _, _, phase in item.products:
                need(source, phase, flow.level(source, phase))
        stages: dict[int, int] = {}
        for value in reversed(flow.order):
            node = flow.nodes.get(value)
            if (
                node is None
                or node.phase not in _IN_TIME
                or not node.computed
                or (node.fixed and node.op != "total")
            ):
                continue
            limits = needed.get(value, []) + ([node.latest] if node.latest is not None else [])
            stages[value] = max(node.level, min(limits)) if limits else node.level
            if limits or node.op not in ("move", "total"):
                for operand in node.inputs:
                    need(operand, node.phase, stages[value])
        counts: dict[tuple[Phase, int, str], int] = {}
        for value in flow.order:
            if value in stages:
                node = flow.nodes[value]
                stage = stages[value]
                if node.op in ("move", "total") and node.latest is None and value not in needed:
                    stage = max(
                        stage,
                        stages.get(node.inputs[0], 0)
                        if flow.of(node.inputs[0]).phase is node.phase
                        else 0,
                    )
                key = (node.phase, stage, self.stage_width(value))
                counts[key] = counts.get(key, 0) + 1
                self.places[value] = _Place(
                    node.phase, stage, (counts[key] - 1) // STAGE_LIMIT, key[2]
                )

    def stage_width(self, value: int) -> Width:
        """The width that a node's stage has: that of its operand for a total."""
        node = self.flow.nodes[value]
        return self.flow.of(node.inputs[0]).width if node.op == "total" else node.width

    def _readers(self) -> dict[int, set[_Place | None]]:
        """Where each value is read; ``None``: by a product or as a factor of a weight gradient,
        which needs it in memory.
        """
        readers: dict[int, set[_Place | None]] = {}
        for value, node in self.flow.nodes.items():
            if node.inputs:
                place = self.places.get(value) or _Place(node.phase, 0)
                for operand in node.inputs:
                    readers.setdefault(operand, set()).add(place)
        for item in self.flow.sums.values():
            for source, _, _, phase in item.products:
                readers.setdefault(source, set()).update({None, _Place(phase, 0, 0, "product")})
        for left, right, _, _ in self.flow.outers:
            readers.setdefault(left, set()).update({None, _Place(Phase.END, 0)})
            readers.setdefault(right, set()).update({None, _Place(Phase.END, 0)})
        return readers

    def outside(self, value: int) -> bool:
        """Whether something outside the loop reads the value."""
        return any(
            place is not None and place.phase is not Phase.LOOP
            for place in self.readers.get(value, ())
        )

    # -- homes -------------------------------------------------------------------------------------

    def buffer(
        self, name: str, role: Role, lifetime: Lifetime, width: Width, columns: int = 1
    ) -> str:
        self.buffers.setdefault(name, Buffer(name, role, lifetime, width, columns))
        return name

    def initial(self, state: int) -> str:
        return self.buffer(
            f"initial {self.program.states[state].name}", "initial", Lifetime.STEP, "H"
        )

    def next_home(self, state: int) -> Home:
        return self.homes[self.next_value[state]]

    def set_homes(self) -> None:
        for value in range(len(self.program.inputs)):
            buffer, home = self.given.get(value, self.input_home(value))
            self.buffers[buffer.name] = buffer
            self.homes[value] = home
        self.state_homes()
        self.output_homes()
        self.fixed_homes()
        self.group_homes()
        for value, node in self.flow.nodes.items():
            if value not in self.homes and not node.fixed and self.needs_home(value):
                lifetime, role = self.lifetime(value), self.role(value)
                self.homes[value] = Home(self.buffer(f"{role} {value}", role, lifetime, node.width))
        for value, item in self.flow.sums.items():
            if item.begin is not None:
                self.homes[item.begin] = self.homes[value]

    def input_home(self, value: int) -> tuple[Buffer, Home]:
        name, width = self.program.inputs[value]
        width = "H" if self.square and width == "I" else width
        return Buffer(f"input {name}", "input", Lifetime.TIME, width), Home(f"input {name}")

    def state_homes(self) -> None:
        """A state has a slot for each position if that is asked for later, else two in turn."""
        first = len(self.program.inputs)
        outputs = [value for name, value in self.flow.outputs.items() if name not in self.weights]
        for k, state in enumerate(self.program.states):
            ends = (first + k, self.next_value[k])
            lasting = any(v in self.keep or self.outside(v) or v in outputs for v in ends)
            name = self.buffer(
                f"state {state.name}", "state", Lifetime.TIME if lasting else Lifetime.RING, "H"
            )
            self.homes[first + k] = Home(name, self.read_shift)
            self.homes[self.next_value[k]] = Home(name, self.write_shift)

    def output_homes(self) -> None:
        for name, value in self.flow.outputs.items():
            item = self.flow.of(value)
            if name not in self.weights and value not in self.homes:
                self.homes[value] = Home(
                    self.buffer(f"output {name}", "output", Lifetime.TIME, item.width)
                )

    def output_home(self, name: str, value: int) -> Home:
        return Home(f"gradient {name}") if name in self.weights else self.homes[value]

    def fixed_homes(self) -> None:
        for name, value in self.flow.outputs.items():
            item = self.flow.of(value)
            if (
                name in self.weights
                and isinstance(item, FlowNode)
                and item.op == "total"
                and value not in self.homes
            ):
                self.homes[value] = self.gradient_home(
                    name
                )  # it adds up where the gradient belongs
        for value in self.flow.order:
            item = self.flow.of(value)
            if not item.fixed or value in self.homes:
                continue
            if isinstance(item, FlowNode) and item.op == "vector":
                self.homes[value] = Home(
                    self.buffer(
                        f"parameter {item.parameter}", "parameter", Lifetime.FIXED, item.width
                    )
                )
            else:
                self.homes[value] = Home(
                    self.buffer(f"fixed {value}", "scratch", Lifetime.FIXED, item.width)
                )

    def needs_home(self, value: int) -> bool:
        if value in self.keep or value in self.flow.sums:
            return True
        own = self.places.get(value)
        return any(place is None or place != own for place in self.readers.get(value, ()))

    def lifetime(self, value: int) -> Lifetime:
        item = self.flow.of(value)
        if value in self.keep:
            return Lifetime.TIME
        products = item.products if not isinstance(item, FlowNode) else ()
        in_loop = (
            item.phase is Phase.LOOP
            and not self.outside(value)
            and all(p[3] is Phase.LOOP for p in products)
        )
        return Lifetime.STEP if in_loop else Lifetime.CHUNK

    def role(self, value: int) -> Role:
        return "saved" if value in self.keep else "scratch"

    def group_homes(self) -> None:
        """Accumulators side by side, and what is multiplied by weights side by side, so that their
        products become one.
        """
        sources: dict[int, set[str]] = {}
        targets: dict[int, set[str]] = {}
        for value, item in self.flow.sums.items():
            for source, _, _, _ in item.products:
                sources.setdefault(value, set()).add(f"{source}")
                targets.setdefault(source, set()).add(f"{value}")
        for left, right, _, _ in self.flow.outers:
            targets.setdefault(left, set()).add(f"outer {right}")
        sums = {v: sources[v] for v in self.flow.sums if v not in self.homes}
        self.group("sums", sums)
        lefts = {left for left, _, _, _ in self.flow.outers}
        factors = {
            v: targets[v]
            for v in self.flow.order
            if v in lefts and v not in self.homes and v not in self.keep
        }
        self.group("factors", factors)

    def group(self, name: str, labels: Mapping[int, set[str]]) -> None:
        kinds: dict[tuple[Width, bool], list[int]] = {}
        for value in labels:
            kinds.setdefault((self.flow.of(value).width, value in self.keep), []).append(value)
        for (width, kept), values in kinds.items():
            ordered = order_columns({v: labels[v] for v in values})
            lifetime = min(self.lifetime(v) for v in values)
            title = f"{'saved' if kept else 'scratch'} {name} {width}"
            self.buffer(title, "saved" if kept else "scratch", lifetime, width, len(values))
            for column, value in enumerate(ordered):
                self.homes[value] = Home(title, 0, column)

    # -- commands ----------------------------------------------------------------------------------

    def commands(self, phase: Phase, started: set[int]) -> tuple[Command, ...]:
        """The stages of a phase, each followed by the products that it makes possible."""
        flow = self.flow
        products: dict[int, list[tuple[int, int, str, bool]]] = {}
        for value, item in flow.sums.items():
            if not item.fixed:
                for source, parameter, transposed, when in item.products:
                    if when is phase:
                        products.setdefault(flow.level(source, phase), []).append(
                            (source, value, parameter, transposed)
                        )
        stages: dict[int, dict[_Place, list[int]]] = {}
        for value, place in self.places.items():  # in the order of the data flow
            if place.phase is phase:
                stages.setdefault(place.stage, {}).setdefault(place, []).append(value)
        last = max([*stages, *products], default=-1)
        commands: list[Command] = []
        for stage in range(last + 1):
            for place, values in sorted(stages.get(stage, {}).items()):
                commands.append(self.stage(values, "I" if place.width == "I" else "H"))
            commands += fuse_products(products.get(stage, []), flow, self.homes, started)
        return tuple(commands)

    def stage(self, values: Iterable[int], width: StageWidth) -> Stage:
        nodes, homes = self.flow.nodes, self.homes
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

    def once(self, phase: Phase) -> tuple[Command, ...]:
        """Fixed values, in order; before the first step totals begin with 0, after the last one
        gradients go where they belong.
        """
        commands: list[Command] = []
        if phase is Phase.FIXED:
            for value, node in self.flow.nodes.items():
                if node.op == "total":
                    width: StageWidth = node.width
                    commands.append(
                        Stage(
                            width, (Operation(value, "const", (), 0.0, self.homes[value]),), {}, {}
                        )
                    )
        for value in self.flow.order:
            item = self.flow.of(value)
            if not item.fixed or item.phase is not phase:
                continue
            if not isinstance(item, FlowNode):
                commands += self.fixed_product(value)
            elif item.op not in ("vector", "total"):
                commands += self.fixed_operation(value, item)
        if phase is Phase.END:
            for name, value in self.flow.outputs.items():
                if name in self.weights:
                    commands += self.store_gradient(name, value)
        return tuple(commands)

    def fixed_operation(self, value: int, node: FlowNode) -> list[Command]:
        if node.op == "scalar":
            parameter = self.buffer(f"parameter {node.parameter}", "parameter", Lifetime.FIXED, "1")
            store = Stage(
                "unit",
                (Operation(value, "move", (-1,), 0.0, self.homes[value]),),
                {-1: Home(parameter)},
                {},
            )
            return [store, self.spread(value)]
        below = self.flow.of(node.inputs[0]).width if node.op == "fold" else node.width
        if node.op == "fold" and below == "1":  # the sum over one column
            move = Operation(value, "move", node.inputs, 0.0, self.homes[value])
            return [Stage("1", (move,), {node.inputs[0]: self.homes[node.inputs[0]]}, {})]
        commands: list[Command] = [self.stage([value], below)]
        return [*commands, self.spread(value)] if node.op == "fold" else commands

    def spread(self, value: int) -> Stage:
        """The first number of a value of width 1 into all columns."""
        return Stage(
            "1",
            (Operation(value, "spread", (-1,), 0.0, self.homes[value]),),
            {-1: self.homes[value]},
            {},
        )

    def fixed_product(self, value: int) -> list[Command]:
        item = self.flow.sums[value]
        started: set[int] = set()
        triples = [
            (source, value, parameter, transposed)
            for source, parameter, transposed, _ in item.products
        ]
        commands: list[Command] = list(fuse_products(triples, self.flow, self.homes, started))
        return [*commands, self.spread(value)] if item.width == "1" else commands

    def gradient_home(self, name: str) -> Home:
        """The memory of a weight's gradient."""
        shape = self.weights[name]
        width = shape[0] if shape else "1"
        return Home(
            self.buffer(
                f"gradient {name}",
                "gradient",
                Lifetime.FIXED,
                "H" if self.square and width == "I" else width,
            )
        )

    def store_gradient(self, name: str, value: int) -> list[Command]:
        """Copy a fixed value into the gradient of a weight, if it was not computed there."""
        home = self.gradient_home(name)
        if self.homes[value] == home:
            return []
        width = self.buffers[home.buffer].width
        return [
            Stage(
                "unit" if width == "1" else width,
                (Operation(-2, "move", (value,), 0.0, home),),
                {value: self.homes[value]},
                {},
            )
        ]

    def outer_commands(self, fixed: bool, fresh: set[str]) -> tuple[Outer, ...]:
        """Weight gradients, those of adjacent left factors and the same right factor together."""
        commands: list[Outer] = []
        chosen = [
            (left, right, name)
            for left, right, name, is_fixed in self.flow.outers
            if is_fixed == fixed
        ]
        for right in dict.fromkeys(right for _, right, _ in chosen):
            mine = [
                (self.homes[left], left, name) for left, other, name in chosen if other == right
            ]
            for run in adjacent_runs(mine):
                pieces: list[tuple[str, int, bool]] = []
                for _, _, name in run:
                    self.gradient_home(name)
                    pieces.append((name, len(pieces), name not in fresh))
                    fresh.add(name)
                width = self.flow.of(run[0][1]).width
                commands.append(
                    Outer(
                        run[0][0],
                        self.homes[right],
                        (len(run), width),
                        self.flow.of(right).width,
                        tuple(pieces),
                    )
                )
        return tuple(commands)
