"""Arc strings of ENAS (Pham et al. 2018), in both orders of the opcodes.

``enas`` (the authors' code): opcodes tanh 0, relu 1, identity 2, sigmoid 3; the first number is the
activation of s_0, then come pairs predecessor, activation; the new state is the mean of the loose
ends (nodes that no other reads). ``enas_lm`` (google-research): opcodes tanh 0, relu 1, sigmoid 2,
identity 3; pairs only, s_0 has tanh; the mean is over s_1, s_2, ... The cell is the one of
:mod:`cellsearch.zoo.importers.tree`.
"""

from __future__ import annotations

import re

from cellsearch.errors import CellSyntaxError, ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.zoo.importers.tree import MAX_TREE, tree_cell

__all__ = ["OPCODES", "read_arc"]

OPCODES = {
    "enas": ("tanh", "relu", "identity", "sigmoid"),
    "enas_lm": ("tanh", "relu", "sigmoid", "identity"),
}
_WHERE = "arc"


def read_arc(text: str, *, opcodes: str = "enas", average: str | None = None) -> Genome:
    """The genome of an arc. ``average``: ``"loose"`` (default of enas) or ``"all"`` (default of
    enas_lm).

    An odd count of numbers starts with the activation of s_0, an even one consists of pairs; either
    is read for both opcode orders.
    """
    if opcodes not in OPCODES:
        raise ConfigError(
            f"the opcode order {opcodes!r} is not known", hint="orders: " + ", ".join(OPCODES)
        )
    average = average or ("loose" if opcodes == "enas" else "all")
    if average not in ("loose", "all"):
        raise ConfigError(f"the average {average!r} is not known", hint="loose or all")
    numbers = _numbers(text)
    first, pairs = (numbers[0], numbers[1:]) if len(numbers) % 2 else (0, numbers)
    nodes = [
        (_activation(code, opcodes, j), predecessor)
        for j, (predecessor, code) in enumerate(zip(pairs[::2], pairs[1::2], strict=True), 1)
    ]
    read = {predecessor for _, predecessor in nodes}
    if average == "loose":
        mean_of = [j for j in range(len(nodes) + 1) if j not in read]
    else:
        mean_of = list(range(1, len(nodes) + 1)) or [0]
    return tree_cell(_activation(first, opcodes, 0), nodes, mean_of, _WHERE)


def _numbers(text: str) -> list[int]:
    if not isinstance(text, str) or not re.fullmatch(
        r"[\[\s]*\d+(?:[\s,]+\d+)*[\]\s]*", text, flags=re.ASCII
    ):
        raise CellSyntaxError(
            "an arc consists of whole numbers", where=_WHERE, hint="for example 0 0 0 1 1 2 1"
        )
    words = re.findall(r"\d+", text)
    if len(words) > 2 * MAX_TREE + 1:
        raise CellSyntaxError(
            f"{len(words)} numbers; at most {2 * MAX_TREE + 1} are allowed", where=_WHERE
        )
    return [int(word[:9]) for word in words]


def _activation(code: int, opcodes: str, j: int) -> str:
    names = OPCODES[opcodes]
    if code >= len(names):
        allowed = ", ".join(f"{k} {name}" for k, name in enumerate(names))
        raise CellSyntaxError(
            f"unknown opcode {code}", where=f"{_WHERE}: node {j}", hint=f"allowed: {allowed}"
        )
    return names[code]
