"""Token inputs: embedding and input product folded into a table.

Where x is the embedding of a token, ``dense x`` of a token is the same wherever the token stands.
So the products of all V tokens are computed once, ``table = embedding @ W_x.T + bias`` of shape
``[V, G * H]``, and looked up; backward adds the gradients up row by row and multiplies once. Exact
up to rounding, and cheaper where there are more positions than tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cellsearch.compiler.scheduling.commands import (
    PHASES,
    Command,
    DenseProduct,
    Gather,
    Home,
    Outer,
    ProgramSchedule,
    Scatter,
    Stage,
)

__all__ = ["Folding", "X", "fold_backward", "fold_forward"]

X = "input x"
_PARAMETER = "parameter "

Folding = tuple[tuple[str, str], ...]
"""The columns of the table: (weight, bias or ``""``), each H wide."""


def fold_forward(plan: ProgramSchedule) -> tuple[ProgramSchedule, Folding] | None:
    """The schedule with lookups for the products of x, and the columns of the table; ``None`` if x
    is used in any other way.
    """
    columns: list[tuple[str, str]] = []

    def fold(command: Command) -> Command | None:
        if isinstance(command, DenseProduct) and command.source.buffer == X:
            bias = command.start if isinstance(command.start, Home) else None
            if bias is not None and not bias.buffer.startswith(_PARAMETER):
                return None
            names = tuple(piece.parameter for piece in command.pieces)
            bias_name = bias.buffer.removeprefix(_PARAMETER) if bias is not None else ""
            columns.extend((name, bias_name) for name in names)
            return Gather(
                command.target, command.width, names, bias_name, command.start == "result"
            )
        if isinstance(command, Stage) and any(
            home.buffer == X for home in command.sources.values()
        ):
            return None
        return command

    folded = _map(plan, fold)
    if folded is None or len({name for name, _ in columns}) != len(columns):
        return None
    return folded, tuple(columns)


def fold_backward(plan: ProgramSchedule, columns: Folding) -> ProgramSchedule:
    """The gradient (without x's own) with sums by token for the weights of x."""

    def fold(command: Command) -> Command | None:
        if isinstance(command, Outer) and command.right.buffer == f"forward {X}":
            return Scatter(
                command.left, command.width, tuple(name for name, _, _ in command.pieces)
            )
        return command

    folded = _map(plan, fold)
    assert folded is not None
    weights = {f"gradient {name}" for name, _ in columns}
    return replace(
        folded,
        buffers={name: buffer for name, buffer in folded.buffers.items() if name not in weights},
    )


def _map(
    plan: ProgramSchedule, function: Callable[[Command], Command | None]
) -> ProgramSchedule | None:
    phases: dict[str, tuple[Command, ...]] = {}
    for phase in PHASES:
        commands: Sequence[Command | None] = [function(command) for command in getattr(plan, phase)]
        if any(command is None for command in commands):
            return None
        phases[phase] = tuple(command for command in commands if command is not None)
    buffers = {
        name: buffer for name, buffer in plan.buffers.items() if name not in (X, f"forward {X}")
    }
    return replace(plan, buffers=buffers, **phases)  # type: ignore[arg-type]
