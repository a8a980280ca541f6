"""The reference backend: a plain loop over time in torch, one call an instruction. Its meaning is
the law for all others.

Any dtype, any device, gradients by autograd (of any order). Nothing here is fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from cellsearch.compiler.backends.base import Backend, Kernel, Support
from cellsearch.compiler.backends.evaluate import evaluate
from cellsearch.compiler.program import Program

__all__ = ["Reference"]


class Reference(Backend):
    """Runs every program everywhere."""

    name = "reference"
    more_inputs = True
    precisions = ("float32", "bf16")

    def supports(self, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
        """Always: this backend has no limits but speed."""
        return Support(True)

    def build(self, program: Program) -> Kernel:
        """A loop over time that interprets ``program``."""
        return ReferenceLoop(program)


class ReferenceLoop(Kernel):
    """A program, interpreted position after position."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        batch_sizes: Sequence[int] | None = None,
        more: Sequence[Tensor] = (),
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        steps, batch, _ = x.shape
        fixed = self.fixed(parameters, states[0]) if self.program.precision == "bf16" else {}
        carried = list(states)
        outputs = []
        for t in range(steps):
            running = batch if batch_sizes is None else batch_sizes[t]
            output, new = self.step(
                x[t, :running],
                [state[:running] for state in carried],
                parameters,
                [value[t, :running] for value in more],
                fixed,
            )
            carried = [
                torch.cat([now, old[running:]]) for now, old in zip(new, carried, strict=True)
            ]
            outputs.append(torch.cat([output, output.new_zeros(batch - running, output.shape[1])]))
        return torch.stack(outputs), tuple(carried)

    def step(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        more: Sequence[Tensor] = (),
        fixed: Mapping[int, Tensor] = MappingProxyType({}),
    ) -> tuple[Tensor, list[Tensor]]:
        """One step: ``x [B, I]``, states ``[B, size]``, ``more`` inputs ``[B, width]`` -> output,
        next states. ``fixed``: values that are known.
        """
        values = [x, *more, *states]
        for value, instruction in self.program.numbered():
            if value in fixed:
                values.append(fixed[value])
                continue
            operands = [values[v] for v in instruction.inputs]
            values.append(
                evaluate(instruction, operands, parameters, states[0], self.program.precision)
            )
        return self.full(self.program.output, values, states[0]), [
            self.full(v, values, state)
            for v, state in zip(self.program.next_states, states, strict=True)
        ]

    def fixed(self, parameters: Mapping[str, Tensor], like: Tensor) -> dict[int, Tensor]:
        """The values that depend on weights only. Where gradients are rounded, it matters that they
        are computed once: that of a product is the sum over all steps, rounded.
        """
        program = self.program
        found: dict[int, Tensor] = {}
        for value, instruction in program.numbered():
            if program.shapes[value].extent == "fixed":
                operands = [found[v] for v in instruction.inputs]
                found[value] = evaluate(instruction, operands, parameters, like, program.precision)
        return found

    def full(self, value: int, values: Sequence[Tensor], like: Tensor) -> Tensor:
        """A value for each sequence; a number is as wide as ``like``."""
        found = values[value]
        width = like.shape[1] if self.program.shapes[value].width == "1" else found.shape[-1]
        return found.expand(like.shape[0], width)
