"""A native kernel for one input size and hidden size: its schedules, bytecode and plans, and one
segment forward or backward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cellsearch.compiler.backends.native.bytecode import Bytecode, Table, encode
from cellsearch.compiler.backends.native.calls import Call, wire
from cellsearch.compiler.backends.native.plan import make_plan
from cellsearch.compiler.scheduling.commands import (
    Buffer,
    Home,
    Lifetime,
    ProgramSchedule,
)
from cellsearch.compiler.scheduling.schedule import schedule
from cellsearch.compiler.scheduling.tokens import Folding, fold_backward, fold_forward
from cellsearch.compiler.simplify import drop_dead

if TYPE_CHECKING:
    from cellsearch.compiler.backends.native.kernel import NativeKernel

__all__ = ["DIRECT_ROWS", "Kept", "Sized", "Tokens"]

DIRECT_ROWS = 4
"""Up to so many rows in all, weights are used as they lie: packing them would cost more than the
products.
"""
PLANS = 64
_WITH_TOKENS = " (tokens)"
_INFERENCE_TOKENS, _TRAINING_TOKENS, _BACKWARD_TOKENS = (
    kind + _WITH_TOKENS for kind in ("inference", "training", "backward")
)


@dataclass(frozen=True)
class Tokens:
    """Token inputs ``[T, B]``; where they are given, the table of their products stands in the
    place of x.
    """

    tokens: Tensor
    vocabulary: int
    floats: int

    @property
    def place(self) -> tuple[int, int, int]:
        """What the runtime is told about them."""
        return self.tokens.data_ptr(), self.vocabulary, self.floats


@dataclass(slots=True)
class Kept:
    """What the backward pass needs of the forward pass: the tensors (x, states, weights, memory of
    the output), contiguous, their addresses, and the memory of the segment.
    """

    held: list[Tensor]
    addresses: list[int]
    saved: Tensor | None
    batch_sizes: Table | None
    source: Tokens | None


class Sized:
    """The schedules and bytecode for one input size and hidden size, the plans made so far, and
    calls of them.
    """

    def __init__(self, kernel: NativeKernel, input_size: int, hidden_size: int) -> None:
        self.kernel = kernel
        self.input_size, self.hidden_size = input_size, hidden_size
        self.square = input_size == hidden_size
        self.states = len(kernel.program.states)
        self._not_copied = [0] * self.states
        self.schedules: dict[str, ProgramSchedule] = {}
        self.codes: dict[str, Bytecode] = {}
        self.plans: dict[tuple[str, int, int, bool], Call] = {}
        letters = {"I": input_size, "H": hidden_size, "1": 1}
        self.weight_sizes = [
            math.prod(letters[letter] for letter in shape) for _, shape in kernel.program.parameters
        ]

    # -- what is made once -------------------------------------------------------------------------

    @cached_property
    def folding(self) -> Folding | None:
        """The columns of a token table; ``None`` if x is not only multiplied by weights."""
        folded = fold_forward(self.schedule("training"))
        return None if folded is None else folded[1]

    def schedule(self, kind: str) -> ProgramSchedule:
        """``inference``, ``training``, ``backward`` or ``backward without x``, each also with
        ``(tokens)``.
        """
        if kind not in self.schedules:
            self.schedules[kind] = self._schedule(kind)
        return self.schedules[kind]

    def _schedule(self, kind: str) -> ProgramSchedule:
        source = self.kernel.gradient
        if kind.endswith(_WITH_TOKENS):
            if not kind.startswith("backward"):
                folded = fold_forward(self.schedule(kind.removesuffix(_WITH_TOKENS)))
                assert folded is not None
                return folded[0]
            return fold_backward(self.schedule("backward without x"), self.folding or ())
        if kind in ("inference", "training"):
            keep = source.saved if kind == "training" else ()
            return schedule(self.kernel.program, keep=keep, square=self.square)
        program = source.program
        if kind != "backward":
            program = drop_dead(replace(program, outputs=program.outputs[1:]))
        given = {k: self.forward_home(v) for k, v in enumerate(source.saved)}
        return schedule(
            program, given=given, square=self.square, weights=dict(source.forward.parameters)
        )

    def forward_home(self, value: int) -> tuple[Buffer, Home]:
        """Where the backward pass finds a saved value."""
        plan = self.schedule("training")
        home = plan.kept[value]
        buffer = plan.buffers[home.buffer]
        name = f"forward {buffer.name}"
        return buffer._replace(name=name, role="saved", lifetime=Lifetime.TIME), home._replace(
            buffer=name
        )

    def code(self, kind: str) -> Bytecode:
        """The bytecode of a schedule."""
        if kind not in self.codes:
            weights = dict(self.kernel.program.parameters)
            folding = (self.folding or ()) if kind.endswith(_WITH_TOKENS) else ()
            self.codes[kind] = encode(
                self.schedule(kind),
                self.kernel.library,
                weights,
                self.input_size,
                self.hidden_size,
                folding,
            )
        return self.codes[kind]

    def plan(self, kind: str, steps: int, rows: int, packed: bool) -> Call:
        """The plan of a kind of call, and where each of its buffers comes from."""
        key = (kind, steps, rows, packed)
        call = self.plans.get(key)
        if call is None:
            if len(self.plans) >= PLANS:
                self.plans.clear()
            direct = kind == "inference" and steps * rows <= DIRECT_ROWS
            reverse = kind.startswith("backward")
            plan = make_plan(
                self.code(kind),
                self.kernel.library,
                steps,
                rows,
                reverse=reverse,
                packed=packed,
                direct=direct,
            )
            tokens = _WITH_TOKENS if kind.endswith(_WITH_TOKENS) else ""
            forward = self.plan("training" + tokens, steps, rows, packed) if reverse else None
            sizes = [rows * self.hidden_size] * self.states + self.weight_sizes
            call = self.plans[key] = wire(
                plan, self.schedule(kind), self.kernel.program, self.kernel.names, sizes, forward
            )
        return call

    # -- forward -----------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        tensors: Sequence[Tensor],
        batch_sizes: Table | None,
        source: Tokens | None,
        *,
        training: bool,
    ) -> tuple[tuple[Tensor, ...], Kept | None]:
        """Output and final states (in the shape of the initial ones); in training what the backward
        pass needs.
        """
        pool = self.kernel.pool
        if source is None:
            (steps, rows, width), kind, tokens = (
                x.shape,
                "training" if training else "inference",
                None,
            )
            size_x = steps * rows * width
        else:
            (steps, rows), kind, tokens = (
                source.tokens.shape,
                _TRAINING_TOKENS if training else _INFERENCE_TOKENS,
                source.place,
            )
            size_x = source.floats
        call = self.plan(kind, steps, rows, batch_sizes is not None)
        held = [
            tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in (x, *tensors)
        ]
        if [tensor.numel() for tensor in held] != [size_x, *call.sizes]:
            self._refuse(held, [size_x, *call.sizes])
        assert call.result is not None
        memory = self._new(call.result.shape, batch_sizes is not None)
        held.append(memory)
        scratch = pool.take(call.scratch)
        saved = pool.take(call.saved) if call.saved else scratch
        addresses = [tensor.data_ptr() for tensor in held]
        final = (
            [torch.empty_like(state) for state in held[1 : 1 + self.states]]
            if batch_sizes is None
            else []
        )
        copied = [state.data_ptr() for state in final] or self._not_copied
        call.run([scratch.data_ptr(), saved.data_ptr(), *addresses, *copied], batch_sizes, tokens)
        if not rows:
            final = [torch.empty_like(state) for state in tensors[: self.states]]
        elif batch_sizes is not None:
            memories = (scratch, saved, *held)
            final = [
                _last(memories[number], start, call, self.hidden_size, home, batch_sizes).view(
                    state.shape
                )
                for (number, start), home, state in zip(
                    call.carried, call.layout.final, tensors, strict=False
                )
            ]
        pool.give(scratch)
        results = (call.result.of(memory), *final)
        if training:
            return results, Kept(
                held, addresses, saved if call.saved else None, batch_sizes, source
            )
        if call.saved:
            pool.give(saved)
        return results, None

    def _refuse(self, held: Sequence[Tensor], sizes: Sequence[int]) -> None:
        """The runtime trusts these sizes: a tensor that is too small would be read beyond its
        end.
        """
        names = ["x", *(state.name for state in self.kernel.program.states), *self.kernel.names]
        for name, tensor, size in zip(names, held, sizes, strict=True):
            if tensor.numel() != size:
                raise ValueError(f"{name} has {tensor.numel()} elements, not {size}")

    def _new(self, shape: tuple[int, int, int], packed: bool) -> Tensor:
        """Memory of a value that leaves the call. Beyond the ends of shorter sequences it is
        zero.
        """
        if packed:
            return torch.zeros(shape, dtype=torch.float32)
        memory = torch.empty(shape, dtype=torch.float32)
        return memory.fill_(float("nan")) if self.kernel.pool.poison else memory

    # -- backward ----------------------------------------------------------------------------------

    def backward(
        self, outer: Sequence[Tensor | None], kept: Kept, want_x: bool, want_states: Sequence[bool]
    ) -> tuple[Tensor | None, list[Tensor | None], list[Tensor | None]]:
        """Gradients of x, of the initial states and of the weights; ``outer``: gradients of the
        results of :meth:`forward`.
        """
        pool, source, held = self.kernel.pool, kept.source, kept.held
        x, states, weights = held[0], held[1 : 1 + self.states], held[1 + self.states : -1]
        steps, rows = x.shape[:2] if source is None else source.tokens.shape
        kind = (
            _BACKWARD_TOKENS
            if source is not None
            else "backward"
            if want_x
            else "backward without x"
        )
        call = self.plan(kind, steps, rows, kept.batch_sizes is not None)
        addresses = [tensor.data_ptr() for tensor in held]
        if addresses != kept.addresses:
            raise RuntimeError(
                "the memory of a tensor was exchanged between forward and backward of "
                "the native backend"
            )
        given = [gradient if gradient is not None else call.zeros for gradient in outer]
        if outer[0] is None:
            given[0] = torch.zeros(steps, rows, self.hidden_size, dtype=torch.float32)
        given = [
            gradient if gradient.is_contiguous() else gradient.contiguous() for gradient in given
        ]
        gradients = self._gradients(weights, call)
        table = torch.zeros_like(x) if source is not None else None
        memory = (
            None
            if call.result is None
            else self._new(call.result.shape, kept.batch_sizes is not None)
        )
        initial = [
            torch.empty_like(state) if want else None
            for state, want in zip(states, want_states, strict=True)
        ]
        scratch = pool.take(call.scratch)
        start = scratch.data_ptr()
        addresses = [start, start if kept.saved is None else kept.saved.data_ptr(), *addresses]
        addresses += [tensor.data_ptr() for tensor in given]
        addresses += [tensor.data_ptr() for tensor in gradients]
        addresses += [
            0 if tensor is None else tensor.data_ptr() for tensor in (table, memory, *initial)
        ]
        call.run(addresses, kept.batch_sizes, None if source is None else source.place)
        pool.give(scratch)
        if kept.saved is not None:
            pool.give(kept.saved)
        if table is not None:
            folded = {name for name, _ in self.folding or ()}
            left = [
                None if name in folded else weight
                for name, weight in zip(self.kernel.names, gradients, strict=True)
            ]
            return table, initial, left
        if memory is not None and call.result is not None:
            return call.result.of(memory), initial, [*gradients]
        return torch.zeros_like(x) if want_x else None, initial, [*gradients]

    def _gradients(self, weights: Sequence[Tensor], call: Call) -> list[Tensor]:
        """Memory for the gradients of the weights; zero where the runtime only adds to it, or does
        not run.
        """
        if not call.plan.rows:
            return [torch.zeros_like(weight) for weight in weights]
        if call.zeroed:
            return [
                torch.zeros_like(w) if zero else torch.empty_like(w)
                for w, zero in zip(weights, call.zeroed, strict=True)
            ]
        return [torch.empty_like(weight) for weight in weights]


def _last(
    memory: Tensor, start: int, call: Call, width: int, home: Home, batch_sizes: Table
) -> Tensor:
    """A state ``[B, H]`` after the last step of each sequence; its slots begin at float ``start``
    of the memory.
    """
    rows, ring = call.plan.rows, call.layout.buffers[home.buffer].lifetime is Lifetime.RING
    lengths = torch.from_numpy((batch_sizes[:, None] > np.arange(rows)[None, :]).sum(0))
    slots = memory.view(-1)[start : start + call.plan.slots[home.buffer] * rows * width].view(
        -1, rows, width
    )
    return slots[lengths % 2 if ring else lengths, torch.arange(rows)]
