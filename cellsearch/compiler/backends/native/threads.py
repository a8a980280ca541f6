"""How many threads a run is worth."""

from __future__ import annotations

from cellsearch.compiler.backends.native.bytecode import Bytecode
from cellsearch.compiler.backends.native.structures import CommandKind

__all__ = ["useful_threads", "work"]

THREAD_WORK = 2_000_000
"""Multiply-adds for which a further thread is woken: 30 to 50 microseconds."""
INSTRUCTION = 8
"""Multiply-adds that take as long as an instruction does for one number."""


def work(code: Bytecode) -> int:
    """Multiply-adds of one row and position, pointwise work counted as some."""
    commands = code.commands[code.first_command("before") : code.first_command("epilogue")]
    dense = (commands["kind"] == CommandKind.PRODUCT) | (commands["kind"] == CommandKind.OUTER)
    pointwise = commands["kind"] == CommandKind.POINTWISE
    products = int((commands["width"] * commands["depth"])[dense].sum()) // (4 if code.bf16 else 1)
    return products + INSTRUCTION * int((commands["width"] * commands["count"])[pointwise].sum())


def useful_threads(code: Bytecode, steps: int, rows: int, threads: int) -> int:
    """``threads``, or less where each would have too little to do: then waking it, and waiting for
    one another, would cost more than it does.
    """
    return max(1, min(threads, steps * rows * work(code) // THREAD_WORK))
