"""The aten backend: torch calls on preallocated memory, with a backward pass of its own.

Everything time-parallel is computed once over all positions, dense products of one source are one
call, and each weight's gradient is one product over all positions after the loop. float32 and
float64 on any device; first derivatives only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cellsearch.compiler.backends.aten.plan import ActionPlan, make_plan
from cellsearch.compiler.backends.aten.run import run
from cellsearch.compiler.backends.base import Backend, Kernel, Support
from cellsearch.compiler.backends.transforms import check_gradients
from cellsearch.compiler.gradient import Gradient, gradient
from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.hoist import hoist
from cellsearch.errors import BackendError

__all__ = ["Aten"]


class Aten(Backend):
    """See the module docstring."""

    name = "aten"

    def supports(self, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
        """Every program; float32 and float64."""
        if dtype not in (torch.float32, torch.float64):
            return Support(False, f"float32 and float64 only, not {dtype}")
        if device.type == "meta":
            return Support(False, "it writes into memory, and a meta tensor has none")
        return Support(True)

    def build(self, program: Program) -> Kernel:
        """The kernel of a program; its plans are made at the first call."""
        return _Aten(program)


class _Aten(Kernel):
    """One program. Holds no data of a call, so one kernel serves all layers and may run several
    times before a backward pass.
    """

    plain_torch = False

    def __init__(self, program: Program) -> None:
        self.program = hoist(program)

    @cached_property
    def gradient(self) -> Gradient:
        return gradient(self.program)

    @cached_property
    def inference(self) -> ActionPlan:
        return make_plan(self.program)

    @cached_property
    def training(self) -> ActionPlan:
        return make_plan(self.program, self.gradient.saved)

    @cached_property
    def backward(self) -> ActionPlan:
        return make_plan(hoist(self.gradient.program), backwards=True)

    def __call__(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        steps, batch, _ = x.shape
        sizes = [batch] * steps if batch_sizes is None else list(batch_sizes)
        rows = None if sizes[0] == sizes[-1] else _running(sizes, x.device)
        flat = x.flatten(0, 1)
        flat = flat if rows is None else flat.index_select(0, rows)
        weights = [parameters[name] for name, _ in self.program.parameters]
        tensors = [flat, *states, *weights]
        with torch.autocast(x.device.type, enabled=False):
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
                output, *final = _Function.apply(self, sizes, *tensors)  # type: ignore[no-untyped-call]
            else:
                output, final = _forward(self.program, self.inference, tensors, sizes)[:2]
        if rows is not None:
            output = output.new_zeros(steps * batch, output.shape[1]).index_copy(0, rows, output)
        return output.view(steps, batch, output.shape[1]), tuple(final)


def _forward(
    program: Program, plan: ActionPlan, tensors: Sequence[Tensor], sizes: Sequence[int]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Flat output, final states, all slots."""
    n_states = len(program.states)
    states = [state.contiguous() for state in tensors[1 : 1 + n_states]]
    parameters = dict(
        zip((name for name, _ in program.parameters), tensors[1 + n_states :], strict=True)
    )
    outcome = run(plan, [tensors[0].contiguous()], states, parameters, sizes)
    output = outcome.slots[program.output].expand(sum(sizes), states[0].shape[1])
    return output, outcome.carried, outcome.slots


class _Function(torch.autograd.Function):
    """``(kernel, sizes, x, *states, *weights) -> (flat output, *final states)``."""

    @staticmethod
    def forward(ctx: Any, kernel: _Aten, sizes: list[int], *tensors: Tensor) -> tuple[Tensor, ...]:
        output, final, slots = _forward(kernel.program, kernel.training, tensors, sizes)
        saved = kernel.gradient.saved
        ctx.kernel, ctx.sizes, ctx.n_saved = kernel, sizes, len(saved)
        # An output that shares memory with saved values is not a view of them, so that a caller may
        # change it in place; it is saved too, so that such a change is noticed before it falsifies
        # a gradient.
        output = output.contiguous()
        alone = output.new_empty(0).set_(
            output.untyped_storage(), output.storage_offset(), output.shape, output.stride()
        )
        ctx.save_for_backward(*(slots[value] for value in saved), *tensors, alone)
        ctx.set_materialize_grads(True)
        return (alone, *final)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise BackendError(
                "the aten backend has no second derivatives (create_graph=True)",
                hint='compile the cell with backend="reference"',
            )
        check_gradients("aten", gradients)
        kernel: _Aten = ctx.kernel
        tensors = ctx.saved_tensors
        saved, given = tensors[: ctx.n_saved], tensors[ctx.n_saved : -1]
        n_states = len(kernel.program.states)
        names = [name for name, _ in kernel.program.parameters]
        parameters = dict(zip(names, given[1 + n_states :], strict=True))
        incoming = [gradient.contiguous() for gradient in gradients]
        with torch.autocast(given[0].device.type, enabled=False):
            outcome = run(
                kernel.backward,
                [*saved, incoming[0]],
                incoming[1:],
                parameters,
                ctx.sizes,
                backwards=True,
            )
        found = dict(kernel.backward.program.outputs)
        x = outcome.slots[found["x"]].expand(given[0].shape) if ctx.needs_input_grad[2] else None
        weights = [
            outcome.slots[found[name]].expand_as(
                parameters[name].reshape(parameters[name].shape or (1,))
            )
            for name in names
        ]
        shaped = [
            weight.reshape(parameters[name].shape)
            for name, weight in zip(names, weights, strict=True)
        ]
        return (None, None, x, *outcome.carried, *shaped)


def _running(sizes: Sequence[int], device: torch.device) -> Tensor:
    """The rows of ``[T * B]`` at which a sequence is still running."""
    batch = sizes[0]
    return torch.cat(
        [torch.arange(t * batch, t * batch + size, device=device) for t, size in enumerate(sizes)]
    )
