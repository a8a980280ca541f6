"""Lowering: a genome becomes a program of primitives.

Sums are flattened (a ``linear`` or ``add`` that only one sum reads becomes part of it) and their
terms ordered by when they are known: first what depends on weights only, then what depends on the
input of the step, then what depends on previous states. So everything that can be computed outside
the time loop stands together, and a ``linear`` written as a sum of two costs no more than one.

``dt[t]`` is one number a step, and so is what is computed from it and from numbers alone. In a
program such a value has the width of what reads it, computed once for each such width: the input
``dt:H`` holds H times the same number a row, so no backend needs another kind of shape. A
``linear`` of it is a vector of weights times the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cellsearch.compiler.program import Instruction, Precision, Program
from cellsearch.genome.graph import Genome, Node
from cellsearch.genome.parameters import Width, output_width, state_widths, widths
from cellsearch.genome.parts import INPUTS

__all__ = ["lower"]


def lower(genome: Genome, precision: Precision = "float32") -> Program:
    """The program of a genome's live nodes: inputs ``x [I]``, ``dt:H [H]`` and ``dt:I [I]`` as far
    as they are read, ``mask [I]``; carried states, one output under the genome's output name.
    ``precision``: of the operands of its products with matrices.
    """
    return _Lowering(genome).program(precision)


class _Lowering:
    def __init__(self, genome: Genome) -> None:
        self.genome = genome
        self.widths = widths(genome)
        self.weights = {(spec.node, spec.operand): spec for spec in genome.parameters}
        self.levels = readiness(genome)
        self.inlined = _inlined_sums(genome)
        self.instructions: list[Instruction] = []
        self.parameters: dict[str, tuple[Width, ...]] = {}
        self.readers = _readers_of_gaps(genome, self.widths, self.levels)
        self.inputs = _inputs(genome, self.readers)
        self.first_node = genome.first_node
        self.first = len(self.inputs) + len(genome.states)
        self.values: dict[tuple[int, str], int] = {}
        for k, name in enumerate(genome.inputs):
            for place, (given, width) in enumerate(self.inputs):
                if given.partition(":")[0] == name:
                    self.values[k, width if k in self.readers else ""] = place
        for k in range(len(genome.states)):
            self.values[len(genome.inputs) + k, ""] = len(self.inputs) + k

    def at(self, value: int, width: str) -> int:
        """The program's value for one of the genome, as something of this width reads it."""
        return self.values[value, width if value in self.readers else ""]

    def program(self, precision: Precision) -> Program:
        genome, live, labels = self.genome, self.genome.live, self.genome.labels
        for value, node in genome.numbered():
            if value in live and value not in self.inlined:
                for width in self.readers.get(value, {self.widths[value]: None}):
                    result = self.node(value, node, width)
                    self.values[value, width if value in self.readers else ""] = result
                    if result >= self.first and not self.instructions[result - self.first].label:
                        self.label(result, labels[value])
        return Program(
            inputs=self.inputs,
            states=genome.states,
            instructions=tuple(self.instructions),
            next_states=tuple(
                self.at(v, width)
                for v, width in zip(genome.next_states, state_widths(genome), strict=True)
            ),
            outputs=((genome.output_name, self.at(genome.output, output_width(genome))),),
            parameters=tuple(self.parameters.items()),
            carried=state_widths(genome),
            precision=precision,
        )

    def emit(self, op: str, *inputs: int, parameter: str = "", value: float = 0.0) -> int:
        self.instructions.append(Instruction(op, inputs, parameter, value))
        return self.first + len(self.instructions) - 1

    def label(self, value: int, label: str) -> None:
        k = value - self.first
        old = self.instructions[k]
        self.instructions[k] = Instruction(old.op, old.inputs, old.parameter, old.value, label)

    def weight(self, node: int, operand: int) -> str:
        spec = self.weights[node, operand]
        self.parameters[spec.name] = spec.shape
        return spec.name

    def node(self, value: int, node: Node, width: str) -> int:
        """``width``: the node's own, or, of a gap in time, its reader's."""
        if node.op in ("add", "linear"):
            return self.total(value, width)
        operands = [self.at(v, width) for v in node.inputs]
        if node.op == "identity":
            return operands[0]
        if node.op == "const":
            return self.emit("const", value=node.value)
        if node.op == "bias":
            return self.emit("vector", parameter=self.weight(value, -1))
        if node.op == "diag":
            return self.emit(
                "mul", self.emit("vector", parameter=self.weight(value, 0)), operands[0]
            )
        if node.op == "scale":
            return self.emit(
                "mul", self.emit("scalar", parameter=self.weight(value, 0)), operands[0]
            )
        if node.op == "mul":
            levels = [self.levels[v] for v in node.inputs]
            return self.chain("mul", list(zip(levels, operands, strict=True)))
        if node.op in ("layer_norm", "head_norm") and self.widths[node.inputs[0]] == "1":
            return self.emit("zeros")  # all units are equal, so each is its mean
        if node.op == "unit" and self.widths[node.inputs[0]] == "1":  # all of the H units count
            operands = [self.emit("add", self.emit("zeros"), operands[0])]
        if node.op == "rotate":
            return self.rotation(*operands, twice=self.widths[node.inputs[1]] != "1")
        parts = float(node.parts) if node.op == "head_norm" else 0.0
        return self.emit(node.op, *operands, value=parts)

    def rotation(self, value: int, angle: int, *, twice: bool) -> int:
        """``cos * a + sin * (a turned by a quarter)``; the functions of the angle stand by
        themselves, so that those that are known before the loop are computed there. ``twice``: an
        angle is that of a pair.
        """
        factors = []
        for op in ("cos", "sin"):
            factor = self.emit(op, angle)
            factors.append(self.emit("twice", factor) if twice else factor)
        along = self.emit("mul", factors[0], value)
        return self.emit("add", along, self.emit("mul", factors[1], self.emit("turn", value)))

    def total(self, value: int, width: str) -> int:
        """One flat sum, terms in order of when they are known."""
        terms: list[tuple[int, int]] = []
        stack = [value]
        while stack:
            current = stack.pop()
            node = self.genome.nodes[current - self.first_node]
            for position, operand in enumerate(node.inputs):
                if node.op == "linear":
                    terms.append((self.levels[operand], self.product(current, position)))
                elif operand in self.inlined:
                    stack.append(operand)
                else:
                    terms.append((self.levels[operand], self.at(operand, width)))
            if node.bias:
                terms.append((_FIXED, self.emit("vector", parameter=self.weight(current, -1))))
        return self.chain("add", terms)

    def product(self, linear: int, position: int) -> int:
        """An operand of a ``linear`` times its weight."""
        operand = self.genome.nodes[linear - self.first_node].inputs[position]
        value, weight = self.at(operand, self.widths[linear]), self.weight(linear, position)
        if operand in self.readers:
            return self.emit("mul", self.emit("vector", parameter=weight), value)
        dense = self.genome.nodes[linear - self.first_node].blocks == 1
        return self.emit("dense" if dense else "blocks", value, parameter=weight)

    def chain(self, op: str, terms: Sequence[tuple[int, int]]) -> int:
        ordered = [value for _, value in sorted(terms, key=lambda term: term[0])]
        result = ordered[0]
        for term in ordered[1:]:
            result = self.emit(op, result, term)
        return result


