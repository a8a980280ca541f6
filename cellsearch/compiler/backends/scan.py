"""The scan backend: recurrences that are affine and elementwise in their state, or in its pairs of
units, run in parallel over time, in plain torch.

``s_t = a_t * s_{t-1} + b_t``, where ``a`` and ``b`` do not depend on the state, is a composition of
affine maps, and composition is associative: log2(T) rounds combine ever longer runs (Hillis &
Steele 1986; Blelloch 1990, section 1.4). Only products and sums are formed, never quotients, so it
is as stable as the loop wherever ``|a| <= 1``. A state may depend on states that are solved before
it. Any dtype and device. On a CPU core the loop does less work and wins; on a GPU the scan pays for
long sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cellsearch.compiler.backends.base import Backend, Kernel, Support
from cellsearch.compiler.backends.evaluate import evaluate
from cellsearch.compiler.backends.functions import turn
from cellsearch.compiler.backends.recurrences import affine_scan, exchanged, rotating_scan
from cellsearch.compiler.program import Instruction, Program

__all__ = ["Scan", "affine_scan", "solving_order"]


class Scan(Backend):
    """Runs affine-diagonal cells."""

    name = "scan"
    more_inputs = True

    def supports(self, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
        """Whether every state is affine and elementwise in itself, given the states before it."""
        solved = solving_order(program)
        if solved is not None:
            return Support(True)
        return Support(
            False,
            "the cell is not affine and elementwise in its states, so its steps cannot "
            "be computed side by side",
        )

    def build(self, program: Program) -> Kernel:
        """The scan of a program that :meth:`supports` accepts."""
        order = solving_order(program)
        if order is None:
            raise ValueError("the program is not affine-diagonal")
        return _ScanKernel(program, order)


# -- structure -------------------------------------------------------------------------------------

_FREE, _AFFINE, _OTHER = range(3)


def solving_order(program: Program) -> tuple[int, ...] | None:
    """The states in an order in which each is affine in itself given those before it; ``None`` if
    there is none.
    """
    order: list[int] = []
    while len(order) < len(program.states):
        found = next(
            (
                k
                for k in range(len(program.states))
                if k not in order and _is_affine(program, k, order)
            ),
            None,
        )
        if found is None:
            return None
        order.append(found)
    return tuple(order)


def _is_affine(program: Program, state: int, solved: Sequence[int]) -> bool:
    first = len(program.inputs)
    kinds = [_FREE] * first + [
        _AFFINE if k == state else _FREE if k in solved else _OTHER
        for k in range(len(program.states))
    ]
    for instruction in program.instructions:
        kinds.append(_kind(instruction, [kinds[v] for v in instruction.inputs]))
    return kinds[program.next_states[state]] != _OTHER


def _kind(instruction: Instruction, below: Sequence[int]) -> int:
    """How a value depends on the state in question: not at all, affinely, or some other way."""
    if all(kind == _FREE for kind in below):
        return _FREE
    if _OTHER in below:
        return _OTHER
    if instruction.op in ("add", "sub", "neg", "turn"):
        return _AFFINE
    if instruction.op == "mul":
        return _AFFINE if _FREE in below else _OTHER
    if instruction.op == "restart":
        return _AFFINE if below[0] == _FREE else _OTHER
    if instruction.op in ("div", "blend"):
        guard = below[1] if instruction.op == "div" else below[0]
        return _AFFINE if guard == _FREE else _OTHER
    return _OTHER


# -- the kernel ------------------------------------------------------------------------------------


class _Affine(NamedTuple):
    """``scale * s + turned * turn(s) + shift``; ``None`` counts as 0."""

    scale: Tensor | None
    turned: Tensor | None
    shift: Tensor | None

    @property
    def free(self) -> bool:
        """Whether it does not depend on the state."""
        return self.scale is None and self.turned is None


_NOTHING = _Affine(None, None, None)


class _ScanKernel(Kernel):
    plain_torch = False

    def __init__(self, program: Program, order: Sequence[int]) -> None:
        self.program = program
        self.order = order
        self.cuts = any(instruction.op == "restart" for instruction in program.instructions)

    def __call__(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
        more: Sequence[Tensor] = (),
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        steps, batch, _ = x.shape
        running = None
        if batch_sizes is not None:
            running = (
                torch.arange(batch, device=x.device)[None, :]
                < torch.as_tensor(batch_sizes, device=x.device)[:, None]
            )
            running = running[:, :, None]
        before: dict[int, Tensor] = {}
        final: dict[int, Tensor] = {}
        like = states[0]
        for state in self.order:
            shape = (steps, batch, states[state].shape[1])
            values = self.evaluate((x, *more), like, before, parameters, state, shape[2])
            scale, turned, shift = (
                x.new_zeros(shape) if part is None else part.expand(shape)
                for part in values[self.program.next_states[state]]
            )
            if running is not None:  # a sequence that has ended keeps its state
                scale, shift = torch.where(running, scale, 1.0), torch.where(running, shift, 0.0)
                turned = torch.where(running, turned, 0.0)
            start = states[state]
            if values[self.program.next_states[state]].turned is None:
                after = affine_scan(scale, shift, start, cuts=self.cuts)
            else:
                after = rotating_scan(scale, turned, shift, start, cuts=self.cuts)
            before[state] = torch.cat([states[state][None], after[:-1]])
            final[state] = after[-1]
        value = self.program.output
        output = _known(self.evaluate((x, *more), like, before, parameters)[value].shift)
        number = self.program.shapes[value].width == "1"
        output = output.expand(steps, batch, like.shape[1] if number else output.shape[-1])
        if running is not None:
            output = torch.where(running, output, 0.0)
        return output, tuple(final[k] for k in range(len(states)))

    def evaluate(
        self,
        inputs: Sequence[Tensor],
        like: Tensor,
        before: Mapping[int, Tensor],
        parameters: Mapping[str, Tensor],
        state: int | None = None,
        width: int = 0,
    ) -> list[_Affine]:
        """All values at all positions, those that ``state``, of this width, leads to as affine
        functions of it; nothing where that is impossible.
        """
        values = [_Affine(None, None, value) for value in inputs]
        missing = set()
        for k in range(len(self.program.states)):
            if k != state and k not in before:
                missing.add(len(values))
            values.append(
                _Affine(like.new_ones(1), None, None)
                if k == state
                else _Affine(None, None, before.get(k))
            )
        for value, instruction in self.program.numbered():
            if any(v in missing for v in instruction.inputs):
                missing.add(value)
                values.append(_NOTHING)
                continue
            below = [values[v] for v in instruction.inputs]
            kinds = [_FREE if part.free else _AFFINE for part in below]
            if _kind(instruction, kinds) == _OTHER:
                missing.add(value)
                values.append(_NOTHING)
            elif _AFFINE in kinds:
                values.append(_apply_affine(instruction.op, below, width))
            else:
                operands = [_known(part.shift) for part in below]
                found = evaluate(instruction, operands, parameters, like)
                values.append(_Affine(None, None, found))
        return values


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _apply_affine(op: str, below: Sequence[_Affine], width: int) -> _Affine:
    """``width``: units of the state."""
    if op == "neg":
        return _times(below[0], -torch.ones(()))
    if op == "turn":
        scale, turned, shift = below[0]
        return _Affine(
            None if turned is None else -exchanged(turned),
            None if scale is None else exchanged(scale),
            None if shift is None else turn(shift.expand(*shift.shape[:-1], width)),
        )
    if op in ("add", "sub"):
        other = below[1] if op == "add" else _times(below[1], torch.tensor(-1.0))
        return _sum(below[0], other)
    if op == "mul":
        factor, affine = (below[0], below[1]) if below[0].free else (below[1], below[0])
        return _times(affine, _known(factor.shift))
    if op == "restart":
        reset, start = _known(below[0].shift) > 0, _known(below[1].shift)
        scale, turned, shift = below[2]
        return _Affine(
            None if scale is None else torch.where(reset, 0.0, scale),
            None if turned is None else torch.where(reset, 0.0, turned),
            torch.where(reset, start, 0.0 if shift is None else shift),
        )
    if op == "div":
        return _times(below[0], 1 / _known(below[1].shift))
    gate = _known(below[0].shift)
    return _sum(_times(below[1], gate), _times(below[2], 1 - gate))


def _times(value: _Affine, factor: Tensor) -> _Affine:
    return _Affine(*(None if part is None else part * factor.to(part) for part in value))


def _sum(one: _Affine, other: _Affine) -> _Affine:
    return _Affine(*(_plus(a, b) for a, b in zip(one, other, strict=True)))


def _plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
