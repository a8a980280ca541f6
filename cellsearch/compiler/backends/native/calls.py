"""Where the memory of a call comes from: decided once for each plan, so that a call only lists
addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cellsearch.compiler.backends.native.bytecode import TABLE, Table
from cellsearch.compiler.backends.native.plan import ALIGN, JobPlan, Tables
from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.commands import Home, Lifetime, ProgramSchedule
from cellsearch.errors import BackendError

__all__ = ["Call", "ResultMemory", "wire"]

# Whose memory an external buffer is: that of a tensor of the forward call, of the gradient of a
# result, of the gradient of a weight or of the token table, of the result, or the memory of the
# call or of the segment (with an offset in floats).
_HELD, _OUTER, _WEIGHT, _RESULT, _SAVED, _SCRATCH = range(6)


@dataclass(frozen=True)
class ResultMemory:
    """The sequence that a call makes: ``shape`` of its memory ``[slots, B, width]``, and which
    slots are the result.

    ``parts``: slots before, of and after the result; ``number``: of the result among those. Empty
    if the result is all of the memory.
    """

    shape: tuple[int, int, int]
    parts: list[int]
    number: int

    def of(self, memory: Tensor) -> Tensor:
        """The result as a tensor of its own (not a view, so autograd treats it like any other
        result).
        """
        return memory.unsafe_split_with_sizes(self.parts)[self.number] if self.parts else memory


@dataclass(frozen=True)
class Call:
    """A plan, and where its external buffers come from: everything about a call that does not
    depend on its tensors.

    A call lists addresses in this order: memory of the call (``scratch`` floats) and of the segment
    (``saved`` floats), held tensors, gradients of results, gradients of weights, the memory of
    ``result`` (0 if there is none), and where the carried values are copied to at the end (final
    states, or gradients of initial ones; 0: not). ``sizes``: elements of the held tensors, without
    x. ``carried``: in which listed memory each of those lies, and at which float it begins.
    ``offsets``: of buffers in saved memory.
    """

    plan: JobPlan
    layout: ProgramSchedule
    scratch: int
    saved: int
    sizes: list[int]
    carried: tuple[tuple[int, int], ...]
    offsets: Mapping[str, int]
    held: Mapping[str, int]
    result: ResultMemory | None
    area: Table
    place: Table
    copies: Table
    count: int
    zeroed: tuple[bool, ...] = ()
    """Which gradients of weights must begin as 0; empty if none must."""
    spare: list[Tables] = field(default_factory=list)

    @cached_property
    def zeros(self) -> Tensor:
        """The gradient of a final state that nothing depends on; only read."""
        width = self.plan.code.row[self.plan.code.index(self.layout.carried[0][1])]
        with torch.inference_mode(mode=False):
            return torch.zeros(self.plan.rows, width, dtype=torch.float32)

    def run(
        self, addresses: Sequence[int], active: Table | None, tokens: tuple[int, int, int] | None
    ) -> None:
        """Run at these addresses; ``tokens`` as of :meth:`JobPlan.run_tables`. An empty batch has
        nothing to run.
        """
        if not self.plan.rows:
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

    ``weights``: their names; ``sizes``: elements of states and weights; ``forward``: the call that
    comes before, if this is a gradient.
    """
    states = [state.name for state in program.states]
    inputs = 1 + len(states) + len(weights)
    start = {_HELD: 2, _SAVED: 1, _SCRATCH: 0}
    if forward is None:
        known = _known_forward(program, weights)
        start[_RESULT] = 2 + inputs
        home: Home | None = next(iter(layout.outputs.values()))
    else:
        known = _known_backward(program, weights, forward)
        start |= {
            _OUTER: 3 + inputs,
            _WEIGHT: 4 + inputs + len(states),
            _RESULT: 5 + inputs + len(states) + len(weights),
        }
        home = layout.outputs.get("x")
    own, ends = (_SAVED, plan.saved) if forward is None else (_SCRATCH, plan.scratch)
    area, place = plan.area.copy(), plan.place.copy()
    offsets = {name: offset for name, offset in plan.offsets.items() if forward is None}
    for row, external in enumerate(plan.area):
        if external < 2:
            continue
        name = plan.external[external - 2]
        kind, number = (
            (_RESULT, 0)
            if home is not None and name == home.buffer
            else known.get(name, (own, ends))
        )
        if name not in known and kind == own:
            offsets[name] = ends
            ends += -(-plan.floats[name] // ALIGN) * ALIGN
        area[row], place[row] = (
            (start[kind], 4 * number) if kind in (_SAVED, _SCRATCH) else (start[kind] + number, 0)
        )
    if home is not None and home.buffer in known:
        raise BackendError(
            f"the schedule gives {home.buffer} away as a result",
            hint='use backend="aten" and report this',
        )
    carried = tuple(
        _carried(plan, layout, k, area, place, forward is None) for k in range(len(states))
    )
    rows = [
        (number, 4 * at, start[_RESULT] + 1 + k, 4 * sizes[k])
        for k, (number, at) in enumerate(carried)
    ]
    copied = forward is not None or bool(plan.job[_TOGETHER])
    held = (
        {name: number for name, (kind, number) in known.items() if kind == _HELD}
        if forward is None
        else {}
    )
    if forward is None and home is not None:
        held[home.buffer] = inputs
    zeroed = tuple(name in layout.zero for name in weights) if forward is not None else ()
    return Call(
        plan=plan,
        layout=layout,
        scratch=plan.scratch if forward is None else ends,
        saved=ends if forward is None else 0,
        sizes=sizes,
        carried=carried,
        offsets=offsets if forward is None else {},
        held=held,
        result=None if home is None else _result(plan, home.buffer, home.shift),
        area=area,
        place=place,
        copies=np.array(rows if copied else [], dtype=np.int64).reshape(-1, 4),
        count=start[_RESULT] + 1 + len(states),
        zeroed=zeroed if any(zeroed) else (),
    )


_TOGETHER = 5  # column of a job: all sequences are of one length


def _known_forward(program: Program, weights: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Whose memory the buffers are that a forward call is given."""
    known = {"input x": (_HELD, 0), TABLE: (_HELD, 0)}
    known.update(
        {f"initial {state.name}": (_HELD, 1 + k) for k, state in enumerate(program.states)}
    )
    known.update(
        {
            f"parameter {name}": (_HELD, 1 + len(program.states) + k)
            for k, name in enumerate(weights)
        }
    )
    return known


def _known_backward(
    program: Program, weights: Sequence[str], forward: Call
) -> dict[str, tuple[int, int]]:
    """Whose memory the buffers are that a backward call is given."""
    known = {
        f"parameter {name}": (_HELD, 1 + len(program.states) + k) for k, name in enumerate(weights)
    }
    known[f"input d_{program.outputs[0][0]}"] = (_OUTER, 0)
    known.update(
        {f"initial d_{state.name}": (_OUTER, 1 + k) for k, state in enumerate(program.states)}
    )
    known.update({f"gradient {name}": (_WEIGHT, k) for k, name in enumerate(weights)})
    known[TABLE] = (_WEIGHT, len(weights))
    known.update({f"forward {name}": (_HELD, number) for name, number in forward.held.items()})
    known.update({f"forward {name}": (_SAVED, offset) for name, offset in forward.offsets.items()})
    return known


def _carried(
    plan: JobPlan, layout: ProgramSchedule, state: int, area: Table, place: Table, forward: bool
) -> tuple[int, int]:
    """In which listed memory a carried value lies after the run, and at which float. Of a forward
    call: where its slots begin.
    """
    name = layout.final[state].buffer
    row = plan.code.index(name)
    at = int(place[row]) // 4
    if forward and plan.job[_TOGETHER]:
        ring = layout.buffers[name].lifetime is Lifetime.RING
        at += (plan.steps % 2 if ring else plan.steps) * plan.rows * plan.code.row[row]
    return int(area[row]), at


def _result(plan: JobPlan, buffer: str, shift: int) -> ResultMemory:
    """The memory of a buffer that leaves the call, of which ``steps`` slots from ``shift`` on are
    the result.
    """
    slots, width = plan.slots[buffer], plan.code.row[plan.code.index(buffer)]
    parts = [part for part in (shift, plan.steps, slots - shift - plan.steps) if part]
    return ResultMemory(
        (slots, plan.rows, width), parts if len(parts) > 1 else [], 1 if shift else 0
    )
