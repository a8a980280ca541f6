"""The scan backend: recurrences that are affine and elementwise in their state run in parallel over
time, in plain torch.

``s_t = a_t * s_{t-1} + b_t``, where ``a`` and ``b`` do not depend on the state, is a composition of
affine maps, and composition is associative: log2(T) rounds combine ever longer runs (Hillis &
Steele 1986; Blelloch 1990, section 1.4). Only products and sums are formed, never quotients, so it
is as stable as the loop wherever ``|a| <= 1``. A state may depend on states that are solved before
it. Any dtype and device. On a CPU core the loop does less work and wins; on a GPU the scan pays for
long sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cellsearch.compiler.backends.base import Backend, Kernel, Support
from cellsearch.compiler.backends.evaluate import evaluate
from cellsearch.compiler.program import Instruction, Program

__all__ = ["Scan", "affine_scan", "solving_order"]


class Scan(Backend):
    """Runs affine-diagonal cells."""

    name = "scan"
    more_inputs = True

    def supports(self, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
        """Whether every state is affine and elementwise in itself, given the states before it."""
        if program.beyond_hidden:
            return Support(False, program.beyond_hidden)
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
    if instruction.op in ("add", "sub", "neg"):
        return _AFFINE
    if instruction.op == "mul":
        return _AFFINE if _FREE in below else _OTHER
    if instruction.op == "restart":
        return _AFFINE if below[0] == _FREE else _OTHER
    if instruction.op in ("div", "blend"):
        guard = below[1] if instruction.op == "div" else below[0]
        return _AFFINE if guard == _FREE else _OTHER
    return _OTHER


# -- the scan --------------------------------------------------------------------------------------


def _combine(a: Tensor, b: Tensor, *, cuts: bool) -> Tensor:
    """``s_t`` for all t of ``s_t = a_t s_{t-1} + b_t`` from ``s_{-1} = 0``; a and b ``[T, ...]``.
    ``cuts``: where a_t is 0, s_t is b_t whatever stands before, NaN too.
    """
    a, b = a.clone(), b.clone()
    distance = 1
    while distance < len(b):
        joined = torch.addcmul(b[distance:], a[distance:], b[:-distance])
        joined = torch.where(a[distance:] == 0, b[distance:], joined) if cuts else joined
        b = torch.cat([b[:distance], joined])
        a = torch.cat([a[:distance], a[distance:] * a[:-distance]])
        distance *= 2
    return b


class _AffineScan(torch.autograd.Function):
    """Backward is the same scan from the end: ``db_t = g_t + a_{t+1} db_{t+1}``, ``da_t = db_t
    s_{t-1}``.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor, cuts: bool) -> Tensor:
        first = torch.addcmul(b[:1], a[:1], start[None])
        first = torch.where(a[:1] == 0, b[:1], first) if cuts else first
        states = _combine(a, torch.cat([first, b[1:]]), cuts=cuts)
        ctx.save_for_backward(a, states, start)
        ctx.cuts = cuts
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the scan backend computes first derivatives only; use backend='reference'"
            )
        a, states, start = ctx.saved_tensors
        following = torch.cat([a[1:], a.new_zeros(1, *a.shape[1:])])
        d_b = _combine(following.flip(0), gradient.flip(0), cuts=ctx.cuts).flip(0)
        before = torch.cat([start[None], states[:-1]])
        return d_b * before, d_b, a[0] * d_b[0], None


def affine_scan(a: Tensor, b: Tensor, start: Tensor, *, cuts: bool = False) -> Tensor:
    """All states of ``s_t = a_t * s_{t-1} + b_t`` with ``s_{-1} = start``: a, b ``[T, B, H]``,
    start ``[B, H]`` -> ``[T, B, H]``. ``cuts``: where ``a_t`` is 0, what is not finite before does
    not matter.
    """
    states: Tensor = _AffineScan.apply(a, b, start, cuts)  # type: ignore[no-untyped-call]
    return states


# -- the kernel ------------------------------------------------------------------------------------

_Affine = tuple[Tensor | None, Tensor | None]
"""``scale * s + shift``; ``None`` counts as 0. A value that does not depend on the state has scale
``None``.
"""


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
            values = self.evaluate((x, *more), like, before, parameters, state)
            scale, shift = values[self.program.next_states[state]]
            shape = (steps, batch, states[state].shape[1])
            a = x.new_zeros(shape) if scale is None else scale.expand(shape)
            b = x.new_zeros(shape) if shift is None else shift.expand(shape)
            if running is not None:  # a sequence that has ended keeps its state
                a, b = torch.where(running, a, 1.0), torch.where(running, b, 0.0)
            after = affine_scan(a, b, states[state], cuts=self.cuts)
            before[state] = torch.cat([states[state][None], after[:-1]])
            final[state] = after[-1]
        output = self.evaluate((x, *more), like, before, parameters)[self.program.output][1]
        assert output is not None
        output = output.expand(steps, batch, states[0].shape[1])
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
    ) -> list[_Affine]:
        """All values at all positions, those that ``state`` leads to as affine functions of it;
        (None, None) where that is impossible.
        """
        values: list[_Affine] = [(None, value) for value in inputs]
        missing = set()
        for k in range(len(self.program.states)):
            if k != state and k not in before:
                missing.add(len(values))
            values.append((like.new_ones(1), None) if k == state else (None, before.get(k)))
        for value, instruction in self.program.numbered():
            if any(v in missing for v in instruction.inputs):
                missing.add(value)
                values.append((None, None))
                continue
            below = [values[v] for v in instruction.inputs]
            kinds = [_FREE if scale is None else _AFFINE for scale, _ in below]
            if _kind(instruction, kinds) == _OTHER:
                missing.add(value)
                values.append((None, None))
            elif _AFFINE in kinds:
                values.append(_apply_affine(instruction.op, below))
            else:
                operands = [_known(shift) for _, shift in below]
                values.append((None, evaluate(instruction, operands, parameters, like)))
        return values


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _apply_affine(op: str, below: Sequence[_Affine]) -> _Affine:
    if op == "neg":
        return _times(below[0], -torch.ones(()))
    if op in ("add", "sub"):
        other = below[1] if op == "add" else _times(below[1], torch.tensor(-1.0))
        return _plus(below[0][0], other[0]), _plus(below[0][1], other[1])
    if op == "mul":
        factor, affine = (below[0], below[1]) if below[0][0] is None else (below[1], below[0])
        return _times(affine, _known(factor[1]))
    if op == "restart":
        reset, start = _known(below[0][1]) > 0, _known(below[1][1])
        scale, shift = below[2]
        return (
            None if scale is None else torch.where(reset, 0.0, scale),
            torch.where(reset, start, 0.0 if shift is None else shift),
        )
    if op == "div":
        return _times(below[0], 1 / _known(below[1][1]))
    gate = _known(below[0][1])
    left, right = _times(below[1], gate), _times(below[2], 1 - gate)
    return _plus(left[0], right[0]), _plus(left[1], right[1])


def _times(value: _Affine, factor: Tensor) -> _Affine:
    scale, shift = value
    return None if scale is None else scale * factor.to(
        scale
    ), None if shift is None else shift * factor.to(shift)


def _plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
