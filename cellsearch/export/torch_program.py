"""A layer, and a whole model, as the modules that ``torch.export`` reads: their loop over time is
an operator. They draw arguments that fit them, and say what the compiled layer gives for these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from cellsearch.compiler.backends.evaluate import evaluate
from cellsearch.compiler.given import Beside, with_resets
from cellsearch.compiler.module import CellModule, State
from cellsearch.compiler.program import Program
from cellsearch.export.torch_head import Ends
from cellsearch.genome.sizes import Sizes

__all__ = ["LayerProgram", "ModelProgram"]


class LayerProgram(nn.Module):
    """The layer, its loop over time an operator; the weights under the names of ``compile_cell``.

    Shapes as :func:`cellsearch.export.torch_export.to_torch_export` says.
    """

    def __init__(self, cell: CellModule, *, step: bool) -> None:
        super().__init__()
        self.reference = [cell]  # in a list, so that its weights are not registered twice
        self.step, self.directions = step, cell.directions
        self.program = self._in_range(cell.program)
        self.beside = cell.genome.inputs[1:]
        """What it is given beside x."""
        for name, layer in cell.layers():
            self._modules[name] = layer
        self.rows = [layer for _, layer in cell.layers()]
        widths = [cell.input_size, cell.output_size * cell.directions]
        self.sizes = [
            Sizes(widths[row >= cell.directions], cell.hidden_size, cell.sizes)
            for row in range(len(self.rows))
        ]

    def _in_range(self, program: Program) -> Program:
        """Its numbers as the dtype of the weights has them: too large a one is infinity."""
        dtype = next((weight.dtype for weight in self.cell.parameters()), None)
        made = [
            one._replace(value=torch.tensor(one.value, dtype=dtype).item())
            if one.op == "const"
            else one
            for one in program.instructions
        ]
        return replace(program, instructions=tuple(made))

    def with_resets(self) -> Self:
        """The same, given ``reset``."""
        dtype = next((w.dtype for w in self.cell.parameters()), torch.get_default_dtype())
        resetting = with_resets(self.cell.program, len(self.cell.genome.states), dtype)
        self.program = self._in_range(resetting)
        self.beside = (*self.beside, "reset")
        return self

    @property
    def cell(self) -> CellModule:
        """The compiled layer that has these weights."""
        return self.reference[0]

    @property
    def streams(self) -> bool:
        """Whether states go in and come out."""
        return True

    def forward(
        self,
        x: Tensor,
        state: State,
        dt: Tensor | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run over x from the states."""
        states = (state,) if isinstance(state, Tensor) else state
        beside = Beside(*(v if v is None else v.to(x.dtype) for v in (dt, mask, reset)))
        if self.step:
            x, beside = x.unsqueeze(0), beside.of_step()
        outputs: list[Tensor] = []
        finals: list[list[Tensor]] = []
        for row in range(len(self.rows)):
            backwards = row % self.directions == 1
            start = [part[row].clone() for part in states]
            given = beside.of_layer(first=row < self.directions)
            inputs = given.inputs(self.program, x, self.sizes[row], None, backward=backwards)
            *final, output = self._scan(row, x, inputs, start, backwards=backwards)
            outputs.append(output)
            finals.append(final)
            if len(outputs) == self.directions:
                x, outputs = torch.cat(outputs, -1), []
        last = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
        return (x[0] if self.step else x), last if len(last) > 1 else last[0]

    def _scan(
        self,
        row: int,
        x: Tensor,
        more: Sequence[Tensor],
        start: list[Tensor],
        *,
        backwards: bool,
    ) -> list[Tensor]:
        """One layer in one direction: final states, then the output ``[T, B, H]``. ``more``: the
        other inputs, in the direction of the run.
        """
        count, given, weights = len(start), len(more) + 1, self.rows[row].weights()

        def one(*passed: Tensor) -> list[Tensor]:
            named = dict(zip(weights, passed[count + given :], strict=True))
            return self._one(passed[count : count + given], passed[:count], named, self.sizes[row])

        if self.step:
            inputs = [x[0], *(value[0] for value in more)]
            *final, output = one(*start, *inputs, *weights.values())
            return [*final, output.unsqueeze(0)]
        inputs = [x.flip(0) if backwards else x, *(value.contiguous() for value in more)]
        # the operator that the file names; the function scan around it calls torch.compile
        *final, output = torch.ops.higher_order.scan(one, start, inputs, tuple(weights.values()))
        return [*final, output.flip(0) if backwards else output]

    def _one(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        weights: Mapping[str, Tensor],
        sizes: Sizes,
    ) -> list[Tensor]:
        """One step, as the reference backend computes it: next states, then the output. Copies,
        because an operator of control flow gives no tensor twice.
        """
        like, program = states[0], self.program
        values = [*inputs, *states]
        for instruction in program.instructions:
            if instruction.op == "const":  # a tensor made of a number would be a hidden input
                values.append(like.new_full((1,), instruction.value))
            else:
                operands = [values[v] for v in instruction.inputs]
                values.append(evaluate(instruction, operands, weights, like))
        widths = [*program.state_widths, program.output_width]
        ends = [*program.next_states, program.output]
        return [
            values[end]
            .expand(like.shape[0], sizes[width])
            .clone(memory_format=torch.contiguous_format)
            for end, width in zip(ends, widths, strict=True)
        ]

    def example(self, length: int, batch: int) -> dict[str, Any]:
        """Drawn arguments by name."""
        cell = self.cell
        weight = next(self.parameters(), torch.empty(0))
        shape = (batch,) if self.step else (length, batch)
        x = torch.randn(*shape, cell.input_size, dtype=weight.dtype)
        drawn = {
            "dt": torch.rand(shape, dtype=weight.dtype) + 0.2,
            "mask": (torch.rand_like(x) > 0.3).to(weight.dtype),
            "reset": torch.rand(shape) > 0.7,
        }
        state = self.drawn_states(batch, weight.dtype)
        return {"x": x, "state": state, **{name: drawn[name] for name in self.beside}}

    def drawn_states(self, batch: int, dtype: torch.dtype) -> State:
        """States from 0 to 1: no cell is at its poles there."""
        rows = len(self.rows)
        drawn = tuple(torch.rand(rows, batch, n, dtype=dtype) for n in self.cell.state_sizes)
        return drawn if len(drawn) > 1 else drawn[0]

    def expected(self, x: Tensor, state: State | None = None, **beside: Tensor) -> tuple[Any, ...]:
        """What the compiled layer gives for the same arguments."""
        if not self.step:
            found: tuple[Any, ...] = self.cell(x, state, **beside)
            return found
        more = {name: value.unsqueeze(0) for name, value in beside.items()}
        output, last = self.cell(x.unsqueeze(0), state, **more)
        return output[0], last


