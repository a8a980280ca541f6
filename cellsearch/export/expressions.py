"""The equations of a cell as Python statements over torch tensors, from the expressions of the op
table.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache

from torch import nn

from cellsearch import ops
from cellsearch.compiler.weights import live_parameters
from cellsearch.genome.graph import Genome, Node
from cellsearch.genome.parameters import ParameterSpec, widths

__all__ = ["Expressions", "Names", "is_dense", "number"]

_LONG = 80  # characters of an anonymous part that gets a name of its own
_LINE = 110  # characters of a statement that is broken into one term a line
_SUM, _PRODUCT, _ATOM = 1, 2, 3
_TAKEN = frozenset(
    {
        "Integers",
        "Weights",
        "functional",
        "nn",
        "self",
        "states",
        "torch",
        "Tensor",
        "super",
        "x",
        "l",
        "O",
        "I",
    }
)


class Names:
    """What values and weights are called in the generated code: as in the equations wherever that
    is legal.

    ``integers``: dense weights are modules that multiply their operand, not matrices.
    """

    def __init__(self, genome: Genome, *, integers: bool = False) -> None:
        self.genome = genome
        self.integers = integers
        self.weights = {(spec.node, spec.operand): spec for spec in live_parameters(genome)}
        self.locals: dict[int, str] = {}
        taken = {*_TAKEN, *genome.inputs}
        if any(node.attrs and node.parts > 1 for node in genome.nodes):
            taken |= {"_blocks", "_head_norm"}
        if any(node.op == "rotate" for node in genome.nodes):
            taken.add("_rotate")
        by_name = sorted(
            enumerate(genome.labels), key=lambda item: "." in item[1]
        )  # anonymous parts take what is left
        for value, label in by_name:
            wanted = label.replace("_<t-1>", "").replace(".", "_")
            while wanted in taken and not genome.is_input(value):
                wanted += "_"
            taken.add(wanted)
            self.locals[value] = genome.inputs[value] if genome.is_input(value) else wanted

    def of(self, value: int) -> str:
        """The variable of a value."""
        return self.locals[value]

    def owner(self, name: str) -> str:
        """The attribute that holds a node's weights; one that torch uses itself is reached through
        the table of children.
        """
        if name in _attributes_of_a_cell():
            return f'self._modules["{name}"]'
        return f"self.{name}"

    def weight(self, spec: ParameterSpec) -> str:
        """The expression for a weight."""
        owner, _, name = spec.name.partition(".")
        return f"{self.owner(owner)}.{name}"

    def weight_of(self, value: int, operand: int) -> str:
        """The weight of a node at this operand, -1: its bias."""
        return self.weight(self.weights[value, operand])


@cache
def _attributes_of_a_cell() -> frozenset[str]:
    """What an exported cell has as attributes, those of torch that only an instance has too."""
    return frozenset(dir(nn.Module())) | {"reset_parameters", "input_size", "hidden_size"}


def is_dense(spec: ParameterSpec) -> bool:
    """Whether the weight is a matrix that multiplies a vector: what :func:`to_source` writes as
    8-bit integers for ``"int8"``.
    """
    return len(spec.shape) == 2 and spec.shape[1] != "1"


def number(value: float) -> str:
    """A number as ruff writes it: 1e30, not 1e+30."""
    return repr(float(value)).replace("e+", "e")


@cache
def _is_one_call(op: str) -> bool:
    """Whether the expression of an op is a call, so that nothing around it takes it apart."""
    text = ops.OPS[op].torch
    if not text.startswith("torch."):
        return False
    return isinstance(ast.parse(text.format("a", "b"), mode="eval").body, ast.Call)


def _strength(node: Node) -> int:
    """How strongly the text of a node that is not a sum of several terms binds."""
    if node.op in ("const", "bias", "head_norm", "rotate") or _is_one_call(node.op):
        return _ATOM
    return _PRODUCT if node.op in ("linear", "mul", "div", "diag", "scale") else _SUM


class Expressions:
    """Turns the live nodes of a genome into statements."""

    def __init__(self, genome: Genome, names: Names) -> None:
        self.genome = genome
        self.names = names
        self.widths = widths(genome)
        self.live_uses = Counter(
            v for value, node in genome.numbered() if value in genome.live for v in node.inputs
        )
        self.text: dict[int, str] = {v: names.of(v) for v in range(genome.first_node)}
        self.strength: dict[int, int] = dict.fromkeys(
            self.text, _ATOM
        )  # what binds the outermost parts of a text
        self.numbers: set[int] = set()  # Python numbers, not tensors
        self.lines: list[str] = []

    def statements(self) -> list[str]:
        """Assignments in the order of the equations, then the return."""
        genome = self.genome
        ends = {*genome.next_states, genome.output}
        for value, node in genome.numbered():
            if value in genome.live:
                terms = self.terms(value, node)
                text = " + ".join(terms) if len(terms) > 1 else terms[0]
                if (
                    node.name
                    or value in genome.slots
                    or value in ends
                    or len(text) > _LONG
                    or self.is_repeated(value)
                ):
                    self.assign(value, terms, text)
                else:
                    self.text[value] = text
                    self.strength[value] = _SUM if len(terms) > 1 else _strength(node)
        results = [self.tensor(genome.output), *(self.tensor(v) for v in genome.next_states)]
        final = f"({results[1]},)" if len(results) == 2 else f"({', '.join(results[1:])})"
        return [*self.lines, f"return {results[0]}, {final}"]

    def assign(self, value: int, terms: list[str], text: str) -> None:
        """Write a statement, one term a line where it would be long; from here on the value is its
        variable.
        """
        name = self.names.of(value)
        if value in self.numbers:
            text, terms = _tensor(text), []
            self.numbers.discard(value)
        if len(f"{name} = {text}") > _LINE and len(terms) > 1:
            self.lines += [
                f"{name} = (",
                f"    {terms[0]}",
                *(f"    + {term}" for term in terms[1:]),
                ")",
            ]
        else:
            self.lines.append(f"{name} = {text}")
        self.text[value], self.strength[value] = name, _ATOM

    def is_repeated(self, value: int) -> bool:
        """Whether the only reader writes this operand more than once."""
        for user in self.genome.uses[value]:
            node = self.genome.nodes[user - self.genome.first_node]
            template = ops.OPS[node.op].torch
            if user in self.genome.live and any(
                template.count(f"{{{k}}}") > 1 for k, v in enumerate(node.inputs) if v == value
            ):
                return True
        return False

    def is_call(self, node: Node) -> bool:
        """Whether the node calls a torch function, which takes tensors only."""
        return "torch." in ops.OPS[node.op].torch

    # -- expressions -------------------------------------------------------------------------------

    def terms(self, value: int, node: Node) -> list[str]:
        """The terms of a sum; one expression for everything else."""
        if node.op == "linear":
            products = [
                self.product(value, position, operand)
                for position, operand in enumerate(node.inputs)
            ]
            return [*products, *([self.names.weight_of(value, -1)] if node.bias else [])]
        if node.op == "add":
            return [self.operand(v, _PRODUCT) for v in self.some_tensor(node.inputs)]
        if node.op == "mul":
            return [" * ".join(self.operand(v) for v in self.some_tensor(node.inputs))]
        return [self.expression(value, node)]

    def product(self, value: int, position: int, operand: int) -> str:
        """One operand of a ``linear`` times its weight."""
        weight = self.names.weight_of(value, position)
        if self.widths[operand] == "1":
            return f"{self.operand(operand)} * {weight}[:, 0]"
        if self.genome.nodes[value - self.genome.first_node].blocks > 1:
            return f"_blocks({self.tensor(operand)}, {weight})"
        if self.names.integers:
            return f"{weight}({self.tensor(operand)})"
        return f"{self.operand(operand)} @ {weight}.T"

    def expression(self, value: int, node: Node) -> str:
        """A node that is not a sum, from its expression in the op table."""
        if node.op == "const":
            self.numbers.add(value)
            text = number(node.value)
            return f"({text})" if text.startswith("-") else text
        if node.op == "bias":
            return self.names.weight_of(value, -1)
        if node.op in ("diag", "scale"):
            return f"{self.names.weight_of(value, 0)} * {self.operand(node.inputs[0])}"
        if node.op in ("layer_norm", "head_norm") and self.widths[node.inputs[0]] == "1":
            state = self.names.of(len(self.genome.inputs))
            return f"torch.zeros_like({state})"  # all units are equal, so each is its mean
        if node.op == "head_norm":
            return f"_head_norm({self.tensor(node.inputs[0])}, {node.parts})"
        if node.op == "rotate":
            return f"_rotate({', '.join(self.tensor(v) for v in node.inputs)})"
        template = ops.OPS[node.op].torch
        least = {"sub": (_SUM, _PRODUCT), "div": (_PRODUCT, _ATOM), "identity": (_SUM,)}.get(
            node.op, (_ATOM,) * 3
        )
        operands = [
            self.tensor(v) if self.is_call(node) else self.operand(v, least[k])
            for k, v in enumerate(node.inputs)
        ]
        if node.op == "unit" and self.widths[node.inputs[0]] == "1":  # a number for all units
            operands = [f"(torch.zeros_like({self.names.of(1)}) + {operands[0]})"]
        if not self.is_call(node) and all(v in self.numbers for v in node.inputs):
            operands[0] = self.tensor(node.inputs[0])
        return re.sub(r"\{(\d)\}", lambda match: operands[int(match[1])], template)

    def some_tensor(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """The operands, the first made a tensor if all are numbers: torch divides by zero, Python
        does not.
        """
        if all(v in self.numbers for v in inputs):
            self.text[inputs[0]] = self.tensor(inputs[0])
            self.strength[inputs[0]] = _ATOM
            self.numbers.discard(inputs[0])
        return inputs

    def operand(self, value: int, least: int = _ATOM) -> str:
        """The value as a part of an expression whose parts bind at least so strongly."""
        return self.text[value] if self.strength[value] >= least else f"({self.text[value]})"

    def tensor(self, value: int) -> str:
        """The value as an argument or a result: a tensor."""
        return _tensor(self.text[value]) if value in self.numbers else self.text[value]


def _tensor(text: str) -> str:
    """A number as a tensor like x; x.new_tensor would say the same, which torch.jit.script does not
    know.
    """
    return f"torch.tensor({text}, dtype=x.dtype, device=x.device)"
