"""The native kernel: forward and backward of a whole sequence as one autograd function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cellsearch.compiler.backends.native.build import Library
from cellsearch.compiler.backends.native.bytecode import TABLE, Bytecode, Table, encode
from cellsearch.compiler.backends.native.plan import Plan, Pool, make_plan
from cellsearch.compiler.gradient import Gradient, gradient
from cellsearch.compiler.program import Program
from cellsearch.compiler.recompute import recompute
from cellsearch.compiler.schedule import Buffer, Home, Lifetime, Schedule, schedule
from cellsearch.compiler.simplify import drop_dead
from cellsearch.compiler.tokens import Folding, fold_backward, fold_forward

__all__ = ["NativeKernel"]

DIRECT_ROWS = 4
"""Up to so many rows in all, weights are used as they lie: packing them would cost more than the products."""
PLANS = 64
_WITH_TOKENS = " (tokens)"


class NativeKernel:
    """Runs a program with the native runtime; see :class:`cellsearch.compiler.backends.base.Kernel`."""

    def __init__(self, program: Program, library: Library) -> None:
        self.program = program
        self.library = library
        self.gradient: Gradient = recompute(gradient(program))
        self.names = tuple(name for name, _ in program.parameters)
        self.pool = Pool()
        self.sized: dict[tuple[int, int], _Sized] = {}

    def __call__(
        self, x: Tensor, states: Sequence[Tensor], parameters: Mapping[str, Tensor], batch_sizes: Sequence[int] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See :class:`cellsearch.compiler.backends.base.Kernel`; float32 on the CPU."""
        tensors = (*states, *(parameters[name] for name in self.names))
        active = None if batch_sizes is None else np.ascontiguousarray(batch_sizes, dtype=np.int64)
        sized = self.at(x.shape[2], states[0].shape[1])
        if torch.is_grad_enabled() and (x.requires_grad or any(tensor.requires_grad for tensor in tensors)):
            output, *final = _Segment.apply(sized, x, active, None, *tensors)  # type: ignore[no-untyped-call]
        else:
            output, *final = sized.forward(x, tensors, active, None, training=False)[0]
        return output, tuple(final)

    def run_tokens(
        self,
        tokens: Tensor,
        embedding: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same as calling the kernel on ``embedding[tokens]``: ``tokens [T, B]`` (int64), ``embedding [V, I]``; gradients too.

        Where it is cheaper, the products of x are looked up in a table of all tokens (:mod:`cellsearch.compiler.tokens`).
        Raises :class:`IndexError` for a token that is not in the table.
        """
        sized = self.at(embedding.shape[1], states[0].shape[1])
        if sized.folding is None or embedding.shape[0] > tokens.numel():
            return self(functional.embedding(tokens, embedding), states, parameters, batch_sizes)
        if int(tokens.min()) < 0 or int(tokens.max()) >= embedding.shape[0]:
            raise IndexError(f"a token is not in the embedding of {embedding.shape[0]} rows")
        weights = torch.cat([parameters[name] for name, _ in sized.folding])
        no_bias = weights.new_zeros(states[0].shape[1])
        biases = torch.cat([parameters[bias].detach() if bias else no_bias for _, bias in sized.folding])
        table = torch.addmm(biases, embedding, weights.t())
        active = None if batch_sizes is None else np.ascontiguousarray(batch_sizes, dtype=np.int64)
        tensors = (*states, *(parameters[name] for name in self.names))
        source = _Tokens(tokens.contiguous(), table.shape[0], table.numel())
        if torch.is_grad_enabled() and (table.requires_grad or any(tensor.requires_grad for tensor in tensors)):
            output, *final = _Segment.apply(sized, table, active, source, *tensors)  # type: ignore[no-untyped-call]
        else:
            output, *final = sized.forward(table, tensors, active, source, training=False)[0]
        return output, tuple(final)

    def at(self, input_size: int, hidden_size: int) -> _Sized:
        """The kernel for these sizes, made when it is first asked for."""
        key = (input_size, hidden_size)
        if key not in self.sized:
            self.sized[key] = _Sized(self, input_size, hidden_size)
        return self.sized[key]


@dataclass(frozen=True)
class _Tokens:
    """Token inputs ``[T, B]``; where they are given, the table of their products stands in the place of x."""

    tokens: Tensor
    vocabulary: int
    floats: int


# Where the memory of an external buffer comes from: tensors of the forward call, its saved memory, gradients from outside,
# gradients of weights, or new memory.
_HELD, _SAVED, _OUTER, _WEIGHT, _TABLE, _NEW = range(6)


@dataclass(frozen=True)
class _Call:
    """A plan, and for each of its external buffers the kind of source and its number (an offset in floats for saved memory)."""

    plan: Plan
    layout: Schedule
    sources: tuple[tuple[int, int], ...]

    @cached_property
    def held(self) -> dict[str, int]:
        """Numbers in the list of held tensors of a forward call, by buffer."""
        return {name: number for name, (kind, number) in zip(self.plan.external, self.sources, strict=True) if kind in (_HELD, _NEW)}

    @cached_property
    def zeros(self) -> Tensor:
        """The gradient of a final state that nothing depends on; only read."""
        return torch.zeros(self.plan.rows, self.plan.code.row[self.plan.code.index(self.layout.carried[0][1])])

    @cached_property
    def output(self) -> Home:
        """Where the output lies."""
        return next(iter(self.layout.outputs.values()))


def _sources(plan: Plan, kernel: NativeKernel, forward: _Call | None) -> tuple[tuple[int, int], ...]:
    program = kernel.program
    states = [state.name for state in program.states]
    held = {"input x": 0, TABLE: 0, **{f"initial {name}": 1 + k for k, name in enumerate(states)}}
    held.update({f"parameter {name}": 1 + len(states) + k for k, name in enumerate(kernel.names)})
    known = {name: (_HELD, number) for name, number in held.items()}
    if forward is not None:
        known = {name: source for name, source in known.items() if name.startswith("parameter ")}
        known[TABLE] = (_TABLE, 0)
        known[f"input d_{program.outputs[0][0]}"] = (_OUTER, 0)
        known.update({f"initial d_{name}": (_OUTER, 1 + k) for k, name in enumerate(states)})
        known.update({f"gradient {name}": (_WEIGHT, k) for k, name in enumerate(kernel.names)})
        known.update({f"forward {name}": (_HELD, number) for name, number in forward.held.items()})
        known.update({f"forward {name}": (_SAVED, offset) for name, offset in forward.plan.offsets.items()})
    fresh = 1 + len(states) + len(kernel.names)
    sources = []
    for name in plan.external:
        sources.append(known.get(name, (_NEW, fresh)))
        fresh += name not in known
    return tuple(sources)


class _Sized:
    """The schedules and bytecode for one input size and hidden size, and the plans made so far."""

    def __init__(self, kernel: NativeKernel, input_size: int, hidden_size: int) -> None:
        self.kernel = kernel
        self.input_size, self.hidden_size = input_size, hidden_size
        self.square = input_size == hidden_size
        self.schedules: dict[str, Schedule] = {}
        self.codes: dict[str, Bytecode] = {}
        self.plans: dict[tuple[str, int, int, bool], _Call] = {}

    # -- what is made once ---------------------------------------------------------------------------------------------

    @cached_property
    def folding(self) -> Folding | None:
        """The columns of a token table; ``None`` if x is not only multiplied by weights."""
        folded = fold_forward(self.schedule("training"))
        return None if folded is None else folded[1]

    def schedule(self, kind: str) -> Schedule:
        """``inference``, ``training``, ``backward`` or ``backward without x``, each also with ``(tokens)``."""
        if kind not in self.schedules:
            self.schedules[kind] = self._schedule(kind)
        return self.schedules[kind]

    def _schedule(self, kind: str) -> Schedule:
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
        return schedule(program, given=given, square=self.square, weights=dict(source.forward.parameters))

    def forward_home(self, value: int) -> tuple[Buffer, Home]:
        """Where the backward pass finds a saved value."""
        plan = self.schedule("training")
        home = plan.kept[value]
        buffer = plan.buffers[home.buffer]
        name = f"forward {buffer.name}"
        return replace(buffer, name=name, role="saved", lifetime=Lifetime.TIME), replace(home, buffer=name)

    def code(self, kind: str) -> Bytecode:
        if kind not in self.codes:
            weights = dict(self.kernel.program.parameters)
            folding = (self.folding or ()) if kind.endswith(_WITH_TOKENS) else ()
            self.codes[kind] = encode(self.schedule(kind), self.kernel.library, weights, self.input_size, self.hidden_size, folding)
        return self.codes[kind]

    def plan(self, kind: str, steps: int, rows: int, packed: bool) -> _Call:
        """The plan of a kind of call, and where each of its buffers comes from."""
        key = (kind, steps, rows, packed)
        call = self.plans.get(key)
        if call is None:
            if len(self.plans) >= PLANS:
                self.plans.clear()
            direct = kind == "inference" and steps * rows <= DIRECT_ROWS
            reverse = kind.startswith("backward")
            plan = make_plan(self.code(kind), self.kernel.library, steps, rows, reverse=reverse, packed=packed, direct=direct)
            tokens = _WITH_TOKENS if kind.endswith(_WITH_TOKENS) else ""
            forward = self.plan("training" + tokens, steps, rows, packed) if reverse else None
            call = self.plans[key] = _Call(plan, self.schedule(kind), _sources(plan, self.kernel, forward))
        return call

    # -- forward -------------------------------------------------------------------------------------------------------

    def forward(
        self, x: Tensor, tensors: Sequence[Tensor], batch_sizes: Table | None, source: _Tokens | None, *, training: bool
    ) -> tuple[tuple[Tensor, ...], list[Tensor], Tensor | None]:
        """Output and final states; the tensors that the backward pass reads; the memory that it needs."""
        pool = self.kernel.pool
        steps, rows = x.shape[:2] if source is None else source.tokens.shape
        kind = ("training" if training else "inference") + ("" if source is None else _WITH_TOKENS)
        call = self.plan(kind, steps, rows, batch_sizes is not None)
        plan = call.plan
        held = [tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in (x, *tensors)]
        addresses: list[int] = []
        for name, (origin, number) in zip(plan.external, call.sources, strict=True):
            tensor = self._new(plan, name, batch_sizes is not None) if origin == _NEW else held[number]
            if origin == _NEW:
                held.append(tensor)
            if tensor.numel() != plan.floats[name] and name != TABLE:
                raise ValueError(f"{name} has {tensor.numel()} elements, not {plan.floats[name]}")
            addresses.append(tensor.data_ptr())
        scratch = pool.take(plan.scratch)
        saved = pool.take(plan.saved) if plan.saved else scratch
        self._run(plan, scratch.data_ptr(), saved.data_ptr(), addresses, batch_sizes, source)
        home = call.output
        memory = held[call.held[home.buffer]]
        output = _segment(memory, home.shift * rows * self.hidden_size, (steps, rows, self.hidden_size))
        final = [self._final(call, h, held, scratch, batch_sizes) for h in call.layout.final]
        pool.give(scratch)
        if not training and plan.saved:
            pool.give(saved)
        return (output, *final), held, saved if training and plan.saved else None

    def _run(
        self, plan: Plan, scratch: int, saved: int, addresses: Sequence[int], batch_sizes: Table | None, source: _Tokens | None
    ) -> None:
        if source is None:
            plan.run(scratch, saved, addresses, batch_sizes)
        else:
            plan.run(scratch, saved, addresses, batch_sizes, (source.tokens.data_ptr(), source.vocabulary, source.floats))

    def _new(self, plan: Plan, name: str, packed: bool) -> Tensor:
        """Memory of a value that leaves the call. Beyond the ends of shorter sequences it is zero."""
        floats = plan.floats[name]
        if packed:
            return torch.zeros(floats)
        return torch.full((floats,), float("nan")) if self.kernel.pool.poison else torch.empty(floats)

    def _final(self, call: _Call, home: Home, held: Sequence[Tensor], scratch: Tensor, batch_sizes: Table | None) -> Tensor:
        """A state after the last step of each sequence."""
        plan, width = call.plan, self.hidden_size
        ring = call.layout.buffers[home.buffer].lifetime is Lifetime.RING
        memory, start = (scratch, plan.offsets[home.buffer]) if ring else (held[call.held[home.buffer]], 0)
        size = plan.rows * width
        if batch_sizes is None:
            start += size * (plan.steps % 2 if ring else plan.steps)
            return torch.as_strided(memory, (plan.rows, width), (width, 1), start).clone()
        lengths = torch.from_numpy((batch_sizes[:, None] > np.arange(plan.rows)[None, :]).sum(0))
        slots = memory[start : start + plan.slots[home.buffer] * size].view(-1, plan.rows, width)
        return slots[lengths % 2 if ring else lengths, torch.arange(plan.rows)]

    # -- backward ------------------------------------------------------------------------------------------------------

    def backward(
        self,
        grad_output: Tensor | None,
        grad_final: Sequence[Tensor | None],
        held: Sequence[Tensor],
        saved: Tensor | None,
        batch_sizes: Table | None,
        source: _Tokens | None,
        want_x: bool,
        want_states: Sequence[bool],
    ) -> tuple[Tensor | None, list[Tensor | None], list[Tensor | None]]:
        """Gradients of x, of the initial states and of the weights; ``held`` and ``saved`` come from :meth:`forward`."""
        kernel, width = self.kernel, self.hidden_size
        first = 1 + len(self.kernel.program.states)
        steps, rows = held[0].shape[:2] if source is None else source.tokens.shape
        kind = "backward" + _WITH_TOKENS if source is not None else "backward" if want_x else "backward without x"
        call = self.plan(kind, steps, rows, batch_sizes is not None)
        plan = call.plan
        outer = [grad_output if grad_output is not None else torch.zeros(steps, rows, width)]
        outer += [gradient if gradient is not None else call.zeros for gradient in grad_final]
        outer = [gradient if gradient.is_contiguous() else gradient.contiguous() for gradient in outer]
        zero = call.layout.zero
        weights = [
            torch.zeros_like(weight) if zero and name in zero else torch.empty_like(weight)
            for name, weight in zip(kernel.names, held[first:], strict=False)
        ]
        table = torch.zeros_like(held[0]) if source is not None else None
        new: dict[str, Tensor] = {}
        addresses: list[int] = []
        for name, (origin, number) in zip(plan.external, call.sources, strict=True):
            if origin == _SAVED:
                assert saved is not None
                addresses.append(saved.data_ptr() + 4 * number)
            elif origin == _WEIGHT:
                addresses.append(weights[number].data_ptr())
            elif origin == _TABLE:
                assert table is not None
                addresses.append(table.data_ptr())
            else:
                if origin == _NEW:
                    new[name] = self._new(plan, name, batch_sizes is not None)
                tensor = new[name] if origin == _NEW else held[number] if origin == _HELD else outer[number]
                if tensor.numel() != plan.floats[name]:
                    raise ValueError(f"{name} has {tensor.numel()} elements, not {plan.floats[name]}")
                addresses.append(tensor.data_ptr())
        scratch = kernel.pool.take(plan.scratch)
        self._run(plan, scratch.data_ptr(), 0, addresses, batch_sizes, source)
        initial: list[Tensor | None] = []
        for home, want in zip(call.layout.final, want_states, strict=True):
            memory, start = (new[home.buffer], 0) if home.buffer in new else (scratch, plan.offsets[home.buffer])
            initial.append(torch.as_strided(memory, (rows, width), (width, 1), start).clone() if want else None)
        kernel.pool.give(scratch)
        if source is not None:
            folded = {name for name, _ in self.folding or ()}
            return table, initial, [None if name in folded else weight for name, weight in zip(kernel.names, weights, strict=True)]
        return self._grad_x(call, new, held[0]) if want_x else None, initial, [*weights]

    def _grad_x(self, call: _Call, new: dict[str, Tensor], x: Tensor) -> Tensor:
        home = call.layout.outputs.get("x")
        if home is None:
            return torch.zeros_like(x)
        start = home.shift * x.shape[1] * x.shape[2]
        return new[home.buffer][start : start + x.numel()].view(x.shape)


def _segment(memory: Tensor, offset: int, shape: tuple[int, int, int]) -> Tensor:
    """A tensor of its own on part of the memory (not a view, so autograd treats it like any other result)."""
    strides = (shape[1] * shape[2], shape[2], 1)
    return torch.empty(0, dtype=memory.dtype).set_(memory.untyped_storage(), memory.storage_offset() + offset, shape, strides)


class _Segment(torch.autograd.Function):
    """One layer in one direction over one segment."""

    @staticmethod
    def forward(
        ctx: Any, sized: _Sized, x: Tensor, batch_sizes: Table | None, source: _Tokens | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        results, ctx.held, ctx.saved = sized.forward(x, tensors, batch_sizes, source, training=True)
        ctx.sized, ctx.batch_sizes, ctx.source = sized, batch_sizes, source
        # Kept only so that torch notices when one of them is changed before the backward pass.
        ctx.save_for_backward(x, results[0], *tensors)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *grad_final: Tensor | None) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the native backend computes first derivatives only (create_graph=True was asked for); use backend='reference'"
            )
        if ctx.held is None:
            raise RuntimeError(
                "the native backend can run backward only once for each forward pass; use backend='reference' to do it again"
            )
        held, saved, sized = ctx.held, ctx.saved, ctx.sized
        ctx.held = ctx.saved = None
        wanted, n_states = ctx.needs_input_grad, len(sized.kernel.program.states)
        d_x, states, weights = sized.backward(
            grad_output, grad_final, held, saved, ctx.batch_sizes, ctx.source, want_x=wanted[1], want_states=wanted[4 : 4 + n_states]
        )
        if saved is not None:
            sized.kernel.pool.give(saved)
        return (None, d_x, None, None, *states, *weights)
