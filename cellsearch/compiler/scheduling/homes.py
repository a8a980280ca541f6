"""The third part of scheduling: where each value lies."""

from __future__ import annotations

from collections.abc import Mapping

from cellsearch.compiler.scheduling.commands import Buffer, Home, Lifetime, Role
from cellsearch.compiler.scheduling.dataflow import Dataflow, FlowNode
from cellsearch.compiler.scheduling.fusion import order_columns
from cellsearch.compiler.scheduling.phases import Phase
from cellsearch.compiler.scheduling.placement import Placement
from cellsearch.genome.parameters import Width

__all__ = ["Homes", "find_homes"]


class Homes:
    """Buffers, entered when something first lies in them, and the homes of values in them."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.buffers: dict[str, Buffer] = {}
        self.of: dict[int, Home] = {}

    def buffer(
        self, name: str, role: Role, lifetime: Lifetime, width: Width, columns: int = 1
    ) -> str:
        """The name of a buffer, entered if it is new."""
        self.buffers.setdefault(name, Buffer(name, role, lifetime, width, columns))
        return name

    def parameter(self, name: str, width: Width) -> Home:
        """The memory of a weight that is not a matrix."""
        return Home(self.buffer(f"parameter {name}", "parameter", Lifetime.FIXED, width))

    def gradient(self, name: str) -> Home:
        """The memory of a weight's gradient."""
        shape = self.flow.weights[name]
        width = self.flow.as_stored(shape[0] if shape else "1")
        return Home(self.buffer(f"gradient {name}", "gradient", Lifetime.FIXED, width))

    def initial(self, state: int) -> str:
        """The buffer of the initial value of a state."""
        name = self.flow.program.states[state].name
        width = self.flow.program.state_widths[state]
        return self.buffer(f"initial {name}", "initial", Lifetime.STEP, width)

    def output(self, name: str, value: int) -> Home:
        """Where an output lies at the end."""
        return Home(f"gradient {name}") if name in self.flow.weights else self.of[value]


def find_homes(
    flow: Dataflow, placement: Placement, given: Mapping[int, tuple[Buffer, Home]]
) -> Homes:
    """A home for every value that outlives its stage; ``given``: those of inputs that lie somewhere
    special.
    """
    finder = _Finder(flow, placement)
    finder.inputs(given)
    finder.states()
    finder.outputs()
    finder.fixed_values()
    finder.groups()
    finder.others()
    return finder.homes


class _Finder:
    """One way of finding homes after the other; what has one keeps it."""

    def __init__(self, flow: Dataflow, placement: Placement) -> None:
        self.flow = flow
        self.placement = placement
        self.homes = Homes(flow)

    def inputs(self, given: Mapping[int, tuple[Buffer, Home]]) -> None:
        for value, (name, width) in enumerate(self.flow.program.inputs):
            title = f"input {name}"
            plain = Buffer(title, "input", Lifetime.TIME, self.flow.as_stored(width)), Home(title)
            buffer, home = given.get(value, plain)
            self.homes.buffers[buffer.name] = buffer
            self.homes.of[value] = home

    def states(self) -> None:
        """A state has a slot for each position if that is asked for later, else two in turn."""
        flow, first = self.flow, len(self.flow.program.inputs)
        read_shift, write_shift = (1, 0) if flow.is_gradient else (0, 1)
        outputs = [value for name, value in flow.outputs.items() if name not in flow.weights]
        for k, state in enumerate(flow.program.states):
            ends = (first + k, self.placement.next_values[k])
            lasting = any(
                v in flow.keep or self.placement.is_read_outside_loop(v) or v in outputs
                for v in ends
            )
            lifetime = Lifetime.TIME if lasting else Lifetime.RING
            width = flow.program.state_widths[k]
            name = self.homes.buffer(f"state {state.name}", "state", lifetime, width)
            self.homes.of[ends[0]] = Home(name, read_shift)
            self.homes.of[ends[1]] = Home(name, write_shift)

    def outputs(self) -> None:
        for name, value in self.flow.outputs.items():
            if name not in self.flow.weights and value not in self.homes.of:
                width = self.flow.of(value).width
                self.homes.of[value] = Home(
                    self.homes.buffer(f"output {name}", "output", Lifetime.TIME, width)
                )

    def fixed_values(self) -> None:
        flow, homes = self.flow, self.homes
        for name, value in flow.outputs.items():
            item = flow.of(value)
            is_total = isinstance(item, FlowNode) and item.op == "total"
            if name in flow.weights and is_total and value not in homes.of:
                homes.of[value] = homes.gradient(name)  # it adds up where the gradient belongs
        for value in flow.order:
            item = flow.of(value)
            if not item.fixed or value in homes.of:
                continue
            if isinstance(item, FlowNode) and item.op == "vector":
                homes.of[value] = homes.parameter(item.parameter, item.width)
            else:
                homes.of[value] = Home(
                    homes.buffer(f"fixed {value}", "scratch", Lifetime.FIXED, item.width)
                )

    def groups(self) -> None:
        """Accumulators side by side, and what is multiplied by weights side by side, so that their
        products become one.
        """
        flow, taken = self.flow, self.homes.of
        sources: dict[int, set[str]] = {}
        targets: dict[int, set[str]] = {}
        for value, item in flow.sums.items():
            for product in item.products:
                sources.setdefault(value, set()).add(f"{product.source}")
                targets.setdefault(product.source, set()).add(f"{value}")
        for outer in flow.outers:
            targets.setdefault(outer.left, set()).add(f"outer {outer.right}")
        self.group("sums", {v: sources[v] for v in flow.sums if v not in taken})
        lefts = {outer.left for outer in flow.outers}
        factors = [v for v in flow.order if v in lefts and v not in taken and v not in flow.keep]
        self.group("factors", {v: targets[v] for v in factors})

    def group(self, name: str, labels: Mapping[int, set[str]]) -> None:
        """Values of one width side by side in one buffer."""
        kinds: dict[tuple[Width, Role], list[int]] = {}
        for value in labels:
            kinds.setdefault((self.flow.of(value).width, self.role(value)), []).append(value)
        for (width, role), values in kinds.items():
            lifetime = min(self.lifetime(v) for v in values)
            title = self.homes.buffer(f"{role} {name} {width}", role, lifetime, width, len(values))
            for column, value in enumerate(order_columns({v: labels[v] for v in values})):
                self.homes.of[value] = Home(title, 0, column)

    def others(self) -> None:
        """Values with a buffer of their own; what begins a sum lies where the sum does."""
        flow, homes = self.flow, self.homes
        for value, node in flow.nodes.items():
            wanted = value in flow.keep or self.placement.needs_home(value)
            if value not in homes.of and not node.fixed and wanted:
                role = self.role(value)
                homes.of[value] = Home(
                    homes.buffer(f"{role} {value}", role, self.lifetime(value), node.width)
                )
        for value, item in flow.sums.items():
            if item.begin is not None:
                homes.of[item.begin] = homes.of[value]

    def lifetime(self, value: int) -> Lifetime:
        item = self.flow.of(value)
        if value in self.flow.keep:
            return Lifetime.TIME
        products = item.products if not isinstance(item, FlowNode) else ()
        in_loop = (
            item.phase is Phase.LOOP
            and not self.placement.is_read_outside_loop(value)
            and all(product.phase is Phase.LOOP for product in products)
        )
        return Lifetime.STEP if in_loop else Lifetime.CHUNK

    def role(self, value: int) -> Role:
        return "saved" if value in self.flow.keep else "scratch"