class ModelProgram(LayerProgram):
    """The layer with what stands before and after it."""

    def __init__(self, cell: CellModule, head: Ends, *, step: bool) -> None:
        super().__init__(cell, step=step)
        self.head = head
        timed = "dt" in self.beside and head.interface.time_unit is not None
        self.beside = ("dt",) if timed else ()  # what is missing it sees itself

    @property
    def streams(self) -> bool:
        """Whether states go in and come out."""
        return self.head.streams

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        dt: Tensor | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> Any:
        """Answers for raw inputs; ``mask`` is not given."""
        encoded, last = self.head.read(x)
        if state is None:
            rows, batch = len(self.rows), encoded.shape[1]
            pairs = zip(self.cell.genome.states, self.cell.state_sizes, strict=True)
            start = tuple(encoded.new_full((rows, batch, n), s.initial) for s, n in pairs)
            state = start if len(start) > 1 else start[0]
        beside = self.head.beside(x, dt)
        output, state = super().forward(encoded, state, **beside, reset=reset)
        answer = self.head.answer(output, last)
        return (answer, state) if self.streams else answer

    def example(self, length: int, batch: int) -> dict[str, Any]:
        """Drawn arguments by name."""
        shape = (batch,) if self.step else (length, batch)
        raw = self.head.example(shape)
        if self.head.missing:
            raw[torch.rand(raw.shape) > 0.8] = torch.nan
        found: dict[str, Any] = {"x": raw}
        if self.streams:
            found["state"] = self.drawn_states(batch, self.head.readout.weight.dtype)
        if "dt" in self.beside:
            unit = self.head.interface.time_unit or 1.0
            found["dt"] = (torch.rand(shape, dtype=torch.float64) + 0.2) * unit
        if "reset" in self.beside:
            found["reset"] = torch.rand(shape) > 0.7
        return found

    def expected(self, x: Tensor, state: State | None = None, **beside: Tensor) -> Any:
        """The same with the compiled layer between."""
        encoded, last = self.head.read(x)
        more = self.head.beside(x, beside.get("dt"))
        more |= {name: value for name, value in beside.items() if name == "reset"}
        output, state = super().expected(encoded, state, **more)
        answer = self.head.answer(output, last)
        return (answer, state) if self.streams else answer
