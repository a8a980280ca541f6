"""Scheduling: when each value of a program is computed, and where it lies. A pure function, shared
by compiled backends.

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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

from cellsearch.compiler.program import Program
from cellsearch.genome.parameters import Width

__all__ = [
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
    "schedule",
]

StageWidth = Literal["I", "H", "1", "unit"]
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
    """``columns`` values of one width side by side. ``role`` and ``name`` say whose memory it is
    (``scratch``: nobody else's).
    """

    name: str
    role: Role
    lifetime: Lifetime
    width: Width
    columns: int = 1


class Home(NamedTuple):
    """Where a value lies: buffer, slot relative to the position in time, column (counted in
    values).
    """

    buffer: str
    shift: int = 0
    column: int = 0


class Operation(NamedTuple):
    """One pointwise operation of a stage: ``value`` = ``op(inputs)``. ``target``: where the result
    is also written, if anywhere.

    ``op`` is a pointwise primitive, ``const``, ``layer_norm``, ``layer_norm_gradient``, ``fold``,
    ``total``, ``move`` (a copy) or ``spread`` (the first number into all columns).
    """

    value: int
    op: str
    inputs: tuple[int, ...]
    number: float = 0.0
    target: Home | None = None


class Stage(NamedTuple):
    """Pointwise work in one pass, all of one width. ``sources``: homes of the operands that it does
    not compute itself.

    ``numbers``: the operands among them that are constants.
    """

    width: StageWidth
    operations: tuple[Operation, ...]
    sources: Mapping[int, Home]
    numbers: Mapping[int, float]


class Piece(NamedTuple):
    """A weight at a row and column (counted in values) of a fused product; ``transposed``: stored
    the other way round (``dense``).
    """

    parameter: str
    row: int
    column: int
    transposed: bool


class DenseProduct(NamedTuple):
    """``target = start + source * weights``: ``rows`` values wide, ``columns`` values out.
    ``start``: home of a bias, or what is there.
    """

    source: Home
    target: Home
    depth: tuple[int, Width]
    width: tuple[int, Width]
    pieces: tuple[Piece, ...]
    start: Literal["zero", "result"] | Home


class Outer(NamedTuple):
    """``gradient of each piece += left.T * right`` over all rows; the pieces lie side by side in
    ``left``. ``fresh``: first to write.
    """

    left: Home
    right: Home
    width: tuple[int, Width]
    depth: Width
    pieces: tuple[tuple[str, int, bool], ...]  # parameter, column in left, fresh


class Gather(NamedTuple):
    """``target = (or +=) table[token]``: products of embedded tokens, read from a table of all of
    them. ``bias``: name of the weight that is added to the rows of the table, or ``""``.
    """

    target: Home
    width: tuple[int, Width]
    parameters: tuple[str, ...]
    bias: str
    adds: bool


class Scatter(NamedTuple):
    """``gradient of the table[token] += left`` for the products of these parameters, side by
    side.
    """

    left: Home
    width: tuple[int, Width]
    parameters: tuple[str, ...]


Command = Stage | DenseProduct | Outer | Gather | Scatter


@dataclass(frozen=True)
class ProgramSchedule:
    """What a backend needs to run a program: buffers and commands, phase by phase.

    ``prologue`` and ``epilogue`` run once, ``before`` and ``after`` for all positions of a chunk,
    ``loop`` position by position, ``gradients`` once a chunk. ``kept``: homes of the values that
    were to be kept. ``zero``: outputs that are 0 everywhere; they have no home.
    """

    buffers: Mapping[str, Buffer]
    prologue: tuple[Command, ...]
    before: tuple[Command, ...]
    loop: tuple[Command, ...]
    after: tuple[Command, ...]
    gradients: tuple[Command, ...]
    epilogue: tuple[Command, ...]
    carried: tuple[
        tuple[Home, str], ...
    ]  # for each state what a step reads, and the buffer of its initial value
    final: tuple[Home, ...]  # for each state where a step leaves it
    outputs: Mapping[str, Home]
    kept: Mapping[int, Home]
    zero: frozenset[str]

    def to_text(self) -> str:
        """A readable listing."""
        from cellsearch.compiler.scheduling.listing import schedule_text

        return schedule_text(self)


def schedule(
    program: Program,
    *,
    keep: Iterable[int] = (),
    given: Mapping[int, tuple[Buffer, Home]] | None = None,
    square: bool = False,
    weights: Mapping[str, tuple[Width, ...]] | None = None,
) -> ProgramSchedule:
    """The schedule of a program.

    ``keep``: values whose homes must last (``Lifetime.TIME``). ``given``: buffers and homes of
    inputs that lie somewhere special. ``square``: I = H, so the widths need not be told apart.
    ``weights``: shapes of the weights whose gradients the program puts out, if it is a gradient;
    its positions then run from the last to the first.
    """
    from cellsearch.compiler.scheduling.schedule import make_schedule

    return make_schedule(program, weights, frozenset(keep), given or {}, square)
