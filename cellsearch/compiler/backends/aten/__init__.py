"""The aten backend: torch calls on preallocated memory, with a backward pass of its own.

Everything time-parallel is computed once over all positions, dense products of one source are one
call, and each weight's gradient is one product over all positions after the loop. float32 and
float64 on any device; first derivatives only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    more_inputs = True

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


@dataclass(frozen=True)
class _Training:
    """What training with respect to some inputs needs."""

    gradient: Gradient
    forward: ActionPlan
    backward: ActionPlan


class _Aten(Kernel):
    """One program. Holds no data of a call, so one kernel serves all layers and may run several
    times before a backward pass.
    """

    plain_torch = False

    def __init__(self, program: Program) -> None:
        self.program = hoist(program)
        self.trainings: dict[tuple[str, ...], _Training] = {}

    @cached_property
    def inference(self) -> ActionPlan:
        return make_plan(self.program)

    def training(self, wanted: tuple[str, ...]) -> _Training:
        """``wanted``: the inputs after x whose gradients are asked for."""
        if wanted not in self.trainings:
            found = gradient(self.program, wanted)
            self.trainings[wanted] = _Training(
                found,
                make_plan(self.program, found.saved),
                make_plan(hoist(found.program), backwards=True),
            )
        return self.trainings[wanted]

    def __call__(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
        more: Sequence[Tensor] = (),
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        steps, batch, _ = x.shape
        sizes = [batch] * steps if batch_sizes is None else list(batch_sizes)
        rows = None if sizes[0] == sizes[-1] else _running(sizes, x.device)
        flat = [value.flatten(0, 1) for value in (x, *more)]
        flat = flat if rows is None else [value.index_select(0, rows) for value in flat]
        weights = [parameters[name] for name, _ in self.program.parameters]
        tensors = [*flat, *states, *weights]
        with torch.autocast(x.device.type, enabled=False):
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
                names = [name for name, _ in self.program.inputs[1:]]
                wanted = tuple(
                    name for name, value in zip(names, more, strict=True) if value.requires_grad
                )
                output, *final = _Function.apply(self, sizes, wanted, *tensors)  # type: ignore[no-untyped-call]
            else:
                output, final = _forward(self.program, self.inference, tensors, sizes)[:2]
        if rows is not None:
            output = output.new_zeros(steps * batch, output.shape[1]).index_copy(0, rows, output)
        return output.view(steps, batch, output.shape[1]), tuple(final)


def _forward(
    program: Program, plan: ActionPlan, tensors: Sequence[Tensor], sizes: Sequence[int]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Flat output, final states, all slots."""
    n_inputs, first = len(program.inputs), program.first
    states = [state.contiguous() for state in tensors[n_inputs:first]]
    parameters = dict(zip((name for name, _ in program.parameters), tensors[first:], strict=True))
    inputs = [value.contiguous() for value in tensors[:n_inputs]]
    outcome = run(plan, inputs, states, parameters, sizes)
    found = outcome.slots[program.output]
    number = program.shapes[program.output].width == "1"
    output = found.expand(sum(sizes), states[0].shape[1] if number else found.shape[-1])
    return output, outcome.carried, outcome.slots


class _Function(torch.autograd.Function):
    """``(kernel, sizes, wanted, *inputs, *states, *weights) -> (flat output, *final states)``."""

    @staticmethod
    def forward(
        ctx: Any, kernel: _Aten, sizes: list[int], wanted: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        training = kernel.training(wanted)
        output, final, slots = _forward(kernel.program, training.forward, tensors, sizes)
        saved = training.gradient.saved
        ctx.kernel, ctx.training, ctx.sizes, ctx.n_saved = kernel, training, sizes, len(saved)
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
        program: Program = ctx.kernel.program
        plan: ActionPlan = ctx.training.backward
        tensors = ctx.saved_tensors
        saved, given = tensors[: ctx.n_saved], tensors[ctx.n_saved : -1]
        parameters = dict(
            zip((name for name, _ in program.parameters), given[program.first :], strict=True)
        )
        incoming = [gradient.contiguous() for gradient in gradients]
        with torch.autocast(given[0].device.type, enabled=False):
            outcome = run(
                plan,
                [*saved, incoming[0]],
                incoming[1:],
                parameters,
                ctx.sizes,
                backwards=True,
            )
        found = {name: outcome.slots[value] for name, value in plan.program.outputs}
        inputs = [
            found[name].expand(value.shape) if name in found and needed else None
            for (name, _), value, needed in zip(
                program.inputs, given, ctx.needs_input_grad[3:], strict=False
            )
        ]
        weights = [_like(found[name], weight) for name, weight in parameters.items()]
        return (None, None, None, *inputs, *outcome.carried, *weights)


def _like(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient in the shape of its weight: of a vector ``[n]``, one number ``[1]`` for all, or
    a matrix.
    """
    whole = gradient.expand(weight.numel()) if gradient.dim() == 1 else gradient
    return whole.reshape(weight.shape)


def _running(sizes: Sequence[int], device: torch.device) -> Tensor:
    """The rows of ``[T * B]`` at which a sequence is still running."""
    batch = sizes[0]
    return torch.cat(
        [torch.arange(t * batch, t * batch + size, device=device) for t, size in enumerate(sizes)]
    )
