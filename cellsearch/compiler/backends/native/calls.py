"""Where the memory of a call comes from: decided once for each plan, so that a call only lists
addresses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from cellsearch.compiler.backends.native.bytecode import TABLE
from cellsearch.compiler.backends.native.plan import ALIGN, JobPlan, Tables
from cellsearch.compiler.backends.native.structures import CCopy, Numbers, Table, table
from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.commands import Lifetime, ProgramSchedule
from cellsearch.errors import BackendError

__all__ = ["CHANGED", "CREATES_GRAPH", "EXCHANGED", "Call", "MemorySource", "ResultMemory", "wire"]

CREATES_GRAPH = (
    "the native backend computes first derivatives only (create_graph=True was asked for); "
    "use backend='reference', or the plain class of an exported package"
)
CHANGED = (
    "one of the variables needed for gradient computation has been modified by an inplace "
    "operation: x, a state or a weight was changed between forward and backward of the native "
    "backend"
)
EXCHANGED = (
    "the memory of a tensor was exchanged between forward and backward of the native backend"
)

Group = Literal[
    "scratch",  # memory of the call
    "saved",  # memory of the segment
    "held",  # x, states, weights; backward also the memory of the output
    "outer",  # backward: gradients of the output and of final states
    "weights",  # backward: gradients of weights
    "table",  # backward: gradient of the token table
    "result",  # memory of the sequence that the call makes; 0 if there is none
    "copied",  # final states or gradients of initial ones, copied there at the end; 0: not
]
"""The groups of addresses that a call lists, in this order."""


@dataclass(frozen=True)
class MemorySource:
    """Whose memory a buffer is."""

    group: Group
    number: int = 0
    """Which address of the group."""
    start: int = 0
    """Floats into that memory."""


@dataclass(frozen=True)
class ResultMemory:
    """The memory of the sequence that a call makes, and which slots of it are the result."""

    shape: tuple[int, int, int]
    """``[slots, B, width]``."""
    parts: list[int]
    """Slots before, of and after the result; empty if the result is all of the memory."""
    number: int
    """Which of the parts is the result."""

    def of(self, memory: Tensor) -> Tensor:
        """The result as a tensor of its own (not a view, so autograd treats it like any other
        result).
        """
        return memory.unsafe_split_with_sizes(self.parts)[self.number] if self.parts else memory


@dataclass(frozen=True)
class Call:
    """A plan, and where its external buffers come from: everything about a call that does not
    depend on its tensors.
    """

    plan: JobPlan
    layout: ProgramSchedule
    scratch: int
    """Floats of memory that the call needs for itself."""
    saved: int
    """Floats of memory that lasts until the backward pass."""
    sizes: list[int]
    """Elements of states and weights."""
    carried: tuple[tuple[int, int], ...]
    """For each carried value which listed memory it lies in, and at which float it begins."""
    readable: Mapping[str, MemorySource]
    """Of a forward call: where the buffers lie that the backward call reads."""
    result: ResultMemory | None
    area: Numbers
    """For each buffer the position of its memory's address in the list."""
    place: Numbers
    """For each buffer the bytes into that memory."""
    copies: Table
    count: int
    """How many addresses are listed."""
    zeroed: tuple[bool, ...] = ()
    """Which gradients of weights must begin as 0; empty if none must."""
    spare: list[Tables] = field(default_factory=list)
    """Tables that no call is using."""

    @cached_property
    def zeros(self) -> Tensor:
        """The gradient of a final state that nothing depends on, as large as the widest; only
        read.
        """
        code = self.plan.code
        width = max(code.row[code.index(initial)] for _, initial in self.layout.carried)
        with torch.inference_mode(False):
            return torch.zeros(self.plan.rows, width, dtype=torch.float32, device="cpu")

    @cached_property
    def is_empty(self) -> bool:
        """Whether there is no sequence, so nothing runs."""
        return not self.plan.rows

    def run(
        self, addresses: Sequence[int], active: Numbers | None, tokens: tuple[int, int, int] | None
    ) -> None:
        """Run at these addresses; ``tokens`` as of :meth:`JobPlan.run_tables`."""
        if self.is_empty:
            return
        try:
            tables = self.spare.pop()
        except IndexError:
            tables = Tables(self.plan, self.area, self.place, self.copies, self.count)
        self.plan.run_tables(tables, addresses, active, tokens)
        self.spare.append(tables)


def wire(
    plan: JobPlan,
    layout: ProgramSchedule,
    program: Program,
    weights: Sequence[str],
    sizes: list[int],
    forward: Call | None,
) -> Call:
    """Find the source of every external buffer.

    ``weights``: their names; ``sizes``: elements of states, weights and inputs after x;
    ``forward``: the call that comes before, if this is a gradient.
    """
    is_gradient = forward is not None
    known = dict(
        _known_forward(program, weights)
        if forward is None
        else _known_backward(program, weights, forward)
    )
    home = layout.outputs.get("x") if is_gradient else next(iter(layout.outputs.values()))
    if home is not None:
        if home.buffer in known:
            raise BackendError(
                f"the schedule gives {home.buffer} away as a result",
                hint='use backend="aten" and report this',
            )
        known[home.buffer] = MemorySource("result")
    starts = _starts(program, len(weights), is_gradient=is_gradient)
    located = _locate(plan, starts, known, "scratch" if is_gradient else "saved")
    carried = tuple(
        _carried(plan, layout, k, located, forward=not is_gradient)
        for k in range(len(program.states))
    )
    copies = [
        CCopy(area=number, place=4 * start, to=starts["copied"] + k, bytes=4 * sizes[k])
        for k, (number, start) in enumerate(carried)
        if is_gradient or plan.job.together
    ]
    zeroed = tuple(name in layout.zero for name in weights) if is_gradient else ()
    output = starts["result"] - starts["held"]
    return Call(
        plan=plan,
        layout=layout,
        scratch=located.ends["scratch"],
        saved=0 if is_gradient else located.ends["saved"],
        sizes=sizes,
        carried=carried,
        readable={} if is_gradient else _readable(plan, known, located.added, output),
        result=None if home is None else _result(plan, home.buffer, home.shift),
        area=located.area,
        place=located.place,
        copies=table(CCopy, copies),
        count=starts["end"],
        zeroed=zeroed if any(zeroed) else (),
    )


