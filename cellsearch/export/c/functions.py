"""Functions in C: what each op of the op table is, from its meaning in torch, and the text of the
static functions that a file calls (``functions.c.txt``, ``libm.c.txt``, ``table.c.txt``).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from cellsearch import ops
from cellsearch.errors import ConfigError
from cellsearch.export.c.names import literal

__all__ = ["MATH", "Functions", "Math"]

Math = Literal["libm", "table"]
MATH: tuple[Math, ...] = get_args(Math)

_CALLED = {
    "maximum": "max",
    "minimum": "min",
    "logsigmoid": "log_sigmoid",
    "arctan": "atan",
    "arcsinh": "asinh",
    "clamp": "hardtanh",
}
"""Functions of torch that have another name here."""
_LEFT_OUT = {"hardtanh": (-1.0, 1.0), "leaky_relu": (0.01,)}
"""Operands after the first that a call of torch may leave out."""
_OPERATORS: dict[type[ast.AST], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class Functions:
    """The functions that one file calls.

    math: ``"libm"``, or ``"table"`` for functions that need no library; integers: the type of what
    products of integers read, ``""``: there are none.
    """

    def __init__(self, math: Math, integers: str = "") -> None:
        if math not in MATH:
            raise ConfigError(f"{math!r} is not a kind of math", hint=f"use {' or '.join(MATH)}")
        self.math, self.integers = math, integers
        self._texts = {**_blocks("functions.c.txt"), **_blocks(f"{math}.c.txt")}
        self._used: dict[str, str] = {}

    def call(self, name: str, *operands: str) -> str:
        """A call of ``cell_<name>``, which the file has from now on."""
        self._use(name)
        return f"cell_{name}({', '.join(operands)})"

    def op(self, name: str, operands: Sequence[str]) -> str:
        """The expression of an op of these operands, which are variables.

        Raises :class:`ConfigError` for an op that has no meaning in C.
        """
        text = ops.OPS[name].torch
        try:
            tree = ast.parse(text.format(*(f"_{k}" for k in range(len(operands)))), mode="eval")
            return self._expression(tree.body, operands)
        except (KeyError, ValueError, SyntaxError):
            kept = ", ".join(sorted(name for name in self._texts if name in ops.OPS))
            hint = f"allowed beside sums and products: {kept}"
            if self.math == "table":
                hint += "; there are more with --math libm"
            raise ConfigError(
                f"{text or 'its structure'} cannot be written in C with --math {self.math}",
                where=f"op {name}",
                hint=hint,
            ) from None

    def types(self) -> list[str]:
        """The type of what products of integers read, where there are any."""
        return [f"typedef {self.integers} cell_integer;", ""] if self.integers else []

    def lines(self) -> list[str]:
        """The functions, each after those that it calls."""
        return [line for text in self._used.values() for line in ["", *text.splitlines()]]

    @property
    def needs_header(self) -> bool:
        """Whether they call functions of ``math.h``."""
        return any(name in _blocks("libm.c.txt") for name in self._used) and self.math == "libm"

    def _use(self, name: str) -> None:
        text = self._texts[name]
        for below in re.findall(r"\bcell_(\w+)\(", text):
            if below != name and below not in self._used:
                self._use(below)
        self._used.setdefault(name, text)

    def _expression(self, tree: ast.expr, operands: Sequence[str]) -> str:
        """C of an expression in the language of the op table. Raises :class:`KeyError` or
        :class:`ValueError` for what has no counterpart.
        """
        if isinstance(tree, ast.Constant):
            return literal(float(tree.value), "a number of an op")  # type: ignore[arg-type]
        if isinstance(tree, ast.Name):
            return operands[int(tree.id.removeprefix("_"))]
        if isinstance(tree, ast.BinOp):
            left, right = (self._expression(part, operands) for part in (tree.left, tree.right))
            return f"({left} {_OPERATORS[type(tree.op)]} {right})"
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return f"(-{self._expression(tree.operand, operands)})"
        if not isinstance(tree, ast.Call) or tree.keywords:
            raise ValueError
        name = ast.unparse(tree.func).rpartition(".")[2]
        name = _CALLED.get(name, name)
        given = [self._expression(argument, operands) for argument in tree.args]
        given += [literal(value, "") for value in _LEFT_OUT.get(name, ())[len(given) - 1 :]]
        taken = re.search(rf"cell_{name}\((.*)\)$", self._texts[name], flags=re.MULTILINE)
        if taken is None or len(given) != taken[1].count(",") + 1:
            raise ValueError
        return self.call(name, *given)


@cache
def _blocks(file: str) -> dict[str, str]:
    """The functions of a file of C, with the remark above each, by name without ``cell_``."""
    text = (files(__name__.rpartition(".")[0]) / file).read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"(?<=^}\n)\n", text, flags=re.MULTILINE):
        match = re.search(r"^static \w+ cell_(\w+)\(", block, flags=re.MULTILINE)
        if match:
            found[match[1]] = block.rstrip()
    return found
