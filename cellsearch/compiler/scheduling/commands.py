"""What a schedule consists of: buffers, homes and commands. :mod:`~.schedule` makes them.

The program is cut into *phases* (:mod:`cellsearch.compiler.scheduling.phases`), a phase into
*stages*. A stage is pointwise work, done in one pass over blocks of rows; after it come the dense
products whose operands it completed. The number of stages in the loop is what a step of a cell
costs in latency: one for LSTM, as many as its GEMM depth for any other cell.

A sum with dense products becomes an *accumulator*: a place that products add to, one after the
other, before a stage reads it. Its other terms begin it where they are known early enough (a bias,
a pointwise sum), else the stage that reads it adds them.

Every value that outlives its stage gets a *home*: columns of a buffer. A buffer's *lifetime* says
how much of it there is: a slot for each position (``time``), for the positions of a chunk
(``chunk``), two in turn (``ring``), one (``step``), or one row (``fixed``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

from cellsearch.genome.parameters import Width

__all__ = [
    "PHASES",
    "Buffer",
    "Command",
    "DenseProduct",
    "Gather",
    "Home",
    "Lifetime",
    "Operation",
    "Outer",
    "Piece",
    "ProgramSchedule",
    "Role",
    "Scatter",
    "Stage",
    "StageWidth",
]

StageWidth = Width | Literal["unit"]
"""Columns of a stage: ``"1"`` is a number for all of them, written max(I, H) times; ``"unit"`` is a
single column.
"""


class Lifetime(IntEnum):
    """How many slots a buffer has, see the module; the numbers are those of the native runtime."""

    TIME = 0
    CHUNK = 1
    RING = 2
    STEP = 3
    FIXED = 4


Role = Literal["input", "output", "state", "initial", "parameter", "gradient", "saved", "scratch"]


class Buffer(NamedTuple):
    """``columns`` values of one width side by side."""

    name: str
    role: Role
    """Whose memory it is; ``scratch``: nobody else's."""
    lifetime: Lifetime
    width: Width
    columns: int = 1


class Home(NamedTuple):
    """Where a value lies."""

    buffer: str
    shift: int = 0
    """Its slot relative to the position in time."""
    column: int = 0
    """Counted in values."""


class Operation(NamedTuple):
    """One pointwise operation of a stage: ``value = op(inputs)``."""

    value: int
    op: str
    """A pointwise primitive, ``const``, ``layer_norm``, ``layer_norm_gradient``, ``unit``,
    ``unit_gradient``, ``fold``, ``total``, ``move`` (a copy) or ``spread`` (the first number into
    all columns).
    """
    inputs: tuple[int, ...]
    number: float = 0.0
    """Of a ``const``."""
    target: Home | None = None
    """Where the result is also written, if anywhere."""


class Stage(NamedTuple):
    """Pointwise work in one pass, all of one width."""

    width: StageWidth
    operations: tuple[Operation, ...]
    sources: Mapping[int, Home]
    """Homes of the operands that it does not compute itself."""
    numbers: Mapping[int, float]
    """The operands among them that are constants."""


class Piece(NamedTuple):
    """A weight in a fused product."""

    parameter: str
    row: int
    """Counted in values, as the column."""
    column: int
    transposed: bool
    """Stored the other way round (``dense``)."""


class DenseProduct(NamedTuple):
    """``target = start + source * weights``."""

    source: Home
    target: Home
    depth: tuple[int, Width]
    """Values read, and the width of each."""
    width: tuple[int, Width]
    """Values written, and the width of each."""
    pieces: tuple[Piece, ...]
    start: Literal["zero", "result"] | Home
    """A home is that of a bias; ``"result"``: what is there already."""


class Outer(NamedTuple):
    """``gradient of each piece += left.T * right`` over all rows; the pieces lie side by side in
    ``left``.
    """

    left: Home
    right: Home
    width: tuple[int, Width]
    """Pieces, and the width of each."""
    depth: Width
    pieces: tuple[tuple[str, int, bool], ...]
    """Weight, column in ``left``, and whether it is the first to write the gradient."""


class Gather(NamedTuple):
    """``target = (or +=) table[token]``: products of embedded tokens, read from a table of all of
    them.
    """

    target: Home
    width: tuple[int, Width]
    parameters: tuple[str, ...]
    bias: str
    """The weight that is added to the rows of the table, or ``""``."""
    adds: bool


class Scatter(NamedTuple):
    """``gradient of the table[token] += left`` for the products of these parameters, side by
    side.
    """

    left: Home
    width: tuple[int, Width]
    parameters: tuple[str, ...]


Command = Stage | DenseProduct | Outer | Gather | Scatter

PHASES = ("prologue", "before", "loop", "after", "gradients", "epilogue")
"""The fields of a schedule that hold commands, in the order in which they run."""


@dataclass(frozen=True)
class ProgramSchedule:
    """What a backend needs to run a program: buffers and commands, phase by phase."""

    buffers: Mapping[str, Buffer]
    prologue: tuple[Command, ...]
    """Once, at the start."""
    before: tuple[Command, ...]
    """For all positions of a chunk, before its loop."""
    loop: tuple[Command, ...]
    """Position by position."""
    after: tuple[Command, ...]
    """For all positions of a chunk, after its loop."""
    gradients: tuple[Command, ...]
    """Once a chunk."""
    epilogue: tuple[Command, ...]
    """Once, at the end."""
    carried: tuple[tuple[Home, str], ...]
    """For each state what a step reads, and the buffer of its initial value."""
    final: tuple[Home, ...]
    """For each state where a step leaves it."""
    outputs: Mapping[str, Home]
    kept: Mapping[int, Home]
    """Homes of the values that were to be kept."""
    zero: frozenset[str]
    """Outputs that are 0 everywhere; they have no home."""
