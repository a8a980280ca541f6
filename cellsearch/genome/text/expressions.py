"""Reading the right sides of statements: numbers, names, steps and ops become values."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from cellsearch import ops
from cellsearch.errors import CellSyntaxError
from cellsearch.genome.builder import Builder
from cellsearch.genome.parts import (
    ATTRIBUTES,
    INPUTS,
    MAX_NODES,
    MAX_PARTS,
    Attribute,
    Node,
    attributes,
)
from cellsearch.genome.sizes import canonical_size
from cellsearch.genome.text.delays import MAX_DELAY, Delay, Delays, step_of, taps

__all__ = ["MAX_DEPTH", "ExpressionReader"]

MAX_DEPTH = 60
_WEIGHT = re.compile(r"[A-Z]\w{0,2}|[WUVRb]_?\w{0,3}")
"""What equations in papers call weights."""
_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
}


class ExpressionReader:
    """Reads expressions, with what the statements above them have defined."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.values: dict[str, int] = {}
        """Values by the name that a statement gave them."""
        self.slots: dict[str, int] = {}
        """Values of statements ``name[t] = ...``."""
        self.lines: dict[str, int] = {}
        """Lines of the statements, those further down included."""
        self.builder = Builder(())
        self.delays = Delays((), ())

    def error(self, message: str, place: int | ast.expr, hint: str = "") -> CellSyntaxError:
        """The error, with the line, and, where ``place`` is an expression, the column."""
        if isinstance(place, ast.expr):
            message, place = f"{message} (column {place.col_offset + 1})", place.lineno
        return CellSyntaxError(message, where=f"{self.source}:{place}", hint=hint)

    def expression(self, node: ast.expr, depth: int) -> int:
        """The value of an expression that stands ``depth`` deep in its statement."""
        if depth > 4 * MAX_DEPTH:
            raise self.error(
                "nested too deeply", node, hint="give the inner parts a name of their own"
            )
        number = self.number(node)
        if number is not None:
            return self.builder.const(number)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Subscript):
            return self._step_value(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self._make("neg", [self.expression(node.operand, depth + 1)], node)
        if isinstance(node, ast.BinOp):
            return self._binary(node, depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        raise self.error(
            f"{type(node).__name__} is not allowed here",
            node,
            hint="allowed: numbers, names, x[t], h[t-1], + - * /, and ops: "
            + ", ".join(ops.names()),
        )

    def _name(self, node: ast.Name) -> int:
        if node.id in self.values:
            return self.values[node.id]
        given = node.id in INPUTS and node.id not in self.lines
        if given or node.id in self.slots or any(s.name == node.id for s in self.builder.states):
            raise self.error(
                f"{node.id} is read without a step",
                node,
                hint=f"write {node.id}[t]" + ("" if given else f" or {node.id}[t-1]"),
            )
        later = f", it is assigned in line {self.lines[node.id]}" if node.id in self.lines else ""
        raise self.error(
            f"{node.id} is not known here{later}",
            node,
            hint="assign a name before it is read" if later else self._meant(node.id),
        )

    def _meant(self, name: str) -> str:
        """What somebody who writes an unknown name probably meant."""
        base, _, ending = name.rpartition("_")
        given = base in INPUTS and base not in self.lines
        states = {*self.slots, *(state.name for state in self.builder.states)}
        if ending == "t" and (given or base in states):
            return f"write {base}[t]" + ("" if given else f" or {base}[t-1]")
        if _WEIGHT.fullmatch(name):
            return (
                "weights are not written: W*x[t] + U*h[t-1] + b is linear(x[t], h[t-1]), "
                "a vector of weights times a is diag(a), a lone bias is bias()"
            )
        near = get_close_matches(name, [*self.values, *self.slots], n=1, cutoff=0.6)
        read = [n if n in self.values else f"{n}[t]" for n in near]
        return f"did you mean {read[0]}?" if near else "assign a name before it is read"

    def _step_value(self, node: ast.Subscript) -> int:
        if not isinstance(node.value, ast.Name):
            raise self.error("only names carry a step", node, hint="write x[t], h[t-1] or c[t]")
        name, steps = node.value.id, step_of(node.slice)
        if steps is None:
            raise self.error(
                f"a step is [t], or [t-1] to [t-{MAX_DELAY}]",
                node,
                hint="write x[t], h[t-1], x[t-2]",
            )
        return self.value_at(Delay(name, steps, node.lineno), node)

    def value_at(self, delay: Delay, node: ast.expr) -> int:
        """The value of a name, now or some steps ago."""
        name, steps = delay.base, delay.steps
        if steps > MAX_DELAY:
            raise self.error(
                f"{name}[t-{steps}] reaches further back than {MAX_DELAY} steps",
                node,
                hint="keep what is needed for so long in a state",
            )
        if steps:
            return self.builder.state(self.delays.name(name, steps))
        if not delay.stepped:
            return self._name(ast.copy_location(ast.Name(name, ast.Load()), node))
        if name in self.builder.inputs:
            return self.builder.input(name)
        if name not in self.slots:
            raise self.error(
                f"{name}[t] is read before it is assigned",
                node,
                hint=f"move {name}[t] = ... up, or read {name}[t-1]",
            )
        return self.slots[name]

    def _binary(self, node: ast.BinOp, depth: int) -> int:
        op = _BINARY.get(type(node.op))
        if op is None:
            raise self.error(
                f"the operator {type(node.op).__name__} is not allowed",
                node,
                hint="a matrix times a value is linear(x[t])"
                if isinstance(node.op, ast.MatMult)
                else "allowed: + - * /",
            )
        operands = [node.right]
        left: ast.expr = node.left
        if op in ("add", "mul"):  # a + b + c is one sum, not a sum of sums
            while isinstance(left, ast.BinOp) and _BINARY.get(type(left.op)) == op:
                operands.append(left.right)
                left = left.left
        operands.append(left)
        return self._make(
            op, [self.expression(operand, depth + 1) for operand in reversed(operands)], node
        )

    def _convolution(self, node: ast.Call) -> int:
        """``conv(x[t], 3)``: ``diag(x[t]) + diag(x[t-1]) + diag(x[t-2])``."""
        read = taps(node)
        if read is None:
            raise self.error(
                f"conv takes a name and a number of steps from 1 to {MAX_DELAY}",
                node,
                hint="conv(x[t], 4), conv(h[t-1], 2); of what is computed: u = linear(x[t]), then "
                "conv(u, 4)",
            )
        terms = [self._make("diag", [self.value_at(delay, node)], node) for delay in read]
        return terms[0] if len(terms) == 1 else self._make("add", terms, node)

    def _call(self, node: ast.Call, depth: int) -> int:
        if isinstance(node.func, ast.Name) and node.func.id == "conv":
            return self._convolution(node)
        if (
            not isinstance(node.func, ast.Name)
            or node.func.id == "const"
            or ops.find(node.func.id) is None
        ):
            called = (
                node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)[:40]
            )
            allowed = [*(n for n in ops.names() if n != "const"), "conv"]
            of_time = len(node.args) == 1 and step_of(node.args[0]) is not None
            raise self.error(
                f"unknown op {called}",
                node,
                hint=f"did you mean {called}[{ast.unparse(node.args[0])}]?".replace(" - ", "-")
                if of_time
                else ops.unknown_op_hint(called, allowed),
            )
        op = node.func.id
        operands, said = self._said(op, node)
        return self._make(
            op, [self.expression(operand, depth + 1) for operand in operands], node, said
        )

    def _said(self, op: str, node: ast.Call) -> tuple[list[ast.expr], dict[str, bool | int | str]]:
        """The operands of a call, and what it says beside them."""
        allowed = {attribute.name: attribute for attribute in ATTRIBUTES.get(op, ())}
        behind = [attribute for attribute in allowed.values() if attribute.positional]
        operands, said = list(node.args), {}
        if behind and len(operands) == ops.get(op).min_arity + len(behind):
            for attribute in reversed(behind):
                said[attribute.name] = self._attribute(attribute, operands.pop(), node)
        for word in node.keywords:
            known = allowed.get(word.arg or "")
            if known is None or known.positional:
                raise self.error(
                    f"{op} does not take the option {word.arg}",
                    node,
                    hint="linear has three, bias=False, blocks=4 and size=H/2; bias has size=H/2",
                )
            if word.arg in said:
                raise self.error(f"{word.arg} is said twice", node)
            said[known.name] = self._attribute(known, word.value, node)
        for attribute in behind:
            if attribute.name not in said:
                raise self.error(
                    f"{op} does not say its {attribute.name}",
                    node,
                    hint=f"write their number behind the operand: {op}(a, 4)",
                )
        return operands, said

    def _attribute(self, attribute: Attribute, value: ast.expr, node: ast.Call) -> bool | int | str:
        """What is written for an attribute."""
        name, written = attribute.name, value.value if isinstance(value, ast.Constant) else None
        if attribute.kind == "size":
            try:
                return canonical_size(ast.unparse(value))
            except ValueError as error:
                shown = ast.unparse(value)
                raise self.error(f"{shown:.40} is not a size", node, hint=str(error)) from None
        if attribute.kind == "count":
            if type(written) is int and 1 <= written <= MAX_PARTS:
                return written
            raise self.error(f"{name} is a whole number from 1 to {MAX_PARTS}", node)
        if not isinstance(written, bool):
            raise self.error(f"{name} is True or False", node)
        return written

    def _make(
        self,
        op: str,
        operands: list[int],
        node: ast.expr,
        said: Mapping[str, bool | int | str] = MappingProxyType({}),
    ) -> int:
        if not ops.get(op).accepts(len(operands)):
            raise self.error(f"{op} takes {ops.get(op).operands_text()}, not {len(operands)}", node)
        if len(self.builder.nodes) >= MAX_NODES:
            raise self.error(f"more than {MAX_NODES} nodes", node)
        given = {"bias": True, **said} if op == "linear" else said
        return self.builder.add(Node("", op, tuple(operands), attributes(op, given)))

    def number(self, node: ast.expr) -> float | None:
        """The number that is written there, if it is one."""
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        if not isinstance(inner, ast.Constant):
            return None
        if isinstance(inner.value, bool) or not isinstance(inner.value, int | float):
            raise self.error(f"{inner.value!r:.40} is not a number", node)
        try:
            value = float(inner.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.error("the number is too large", node)
        return -value if negative else value
