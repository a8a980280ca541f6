"""The op table in ONNX: expressions in torch become nodes, so that an op of another package can be
exported too, as far as its expression uses functions that are known here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from cellsearch import ops
from cellsearch.errors import GenomeError
from cellsearch.export.onnx.graph import Graph

__all__ = ["apply_op"]

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "Add",
    ast.Sub: "Sub",
    ast.Mult: "Mul",
    ast.Div: "Div",
    ast.Pow: "Pow",
}
_SAME = {
    "abs": "Abs",
    "acos": "Acos",
    "add": "Add",
    "arctan": "Atan",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "div": "Div",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "maximum": "Max",
    "minimum": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "reciprocal": "Reciprocal",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
}
"""Functions of torch that are an operator of ONNX."""
_SQRT_HALF = 0.7071067811865476


def _clipped(graph: Graph, a: str, low: str, high: str) -> str:
    return graph.add("Min", graph.add("Max", a, low), high)


def _gelu(graph: Graph, a: str) -> str:
    erf = graph.add("Erf", graph.add("Mul", a, graph.number(_SQRT_HALF)))
    half = graph.add("Mul", a, graph.number(0.5))
    return graph.add("Mul", half, graph.add("Add", erf, graph.number(1.0)))


def _leaky_relu(graph: Graph, a: str, slope: str) -> str:
    below = graph.add("Mul", graph.add("Min", a, graph.number(0.0)), slope)
    return graph.add("Add", graph.add("Relu", a), below)


_MADE: dict[str, Callable[..., str]] = {
    "clamp": _clipped,
    "gelu": _gelu,
    "hardtanh": lambda graph, a: _clipped(graph, a, graph.number(-1.0), graph.number(1.0)),
    "leaky_relu": _leaky_relu,
    "logsigmoid": lambda graph, a: graph.add("Neg", graph.add("Softplus", graph.add("Neg", a))),
    "relu6": lambda graph, a: _clipped(graph, a, graph.number(0.0), graph.number(6.0)),
    "rsqrt": lambda graph, a: graph.add("Reciprocal", graph.add("Sqrt", a)),
    "silu": lambda graph, a: graph.add("Mul", a, graph.add("Sigmoid", a)),
    "square": lambda graph, a: graph.add("Mul", a, a),
}
"""Functions of torch that take several operators."""


def apply_op(graph: Graph, op: str, operands: Sequence[str]) -> str:
    """The value of a pointwise op. Raises :class:`GenomeError` for one that ONNX cannot express."""
    row = ops.get(op)
    text = row.torch
    if not text:
        text = {"add": "{0} + {1}", "mul": "{0} * {1}"}[op]
    names = {f"a{k}": operand for k, operand in enumerate(operands)}
    tree = ast.parse(text.format(*names), mode="eval").body
    return _written(graph, tree, names, op)


def _written(graph: Graph, tree: ast.expr, names: dict[str, str], op: str) -> str:
    def inner(part: ast.expr) -> str:
        return _written(graph, part, names, op)

    match tree:
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Constant(value=float() | int() as value):
            return graph.number(float(value))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return graph.add("Neg", inner(operand))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return graph.add(_OPERATORS[type(operator)], inner(left), inner(right))
        case ast.Call(func=ast.Attribute(attr=function), args=args, keywords=[]):
            if function in _SAME:
                return graph.add(_SAME[function], *map(inner, args))
            if function in _MADE:
                return _MADE[function](graph, *map(inner, args))
    known = ", ".join(sorted((*_SAME, *_MADE)))
    raise GenomeError(
        f"the op {op} cannot be written in ONNX: {ast.unparse(tree)} is not known there",
        hint=f"known are + - * / and these functions of torch: {known}; export the cell to source",
    )
