"""A plan: bytecode for one number of steps and rows, so that a call only fills in addresses."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from cellsearch.compiler.backends.native.build import FORMAT, Library
from cellsearch.compiler.backends.native.bytecode import TABLE, Bytecode
from cellsearch.compiler.backends.native.structures import (
    CBuffer,
    CCall,
    CCopy,
    CJob,
    Numbers,
    Refusal,
    Table,
    table,
)
from cellsearch.compiler.scheduling.commands import Buffer, Lifetime
from cellsearch.errors import BackendError

__all__ = [
    "ALIGN",
    "CPU",
    "Bound",
    "JobPlan",
    "MemoryLayout",
    "Pool",
    "Tables",
    "make_plan",
    "refusal",
]

CPU = torch.device("cpu")  # an object: a string is read in each call
ALIGN = 16  # floats: a cache line
CHUNK_FLOATS = (
    1 << 16
)  # of the buffers of a chunk: with the weights' panels they fit the second-level cache
CHUNK_ROWS = 256  # at most, and in a gradient at least: what a weight gradient adds at once

_REFUSED = {
    Refusal.FORMAT: "format",
    Refusal.SIZE: "sizes",
    Refusal.BUFFER: "buffers",
    Refusal.OPERAND: "operands",
    Refusal.INSTRUCTION: "instructions",
    Refusal.COMMAND: "commands",
    Refusal.PIECE: "weights",
    Refusal.CARRIED: "carried values",
    Refusal.ACTIVE: "active rows",
    Refusal.SCRATCH: "scratch memory",
    Refusal.TOKEN: "tokens",
}
_NO_COPIES = table(CCopy, [])


class Pool:
    """Memory that calls give back: a segment of the same size is served without asking the system,
    and its pages are warm.
    """

    KEPT = 6
    poison: ClassVar[bool] = False
    """Whether all memory is filled with NaN before use, which shows what reads memory that nobody
    wrote. For tests.
    """

    def __init__(self) -> None:
        self.free: list[Tensor] = []

    def take(self, floats: int) -> Tensor:
        """At least so many floats, of any content."""
        found = None
        for _ in range(len(self.free)):
            try:
                candidate = self.free.pop()
            except IndexError:  # another thread was faster
                break
            if floats <= candidate.numel() <= 2 * floats + 4096:
                found = candidate
                break
            self.free.insert(0, candidate)
        memory = (
            found if found is not None else torch.empty(floats, dtype=torch.float32, device=CPU)
        )
        return memory.fill_(float("nan")) if self.poison else memory

    def give(self, memory: Tensor) -> None:
        """Give memory back; the oldest piece is let go when there are many."""
        self.free.append(memory)
        if len(self.free) > self.KEPT:
            del self.free[0]


class Tables:
    """One copy of what the runtime reads. Calls that run at the same time, in threads, have one
    each.
    """

    def __init__(
        self, plan: JobPlan, area: Numbers, place: Numbers, copies: Table, count: int
    ) -> None:
        """``area``, ``place``: of each buffer, as in :class:`MemoryLayout`; ``copies``: what is
        copied after the run; ``count``: how many addresses are listed.
        """
        self.job = CJob.from_buffer_copy(plan.job)
        self.table = plan.memory.buffers.copy()
        self.job.buffer = self.table.ctypes.data
        self.address = ctypes.addressof(self.job)
        self._kept = (area, place, copies)  # used by address
        self.call = bytearray(ctypes.sizeof(CCall) + 8 * count)
        call = CCall.from_buffer(self.call)
        call.job, call.packed, call.copies = self.address, 4 * plan.memory.packed, len(copies)
        call.area, call.place, call.copy = (part.ctypes.data for part in self._kept)
        self.call_address = ctypes.addressof(call)
        self._listed = struct.Struct(f"{count}q")

    def list_addresses(self, addresses: Sequence[int]) -> None:
        """Write the addresses behind the call."""
        self._listed.pack_into(self.call, _LIST_AT, *addresses)


_LIST_AT = ctypes.sizeof(CCall)


class Bound:
    """A plan on memory that stays where it is, with the least cost of a call; only external buffers
    can be moved between calls.

    The memory must outlive this object, and only one call may run at a time.
    """

    def __init__(self, plan: JobPlan, scratch: int, external: Sequence[int]) -> None:
        """See :class:`JobPlan` for ``scratch`` and ``external``."""
        memory = plan.memory
        self._tables = Tables(plan, memory.area, memory.place, _NO_COPIES, 2 + len(external))
        table, job = self._tables.table, self._tables.job
        table["base"] = memory.place + np.array((scratch, scratch, *external))[memory.area]
        job.scratch, job.packed, job.active = scratch, scratch + 4 * memory.packed, 0
        self._run = plan.library.run
        self._address = self._tables.address
        rows = {int(area) - 2: row for row, area in enumerate(memory.area) if area >= 2}
        self.addresses = table["base"].data  # a memory view is written faster than an array
        """Where the runtime reads the addresses; that of external buffer k stands at
        ``slots[k]``.
        """
        self.slots = tuple(rows[k] for k in range(len(external)))

    def __call__(self) -> int:
        """Run; 0, or the number of what the runtime finds malformed."""
        code: int = self._run(self._address)
        return code


@dataclass(frozen=True)
class MemoryLayout:
    """Where the buffers of a job lie. Memory of the call (*scratch*) and of the segment (*saved*)
    is given in floats.
    """

    buffers: Table
    """What the runtime is told about each buffer, but for its address."""
    scratch: int
    """Memory that a call needs for itself."""
    saved: int
    """Memory that must last until the backward pass."""
    member: int
    """Of the scratch memory, what each thread has for itself."""
    packed: int
    """Where in the scratch memory the packed weights lie, behind sums of blocks of rows."""
    external: tuple[str, ...]
    """Names of the buffers whose memory the caller brings."""
    area: Numbers
    """For each buffer the position of its memory's address in (scratch, saved, external...)."""
    place: Numbers
    """For each buffer the bytes into that memory."""
    slots: Mapping[str, int]
    """How many slots each buffer has."""
    offsets: Mapping[str, int]
    """Where in scratch or saved memory each buffer lies that is not external."""
    floats: Mapping[str, int]
    """The size of each buffer."""


