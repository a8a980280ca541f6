"""A plan: bytecode for one number of steps and rows, so that a call only fills in addresses."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from cellsearch.compiler.backends.native.build import FORMAT, Library
from cellsearch.compiler.backends.native.bytecode import TABLE, Bytecode, Table
from cellsearch.compiler.scheduling.commands import Buffer, Lifetime
from cellsearch.errors import BackendError

__all__ = ["ALIGN", "Bound", "JobPlan", "Pool", "Tables", "make_plan"]

ALIGN = 16  # floats: a cache line
CALL_BYTES = 48  # of a call in src/format.h before the list of addresses
CHUNK_FLOATS = (
    1 << 16
)  # of the buffers of a chunk: with the weights' panels they fit the second-level cache
CHUNK_ROWS = 256  # at most, and in a gradient at least: what a weight gradient adds at once

# Columns of a buffer and of a job in src/format.h.
_BASE, _FLOATS = 0, 1
_SCRATCH, _PACKED, _TOKENS, _VOCABULARY, _ACTIVE, _BUFFERS = 12, 13, 14, 15, 16, 23
_CODES = {
    1: "format",
    2: "sizes",
    3: "buffers",
    4: "operands",
    5: "instructions",
    6: "commands",
    7: "weights",
    8: "carried values",
    9: "active rows",
    10: "scratch memory",
    11: "tokens",
}

_NO_COPIES = np.zeros((0, 4), dtype=np.int64)


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
        memory = found if found is not None else torch.empty(floats, dtype=torch.float32)
        return memory.fill_(float("nan")) if self.poison else memory

    def give(self, memory: Tensor) -> None:
        """Give memory back; the oldest piece is let go when there are many."""
        self.free.append(memory)
        if len(self.free) > self.KEPT:
            del self.free[0]


class Tables:
    """One copy of what the runtime reads. Calls that run at the same time, in threads, have one
    each.

    ``area``, ``place``: of each buffer, as in :class:`JobPlan`; ``copies``: what is copied after
    the run (columns of Copy in ``src/format.h``); ``count``: how many addresses are listed.
    """

    def __init__(self, plan: JobPlan, area: Table, place: Table, copies: Table, count: int) -> None:
        self.job, self.table = plan.job.copy(), plan.table.copy()
        self.job[_BUFFERS] = self.table.ctypes.data
        self.words = self.job.data.cast("B").cast(
            "q"
        )  # a memory view is written faster than an array
        self.address = self.job.ctypes.data
        self._kept = (area, place, copies)  # used by address
        pointers = (self.address, *(part.ctypes.data for part in self._kept))
        call = np.array([*pointers, len(copies), plan.packed_at, *[0] * count], dtype=np.int64)
        self.call, self.call_address = call.data.cast("B"), call.ctypes.data
        self.list = struct.Struct(f"{count}q").pack_into


class Bound:
    """A plan on memory that stays where it is, with the least cost of a call; only external buffers
    can be moved between calls.

    The memory must outlive this object, and only one call may run at a time. See
    :class:`JobPlan` for ``scratch`` and ``external``.
    """

    def __init__(self, plan: JobPlan, scratch: int, external: Sequence[int]) -> None:
        self._tables = Tables(plan, plan.area, plan.place, _NO_COPIES, 2 + len(plan.external))
        self._tables.table[:, _BASE] = (
            plan.place + np.array((scratch, scratch, *external))[plan.area]
        )
        self._tables.job[_SCRATCH] = scratch
        self._tables.job[_PACKED] = scratch + plan.job[_PACKED]
        self._tables.job[_ACTIVE] = 0
        self._run = plan.library.run
        self._address = self._tables.address
        rows = {int(area) - 2: row for row, area in enumerate(plan.area) if area >= 2}
        self.addresses = self._tables.table.data.cast("B").cast("q")
        """The table that the runtime reads; the address of external buffer k stands at
        ``slots[k]``.
        """
        self.slots = tuple(rows[k] * plan.table.shape[1] + _BASE for k in range(len(plan.external)))

    def __call__(self) -> int:
        """Run; 0, or the number of what the runtime finds malformed."""
        code: int = self._run(self._address)
        return code


@dataclass(frozen=True)
class JobPlan:
    """Everything about a job that does not change from call to call.

    ``scratch`` and ``saved``: floats of memory that a call needs for itself, and that must last
    until the backward pass. ``external``: names of the buffers whose memory the caller brings.
    ``area``: for each buffer the position of its memory's address in (scratch, saved, external...);
    ``place``: bytes into it. ``slots``, ``offsets``, ``floats``: of buffers by name; offsets are
    floats into scratch or saved memory.
    """

    code: Bytecode
    library: Library
    job: Table
    table: Table
    scratch: int
    saved: int
    external: tuple[str, ...]
    area: Table
    place: Table
    steps: int
    rows: int
    slots: Mapping[str, int]
    offsets: Mapping[str, int]
    floats: Mapping[str, int]
    lookup: int = 0  # number of the buffer that is the table of tokens
    packed_at: int = 0  # bytes into the scratch memory, where the packed weights lie

    def run(
        self,
        scratch: int,
        saved: int,
        external: Sequence[int],
        active: Table | None = None,
        tokens: tuple[int, int, int] | None = None,
    ) -> None:
        """Run the job on memory at these addresses; see :meth:`run_tables`."""
        tables = Tables(self, self.area, self.place, _NO_COPIES, 2 + len(external))
        self.run_tables(tables, (scratch, saved, *external), active, tokens)

    def run_tables(
        self,
        tables: Tables,
        addresses: Sequence[int],
        active: Table | None = None,
        tokens: tuple[int, int, int] | None = None,
    ) -> None:
        """Run the job with these tables at the listed addresses; the first one is that of the
        scratch memory.

        ``tokens``: their address, rows of the table of tokens, floats of the table. The same tables
        are always used with the same kind of arguments. Raises :class:`BackendError` if the runtime
        finds the job malformed.
        """
        tables.list(tables.call, CALL_BYTES, *addresses)
        if tokens is not None:
            words = tables.words
            words[_TOKENS], words[_VOCABULARY], tables.table[self.lookup, _FLOATS] = tokens
        if active is not None:
            tables.words[_ACTIVE] = active.ctypes.data
        code = self.library.call(tables.call_address)
        if code:
            raise BackendError(
                f"the native runtime refused a program: its {_CODES.get(code, code)} do not fit",
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
) -> JobPlan:
    """The plan for ``steps`` positions of ``rows`` sequences. ``packed``: of various lengths.
    ``direct``: without packing weights.
    """
    chunk = _chunk(code, steps, rows, reverse)
    table = np.zeros((len(code.buffers), 6), dtype=np.int64)
    external: list[str] = []
    sizes: dict[str, int] = {}
    slots: dict[str, int] = {}
    offsets: dict[str, int] = {}
    ends = {"scratch": code.registers * code.register_floats, "saved": 0}
    ends["scratch"] = -(-max(ends["scratch"], code.outer_floats, ALIGN) // ALIGN) * ALIGN
    packed_at = ends["scratch"]
    ends["scratch"] += -(-code.packed_floats // ALIGN) * ALIGN
    area: list[int] = []
    place: list[int] = []
    for k, (buffer, row) in enumerate(zip(code.buffers, code.row, strict=True)):
        fixed = buffer.lifetime is Lifetime.FIXED
        count = _slots(buffer, steps, chunk)
        floats = code.floats[k] if fixed else count * rows * row
        slots[buffer.name], sizes[buffer.name] = count, floats
        table[k] = (
            0,
            floats,
            buffer.lifetime,
            count,
            0 if fixed else rows * row,
            0 if fixed else row,
        )
        where = _area(buffer)
        if where is None:
            area.append(2 + len(external))
            place.append(0)
            external.append(buffer.name)
            continue
        area.append(0 if where == "scratch" else 1)
        place.append(4 * ends[where])
        offsets[buffer.name] = ends[where]
        ends[where] += -(-floats // ALIGN) * ALIGN
    job = np.array(
        [
            *(
                FORMAT,
                steps,
                rows,
                chunk,
                int(reverse),
                int(not packed),
                int(code.blocked),
                int(direct),
            ),
            *(
                code.registers,
                code.register_floats,
                packed_at,
                code.packed_floats,
                0,
                4 * packed_at,
                0,
                0,
                0,
            ),
            *(
                len(part)
                for part in (
                    table,
                    code.operands,
                    code.instructions,
                    code.commands,
                    code.pieces,
                    code.carried,
                )
            ),
            *(
                0,
                *(
                    part.ctypes.data
                    for part in (
                        code.operands,
                        code.instructions,
                        code.commands,
                        code.pieces,
                        code.carried,
                    )
                ),
            ),
            *code.phases,
        ],
        dtype=np.int64,
    )
    if job.nbytes != library.job_bytes:
        raise BackendError(
            "the native runtime and its driver disagree about the job",
            hint="delete the cached runtime",
        )
    return JobPlan(
        code=code,
        library=library,
        job=job,
        table=table,
        scratch=ends["scratch"],
        saved=ends["saved"],
        external=tuple(external),
        area=np.array(area, dtype=np.int64),
        place=np.array(place, dtype=np.int64),
        steps=steps,
        rows=rows,
        slots=slots,
        offsets=offsets,
        floats=sizes,
        packed_at=4 * packed_at,
        lookup=next((k for k, buffer in enumerate(code.buffers) if buffer.name == TABLE), 0),
    )


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
