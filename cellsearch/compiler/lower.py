"""Lowering: a genome becomes a program of primitives.

Sums are flattened (a ``linear`` or ``add`` that only one sum reads becomes part of it) and their
terms ordered by when they are known: first what depends on weights only, then what depends on the
input of the step, then what depends on previous states. So everything that can be computed outside
the time loop stands together, and a ``linear`` written as a sum of two costs no more than one.
"""

from __future__ import annotations

from collections.abc import Sequence

from cellsearch.compiler.program import Instruction, Program
from cellsearch.genome.graph import Genome, Node
from cellsearch.genome.parameters import Width, widths

__all__ = ["lower"]


def lower(genome: Genome) -> Program:
    """The program of a genome's live nodes: input ``x [I]``, carried states ``[H]``, one output
    under the genome's output name.
    """
    return _Lowering(genome).program()


class _Lowering:
    def __init__(self, genome: Genome) -> None:
        self.genome = genome
        self.widths = widths(genome)
        self.weights = {(spec.node, spec.operand): spec for spec in genome.parameters}
        self.levels = readiness(genome)
        self.inlined = _inlined_sums(genome)
        self.instructions: list[Instruction] = []
        self.parameters: dict[str, tuple[Width, ...]] = {}
        self.first = genome.first_node
        self.values: dict[int, int] = {v: v for v in range(self.first)}

    def program(self) -> Program:
        genome, live, labels = self.genome, self.genome.live, self.genome.labels
        for value, node in genome.numbered():
            if value in live and value not in self.inlined:
                result = self.node(value, node)
                self.values[value] = result
                if result >= self.first and not self.instructions[result - self.first].label:
                    self.label(result, labels[value])
        return Program(
            inputs=(("x", "I"),),
            states=genome.states,
            instructions=tuple(self.instructions),
            next_states=tuple(self.values[v] for v in genome.next_states),
            outputs=((genome.output_name, self.values[genome.output]),),
            parameters=tuple(self.parameters.items()),
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

    def node(self, value: int, node: Node) -> int:
        if node.op in ("add", "linear"):
            return self.total(value)
        operands = [self.values[v] for v in node.inputs]
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
            return self.chain("mul", [(self.levels[v], self.values[v]) for v in node.inputs])
        if node.op == "layer_norm" and self.widths[node.inputs[0]] == "1":
            return self.emit("zeros")  # all units are equal, so each is its mean
        return self.emit(node.op, *operands)

    def total(self, value: int) -> int:
        """One flat sum, terms in order of when they are known."""
        terms: list[tuple[int, int]] = []
        stack = [value]
        while stack:
            current = stack.pop()
            node = self.genome.nodes[current - self.first]
            for position, operand in enumerate(node.inputs):
                if node.op == "linear":
                    product = self.emit(
                        "dense", self.values[operand], parameter=self.weight(current, position)
                    )
                    terms.append((self.levels[operand], product))
                elif operand in self.inlined:
                    stack.append(operand)
                else:
                    terms.append((self.levels[operand], self.values[operand]))
            if node.bias:
                terms.append((_FIXED, self.emit("vector", parameter=self.weight(current, -1))))
        return self.chain("add", terms)

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