_FIXED = -2  # depends on weights only
_PARALLEL = -1  # depends on the input of the step


def readiness(genome: Genome) -> tuple[int, ...]:
    """For each value: -2 if it depends on weights only, -1 if on x as well, else the dense products
    on the longest path from a state.
    """
    levels = [_PARALLEL] * len(genome.inputs) + [0] * len(genome.states)
    for _, node in genome.numbered():
        level = max((levels[v] for v in node.inputs), default=_FIXED)
        levels.append(level + 1 if node.op == "linear" and level >= 0 else level)
    return tuple(levels)


def _readers_of_gaps(
    genome: Genome, widths: Sequence[Width], levels: Sequence[int]
) -> dict[int, dict[Width, None]]:
    """``dt`` and the values that depend on nothing else of a step, each with the widths of what
    reads it.
    """
    gaps: dict[int, dict[Width, None]] = {
        value: {}
        for value in range(genome.n_values)
        if widths[value] == "1" and levels[value] > _FIXED and value in genome.live
    }
    ends = [*zip(genome.next_states, state_widths(genome), strict=True)]
    for end, width in (*ends, (genome.output, output_width(genome))):
        if end in gaps:
            gaps[end][width] = None
    for value, node in reversed(list(genome.numbered())):
        read = gaps.get(value, {widths[value]: None}) if value in genome.live else {}
        for operand in node.inputs:
            if operand in gaps:
                gaps[operand].update(read)
    return gaps


def _inputs(
    genome: Genome, gaps: Mapping[int, Mapping[Width, None]]
) -> tuple[tuple[str, Width], ...]:
    """The inputs of the program."""
    found: list[tuple[str, Width]] = []
    for value, name in enumerate(genome.inputs):
        if value in gaps:
            found += [(f"{name}:{width}", width) for width in gaps[value]]
        elif value in genome.live or not value:
            found.append((name, INPUTS[name]))
    return tuple(found)


def _inlined_sums(genome: Genome) -> frozenset[int]:
    """Sums that exactly one other sum reads, and nothing else: they become part of it."""
    ends = {*genome.next_states, genome.output}
    inlined = set()
    for value, node in genome.numbered():
        if node.op in ("add", "linear") and value not in ends:
            users = [user for user in genome.uses[value] if user in genome.live]
            user = genome.node(users[0]) if len(users) == 1 else None
            if user is not None and user.op == "add":
                inlined.add(value)
    return frozenset(inlined)