def _starts(program: Program, weights: int, *, is_gradient: bool) -> dict[str, int]:
    """The position of the first address of each group, and (``end``) how many there are."""
    states = len(program.states)
    counts = {"scratch": 1, "saved": 1, "held": program.first + weights}
    if is_gradient:
        counts["held"] += 1
        counts |= {"outer": 1 + states, "weights": weights, "table": 1}
    counts |= {"result": 1, "copied": states}
    return dict(zip((*counts, "end"), accumulate(counts.values(), initial=0), strict=True))


@dataclass(frozen=True)
class _Located:
    """The memory of every buffer."""

    area: Numbers
    place: Numbers
    added: Mapping[str, int]
    """Where buffers were put that nobody brings: floats into memory of this call's own."""
    ends: Mapping[str, int]
    """Floats of that memory, with them."""


def _locate(
    plan: JobPlan,
    starts: Mapping[str, int],
    known: Mapping[str, MemorySource],
    own: Literal["scratch", "saved"],
) -> _Located:
    """External buffers where they are known to lie, those that are left behind the memory
    ``own``.
    """
    memory = plan.memory
    area, place = memory.area.copy(), memory.place.copy()
    ends = {"scratch": memory.scratch, "saved": memory.saved}
    added: dict[str, int] = {}
    for row, external in enumerate(memory.area):
        if external < 2:
            continue
        name = memory.external[external - 2]
        source = known.get(name)
        if source is None:
            source = MemorySource(own, 0, ends[own])
            added[name] = ends[own]
            ends[own] += -(-memory.floats[name] // ALIGN) * ALIGN
        area[row] = starts[source.group] + source.number
        place[row] = 4 * source.start
    return _Located(area, place, added, ends)


def _readable(
    plan: JobPlan, known: Mapping[str, MemorySource], added: Mapping[str, int], output: int
) -> dict[str, MemorySource]:
    """Where the buffers of a forward call lie afterwards; ``output``: number of the memory of its
    result among what is held then.
    """
    found = {name: MemorySource("saved", 0, start) for name, start in added.items()}
    for buffer, area in zip(plan.code.buffers, plan.memory.area, strict=True):
        if area == 1:
            start = plan.memory.offsets[buffer.name]
            found[buffer.name] = MemorySource("saved", 0, start)
    for name, source in known.items():
        found[name] = MemorySource("held", output) if source.group == "result" else source
    return found


def _known_forward(program: Program, weights: Sequence[str]) -> Iterator[tuple[str, MemorySource]]:
    """Whose memory the buffers are that a forward call is given."""
    yield "input x", MemorySource("held", 0)
    yield TABLE, MemorySource("held", 0)
    for k, state in enumerate(program.states):
        yield f"initial {state.name}", MemorySource("held", 1 + k)
    for k, name in enumerate(weights):
        yield f"parameter {name}", MemorySource("held", 1 + len(program.states) + k)
    for k, (name, _) in enumerate(program.inputs[1:]):
        yield f"input {name}", MemorySource("held", 1 + len(program.states) + len(weights) + k)


def _known_backward(
    program: Program, weights: Sequence[str], forward: Call
) -> Iterator[tuple[str, MemorySource]]:
    """Whose memory the buffers are that a backward call is given."""
    for k, name in enumerate(weights):
        yield f"parameter {name}", MemorySource("held", 1 + len(program.states) + k)
        yield f"gradient {name}", MemorySource("weights", k)
    yield f"input d_{program.outputs[0][0]}", MemorySource("outer", 0)
    for k, state in enumerate(program.states):
        yield f"initial d_{state.name}", MemorySource("outer", 1 + k)
    yield TABLE, MemorySource("table")
    for name, source in forward.readable.items():
        yield f"forward {name}", source


def _carried(
    plan: JobPlan, layout: ProgramSchedule, state: int, located: _Located, *, forward: bool
) -> tuple[int, int]:
    """In which listed memory a carried value lies after the run, and at which float. Of a forward
    call: where its slots begin.
    """
    name = layout.final[state].buffer
    row = plan.code.index(name)
    start = int(located.place[row]) // 4
    if forward and plan.job.together:
        ring = layout.buffers[name].lifetime is Lifetime.RING
        start += (plan.steps % 2 if ring else plan.steps) * plan.rows * plan.code.row[row]
    return int(located.area[row]), start


def _result(plan: JobPlan, buffer: str, shift: int) -> ResultMemory:
    """The memory of a buffer that leaves the call, of which ``steps`` slots from ``shift`` on are
    the result.
    """
    slots, width = plan.memory.slots[buffer], plan.code.row[plan.code.index(buffer)]
    parts = [part for part in (shift, plan.steps, slots - shift - plan.steps) if part]
    return ResultMemory(
        (slots, plan.rows, width), parts if len(parts) > 1 else [], 1 if shift else 0
    )
