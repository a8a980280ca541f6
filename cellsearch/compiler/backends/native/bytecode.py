"""From a schedule to the tables that the runtime reads."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cellsearch.compiler.backends.native.build import Library
from cellsearch.compiler.backends.native.instructions import SUMS, Place, encode_stage
from cellsearch.compiler.backends.native.structures import (
    CCarried,
    CCommand,
    CInstruction,
    CommandKind,
    COperand,
    CPiece,
    ProductStart,
    Table,
    table,
)
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
from cellsearch.genome.sizes import Sizes

__all__ = ["TABLE", "Bytecode", "encode"]

TABLE = "table"
"""The buffer of the token table."""


@dataclass(frozen=True)
class Bytecode:
    """A schedule for given sizes, ready but for the addresses."""

    buffers: tuple[Buffer, ...]
    row: tuple[int, ...]
    """Floats of a row of each buffer."""
    floats: tuple[int, ...]
    """The size of each fixed buffer; a weight and its gradient have as many as the weight."""
    operands: Table
    instructions: Table
    commands: Table
    pieces: Table
    carried: Table
    phases: tuple[int, ...]
    """The first command of each phase, and the end."""
    registers: int
    """Scratch registers that the longest stage needs."""
    register_floats: int
    outer_floats: int
    """Scratch memory of the widest weight gradient, or product of rounded factors."""
    packed_floats: int
    """Memory of all packed weights."""
    bf16: bool
    """Whether both factors of every product are rounded to bfloat16."""
    sums_floats: int
    """Floats of all sums over rows."""
    blocked: bool
    """Whether the loop has no product, so that a block of rows may run through a whole chunk."""

    def index(self, name: str) -> int:
        """The number of a buffer."""
        return next(k for k, buffer in enumerate(self.buffers) if buffer.name == name)

    def first_command(self, phase: str) -> int:
        """The number of the first command of a phase."""
        return self.phases[PHASES.index(phase)]


def encode(
    plan: ProgramSchedule,
    library: Library,
    weights: Mapping[str, tuple[Width, ...]],
    sizes: Sizes,
    folding: Folding = (),
    *,
    bf16: bool = False,
) -> Bytecode:
    """The tables of a schedule for these sizes; ``weights``: shapes of the weights, in letters,
    with three sizes for one in blocks, which the schedule takes for a matrix;
    ``folding``: columns of the token table; ``bf16``: both factors of products are rounded.
    """
    encoder = _Encoder(plan, library, weights, sizes, folding, bf16=bf16)
    phases = [0]
    for name in PHASES:
        for command in getattr(plan, name):
            encoder.command(command)
        phases.append(len(encoder.commands))
    carried = [
        CCarried(state=encoder.operand(home), initial=encoder.operand(Home(initial)))
        for home, initial in plan.carried
    ]
    return Bytecode(
        buffers=tuple(encoder.buffers),
        row=tuple(encoder.row(buffer) for buffer in encoder.buffers),
        floats=tuple(encoder.floats(buffer) for buffer in encoder.buffers),
        operands=table(COperand, encoder.operands),
        instructions=table(CInstruction, encoder.instructions),
        commands=table(CCommand, encoder.commands),
        pieces=table(CPiece, encoder.pieces),
        carried=table(CCarried, carried),
        phases=tuple(phases),
        registers=encoder.registers,
        register_floats=-(-max(library.block, encoder.widest) // 16) * 16,
        outer_floats=encoder.outer_floats,
        packed_floats=encoder.packed_floats,
        bf16=bf16,
        sums_floats=encoder.sums_floats,
        blocked=all(isinstance(command, Stage) for command in plan.loop),
    )


class _Encoder:
    """Rows of tables as they grow, and the largest of what commands need."""

    def __init__(
        self,
        plan: ProgramSchedule,
        library: Library,
        weights: Mapping[str, tuple[Width, ...]],
        sizes: Sizes,
        folding: Folding,
        *,
        bf16: bool,
    ) -> None:
        self.bf16 = bf16
        self.columns = {name: k for k, (name, _) in enumerate(folding)}
        self.plan = plan
        self.weights = weights
        self.library = library
        self.sizes = sizes.with_input(sizes["I"])
        used = {buffer.width for buffer in plan.buffers.values()} | {"I", "H"}
        self.sizes |= {"1": max(self.sizes[width] for width in used - {"1"}), "unit": 1}
        self.buffers = list(plan.buffers.values())
        if folding:
            self.buffers.append(Buffer(TABLE, "parameter", Lifetime.FIXED, "H"))
        self.numbers = {buffer.name: k for k, buffer in enumerate(self.buffers)}
        self.operands: list[COperand] = []
        self.instructions: list[CInstruction] = []
        self.commands: list[CCommand] = []
        self.pieces: list[CPiece] = []
        self.registers = 0
        self.widest = 1
        self.outer_floats = 0
        self.packed_floats = 0
        self.sums_floats = 0

    def row(self, buffer: Buffer) -> int:
        """Floats of a row."""
        return buffer.columns * self.sizes[buffer.width]

    def floats(self, buffer: Buffer) -> int:
        """Floats of one slot of one row, or of a whole weight."""
        name = buffer.name.partition(" ")[2]
        if buffer.role not in ("parameter", "gradient") or buffer.name == TABLE:
            return self.row(buffer)
        return math.prod(self.unit(letter) for letter in self.weights[name])

    def unit(self, letter: Width) -> int:
        """Floats of a value in a matrix, where a number is one float."""
        return 1 if letter == "1" else self.sizes[letter]

    def operand(self, place: Place, floats: int = 0) -> int:
        """The number of a new operand; ``floats``: from the place on."""
        if isinstance(place, int):
            self.operands.append(COperand(buffer=-1 - place, shift=0, column=0))
        else:
            width = self.sizes[self.plan.buffers[place.buffer].width]
            number, column = self.numbers[place.buffer], place.column * width + floats
            self.operands.append(COperand(buffer=number, shift=place.shift, column=column))
        return len(self.operands) - 1

    def first_operand(self, places: Sequence[Place], floats: Sequence[int]) -> int:
        """The number of the first of these operands, which stand side by side."""
        numbers = [self.operand(*one) for one in zip(places, floats, strict=True)]
        return numbers[0]

    def weight(self, name: str, role: Literal["parameter", "gradient"]) -> int:
        """The number of the buffer of a weight or its gradient."""
        title = f"{role} {name}"
        if title not in self.numbers:
            self.numbers[title] = len(self.buffers)
            self.buffers.append(Buffer(title, role, Lifetime.FIXED, "H"))
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
            a, b, c = (*[place(operand) for operand in operands], d, d, d)[:3]
            self.instructions.append(
                CInstruction(
                    op=self.library.opcodes[op], d=d, a=a, b=b, c=c, number=_float_bits(number)
                )
            )
        width = self.sizes[stage.width]
        sums = sum(op in SUMS for op, *_ in code.instructions)
        self.registers, self.widest = max(self.registers, code.registers), max(self.widest, width)
        self.commands.append(
            CCommand(
                kind=CommandKind.POINTWISE,
                first=first,
                count=len(self.instructions) - first,
                operand=first_operand,
                operands=len(self.operands) - first_operand,
                width=width,
                depth=sums,
                packed=self.sums_floats,
            )
        )
        self.sums_floats += sums * width

    def blocks(self, name: str) -> int:
        """How many blocks a weight has; 1 for a matrix."""
        shape = self.weights[name]
        return self.unit(shape[0]) if len(shape) == 3 else 1

    def product(self, product: DenseProduct) -> None:
        """One command; if a weight has blocks, one for each block and for each other weight. The
        first of them that writes a column begins it, the others add to it.
        """
        rows, columns = self.unit(product.depth[1]), self.unit(product.width[1])
        counts = [self.blocks(piece.parameter) for piece in product.pieces]
        if max(counts) == 1:
            pieces = [
                CPiece(
                    buffer=self.weight(piece.parameter, "parameter"),
                    row=piece.row * rows,
                    column=piece.column * columns,
                    rows=rows,
                    columns=columns,
                    transposed=piece.transposed,
                )
                for piece in product.pieces
            ]
            size = product.depth[0] * rows, product.width[0] * columns
            self.product_command(product, pieces, size, (0, 0))
            return
        begun: set[int] = set()
        for piece, count in zip(product.pieces, counts, strict=True):
            part = product._replace(start="result") if piece.column in begun else product
            begun.add(piece.column)
            depth, width = rows // count, columns // count
            for k in range(count):
                block = CPiece(
                    buffer=self.weight(piece.parameter, "parameter"),
                    rows=depth,
                    columns=width,
                    transposed=piece.transposed,
                    offset=k * depth * width,
                )
                at = piece.row * rows + k * depth, piece.column * columns + k * width
                self.product_command(part, [block], (depth, width), at)

    def product_command(
        self,
        product: DenseProduct,
        pieces: Sequence[CPiece],
        size: tuple[int, int],
        at: tuple[int, int],
    ) -> None:
        """The part of a product that reads ``size[0]`` floats of its source from ``at[0]`` on and
        writes ``size[1]`` floats of its target from ``at[1]`` on.
        """
        places, floats = [product.source, product.target], [*at]
        if isinstance(product.start, Home):
            places.append(product.start)
            floats.append(at[1])
            start = ProductStart.BIAS
        else:
            start = ProductStart.ZERO if product.start == "zero" else ProductStart.RESULT
        depth, width = size
        self.commands.append(
            CCommand(
                kind=CommandKind.PRODUCT,
                first=len(self.pieces),
                count=len(pieces),
                operand=self.first_operand(places, floats),
                operands=len(places),
                width=width,
                depth=depth,
                start=start,
                packed=self.packed_floats,
            )
        )
        self.pieces += pieces
        self.packed_floats += self.packed(width, depth)

    def packed(self, width: int, depth: int) -> int:
        """Floats of a packed weight. In bfloat16 a depth of 32 takes ``library.cells``, and as many
        rows of the other factor as a gradient adds at once are scratch memory, an odd number of 32s
        each.
        """
        columns = -(-width // self.library.panel) * self.library.panel
        if not self.bf16:
            return columns * depth
        parts = -(-depth // 32)
        left = self.library.outer_rows * (parts | 1) * self.library.cells
        self.outer_floats = max(self.outer_floats, left)
        return columns * parts * self.library.cells

    def outer(self, outer: Outer) -> None:
        """One command for the gradients of matrices, and one for each block of the others."""
        rows, depth = self.unit(outer.width[1]), self.unit(outer.depth)
        for count in sorted({self.blocks(name) for name, _, _ in outer.pieces}):
            height, width = rows // count, depth // count
            members = [piece for piece in outer.pieces if self.blocks(piece[0]) == count]
            size = max(column for _, column, _ in members) * rows + height, width
            for k in range(count):
                pieces = [
                    CPiece(
                        buffer=self.weight(name, "gradient"),
                        row=column * rows,
                        rows=height,
                        columns=width,
                        transposed=fresh,
                        offset=k * height * width,
                    )
                    for name, column, fresh in members
                ]
                self.outer_command(outer, pieces, size, (k * height, k * width))

    def outer_command(
        self, outer: Outer, pieces: Sequence[CPiece], size: tuple[int, int], at: tuple[int, int]
    ) -> None:
        """The part of gradients that reads ``size`` floats of both factors from ``at`` on."""
        width, depth = size
        self.commands.append(
            CCommand(
                kind=CommandKind.OUTER,
                first=len(self.pieces),
                count=len(pieces),
                operand=self.first_operand((outer.left, outer.right), at),
                operands=2,
                width=width,
                depth=depth,
            )
        )
        self.pieces += pieces
        panel = self.library.panel
        floats = self.library.outer_rows * (-(-depth // panel) * panel + self.library.outer_columns)
        self.outer_floats = max(self.outer_floats, floats)

    def table(self, command: Gather | Scatter) -> None:
        """Reading or adding to rows of the table; columns that do not lie side by side need
        commands of their own.
        """
        if isinstance(command, Gather):
            kind, place, start = CommandKind.GATHER, command.target, int(command.adds)
        else:
            kind, place, start = CommandKind.SCATTER, command.left, 0
        width = self.sizes[command.width[1]]
        for k, name in enumerate(command.parameters):
            self.commands.append(
                CCommand(
                    kind=kind,
                    first=self.numbers[TABLE],
                    operand=self.operand(place._replace(column=place.column + k)),
                    operands=1,
                    width=width,
                    depth=len(self.columns) * width,
                    start=start,
                    packed=self.columns[name] * width,
                )
            )


def _float_bits(number: float) -> int:
    """The bits of a float32; as in torch, what is too large for one becomes infinity."""
    return ctypes.c_int32.from_buffer(ctypes.c_float(number)).value
