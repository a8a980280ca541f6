"""Running a plan: memory, the phases, and the loop over time.

Values over all positions are flat, ``[rows, width]``: position after position, each with as many
rows as sequences are still running there (``sizes``), so sequences of different length cost nothing
beyond their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellsearch.compiler.backends.aten.actions import Slots
from cellsearch.compiler.backends.aten.plan import ActionPlan
from cellsearch.compiler.scheduling.phases import Phase
from cellsearch.genome.sizes import Sizes

__all__ = ["RunValues", "run"]


@dataclass(frozen=True)
class RunValues:
    """What a run has computed."""

    slots: Slots
    """All values, those of extent ``step`` over all positions."""
    carried: list[Tensor]
    """What the loop ends with, each ``[B, size]``."""


def run(
    plan: ActionPlan,
    inputs: Sequence[Tensor],
    carried: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: Sequence[int],
    *,
    backwards: bool = False,
) -> RunValues:
    """Run a plan over time. ``inputs``: flat; ``carried``: ``[B, size]`` each; ``sizes``: rows of
    each position, never increasing.

    ``backwards``: from the last position to the first; a sequence joins where its end is passed.
    """
    memory = _Memory(plan, _numbers(plan, carried, parameters), carried[0], sum(sizes))
    env = memory.env
    for slot, value in enumerate(inputs):
        env[slot] = value
    _bind_weights(plan, env, parameters)
    for action in plan.actions[Phase.FIXED]:
        action(env)
    memory.start_accumulators()
    for action in plan.actions[Phase.BEFORE]:
        action(env)
    final = _loop(plan, memory, carried, sizes, backwards)
    memory.bind_states(carried, sizes)
    for phase in (Phase.AFTER, Phase.END):
        for action in plan.actions[phase]:
            action(env)
    return RunValues(env, final)


def _bind_weights(plan: ActionPlan, env: Slots, parameters: Mapping[str, Tensor]) -> None:
    for value, instruction in plan.program.numbered():
        if instruction.op in ("vector", "scalar"):
            env[value] = parameters[instruction.parameter].reshape(-1)
    for stack in plan.stacks:
        weights = [parameters[name] for name in stack.parameters]
        rows = weights[0] if len(weights) == 1 else torch.cat(weights)
        env[stack.slot] = rows.mT if stack.transposed else rows


def _numbers(
    plan: ActionPlan, carried: Sequence[Tensor], parameters: Mapping[str, Tensor]
) -> Sizes:
    """The numbers of all sizes, as states and weights show them. Where I does not show, what the
    loop holds of width I is in a cell of I = H; where H does not, nothing is H wide but zeros.
    """
    found = {base: place.number(carried, parameters) for base, place in plan.bases.items()}
    hidden = found.pop("H", carried[0].shape[1])
    return Sizes(found.pop("I", hidden), hidden, found)


class _Memory:
    """The slots and the buffers behind them."""

    def __init__(self, plan: ActionPlan, numbers: Sizes, like: Tensor, rows: int) -> None:
        program, places, hidden = plan.program, plan.places, numbers["H"]
        shapes = program.shapes
        self.plan = plan
        self.batch = like.shape[0]
        self.env: Slots = [like] * plan.n_slots
        self.z = like.new_empty(rows, len(places.biases) * hidden)
        self.bias = like.new_zeros(len(places.biases) * hidden)
        self.hidden = hidden
        buffers = {"z": self.z, "d": like.new_empty(rows, len(places.d_column) * hidden)}
        for view in plan.views:
            buffer = self.bias if view.buffer == "bias" else buffers[view.buffer]
            self.env[view.slot] = buffer.narrow(
                -1, view.start * hidden, (view.stop - view.start) * hidden
            )
        self.whole: dict[int, Tensor] = {}
        for value in places.owned:
            head = self.batch if value in places.heads else 0
            self.whole[value] = like.new_empty(head + rows, numbers[shapes[value].width])
            self.env[value] = self.whole[value][head:]
        for state, slot in places.copied:
            self.env[slot] = like.new_empty(rows, numbers[shapes[state].width])
        for value, instruction in program.numbered():
            if instruction.op == "const":
                self.env[value] = torch.tensor(
                    [instruction.value], dtype=like.dtype, device=like.device
                )
            elif instruction.op == "zeros":
                self.env[value] = like.new_zeros(hidden)

    def start_accumulators(self) -> None:
        """Give Z the fixed terms of its sums, as far as no product writes them."""
        hidden = self.hidden
        for k, values in enumerate(self.plan.places.biases):
            for value in values:
                self.bias[k * hidden : (k + 1) * hidden] += self.env[value]
        for start, stop in self.plan.blank:
            self.z[:, start * hidden : stop * hidden] = self.bias[start * hidden : stop * hidden]

    def bind_states(self, initial: Sequence[Tensor], sizes: Sequence[int]) -> None:
        """Carried values over all positions, for those that are wanted."""
        for state, slot in self.plan.places.copied:
            self.env[state] = self.env[slot]
        for value, state in self.plan.places.heads.items():
            whole = self.whole[value]
            if sizes[0] == sizes[-1]:
                self.env[state] = whole[: whole.shape[0] - self.batch]
            else:
                self.env[state] = whole.index_select(0, _rows_before(sizes, whole.device))


def _rows_before(sizes: Sequence[int], device: torch.device) -> Tensor:
    """For each row the row of the same sequence one position earlier, in a buffer that starts with
    a position of its own.
    """
    starts, start = [], 0
    for rows in (sizes[0], *sizes[:-1]):
        starts.append(start)
        start += rows
    return torch.cat(
        [
            torch.arange(start, start + rows, device=device)
            for start, rows in zip(starts, sizes, strict=True)
        ]
    ).to(device)


def _loop(
    plan: ActionPlan,
    memory: _Memory,
    initial: Sequence[Tensor],
    sizes: Sequence[int],
    backwards: bool,
) -> list[Tensor]:
    env, program = memory.env, plan.program
    first = len(program.inputs)
    for value, state in plan.places.heads.items():
        memory.whole[value][: memory.batch] = initial[state - first]
    flat = [env[slot] for slot in plan.loop_slots]
    views = [torch.split(value, list(sizes)) for value in flat]
    steps = range(len(sizes) - 1, -1, -1) if backwards else range(len(sizes))
    following = program.next_states
    carried = [state[: sizes[steps[0]]] for state in initial]
    ended: list[list[Tensor]] = [[] for _ in initial]
    actions = plan.actions[Phase.LOOP]
    same = sizes[0] == sizes[-1]
    for t in steps:
        if not same:
            carried = _resize(carried, initial, ended, sizes[t], backwards)
        for slot, view in zip(plan.loop_slots, views, strict=True):
            env[slot] = view[t]
        env[first : first + len(carried)] = carried
        for value, slot in plan.places.copied:
            env[slot].copy_(env[value])
        for action in actions:
            action(env)
        carried = [
            env[value].expand(sizes[t], state.shape[1])
            for value, state in zip(following, initial, strict=True)
        ]  # a fixed value may be one
    for slot, whole in zip(plan.loop_slots, flat, strict=True):
        env[slot] = whole
    joined = [
        torch.cat([state, *reversed(rest)]) if rest else state
        for state, rest in zip(carried, ended, strict=True)
    ]
    return [state.expand(start.shape).clone() for state, start in zip(joined, initial, strict=True)]


def _resize(
    carried: list[Tensor],
    initial: Sequence[Tensor],
    ended: list[list[Tensor]],
    rows: int,
    backwards: bool,
) -> list[Tensor]:
    """Sequences that end leave the carried values (forwards), or join them with what they end with
    (backwards).
    """
    now = carried[0].shape[0]
    if backwards and rows > now:
        return [
            torch.cat([state, start[now:rows]])
            for state, start in zip(carried, initial, strict=True)
        ]
    if rows < now:
        for state, rest in zip(carried, ended, strict=True):
            rest.append(state[rows:])
        return [state[:rows] for state in carried]
    return carried
