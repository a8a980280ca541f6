"""Writing genomes in the text form."""

from __future__ import annotations

import math
import re

from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import ATTRIBUTES, Node

__all__ = ["expression", "render"]

_INFIX = {"add": (" + ", 1), "sub": (" - ", 1), "mul": (" * ", 2), "div": (" / ", 2)}


def render(genome: Genome, doc: str = "") -> str:
    """The text form of a genome, with ``doc`` as its docstring."""
    lines = [_docstring(doc)] if doc else []
    body: list[str] = []
    writer = _Writer(genome)
    for value, node in genome.numbered():
        if node.name or value in genome.slots:
            body.append(f"{writer.names[value]} = {writer.computed(node)}")
    for name, value in zip(
        (*genome.state_names, genome.output_name), (*genome.next_states, genome.output), strict=True
    ):
        line = f"{name}[t] = {writer.names[value]}"
        if genome.slots.get(value) != name and line not in body:
            body.append(line)
    lines += _initial_lines(genome, body)
    return "\n".join([*lines, *body]) + "\n"


def expression(genome: Genome, value: int) -> str:
    """How a statement writes that it reads a value: a name, or what an anonymous node computes."""
    return _Writer(genome).operand(value, 0)


def _initial_lines(genome: Genome, body: list[str]) -> list[str]:
    """``name[0] = ...`` for states that do not start at 0; for all of them where the order would
    not follow from the text.
    """
    appearance = list(dict.fromkeys(re.findall(r"(\w+)\[t-1\]", "\n".join(body))))
    some = [s.name for s in genome.states if s.initial]
    order = sorted(dict.fromkeys((*some, *appearance)), key=lambda name: name != genome.output_name)
    listed = (
        genome.states
        if tuple(order) != genome.state_names
        else [s for s in genome.states if s.initial]
    )
    return [f"{s.name}[0] = {_number_text(s.initial)}" for s in listed]


def _number_text(value: float) -> str:
    """The shortest text that reads back as this number."""
    return (
        str(int(value))
        if value.is_integer() and abs(value) < 1e16 and (value or math.copysign(1.0, value) > 0)
        else repr(value)
    )


def _docstring(doc: str) -> str:
    escaped = doc.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{escaped}"""' if not escaped.endswith('"') else f'"""{escaped[:-1]}\\""""'


class _Writer:
    """What nodes compute, as text."""

    def __init__(self, genome: Genome) -> None:
        self.nodes, self.first = genome.nodes, genome.first_node
        self.names = [f"{name}[t]" for name in genome.inputs]
        """For each value how it is read by its name; ``""`` for what has none."""
        self.names += [f"{name}[t-1]" for name in genome.state_names]
        self.names += [node.name for node in genome.nodes]
        for value, name in genome.slots.items():
            self.names[value] = f"{name}[t]"

    def operand(self, value: int, binding: int, chain: str = "") -> str:
        """Text of an operand, in parentheses where it binds weaker than ``binding``; a sum in a sum
        is written ``add(a, b)``.
        """
        if self.names[value]:
            return self.names[value]
        node = self.nodes[value - self.first]
        if node.op == chain:
            return f"{node.op}({', '.join([self.operand(v, 0) for v in node.inputs])})"
        text = self.computed(node)
        weak = _INFIX[node.op][1] if node.op in _INFIX else 3
        if text.startswith("-"):
            weak = 1
        return f"({text})" if weak < binding else text

    def computed(self, node: Node) -> str:
        """What a node computes."""
        if node.op == "const":
            return _number_text(node.value)
        if node.op in _INFIX:
            sign, binding = _INFIX[node.op]
            chain = node.op if node.op in ("add", "mul") else ""
            first, *rest = node.inputs
            return sign.join(
                [
                    self.operand(first, binding, chain),
                    *[self.operand(v, binding + 1, chain) for v in rest],
                ]
            )
        operands = [self.operand(v, 0) for v in node.inputs]
        if node.attrs:
            operands += _said(node)
        return f"{node.op}({', '.join(operands)})"


def _said(node: Node) -> list[str]:
    """What a node says beside its operands, where it is not what counts anyway."""
    given, said = dict(node.attrs), []
    for attribute in ATTRIBUTES.get(node.op, ()):
        value = given.get(attribute.name, attribute.default)
        if attribute.positional:
            said.append(f"{value}")
        elif value not in (attribute.default, True):
            said.append(f"{attribute.name}={value}")
    return said
