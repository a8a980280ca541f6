"""A recurrent layer in ONNX: its steps as the body of a ``Scan``, what needs no state before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellsearch.compiler.backends.functions import LAYER_NORM_EPS
from cellsearch.compiler.given import with_resets
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Instruction, Program
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import ConfigError
from cellsearch.export.onnx.functions import apply_op
from cellsearch.export.onnx.graph import Graph, value_info
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import Sizes, Width, bound_sizes, check_sizes, output_size

__all__ = ["OnnxLayer"]


@dataclass(frozen=True)
class OnnxLayer:
    """A stack of recurrent layers with weights. Raises :class:`ConfigError` for weights that do not
    fit, and :class:`GenomeError` where the cell needs I = H and the sizes differ.
    """

    genome: Genome
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    weights: Mapping[str, NDArray[Any]]
    """By the names of ``compile_cell``."""
    named: Mapping[str, int | str] = field(default_factory=dict)
    """What the names of sizes of the cell stand for."""
    resets: bool = False
    """Whether it is told where states start afresh."""

    def __post_init__(self) -> None:
        for _, width in self.parts():
            check_sizes(self.genome, self.sizes(width))
        for prefix, width in self.parts():
            for name, shape in self.program.parameters:
                sizes = self.sizes(width).of(shape)
                array = self.weights.get(f"{prefix}.{name}")
                if array is None or array.shape != sizes:
                    found = "not there" if array is None else f"{list(array.shape)}"
                    raise ConfigError(
                        f"the weight {prefix}.{name} is {found}; expected {list(sizes)}",
                        hint="give the state dict of the compiled layer with these sizes",
                    )

    @cached_property
    def program(self) -> Program:
        """One step as instructions."""
        program = simplify_program(lower(self.genome))
        if not self.resets:
            return program
        dtype = torch.float64 if self.dtype == np.float64 else torch.float32
        return with_resets(program, len(program.states), dtype)

    def sizes(self, width: int) -> Sizes:
        """The numbers of a layer whose input is so wide."""
        return bound_sizes(self.genome, width, self.hidden_size, self.named)

    @cached_property
    def output_size(self) -> int:
        """Width of the output of one direction."""
        return output_size(self.genome, self.input_size, self.hidden_size, self.named)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Width of each state."""
        return self.sizes(self.input_size).of(self.program.state_widths)

    @property
    def beside(self) -> tuple[str, ...]:
        """What it is given beside x: ``dt``, ``mask``, ``reset``."""
        return (*self.genome.inputs[1:], *(("reset",) if self.resets else ()))

    @property
    def directions(self) -> int:
        """1, or 2 for a layer that reads both."""
        return 2 if self.bidirectional else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the weights; float32 for a cell without any."""
        return next((a.dtype for a in self.weights.values()), np.dtype(np.float32))

    def parts(self) -> list[tuple[str, int]]:
        """Name and input width of each direction of each layer, in the order of the states."""
        suffixes = ("", "_reverse")[: self.directions]
        width = self.output_size * self.directions
        return [
            (f"l{layer}{suffix}", width if layer else self.input_size)
            for layer in range(self.num_layers)
            for suffix in suffixes
        ]

    def write(
        self,
        graph: Graph,
        x: str,
        states: Sequence[str],
        beside: Mapping[str, str],
        *,
        step: bool = False,
    ) -> tuple[str, list[str]]:
        """All layers over ``x [T, B, I]`` with states ``[L * D, B, H]`` each; a ``step``: one over
        ``x [B, I]``. ``beside``: what else is given, in the dtype of the cell, ``dt`` and ``reset
        [T, B, 1]``, ``mask`` like x. Returns the output and the final states.
        """
        finals: list[list[str]] = [[] for _ in states]
        outputs: list[str] = []
        for k, (prefix, width) in enumerate(self.parts()):
            if k and k % self.directions == 0:
                if "mask" in beside:  # all is there that a layer puts out
                    shape = graph.add("Shape", self._joined(graph, outputs, "observed"))
                    beside = {**beside, "mask": graph.add("Expand", graph.number(1.0), shape)}
                x, outputs = self._joined(graph, outputs, f"l{k // self.directions - 1}"), []
            before = [
                graph.add("Gather", state, graph.position(k), name=f"{prefix}.{name}_0", axis=0)
                for state, name in zip(states, self.genome.state_names, strict=True)
            ]
            part = _Part(self, prefix, width, k % self.directions == 1)
            given = [x, *part.beside(graph, beside)]
            output, final = (part.step if step else part.scan)(graph, given, before)
            outputs.append(output)
            for stack, value in zip(finals, final, strict=True):
                stack.append(graph.add("Unsqueeze", value, graph.integers(0), name=f"{value}.one"))
        output = self._joined(graph, outputs, f"l{self.num_layers - 1}")
        return output, [
            graph.add("Concat", *stack, name="states", axis=0) if len(stack) > 1 else stack[0]
            for stack in finals
        ]

    def _joined(self, graph: Graph, outputs: list[str], name: str) -> str:
        if len(outputs) == 1:
            return outputs[0]
        return graph.add("Concat", *outputs, name=f"{name}.both", axis=-1)


@dataclass
class _Part:
    """One direction of one layer. ``values``: where each value of the program is found so far."""

    layer: OnnxLayer
    prefix: str
    width: int
    backward: bool
    values: dict[int, str] = field(default_factory=dict)
    steps: bool = True
    """Whether values have a dimension of time."""

    @property
    def program(self) -> Program:
        return self.layer.program

    @cached_property
    def carried(self) -> list[bool]:
        """Of each value whether it depends on a state."""
        program = self.program
        found = [program.is_state(value) for value in range(program.first)]
        for instruction in program.instructions:
            found.append(any(found[v] for v in instruction.inputs))
        return found

    def beside(self, graph: Graph, given: Mapping[str, str]) -> list[str]:
        """The inputs of the program after x, each ``[T, B, width]``, from what the layers are
        given; a backward direction reads what belongs to the way into the step behind.
        """
        found = []
        for name, width in self.program.inputs[1:]:
            base = name.partition(":")[0]
            value = given[base]
            if base != "mask":
                if self.backward:
                    value = self.behind(graph, value, first=base == "dt")
                ones = np.ones(self.size(width), graph.dtype)
                ones_name = graph.weight(f"{self.prefix}.ones", ones)
                value = graph.add("Mul", value, ones_name, name=f"{self.prefix}.{base}")
            found.append(value)
        return found

    def behind(self, graph: Graph, value: str, *, first: bool) -> str:
        """Of ``[T, B, 1]`` that of the step behind each; behind the last that of the first step, or
        0.
        """
        axis, end = graph.integers(0), graph.integers(2**31 - 1)
        later = graph.add("Slice", value, graph.integers(1), end, axis)
        begin = graph.add("Slice", value, axis, graph.integers(1), axis)
        begin = begin if first else graph.add("Mul", begin, graph.number(0.0))
        return graph.add("Concat", later, begin, axis=0)

    def step(
        self, graph: Graph, given: Sequence[str], states: Sequence[str]
    ) -> tuple[str, list[str]]:
        """One step: output and next states."""
        self.steps = False
        self.values = dict(enumerate([*given, *states]))
        self.instructions(graph, carried=False)
        self.instructions(graph, carried=True)
        output = self.output(graph, states)
        pairs = zip(self.program.next_states, states, strict=True)
        return output, [self.whole(graph, v, state) for v, state in pairs]

    def output(self, graph: Graph, states: Sequence[str]) -> str:
        """The output as ``[B, width]``."""
        width = self.program.output_width
        for state, like in zip(states, self.program.state_widths, strict=True):
            if like == width:
                return self.whole(graph, self.program.output, state)
        batch = graph.add("Shape", states[0], start=0, end=1)
        shape = graph.add("Concat", batch, graph.integers(self.size(width)), axis=0)
        return self.whole(graph, self.program.output, "", shape)

    def scan(
        self, graph: Graph, given: Sequence[str], states: Sequence[str]
    ) -> tuple[str, list[str]]:
        """All steps: output ``[T, B, H]`` and final states."""
        program, names = self.program, self.layer.genome.state_names
        self.values = dict(enumerate(given))
        self.instructions(graph, carried=False)
        read = self.read_in_the_loop()
        taken = [self.values[v] for v in read]
        body = graph.body()
        before = [body.name(f"{self.prefix}.{name}[t-1]") for name in names]
        now = [body.name(f"{self.values[v]}[t]") for v in read]
        self.values |= dict(zip(read, now, strict=True))
        self.values |= dict(enumerate(before, start=len(given)))
        self.steps = False
        self.instructions(body, carried=True)
        whole = [self.whole(body, v, k) for v, k in zip(program.next_states, before, strict=True)]
        ends = [
            body.add("Identity", value, name=f"{self.prefix}.{end}")
            for value, end in zip(
                (*whole, self.output(body, before)), (*names, "output"), strict=True
            )
        ]
        sizes = [self.size(width) for width in program.state_widths]
        widths = [self.size(program.shapes[v].width) for v in read]
        infos = [
            value_info(name, graph.dtype, ["B", size])
            for name, size in zip(before, sizes, strict=True)
        ]
        infos += [
            value_info(name, graph.dtype, ["B", w]) for name, w in zip(now, widths, strict=True)
        ]
        sizes += [self.size(program.output_width)]
        results = [
            value_info(name, graph.dtype, ["B", size])
            for name, size in zip(ends, sizes, strict=True)
        ]
        *finals, output = graph.several(
            "Scan",
            [*states, *taken],
            [*(f"{self.prefix}.{name}_n" for name in names), f"{self.prefix}.outputs"],
            body=body.made(f"{self.prefix}.step", infos, results),
            num_scan_inputs=len(read),
            scan_input_directions=[int(self.backward)] * len(read),
            scan_output_directions=[int(self.backward)],
        )
        return output, finals

    def read_in_the_loop(self) -> list[int]:
        """The values, one a position, that the steps read and that need no state; ``x`` where there
        is none, since a ``Scan`` must go over something.
        """
        program, carried = self.program, self.carried
        read = {v for v in program.ends if not carried[v]}
        for value, instruction in program.numbered():
            if carried[value]:
                read |= {v for v in instruction.inputs if not carried[v]}
        return sorted(v for v in read if program.shapes[v].extent == "step") or [0]

    def size(self, width: Width) -> int:
        return self.layer.sizes(self.width)[width]

    def instructions(self, graph: Graph, *, carried: bool) -> None:
        """All that depends on a state, or all that does not."""
        for value, instruction in self.program.numbered():
            if self.carried[value] == carried and value not in self.values:
                if instruction.op == "dense":
                    self.products(graph, instruction.inputs[0])
                else:
                    self.values[value] = self.instruction(graph, instruction)

    def products(self, graph: Graph, operand: int) -> None:
        """All products of one value with weights, as one with the weights side by side."""
        readers = [
            (value, instruction)
            for value, instruction in self.program.numbered()
            if instruction.op == "dense" and instruction.inputs == (operand,)
        ]
        weights = [self.array(instruction).T for _, instruction in readers]
        names = [f"{self.prefix}.{instruction.parameter}" for _, instruction in readers]
        joined = graph.weight(",".join(names), np.concatenate(weights, 1))
        product = graph.add("MatMul", self.values[operand], joined, name=f"{names[0]}.product")
        if len(readers) == 1:
            self.values[readers[0][0]] = product
            return
        sizes = graph.integers(*(weight.shape[1] for weight in weights))
        parts = graph.several("Split", [product, sizes], [f"{n}.product" for n in names], axis=-1)
        self.values |= {value: part for (value, _), part in zip(readers, parts, strict=True)}

    def array(self, instruction: Instruction) -> NDArray[Any]:
        return self.layer.weights[f"{self.prefix}.{instruction.parameter}"]

    def instruction(self, graph: Graph, instruction: Instruction) -> str:
        """Any instruction but a product."""
        op, wanted = instruction.op, instruction.parameter or instruction.label
        name = f"{self.prefix}.{wanted or op}"
        hidden = self.layer.hidden_size
        if op == "const":
            return graph.number(instruction.value)
        if op in ("vector", "scalar"):
            return graph.weight(name, self.array(instruction).reshape(-1))
        if op == "zeros":
            return graph.weight(f"{self.prefix}.zeros", np.zeros(hidden, graph.dtype))
        operands = [self.values[v] for v in instruction.inputs]
        if op == "layer_norm":
            width = self.size(self.program.shapes[instruction.inputs[0]].width)
            ones = graph.weight(f"{self.prefix}.ones", np.ones(width, graph.dtype))
            return graph.add(
                "LayerNormalization", *operands, ones, name=name, axis=-1, epsilon=LAYER_NORM_EPS
            )
        if op == "unit":
            square = graph.add("Mul", operands[0], operands[0])
            axis = graph.integers(-1)
            length = graph.add("Sqrt", graph.add("ReduceSum", square, axis, keepdims=1))
            none = graph.add("Equal", length, graph.number(0.0))
            length = graph.add("Where", none, graph.number(float("inf")), length)
            return graph.add("Div", operands[0], length, name=name)
        if op in ("turn", "twice"):
            return self.paired(graph, instruction, name)
        if op in ("blocks", "head_norm"):
            return self.parted(graph, instruction, name)
        if op == "restart":
            fresh = graph.add("Greater", operands[0], graph.number(0.0))
            return graph.add("Where", fresh, *operands[1:], name=name)
        return graph.rename(apply_op(graph, op, operands), name)

    def paired(self, graph: Graph, instruction: Instruction, name: str) -> str:
        """What ``rotate`` is made of: ``turn``, (a_2j, a_2j+1) -> (-a_2j+1, a_2j), and ``twice``,
        each number for both units of its pair.
        """
        (operand,) = instruction.inputs
        width, value = self.size(self.program.shapes[operand].width), self.values[operand]
        if instruction.op == "twice":
            places = graph.integers(*np.repeat(np.arange(width), 2).tolist())
            return graph.add("Gather", value, places, name=name, axis=-1)
        places = graph.integers(*(np.arange(width) ^ 1).tolist())
        signs = graph.weight(f"{name}.signs", np.tile(np.array([-1, 1], graph.dtype), width // 2))
        return graph.add("Mul", graph.add("Gather", value, places, axis=-1), signs, name=name)

    def parted(self, graph: Graph, instruction: Instruction, name: str) -> str:
        """What each of equal parts is multiplied with a matrix of its own, or normalised."""
        (operand,) = instruction.inputs
        shape, value = self.program.shapes[operand], self.values[operand]
        width = self.size(shape.width)
        before = [0] * (0 if shape.extent == "fixed" else 2 if self.steps else 1)  # as they are
        if instruction.op == "head_norm":
            parts = int(instruction.value)
            size = width // parts
            cut = graph.add("Reshape", value, graph.integers(*before, parts, size))
            ones = graph.weight(f"{name}.ones", np.ones(size, graph.dtype))
            normed = graph.add("LayerNormalization", cut, ones, axis=-1, epsilon=LAYER_NORM_EPS)
            return graph.add("Reshape", normed, graph.integers(*before, width), name=name)
        weight = self.array(instruction)
        parts, rows, columns = weight.shape
        cut = graph.add("Reshape", value, graph.integers(*before, parts, 1, columns))
        matrices = graph.weight(name, weight.transpose(0, 2, 1))
        product = graph.add("MatMul", cut, matrices, name=f"{name}.product")
        return graph.add("Reshape", product, graph.integers(*before, parts * rows), name=name)

    def whole(self, graph: Graph, value: int, state: str, shape: str = "") -> str:
        """A value as ``[B, width]``, also one that is the same for all sequences: like a state, or
        of this shape.
        """
        found = self.program.shapes[value]
        if found.extent == "step" and found.width != "1":
            return self.values[value]
        shape = shape or graph.add("Shape", state)
        return graph.add("Expand", self.values[value], shape, name="expanded")
