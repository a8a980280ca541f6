"""The structures of ``src/format.h`` under the names of their fields: what Python writes and the
runtime reads.

``tests/compiler/native/test_format.py`` reads that file and compares names, order and types; what a
field means is said there.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Structure, c_int64, c_void_p
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.compiler.scheduling.commands import PHASES

__all__ = [
    "CBuffer",
    "CCall",
    "CCarried",
    "CCommand",
    "CCopy",
    "CInstruction",
    "CJob",
    "CLoss",
    "COperand",
    "CPiece",
    "CommandKind",
    "Numbers",
    "ProductStart",
    "Refusal",
    "Table",
    "table",
]

Numbers = NDArray[np.int64]
Table = NDArray[np.void]
"""Rows of one of these structures."""


Pointer = int
Phases = Sequence[int]

_TYPES: dict[str, Any] = {
    "int": c_int64,
    "Pointer": c_void_p,
    "Phases": c_int64 * (len(PHASES) + 1),
}
_Struct = TypeVar("_Struct", bound=type[Structure])


def _structure(kind: _Struct) -> _Struct:
    """Let the annotations be the fields."""
    kind._fields_ = [(name, _TYPES[of]) for name, of in kind.__annotations__.items()]
    return kind


@_structure
class CBuffer(Structure):
    """A buffer and its memory."""

    base: Pointer
    floats: int
    kind: int
    slots: int
    step_stride: int
    row_stride: int


@_structure
class COperand(Structure):
    """A place, or a scratch register."""

    buffer: int
    shift: int
    column: int


@_structure
class CInstruction(Structure):
    """One step of a pointwise command."""

    op: int
    d: int
    a: int
    b: int
    c: int
    number: int


@_structure
class CCommand(Structure):
    """A command; which fields count depends on its kind."""

    kind: int
    first: int
    count: int
    operand: int
    operands: int
    width: int
    depth: int
    start: int
    packed: int


@_structure
class CPiece(Structure):
    """A part of a matrix."""

    buffer: int
    row: int
    column: int
    rows: int
    columns: int
    transposed: int
    offset: int


@_structure
class CCarried(Structure):
    """A carried value: two operands."""

    state: int
    initial: int


@_structure
class CJob(Structure):
    """Everything that a run needs."""

    format: int
    steps: int
    rows: int
    chunk: int
    backwards: int
    together: int
    blocked: int
    direct: int
    bf16: int
    threads: int
    registers: int
    register_floats: int
    scratch_floats: int
    sums_floats: int
    packed_floats: int
    scratch: Pointer
    packed: Pointer
    tokens: Pointer
    vocabulary: int
    active: Pointer
    buffers: int
    operands: int
    instructions: int
    commands: int
    pieces: int
    carried: int
    buffer: Pointer
    operand: Pointer
    instruction: Pointer
    command: Pointer
    piece: Pointer
    carry: Pointer
    phase: Phases


@_structure
class CCopy(Structure):
    """What is copied after a run."""

    area: int
    place: int
    to: int
    bytes: int


@_structure
class CCall(Structure):
    """A run at addresses, which are listed behind it."""

    job: Pointer
    area: Pointer
    place: Pointer
    copy: Pointer
    copies: int
    packed: int


@_structure
class CLoss(Structure):
    """A readout and its cross entropy."""

    format: int
    rows: int
    depth: int
    classes: int
    hidden: Pointer
    weight: Pointer
    bias: Pointer
    target: Pointer
    d_hidden: Pointer
    d_weight: Pointer
    d_bias: Pointer
    total: Pointer
    scratch: Pointer
    scratch_floats: int


class CommandKind(IntEnum):
    """``kind`` of a command."""

    POINTWISE = 0
    PRODUCT = 1
    OUTER = 2
    GATHER = 3
    SCATTER = 4


class ProductStart(IntEnum):
    """``start`` of a product (``START_...`` in ``src/product.h``)."""

    ZERO = 0
    RESULT = 1
    BIAS = 2


class Refusal(IntEnum):
    """What the runtime finds malformed (``BAD_...``)."""

    FORMAT = 1
    SIZE = 2
    BUFFER = 3
    OPERAND = 4
    INSTRUCTION = 5
    COMMAND = 6
    PIECE = 7
    CARRIED = 8
    ACTIVE = 9
    SCRATCH = 10
    TOKEN = 11


def table(kind: type[Structure], rows: Sequence[Structure]) -> Table:
    """Rows as an array whose columns have the names of the fields."""
    return np.frombuffer(bytearray().join(rows), dtype=np.dtype(kind))