@dataclass(frozen=True)
class JobPlan:
    """Everything about a job that does not change from call to call."""

    code: Bytecode
    library: Library
    job: CJob
    memory: MemoryLayout
    lookup: int = 0
    """The number of the buffer that is the table of tokens."""

    @property
    def steps(self) -> int:
        """T."""
        return self.job.steps

    @property
    def rows(self) -> int:
        """B."""
        return self.job.rows

    def run(
        self,
        scratch: int,
        saved: int,
        external: Sequence[int],
        active: Numbers | None = None,
        tokens: tuple[int, int, int] | None = None,
    ) -> None:
        """Run the job on memory at these addresses; see :meth:`run_tables`."""
        memory = self.memory
        tables = Tables(self, memory.area, memory.place, _NO_COPIES, 2 + len(external))
        self.run_tables(tables, (scratch, saved, *external), active, tokens)

    def run_tables(
        self,
        tables: Tables,
        addresses: Sequence[int],
        active: Numbers | None = None,
        tokens: tuple[int, int, int] | None = None,
    ) -> None:
        """Run the job with these tables at the listed addresses; the first one is that of the
        scratch memory.

        ``tokens``: their address, rows of the table of tokens, floats of the table. The same tables
        are always used with the same kind of arguments. Raises :class:`BackendError` if the runtime
        finds the job malformed.
        """
        tables.list_addresses(addresses)
        job = tables.job
        if tokens is not None:
            job.tokens, job.vocabulary, floats = tokens
            tables.table["floats"][self.lookup] = floats
        if active is not None:
            job.active = active.ctypes.data
        code = self.library.call(tables.call_address)
        if code:
            raise refusal(code)


def refusal(code: int) -> BackendError:
    """The error for what the runtime finds malformed."""
    what = _REFUSED[Refusal(code)] if code in [*Refusal] else code
    return BackendError(
        f"the native runtime refused a program: its {what} do not fit",
        hint='use backend="aten" and report this',
    )


