"""One step of one layer as a static function in C: the loops of a
:class:`cellsearch.genome.step_plan.StepPlan`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.export.c.data import ConstantArrays
from cellsearch.export.c.functions import Functions
from cellsearch.export.c.names import Identifiers, literal
from cellsearch.genome.footprint import DeviceLayout
from cellsearch.ops import OPS

__all__ = ["LayerWriter", "integer_limit", "state_fields"]

_PARAMETERS = {
    "x": "const float *x",
    "dt": "float dt",
    "mask": "const float *mask",
    "y": "float *y",
}
"""What the function of a layer may take beside the state."""


def integer_limit(integer_bytes: int, columns: int) -> int:
    """The largest integer that an operand of a dense product is rounded to, so that no sum of
    ``columns`` products with 8-bit weights leaves 32 bits.
    """
    return min(127 if integer_bytes == 1 else 32767, (2**31 - 1) // (127 * columns))


def state_fields(layout: DeviceLayout, names: Identifiers, layer: int) -> list[str]:
    """What the states of a layer are called in the structure."""
    states = layout.genome.state_names
    return [names.of(f"l{layer}", k, name) for k, name in enumerate(states)]


class LayerWriter:
    """Writes ``static void layer_<n>(NAME_state *s, const float *x, float dt, const float *mask,
    float *y)``; what the step does not read is left out, and y where a state is the output.
    """

    def __init__(
        self,
        layout: DeviceLayout,
        layer: int,
        weights: Mapping[str, NDArray[Any]],
        data: ConstantArrays,
        functions: Functions,
        names: Identifiers,
    ) -> None:
        self.layout, self.layer = layout, layer
        self.genome, self.plan = layout.genome, layout.plans[layer]
        self.weights, self.data, self.functions = weights, data, functions
        self.states = state_fields(layout, names, layer)
        self.sizes = [self.plan.sizes[width] for width in self.plan.state_widths]
        self.specs = {(spec.node, spec.operand): spec for spec in self.genome.parameters}
        own = Identifiers()
        labels = [label.replace("_<t-1>", "_old") for label in self.genome.labels]
        self.local = [own.of("v", v, label.replace(".", "_")) for v, label in enumerate(labels)]
        for value, name in enumerate(self.genome.inputs):
            if name == "dt":  # a number, not an array
                self.local[value] = "dt"
        self.parameters: list[str] = []
        """What the function takes beside the state."""
        self.known: set[str] = set()
        """Statistics that a stage before has computed."""

    def lines(self, structure: str) -> list[str]:
        """The function; ``structure``: the type of the state."""
        body: list[str] = []
        for stage in range(self.plan.stages):
            body += self._stage(stage)
        body += self._copies_at_the_end()
        for value in reversed(self.plan.numbers):  # those that something reads
            if re.search(rf"\b{self.local[value]}\b", " ".join(body)):
                body.insert(0, f"const float {self.local[value]} = {self._expression(value)};")
        body = [*self._pointers(), *body]
        written = " ".join(body)
        self.parameters = [name for name in _PARAMETERS if re.search(rf"\b{name}\b", written)]
        given = ", ".join([f"{structure} *s", *(_PARAMETERS[name] for name in self.parameters)])
        head = f"static void layer_{self.layer}({given})"
        return ["", head, "{", *(f"    {line}" for line in body), "}"]

    def call(self, x: str, y: str, dt: str = "dt") -> str:
        """The call of the function, after :meth:`lines`."""
        values = {"x": x, "dt": dt, "mask": "mask", "y": y}
        given = ", ".join(["s", *(values[name] for name in self.parameters)])
        return f"layer_{self.layer}({given});"

    # -- where values lie --------------------------------------------------------------------------

    def _pointers(self) -> Iterator[str]:
        floats, integers = self.layout.places
        base = floats.get(f"scratch {self.layer}", 0)
        arrays, pending, copies = self.plan.places
        for value, place in arrays.items():
            yield f"float *const {self._array(value)} = s->floats + {base + place};"
        for k, place in pending.items():
            yield f"float *const next_{k} = s->floats + {base + place};"
        base = integers.get(f"scratch {self.layer}", 0)
        for value, place in copies.items():
            name = self._copy(value)
            yield f"cell_integer *const {name} = s->integers + {base + place};"

    def _array(self, value: int) -> str:
        return f"a_{self.local[value]}"

    def _copy(self, value: int) -> str:
        return f"q_{self.local[value]}"

    def _pointer(self, value: int) -> str:
        """The array that holds a value after its stage."""
        genome, plan = self.genome, self.plan
        if genome.is_input(value):
            if genome.inputs[value] == "mask" and self.layer:  # all is there that a layer puts out
                return self.data.vector("ones", np.ones(plan.input_size, dtype=np.float32))
            return genome.inputs[value]
        if value in plan.constant:
            return self._vector(value, -1)
        if genome.is_state(value):
            return f"s->{self.states[value - len(genome.inputs)]}"
        if value in plan.home:
            return f"s->{self.states[plan.home[value]]}"
        if value in plan.arrays:
            return self._array(value)
        return "y"  # of the output, which holds it from its stage on

    # -- lines -------------------------------------------------------------------------------------

    def _stage(self, stage: int) -> Iterator[str]:
        plan = self.plan
        for value, copy in plan.copies.items():
            if copy.first == stage:
                limit = integer_limit(self.layout.integer_bytes, copy.size)
                given = (self._pointer(value), self._copy(value), str(copy.size), f"{limit}.0f")
                yield f"const float r_{self.local[value]} = {self.functions.call('round', *given)};"
        nodes = [value for value in plan.live if plan.stage.get(value) == stage]
        for value in nodes:
            yield from self._statistics(value)
        written = (plan.output_width, *plan.state_widths)
        for width in dict.fromkeys(("I", "H", *(plan.widths[v] for v in nodes), *written)):
            yield from self._loop(stage, [v for v in nodes if plan.widths[v] == width], width)

    def _statistics(self, value: int) -> Iterator[str]:
        unit = self.genome.nodes[value - self.genome.first_node].op == "unit"
        for operand, how in self.plan.reads(value):
            name = self.local[operand]
            known = f"{unit} {name}"
            if how == "norm" and known not in self.known:
                self.known.add(known)
                size, pointer = str(self.plan.size(operand)), self._pointer(operand)
                if unit:
                    call = self.functions.call("inverse_length", pointer, size)
                    yield f"const float shrunk_{name} = {call};"
                    continue
                yield f"const float mean_{name} = {self.functions.call('mean', pointer, size)};"
                given = (pointer, f"mean_{name}", size)
                call = self.functions.call("inverse_deviation", *given)
                yield f"const float inverse_{name} = {call};"

    def _loop(self, stage: int, nodes: list[int], width: str) -> list[str]:
        stores = list(self._stores(stage, nodes, width))
        if not stores and not nodes:
            return []
        body = []
        for value in self._loaded(stage, nodes, [value for _, value in stores]):
            body.append(f"const float {self.local[value]} = {self._pointer(value)}[j];")
        for value in nodes:
            body += self._assignment(value)
        body += [f"{target}[j] = {self.local[value]};" for target, value in stores]
        head = f"for (size_t j = 0; j < {self.plan.sizes[width]}; j++) {{"
        before = [f"float {name} = 0.0f;" for v in nodes for name in self._kept(v)]
        return [*before, head, *(f"    {line}" for line in body), "}"]

    def _loaded(self, stage: int, nodes: list[int], stored: list[int]) -> list[int]:
        """The values that the loop takes from arrays, unit by unit."""
        plan = self.plan
        own = ("unit", "norm", "head")
        reads = [v for node in nodes for v, how in plan.reads(node) if how in own]
        return [
            value
            for value in dict.fromkeys((*reads, *stored))
            if plan.widths[value] != "1" and plan.made_in(value) < stage
        ]

    def _stores(self, stage: int, nodes: list[int], width: str) -> Iterator[tuple[str, int]]:
        """What the loop writes at the end of each pass: array and value."""
        plan, genome = self.plan, self.genome
        for value in nodes:
            if value in plan.arrays:
                yield self._array(value), value
        for k, end in enumerate(genome.next_states):
            if plan.written_in(end) == stage and plan.state_widths[k] == width:
                if k in plan.in_place:
                    yield f"s->{self.states[k]}", end
                elif k in plan.pending:
                    yield f"next_{k}", end
        written = plan.written_in(genome.output) == stage and plan.output_width == width
        if plan.output_state is None and written:
            yield "y", genome.output

    def _copies_at_the_end(self) -> Iterator[str]:
        plan = self.plan
        for k, end in enumerate(self.genome.next_states):
            if k not in plan.in_place:
                source = f"next_{k}" if k in plan.pending else self._pointer(end)
                yield f"for (size_t j = 0; j < {plan.sizes[plan.state_widths[k]]}; j++) {{"
                yield f"    s->{self.states[k]}[j] = {source}[j];"
                yield "}"

    def _kept(self, value: int) -> tuple[str, ...]:
        """What a loop keeps from the first unit of a head or a pair to its last."""
        name = self.local[value]
        for _, how in self.plan.reads(value):
            if how == "head":
                return f"mean_{name}", f"inverse_{name}"
        if self.genome.nodes[value - self.genome.first_node].op == "rotate":
            return f"first_{name}", f"second_{name}"
        return ()

    def _at_the_first(self, value: int) -> list[str]:
        """What is computed at the first unit of each head or pair."""
        node, kept = self.genome.nodes[value - self.genome.first_node], self._kept(value)
        if not kept:
            return []
        read, call = self._pointer(node.inputs[0]), self.functions.call
        if node.op == "head_norm":
            size = str(self.plan.size(value) // node.parts)
            lines = [
                f"{kept[0]} = {call('mean', f'{read} + j', size)};",
                f"{kept[1]} = {call('inverse_deviation', f'{read} + j', kept[0], size)};",
            ]
            return [f"if (j % {size} == 0) {{", *(f"    {line}" for line in lines), "}"]
        turned, number = node.inputs[1], self.plan.widths[node.inputs[1]] == "1"
        angle = self.local[turned] if number else f"{self._pointer(turned)}[j / 2]"
        lines = [
            f"const float cosine = {call('cos', angle)};",
            f"const float sine = {call('sin', angle)};",
            f"{kept[0]} = {read}[j] * cosine - {read}[j + 1] * sine;",
            f"{kept[1]} = {read}[j] * sine + {read}[j + 1] * cosine;",
        ]
        return ["if (j % 2 == 0) {", *(f"    {line}" for line in lines), "}"]

    def _assignment(self, value: int) -> list[str]:
        node = self.genome.nodes[value - self.genome.first_node]
        if node.op != "linear":
            first = self._at_the_first(value)
            return [*first, f"const float {self.local[value]} = {self._expression(value)};"]
        terms = [self._product(value, k, operand) for k, operand in enumerate(node.inputs)]
        terms += [f"{self._vector(value, -1)}[j]"] if node.bias else []
        lines = [f"const float {self.local[value]} = {terms[0]}"]
        lines += [f"    + {term}" for term in terms[1:]]
        return [*lines[:-1], f"{lines[-1]};"]

    # -- expressions -------------------------------------------------------------------------------

    def _weight(self, value: int, operand: int) -> NDArray[Any]:
        return self.weights[f"l{self.layer}.{self.specs[value, operand].name}"]

    def _vector(self, value: int, operand: int) -> str:
        name = f"l{self.layer}.{self.specs[value, operand].name}"
        return self.data.vector(name, self.weights[name])

    def _product(self, value: int, position: int, operand: int) -> str:
        """One operand of a ``linear`` times its weight, for unit j."""
        if self.plan.widths[operand] == "1":
            return f"{self._vector(value, position)}[j] * {self.local[operand]}"
        name = f"l{self.layer}.{self.specs[value, position].name}"
        matrix, size = self.data.matrix(name, self.weights[name]), self.plan.size(operand)
        begin, blocks = "", self.genome.nodes[value - self.genome.first_node].blocks
        if blocks > 1:  # the row of a block times its part of the operand
            size //= blocks
            begin = f" + j / {self.plan.size(value) // blocks} * {size}"
        row = f"{matrix} + j * {size}"
        if not self.data.integers:
            return self.functions.call("dot", row, f"{self._pointer(operand)}{begin}", str(size))
        given = (row, f"{self._copy(operand)}{begin}", str(size))
        product = self.functions.call("integer_dot", *given)
        scale = f"{self.data.scale_of(matrix)}[j] * r_{self.local[operand]}"
        return f"(float){product} * ({scale})"

    def _expression(self, value: int) -> str:
        """A node that is not a ``linear``, for unit j."""
        node = self.genome.nodes[value - self.genome.first_node]
        operands = [self.local[v] for v in node.inputs]
        if node.op == "const":
            return literal(node.value, f"the number of node {self.genome.labels[value]}")
        if node.op == "bias":
            return f"{self._vector(value, -1)}[j]"
        if node.op == "diag":
            return f"{self._vector(value, 0)}[j] * {operands[0]}"
        if node.op == "scale":
            number = float(self._weight(value, 0).reshape(-1)[0])
            return f"{literal(number, self.specs[value, 0].name)} * {operands[0]}"
        if node.op in ("add", "mul"):
            return {"add": " + ", "mul": " * "}[node.op].join(operands)
        if node.op == "unit":
            if self.plan.widths[node.inputs[0]] == "1":
                size = f"{self.plan.size(value)}.0f"
                return self.functions.call("unit_of_number", operands[0], size)
            return f"{operands[0]} * shrunk_{operands[0]}"
        if node.op == "rotate":
            return "j % 2 == 0 ? {} : {}".format(*self._kept(value))
        if OPS[node.op].kind == "normalisation":
            if self.plan.widths[node.inputs[0]] == "1":
                return "0.0f"  # all units are equal, so each is its mean
            if node.op == "head_norm":
                mean, inverse = self._kept(value)
                return f"({operands[0]} - {mean}) * {inverse}"
            return f"({operands[0]} - mean_{operands[0]}) * inverse_{operands[0]}"
        return self.functions.op(node.op, operands)
