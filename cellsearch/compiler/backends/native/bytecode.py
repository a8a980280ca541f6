"""From a schedule to the tables of 64-bit numbers that the runtime reads; ``src/format.h`` names
the same columns.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellsearch.compiler.backends.native.build import Library
from cellsearch.compiler.backends.native.instructions import Place, encode_stage
from cellsearch.compiler.scheduling.commands import (
    PHASES,
    Buffer,
    Command,
    DenseProduct,
    Gather,
    Home,
    Lifetime,
    Outer,
    ProgramSchedule,
    Scatter,
    Stage,
)
from cellsearch.compiler.scheduling.tokens import Folding
from cellsearch.genome.parameters import Width

__all__ = ["Bytecode", "Table", "encode"]

Table = NDArray[np.int64]

POINTWISE, PRODUCT, OUTER, GATHER, SCATTER = 0, 1, 2, 3, 4
TABLE = "table"
START_ZERO, START_RESULT, START_BIAS = 0, 1, 2


@dataclass(frozen=True)
class Bytecode:
    """A schedule for given sizes, ready but for the addresses. ``row``: floats of a row of each
    buffer, in the order of ``buffers``.

    ``floats``: the size of each fixed buffer; a weight and its gradient have as many as the weight.
    """

    buffers: tuple[Buffer, ...]
    row: tuple[int, ...]
    floats: tuple[int, ...]
    operands: Table
    instructions: Table
    commands: Table
    pieces: Table
    carried: Table
    phases: tuple[int, ...]
    registers: int
    register_floats: int
    outer_floats: int
    packed_floats: int
    blocked: bool

    def index(self, name: str) -> int:
        """The number of a buffer."""
        return next(k for k, buffer in enumerate(self.buffers) if buffer.name == name)


def encode(
    plan: ProgramSchedule,
    library: Library,
    weights: Mapping[str, tuple[Width, ...]],
    input_size: int,
    hidden_size: int,
    folding: Folding = (),
) -> Bytecode:
    """The tables of a schedule for these sizes; ``weights``: shapes of the weights, in letters;
    ``folding``: columns of the token table.
    """
    return _Encoder(plan, library, weights, input_size, hidden_size, folding).run()


class _Encoder:
    def __init__(
        self,
        plan: ProgramSchedule,
        library: Library,
        weights: Mapping[str, tuple[Width, ...]],
        input_size: int,
        hidden_size: int,
        folding: Folding,
    ) -> None:
        self.columns = {name: k for k, (name, _) in enumerate(folding)}
        self.plan = plan
        self.weights = weights
        self.library = library
        widest = max(input_size, hidden_size)
        self.sizes: Mapping[str, int] = {"I": input_size, "H": hidden_size, "1": widest, "unit": 1}
        self.buffers = list(plan.buffers.values())
        if folding:
            self.buffers.append(Buffer(TABLE, "parameter", Lifetime.FIXED, "H"))
        self.numbers = {buffer.name: k for k, buffer in enumerate(self.buffers)}
        self.operands: list[tuple[int, int, int]] = []
        self.instructions: list[tuple[int, ...]] = []
        self.commands: list[tuple[int, ...]] = []
        self.pieces: list[tuple[int, ...]] = []
        self.registers = 0
        self.widest = 1
        self.outer_floats = 0
        self.packed_floats = 0

    def run(self) -> Bytecode:
        phases = [0]
        for name in PHASES:
            commands: Sequence[Command] = getattr(self.plan, name)
            for command in commands:
                self.command(command)
            phases.append(len(self.commands))
        carried = [
            (self.operand(home), self.operand(Home(initial))) for home, initial in self.plan.carried
        ]
        return Bytecode(
            buffers=tuple(self.buffers),
            row=tuple(self.row(buffer) for buffer in self.buffers),
            floats=tuple(self.floats(buffer) for buffer in self.buffers),
            operands=_table(self.operands, 3),
            instructions=_table(self.instructions, 6),
            commands=_table(self.commands, 9),
            pieces=_table(self.pieces, 6),
            carried=_table(carried, 2),
            phases=tuple(phases),
            registers=self.registers,
            register_floats=-(-max(self.library.block, self.widest) // 16) * 16,
            outer_floats=self.outer_floats,
            packed_floats=self.packed_floats,
            blocked=all(isinstance(command, Stage) for command in self.plan.loop),
        )

    def row(self, buffer: Buffer) -> int:
        """Floats of a row."""
        return buffer.columns * self.sizes[buffer.width]

    def floats(self, buffer: Buffer) -> int:
        """Floats of one slot of one row, or of a whole weight."""
        name = buffer.name.partition(" ")[2]
        if buffer.role not in ("parameter", "gradient") or buffer.name == TABLE:
            return self.row(buffer)
        return math.prod(
            1 if letter == "1" else self.sizes[letter] for letter in self.weights[name]
        )

    def operand(self, place: Place) -> int:
        if isinstance(place, int):
            self.operands.append((-1 - place, 0, 0))
        else:
            width = self.sizes[self.plan.buffers[place.buffer].width]
            self.operands.append((self.numbers[place.buffer], place.shift, place.column * width))
        return len(self.operands) - 1

    def weight(self, name: str, role: str) -> int:
        """The number of the buffer of a weight or its gradient."""
        title = f"{role} {name}"
        if title not in self.numbers:
            self.numbers[title] = len(self.buffers)
            self.buffers.append(
                Buffer(
                    title, "parameter" if role == "parameter" else "gradient", Lifetime.FIXED, "H"
                )
            )
        return self.numbers[title]

    def command(self, command: Command) -> None:
        if isinstance(command, Stage):
            self.stage(command)
        elif isinstance(command, DenseProduct):
            self.product(command)
        elif isinstance(command, Outer):
            self.outer(command)
        else:
            self.table(command)

    def stage(self, stage: Stage) -> None:
        code = encode_stage(stage)
        if not code.instructions:
            return
        first, first_operand = len(self.instructions), len(self.operands)
        places: dict[Place, int] = {}

        def place(where: Place) -> int:
            if where not in places:
                places[where] = self.operand(where) - first_operand
            return places[where]

        for op, destination, operands, number in code.instructions:
            d = place(destination)
            used = [place(operand) for operand in operands]
            bits = _float_bits(number)
            self.instructions.append(
                (self.library.opcodes[op], d, *used, *[d] * (3 - len(used)), bits)
            )
        width = self.sizes[stage.width]
        self.registers, self.widest = max(self.registers, code.registers), max(self.widest, width)
        self.commands.append(
            (
                POINTWISE,
                first,
                len(self.instructions) - first,
                first_operand,
                len(self.operands) - first_operand,
                width,
                0,
                0,
                0,
            )
        )

    def product(self, product: DenseProduct) -> None:
        depth_unit, width_unit = (
            1 if letter == "1" else self.sizes[letter]
            for letter in (product.depth[1], product.width[1])
        )
        depth, width = product.depth[0] * depth_unit, product.width[0] * width_unit
        first, first_operand = len(self.pieces), len(self.operands)
        for piece in product.pieces:
            number = self.weight(piece.parameter, "parameter")
            self.pieces.append(
                (
                    number,
                    piece.row * depth_unit,
                    piece.column * width_unit,
                    depth_unit,
                    width_unit,
                    int(piece.transposed),
                )
            )
        self.operand(product.source)
        self.operand(product.target)
        start = (
            {"zero": START_ZERO, "result": START_RESULT}.get(product.start, START_BIAS)
            if isinstance(product.start, str)
            else START_BIAS
        )
        if isinstance(product.start, Home):
            self.operand(product.start)
        count = len(self.operands) - first_operand
        self.commands.append(
            (
                PRODUCT,
                first,
                len(product.pieces),
                first_operand,
                count,
                width,
                depth,
                start,
                self.packed_floats,
            )
        )
        panel = self.library.panel
        self.packed_floats += -(-width // panel) * panel * depth

    def outer(self, outer: Outer) -> None:
        unit, depth = (
            1 if letter == "1" else self.sizes[letter] for letter in (outer.width[1], outer.depth)
        )
        first, first_operand = len(self.pieces), len(self.operands)
        for name, column, fresh in outer.pieces:
            self.pieces.append(
                (self.weight(name, "gradient"), column * unit, 0, unit, depth, int(fresh))
            )
        self.operand(outer.left)
        self.operand(outer.right)
        self.commands.append(
            (OUTER, first, len(outer.pieces), first_operand, 2, outer.width[0] * unit, depth, 0, 0)
        )
        panel = self.library.panel
        floats = self.library.outer_rows * (-(-depth // panel) * panel + self.library.outer_columns)
        self.outer_floats = max(self.outer_floats, floats)

    def table(self, command: Gather | Scatter) -> None:
        """Reading or adding to rows of the table; columns that do not lie side by side need
        commands of their own.
        """
        kind, place = (
            (GATHER, command.target) if isinstance(command, Gather) else (SCATTER, command.left)
        )
        width, start = (
            self.sizes[command.width[1]],
            int(isinstance(command, Gather) and command.adds),
        )
        for k, name in enumerate(command.parameters):
            operand = self.operand(place._replace(column=place.column + k))
            column = self.columns[name] * width
            self.commands.append(
                (
                    kind,
                    self.numbers[TABLE],
                    0,
                    operand,
                    1,
                    width,
                    len(self.columns) * width,
                    start,
                    column,
                )
            )


def _float_bits(number: float) -> int:
    """The bits of a float32; as in torch, what is too large for one becomes infinity."""
    return ctypes.c_int32.from_buffer(ctypes.c_float(number)).value


def _table(rows: Sequence[tuple[int, ...]], columns: int) -> Table:
    return np.array(rows, dtype=np.int64).reshape(len(rows), columns)
