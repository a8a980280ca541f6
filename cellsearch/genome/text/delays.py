"""Values of earlier steps in a text: which states hold ``h[t-3]``, ``x[t-2]`` and ``conv(u, 4)``.

They are sugar: ``h[t-3]`` reads the state ``h_3``, which takes what the state ``h_2`` held, which
takes what ``h`` held (``h_3[t] = h_2[t-1]``, ``h_2[t] = h[t-1]``). So a genome knows states one
step back only, and a cell that is written with the sugar equals one that is written with the
states. Before the first step a state has had its initial value for ever, and ``x`` has been 0.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

__all__ = ["MAX_DELAY", "Delay", "Delays", "delays_read", "step_of", "taps"]

MAX_DELAY = 16


class Delay(NamedTuple):
    """A value some steps ago; now, where ``steps`` is 0."""

    base: str
    """The name of an input, a state, or a named value."""
    steps: int
    line: int
    stepped: bool = True
    """Whether a text writes the base with a step, ``h[t]``, and not as a plain name."""


def step_of(node: ast.expr) -> int | None:
    """How many steps back a step is written: ``[t]`` is 0, ``[t-2]`` is 2; ``None`` for anything
    else.
    """
    if _is_t(node):
        return 0
    if (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and _is_t(node.left)
        and isinstance(node.right, ast.Constant)
        and type(node.right.value) is int
        and node.right.value > 0
    ):
        return node.right.value
    return None


def _is_t(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "t"


def _delay(node: ast.expr) -> Delay | None:
    """What ``h[t-2]`` or ``u`` reads."""
    if isinstance(node, ast.Name):
        return Delay(node.id, 0, node.lineno, stepped=False)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        steps = step_of(node.slice)
        return None if steps is None else Delay(node.value.id, steps, node.lineno)
    return None


def taps(call: ast.Call) -> list[Delay] | None:
    """What ``conv(a, n)`` reads, latest first; ``None`` if it is not written like that."""
    first = _delay(call.args[0]) if len(call.args) == 2 and not call.keywords else None
    width = call.args[1] if first is not None else None
    if (
        first is None
        or not isinstance(width, ast.Constant)
        or type(width.value) is not int
        or not 1 <= width.value <= MAX_DELAY
    ):
        return None
    return [first._replace(steps=first.steps + k) for k in range(width.value)]


def delays_read(nodes: Iterable[ast.AST]) -> Iterator[Delay]:
    """All values of earlier steps that these expressions read, in the order in which they are
    written; what reaches back too far is left out.
    """
    for node in nodes:
        found: list[Delay] = []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "conv"
        ):
            found = taps(node) or []
        elif isinstance(node, ast.Subscript):
            found = [delay] if (delay := _delay(node)) is not None else []
        yield from (delay for delay in found if 0 < delay.steps <= MAX_DELAY)


class Delays:
    """The states of a text that hold earlier values.

    assigned: the names that a statement ``name[t] = ...`` makes; taken: all names of the text.
    """

    def __init__(self, assigned: Collection[str], taken: Collection[str]) -> None:
        self.assigned = assigned
        self.taken = set(taken)
        self.states: dict[tuple[str, int], str] = {}

    def is_state(self, base: str, steps: int) -> bool:
        """Whether a statement of the text itself makes the state, as ``h[t] = ...`` makes
        ``h[t-1]``.
        """
        return steps == 1 and base in self.assigned

    def name(self, base: str, steps: int) -> str:
        """The state whose previous value is that of ``base`` so many steps ago: ``h_3`` for
        ``h[t-3]``.
        """
        if self.is_state(base, steps):
            return base
        if (base, steps) not in self.states:
            name = f"{base}_{steps}"
            while not {name, f"{name}_t"}.isdisjoint(self.taken):
                name += "_"
            self.taken.add(name)
            self.states[base, steps] = name
        return self.states[base, steps]

    def closed(self, read: Iterable[Delay]) -> list[str]:
        """The states for these values and for what they take their values from, in the order in
        which the written states appear.
        """
        order = list(dict.fromkeys((delay.base, delay.steps) for delay in read))
        for base, steps in order:  # grows while it is read
            further = (base, steps - 1)
            if steps > 1 and further not in order:
                order.append(further)
        return [self.name(base, steps) for base, steps in order]

    def takes(self) -> Iterator[tuple[str, str, int]]:
        """For each state that no statement makes: its name, and the value that it takes, as base
        and steps back.
        """
        for (base, steps), name in self.states.items():
            yield name, base, steps - 1
