"""A native kernel for one input size and hidden size: its schedules, bytecode and plans, and one
segment forward or backward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cellsearch.compiler.backends.native.build import Library
from cellsearch.compiler.backends.native.calls import EXCHANGED, Call, wire
from cellsearch.compiler.backends.native.codes import WITH_TOKENS, Codes
from cellsearch.compiler.backends.native.plan import CPU, Pool, make_plan
from cellsearch.compiler.backends.native.structures import Numbers
from cellsearch.compiler.backends.native.threads import useful_threads
from cellsearch.compiler.gradient import Gradient
from cellsearch.compiler.scheduling.commands import Lifetime
from cellsearch.genome.sizes import Sizes, Width

__all__ = ["DIRECT_ROWS", "Kept", "Sized", "Tokens"]

DIRECT_ROWS = 4
"""Up to so many rows in all, weights are used as they lie: packing them would cost more than the
products.
"""
PLANS = 64


@dataclass(frozen=True)
class Tokens:
    """Token inputs; where they are given, the table of their products stands in the place of x."""

    tokens: Tensor
    """``[T, B]``."""
    vocabulary: int
    """Rows of the table."""
    floats: int
    """Elements of the table."""

    @property
    def place(self) -> tuple[int, int, int]:
        """What the runtime is told about them."""
        return self.tokens.data_ptr(), self.vocabulary, self.floats


@dataclass(slots=True)
class Kept:
    """What the backward pass needs of the forward pass."""

    held: list[Tensor]
    """x, states, weights, other inputs and the memory of the output, contiguous."""
    addresses: list[int]
    """Where these lay."""
    saved: Tensor | None
    """The memory of the segment."""
    batch_sizes: Numbers | None
    source: Tokens | None


class Sized(Codes):
    """The schedules and bytecode for one input size and hidden size, the plans made so far, and
    calls of them.
    """

    def __init__(
        self,
        gradient: Gradient,
        library: Library,
        pool: Pool,
        sizes: Sizes,
        stored: Mapping[str, tuple[Width, ...]],
        threads: int = 1,
    ) -> None:
        super().__init__(gradient, library, sizes, stored)
        self.pool = pool
        self.threads = threads
        self.names = [name for name, _ in self.program.parameters]
        self.states = len(self.program.states)
        self._not_copied = [0] * self.states
        self.plans: dict[tuple[str, int, int, bool], Call] = {}
        self.weight_sizes = [math.prod(sizes.of(stored[name])) for name in self.names]
        self.more_widths = [sizes[letter] for _, letter in self.program.inputs[1:]]
        self.state_sizes = [sizes[letter] for letter in self.program.state_widths]
        self.output_size = sizes[self.program.output_width]

    # -- plans -------------------------------------------------------------------------------------

    def plan(self, kind: str, steps: int, rows: int, packed: bool) -> Call:
        """The plan of a kind of call, and where each of its buffers comes from."""
        key = (kind, steps, rows, packed)
        call = self.plans.get(key)
        if call is None:
            if len(self.plans) >= PLANS:
                self.plans.clear()
            reverse = kind.startswith("backward")
            plan = make_plan(
                self.code(kind),
                self.library,
                steps,
                rows,
                reverse=reverse,
                packed=packed,
                direct=kind == "inference" and steps * rows <= DIRECT_ROWS,
                threads=useful_threads(self.code(kind), steps, rows, self.threads),
            )
            tokens = WITH_TOKENS if kind.endswith(WITH_TOKENS) else ""
            forward = self.plan("training" + tokens, steps, rows, packed) if reverse else None
            sizes = [rows * width for width in self.state_sizes] + self.weight_sizes
            sizes += [steps * rows * width for width in self.more_widths]
            call = self.plans[key] = wire(
                plan, self.schedule(kind), self.program, self.names, sizes, forward
            )
        return call

    # -- forward -----------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        tensors: Sequence[Tensor],
        batch_sizes: Numbers | None,
        source: Tokens | None,
        *,
        training: bool,
    ) -> tuple[tuple[Tensor, ...], Kept | None]:
        """Output and final states (in the shape of the initial ones); in training what the backward
        pass needs. ``tensors``: states, weights, inputs after x.
        """
        pool, packed = self.pool, batch_sizes is not None
        kind = "training" if training else "inference"
        if source is None:
            (steps, rows), tokens = x.shape[:2], None
        else:
            (steps, rows), tokens = source.tokens.shape, source.place
            kind += WITH_TOKENS
        call = self.plan(kind, steps, rows, packed)
        if [tensor.numel() for tensor in tensors] != call.sizes:
            self._refuse(tensors, call.sizes)
        held = [
            tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in (x, *tensors)
        ]
        assert call.result is not None
        memory = self._new(call.result.shape, packed)
        held.append(memory)
        scratch = pool.take(call.scratch)
        saved = pool.take(call.saved) if call.saved else scratch
        addresses = [tensor.data_ptr() for tensor in held]
        final = [] if packed else [torch.empty_like(state) for state in held[1 : 1 + self.states]]
        copied = [state.data_ptr() for state in final] or self._not_copied
        call.run([scratch.data_ptr(), saved.data_ptr(), *addresses, *copied], batch_sizes, tokens)
        if call.is_empty:
            final = [torch.empty_like(state) for state in tensors[: self.states]]
        elif batch_sizes is not None:
            final = self._ends(call, (scratch, saved, *held), batch_sizes)
        pool.give(scratch)
        results = (call.result.of(memory), *final)
        if training:
            kept_saved = saved if call.saved else None
            return results, Kept(held, addresses, kept_saved, batch_sizes, source)
        if call.saved:
            pool.give(saved)
        return results, None

    def _ends(self, call: Call, memories: Sequence[Tensor], batch_sizes: Numbers) -> list[Tensor]:
        """The states after the last step of each sequence, in the shape of the initial ones, from
        the memories that the call listed.
        """
        rows = call.plan.rows
        lengths = torch.from_numpy((batch_sizes[:, None] > np.arange(rows)[None, :]).sum(0))
        found: list[Tensor] = []
        for k, ((number, start), home) in enumerate(
            zip(call.carried, call.layout.final, strict=True)
        ):
            ring = call.layout.buffers[home.buffer].lifetime is Lifetime.RING
            width = self.state_sizes[k]
            floats = call.plan.memory.slots[home.buffer] * rows * width
            slots = memories[number].view(-1)[start : start + floats].view(-1, rows, width)
            last = slots[lengths % 2 if ring else lengths, torch.arange(rows, device=CPU)]
            found.append(last.view(memories[3 + k].shape))
        return found

    def _refuse(self, tensors: Sequence[Tensor], sizes: Sequence[int]) -> None:
        """The runtime trusts these sizes: a tensor that is too small would be read beyond its
        end.
        """
        names = [*(state.name for state in self.program.states), *self.names]
        names += [name for name, _ in self.program.inputs[1:]]
        for name, tensor, size in zip(names, tensors, sizes, strict=True):
            if tensor.numel() != size:
                raise ValueError(f"{name} has {tensor.numel()} elements, not {size}")

    def _new(self, shape: tuple[int, int, int], packed: bool) -> Tensor:
        """Memory of a value that leaves the call. Beyond the ends of shorter sequences it is
        zero.
        """
        if packed:
            return torch.zeros(shape, dtype=torch.float32, device=CPU)
        memory = torch.empty(shape, dtype=torch.float32, device=CPU)
        return memory.fill_(float("nan")) if self.pool.poison else memory

    # -- backward ----------------------------------------------------------------------------------

    def backward(
        self, outer: Sequence[Tensor | None], kept: Kept, want_x: bool, want_states: Sequence[bool]
    ) -> tuple[Tensor | None, list[Tensor | None], list[Tensor | None]]:
        """Gradients of x, of the initial states and of the weights; ``outer``: gradients of the
        results of :meth:`forward`.
        """
        pool, source, held = self.pool, kept.source, kept.held
        packed, first = kept.batch_sizes is not None, 1 + self.states
        x, states = held[0], held[1:first]
        weights = held[first : first + len(self.names)]
        kind = "backward" if source is not None or want_x else "backward without x"
        kind += WITH_TOKENS if source is not None else ""
        steps, rows = x.shape[:2] if source is None else source.tokens.shape
        call = self.plan(kind, steps, rows, packed)
        addresses = [tensor.data_ptr() for tensor in held]
        if addresses != kept.addresses:
            raise RuntimeError(EXCHANGED)
        given = self._given(outer, call)
        gradients = self._gradients(weights, call)
        table = torch.zeros_like(x) if source is not None else None
        memory = None if call.result is None else self._new(call.result.shape, packed)
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
        if table is not None:
            return table, initial, self._without_folded(gradients)
        if memory is not None and call.result is not None:
            return call.result.of(memory), initial, [*gradients]
        return torch.zeros_like(x) if want_x else None, initial, [*gradients]

    def release(self, kept: Kept) -> None:
        """Give back the memory of a segment whose backward pass does not run again."""
        if kept.saved is not None:
            self.pool.give(kept.saved)

    def _given(self, outer: Sequence[Tensor | None], call: Call) -> list[Tensor]:
        """The gradients of the results, contiguous; zeros for a result that nothing depends on."""
        given = [gradient if gradient is not None else call.zeros for gradient in outer]
        if outer[0] is None:
            plan = call.plan
            shape = (plan.steps, plan.rows, self.output_size)
            given[0] = torch.zeros(shape, dtype=torch.float32, device=CPU)
        return [
            gradient if gradient.is_contiguous() else gradient.contiguous() for gradient in given
        ]

    def _gradients(self, weights: Sequence[Tensor], call: Call) -> list[Tensor]:
        """Memory for the gradients of the weights; zero where the runtime only adds to it, or does
        not run.
        """
        if call.is_empty:
            return [torch.zeros_like(weight) for weight in weights]
        if call.zeroed:
            return [
                torch.zeros_like(w) if zero else torch.empty_like(w)
                for w, zero in zip(weights, call.zeroed, strict=True)
            ]
        return [torch.empty_like(weight) for weight in weights]

    def _without_folded(self, gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Gradients of weights whose share went into that of the token table are left out."""
        folded = {name for name, _ in self.folding or ()}
        return [
            None if name in folded else gradient
            for name, gradient in zip(self.names, gradients, strict=True)
        ]