def make_plan(
    code: Bytecode,
    library: Library,
    steps: int,
    rows: int,
    *,
    reverse: bool,
    packed: bool,
    direct: bool = False,
    threads: int = 1,
) -> JobPlan:
    """The plan for ``steps`` positions of ``rows`` sequences. ``packed``: of various lengths.
    ``direct``: without packing weights; ``threads``: at most so many run it.
    """
    if ctypes.sizeof(CJob) != library.job_bytes:
        raise BackendError(
            "the native runtime and its driver disagree about the job",
            hint="delete the cached runtime",
        )
    chunk = _chunk(code, steps, rows, reverse)
    memory = _lay_out(code, steps, rows, chunk, threads)
    job = CJob(
        format=FORMAT,
        steps=steps,
        rows=rows,
        chunk=chunk,
        backwards=reverse,
        together=not packed,
        blocked=code.blocked,
        direct=direct,
        bf16=code.bf16,
        threads=threads,
        registers=code.registers,
        register_floats=code.register_floats,
        scratch_floats=memory.member,
        sums_floats=memory.packed - threads * memory.member,
        packed_floats=code.packed_floats,
        buffers=len(memory.buffers),
        operands=len(code.operands),
        instructions=len(code.instructions),
        commands=len(code.commands),
        pieces=len(code.pieces),
        carried=len(code.carried),
        operand=code.operands.ctypes.data,
        instruction=code.instructions.ctypes.data,
        command=code.commands.ctypes.data,
        piece=code.pieces.ctypes.data,
        carry=code.carried.ctypes.data,
        phase=code.phases,
    )
    lookup = next((k for k, buffer in enumerate(code.buffers) if buffer.name == TABLE), 0)
    return JobPlan(code, library, job, memory, lookup)


def _lay_out(code: Bytecode, steps: int, rows: int, chunk: int, threads: int) -> MemoryLayout:
    """Scratch memory holds registers (or the factors of a weight gradient) of each thread, sums of
    blocks of rows, packed weights and buffers, in this order.
    """
    member = _aligned(max(code.registers * code.register_floats, code.outer_floats, ALIGN))
    packed = threads * member
    packed += _aligned(chunk * rows * code.sums_floats) if threads > 1 else 0
    ends = {"scratch": packed + _aligned(code.packed_floats), "saved": 0}
    buffers: list[CBuffer] = []
    external: list[str] = []
    area: list[int] = []
    place: list[int] = []
    slots: dict[str, int] = {}
    offsets: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for buffer, row, floats in zip(code.buffers, code.row, code.floats, strict=True):
        count = slots[buffer.name] = _slots(buffer, steps, chunk)
        fixed = buffer.lifetime is Lifetime.FIXED
        size = sizes[buffer.name] = floats if fixed else count * rows * row
        step_stride, row_stride = (0, 0) if fixed else (rows * row, row)
        buffers.append(
            CBuffer(
                floats=size,
                kind=buffer.lifetime,
                slots=count,
                step_stride=step_stride,
                row_stride=row_stride,
            )
        )
        where = _area(buffer)
        if where is None:
            area.append(2 + len(external))
            place.append(0)
            external.append(buffer.name)
        else:
            area.append(0 if where == "scratch" else 1)
            place.append(4 * ends[where])
            offsets[buffer.name] = ends[where]
            ends[where] += _aligned(size)
    return MemoryLayout(
        buffers=table(CBuffer, buffers),
        scratch=ends["scratch"],
        saved=ends["saved"],
        member=member,
        packed=packed,
        external=tuple(external),
        area=np.array(area, dtype=np.int64),
        place=np.array(place, dtype=np.int64),
        slots=slots,
        offsets=offsets,
        floats=sizes,
    )


def _aligned(floats: int) -> int:
    return -(-floats // ALIGN) * ALIGN


def _area(buffer: Buffer) -> Literal["scratch", "saved"] | None:
    """Whose memory a buffer lies in: that of the call, that of the segment, or (``None``) memory
    that the caller brings.
    """
    if buffer.role == "scratch" or (buffer.role == "state" and buffer.lifetime is Lifetime.RING):
        return "scratch"
    return "saved" if buffer.role == "saved" and not buffer.name.startswith("forward ") else None


def _slots(buffer: Buffer, steps: int, chunk: int) -> int:
    if buffer.lifetime is Lifetime.TIME:
        # A state lies between the steps: one slot more than there are steps. Forward states that a
        # gradient reads are those.
        return steps + (buffer.role == "state" or buffer.name.startswith("forward state "))
    if buffer.lifetime is Lifetime.RING:
        return 2
    return chunk if buffer.lifetime is Lifetime.CHUNK else 1


def _chunk(code: Bytecode, steps: int, rows: int, reverse: bool) -> int:
    """Steps of a chunk: as many as fit the cache, but whole blocks of rows for weight gradients."""
    per_row = sum(
        row
        for buffer, row in zip(code.buffers, code.row, strict=True)
        if buffer.lifetime is Lifetime.CHUNK
    )
    fitting = (
        CHUNK_ROWS if reverse or not per_row else min(CHUNK_ROWS, max(1, CHUNK_FLOATS // per_row))
    )
    return max(1, min(steps, fitting // max(1, rows)))
