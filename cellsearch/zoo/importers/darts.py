"""Genotypes of DARTS for recurrent cells (Liu et al. 2019) as text; enas_lm's are written the same
way.

``Genotype(recurrent=[('sigmoid', 0), ('relu', 1)], concat=range(1, 3))``, with or without ``NAME
=`` before it, or short: ``sigmoid0 relu1``. The cell is the one of
:mod:`cellsearch.zoo.importers.tree` with tanh in s_0 and the mean over ``concat``.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence

from cellsearch.errors import CellSyntaxError
from cellsearch.genome.graph import Genome
from cellsearch.zoo.importers.tree import MAX_TREE, tree_cell

__all__ = ["read_genotype"]

_SHORT = re.compile(r"\s*[a-z_]+\d+(?:[\s,]+[a-z_]+\d+)*\s*")
_HINT = (
    "for example Genotype(recurrent=[('sigmoid', 0), ('relu', 1)], concat=range(1, 3)), or "
    "sigmoid0 relu1"
)
_WHERE = "genotype"


def read_genotype(text: str, *, concat: Sequence[int] | None = None) -> Genome:
    """The genome of a genotype. ``concat``: numbers of the averaged nodes, where the text does not
    say (default: all but s_0).
    """
    if not isinstance(text, str) or len(text) > 100_000:
        raise CellSyntaxError(
            "a genotype is a text of at most 100000 characters", where=_WHERE, hint=_HINT
        )
    if _SHORT.fullmatch(text):
        nodes = [(name, int(number[:9])) for name, number in re.findall(r"([a-z_]+)(\d+)", text)]
        written = None
    else:
        nodes, written = _parse(text)
    if concat is not None and written is not None and list(concat) != written:
        raise CellSyntaxError(
            "the text says itself which nodes are averaged",
            where=_WHERE,
            hint="leave out the option concat",
        )
    chosen = (
        written
        if written is not None
        else list(concat)
        if concat is not None
        else list(range(1, len(nodes) + 1))
    )
    if not all(isinstance(j, int) and not isinstance(j, bool) for j in chosen):
        raise CellSyntaxError("concat lists numbers of nodes", where=_WHERE)
    for j, (activation, _) in enumerate(nodes, start=1):
        if activation == "none":
            raise CellSyntaxError(
                "DARTS itself cannot build a node with the activation none",
                where=f"{_WHERE}: node {j}",
            )
    return tree_cell("tanh", nodes, chosen, _WHERE)


def _parse(text: str) -> tuple[list[tuple[str, int]], list[int] | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CellSyntaxError(
            f"not a genotype: {str(error)[:100]}", where=_WHERE, hint=_HINT
        ) from None
    statement = body[0] if len(body) == 1 else None
    call = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
    if (
        not isinstance(call, ast.Call)
        or not isinstance(call.func, ast.Name)
        or call.func.id != "Genotype"
    ):
        raise CellSyntaxError("not a genotype", where=_WHERE, hint=_HINT)
    fields: dict[str, ast.expr] = dict(zip(("recurrent", "concat"), call.args, strict=False))
    fields |= {word.arg: word.value for word in call.keywords if word.arg is not None}
    if "recurrent" not in fields or set(fields) - {"recurrent", "concat"} or len(call.args) > 2:
        raise CellSyntaxError(
            "a genotype of a recurrent cell has the fields recurrent and concat",
            where=_WHERE,
            hint=_HINT,
        )
    return _nodes(fields["recurrent"]), _numbers(fields["concat"]) if "concat" in fields else None


def _nodes(expression: ast.expr) -> list[tuple[str, int]]:
    value = _literal(expression)
    if not isinstance(value, list | tuple):
        raise CellSyntaxError(
            "recurrent is a list of (activation, predecessor)", where=_WHERE, hint=_HINT
        )
    nodes = []
    for j, pair in enumerate(value, start=1):
        legal = isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)
        if not legal or not isinstance(pair[1], int) or isinstance(pair[1], bool):
            raise CellSyntaxError(
                "a node is (activation, predecessor)", where=f"{_WHERE}: node {j}", hint=_HINT
            )
        nodes.append((pair[0], pair[1]))
    return nodes


def _numbers(expression: ast.expr) -> list[int]:
    if (
        isinstance(expression, ast.Call)
        and isinstance(expression.func, ast.Name)
        and expression.func.id == "range"
    ):
        limits = [
            v for v in map(_literal, expression.args) if isinstance(v, int) and abs(v) <= MAX_TREE
        ]
        if (
            len(limits) == len(expression.args)
            and 1 <= len(limits) <= 3
            and limits[2:] != [0]
            and not expression.keywords
        ):
            return list(range(*limits))
    value = _literal(expression) if not isinstance(expression, ast.Call) else None
    if not isinstance(value, list | tuple) or not all(type(j) is int for j in value):
        raise CellSyntaxError(
            "concat is a list of numbers, or range(1, 9)", where=_WHERE, hint=_HINT
        )
    return list(value)


def _literal(expression: ast.expr) -> object:
    try:
        return ast.literal_eval(expression)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise CellSyntaxError(
            "only names of activations and numbers are allowed", where=_WHERE, hint=_HINT
        ) from None
