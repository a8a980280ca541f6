"""A layer that computes as its C with 8-bit weights does: dense products of integers, everything
else in float32. For golden steps, and to measure what the integers cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from cellsearch.compiler.backends.choice import Choice
from cellsearch.compiler.backends.evaluate import evaluate
from cellsearch.compiler.backends.reference import ReferenceLoop
from cellsearch.compiler.given import Beside
from cellsearch.compiler.module import CellModule
from cellsearch.compiler.options import LayerOptions
from cellsearch.compiler.program import Program
from cellsearch.export.c.data import in_rows
from cellsearch.export.c.layer import integer_limit

__all__ = ["IntegerCell", "IntegerLinear", "in_integers", "use_integers"]


def in_integers(a: Tensor, bits: int = 0) -> Tensor:
    """Each row of ``a [..., n]`` rounded to whole multiples of its largest absolute value over the
    limit; ``bits``: of what a product reads, 0: as 8-bit weights (:func:`in_rows`).
    """
    if not bits:
        rows = a.reshape(-1, a.shape[-1])
        integers, scale = (torch.from_numpy(part) for part in in_rows(rows.numpy()))
        return (integers.to(a.dtype) * scale[:, None].to(a.dtype)).reshape(a.shape)
    limit = integer_limit(bits // 8, a.shape[-1])
    most = a.abs().amax(-1, keepdim=True)
    inverse = torch.where(most > 1e-30, limit / most, torch.zeros_like(most))
    value = (a * inverse).clamp(-limit, limit)
    return (value + torch.copysign(torch.full_like(value, 0.5), value)).trunc().clamp(
        -limit, limit
    ) * (most / limit)


def use_integers(model: nn.Module, bits: int) -> None:
    """Make embedding, projection, layers and readout of a model those of its C with 8-bit weights;
    bits: 8 or 16, of what dense products read.

    model: a trained :class:`cellsearch.tasks.heads.SequenceModel`, or any with a ``cell``.
    """
    cell = model.cell
    assert isinstance(cell, CellModule)
    model.cell = IntegerCell(cell, bits)
    for name in ("projection", "readout"):
        layer = getattr(model, name, None)
        if isinstance(layer, nn.Linear):
            setattr(model, name, IntegerLinear(layer, bits))
    embedding = getattr(model, "embedding", None)
    if isinstance(embedding, nn.Embedding):
        weight = in_integers(embedding.weight.detach().cpu().float())
        embedding.weight = nn.Parameter(weight)


class IntegerLinear(nn.Linear):
    """A linear layer as its C with 8-bit weights."""

    def __init__(self, layer: nn.Linear, bits: int) -> None:
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight = nn.Parameter(in_integers(layer.weight.detach().cpu().float()))
        self.bias = layer.bias
        self.bits = bits

    def forward(self, input: Tensor) -> Tensor:
        """``[..., columns]`` to ``[..., rows]``."""
        return super().forward(in_integers(input, self.bits))


class IntegerCell(CellModule):
    """A compiled cell as its C with 8-bit weights.

    cell: in float32; bits: 8 or 16, of what dense products read.
    """

    def __init__(self, cell: CellModule, bits: int) -> None:
        options = LayerOptions(
            input_size=cell.input_size,
            hidden_size=cell.hidden_size,
            num_layers=cell.num_layers,
            batch_first=cell.batch_first,
            bidirectional=cell.bidirectional,
            sizes=cell.sizes,
            backend="reference",
        )
        super().__init__(cell.genome, options, dtype=torch.float32)
        dense = {
            name for name, shape in self.program.parameters if len(shape) > 1 and shape[-1] != "1"
        }
        self.load_state_dict(
            {
                name: in_integers(weight.detach().cpu().float())
                if name.partition(".")[2] in dense
                else weight
                for name, weight in cell.state_dict().items()
            }
        )
        self._integers = _IntegerLoop(self.program, bits)

    def _chosen(
        self, like: Tensor, states: Sequence[Tensor], beside: Beside, *, masked: bool
    ) -> Choice:
        return Choice(self.program, self._integers, {})


class _IntegerLoop(ReferenceLoop):
    def __init__(self, program: Program, bits: int) -> None:
        super().__init__(program)
        self.bits = bits

    def step(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        more: Sequence[Tensor] = (),
        fixed: Mapping[int, Tensor] = MappingProxyType({}),
    ) -> tuple[Tensor, list[Tensor]]:
        """As the reference; what a dense product reads is rounded first."""
        rounded: dict[int, Tensor] = {}
        values = [x, *more, *states]
        for instruction in self.program.instructions:
            operands = [values[v] for v in instruction.inputs]
            if (
                instruction.op in ("dense", "blocks")
                and self.program.shapes[instruction.inputs[0]].width != "1"
            ):
                (source,) = instruction.inputs
                if source not in rounded:
                    rounded[source] = in_integers(operands[0], self.bits)
                operands = [rounded[source]]
            values.append(evaluate(instruction, operands, parameters, states[0]))
        return self.full(self.program.output, values, states[0]), [
            self.full(v, values, state)
            for v, state in zip(self.program.next_states, states, strict=True)
        ]
