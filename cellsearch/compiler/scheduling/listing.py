"""Readable listings of what the compiler does with a cell: program, gradient, schedules. For
``cellsearch show CELL --program``.
"""

from __future__ import annotations

from cellsearch.compiler.gradient import gradient
from cellsearch.compiler.lower import lower
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
from cellsearch.compiler.scheduling.phases import phase_notes
from cellsearch.compiler.scheduling.recompute import recompute
from cellsearch.compiler.scheduling.schedule import schedule
from cellsearch.compiler.simplify import simplify_program
from cellsearch.genome.graph import Genome

__all__ = ["program_report", "schedule_text"]


def program_report(genome: Genome) -> str:
    """Each stage of compilation as text: lowered, simplified, gradient, and the schedules forward
    and backward.
    """
    lowered = lower(genome)
    forward = simplify_program(lowered)
    backward = recompute(gradient(forward))
    parts = [
        ("lowered", lowered.to_text()),
        ("simplified", forward.to_text(phase_notes(forward))),
        ("gradient", backward.program.to_text(phase_notes(backward.program))),
        ("schedule forward", schedule_text(schedule(forward, keep=backward.saved))),
        (
            "schedule backward",
            schedule_text(schedule(backward.program, weights=dict(forward.parameters))),
        ),
    ]
    return "\n".join(f"== {title} ==\n{text}" for title, text in parts)


def schedule_text(plan: ProgramSchedule) -> str:
    """The buffers, and the commands phase by phase."""
    lines = ["buffers"]
    for buffer in plan.buffers.values():
        size = f"{buffer.columns} x {buffer.width}" if buffer.columns > 1 else buffer.width
        lines.append(f"  {buffer.name:<28} {buffer.lifetime.name.lower():<6} {size}")
    for phase in PHASES:
        commands: tuple[Command, ...] = getattr(plan, phase)
        if commands:
            lines.append(phase)
        for command in commands:
            lines += [f"  {line}" for line in _command_text(command)]
    return "\n".join(lines) + "\n"


def _home_text(home: Home) -> str:
    shift = f"[t+{home.shift}]" if home.shift else ""
    return f"{home.buffer}{shift}" + (f" column {home.column}" if home.column else "")


def _command_text(command: Command) -> list[str]:
    if isinstance(command, DenseProduct):
        weights = ", ".join(piece.parameter for piece in command.pieces)
        start = (
            command.start if isinstance(command.start, str) else f"bias {_home_text(command.start)}"
        )
        depth, width = (
            f"{n} x {letter}" if n > 1 else letter for n, letter in (command.depth, command.width)
        )
        return [
            f"product {_home_text(command.source)} -> {_home_text(command.target)} "
            f"[{depth} -> {width}] from {start}: {weights}"
        ]
    if isinstance(command, Outer):
        names = ", ".join(name for name, _, _ in command.pieces)
        return [f"outer {_home_text(command.left)}, {_home_text(command.right)}: {names}"]
    if isinstance(command, Gather):
        return [f"gather table -> {_home_text(command.target)}: {', '.join(command.parameters)}"]
    if isinstance(command, Scatter):
        return [f"scatter {_home_text(command.left)} -> table: {', '.join(command.parameters)}"]
    return _stage_text(command)


def _stage_text(stage: Stage) -> list[str]:
    own = {operation.value for operation in stage.operations}
    lines = [f"stage of width {stage.width}"]
    for operation in stage.operations:
        operands = [
            f"%{v}" if v in own else f"<{_home_text(stage.sources[v])}>" for v in operation.inputs
        ]
        operands += [repr(operation.number)] if operation.op == "const" else []
        target = f" -> {_home_text(operation.target)}" if operation.target else ""
        lines.append(f"  %{operation.value} = {operation.op} {', '.join(operands)}{target}")
    return lines
