"""What an exported cell of lower precision costs: the score of the trained model with the exported
file in the place of its cell.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cellsearch.compiler.module import CellModule
from cellsearch.export.c.integers import use_integers
from cellsearch.export.c.write import ActivationBits
from cellsearch.export.source import Precision, to_source
from cellsearch.export.weights import in_precision
from cellsearch.tasks.base import Task

if TYPE_CHECKING:
    from torch.nn.utils.rnn import PackedSequence

__all__ = ["accuracy", "exported_layer"]


def accuracy(
    model: nn.Module,
    task: Task,
    precision: Precision,
    activation_bits: ActivationBits | None = None,
) -> str:
    """A line that says what the validation metric is with the cell as it was trained, and with the
    exported one.

    model: a trained model of the task, whose recurrent layer ``model.cell`` is a compiled cell;
        everything else in it (embedding, readout) stays as it was trained. The exported layer is in
        its place afterwards.
    activation_bits: of C with 8-bit weights, in which the readout and all before the layer are of
        integers too.
    """
    full_score, full = task.score(model, "valid")
    cell = model.cell
    assert isinstance(cell, CellModule)
    if activation_bits is None:
        model.cell = exported_layer(cell, precision)
    else:
        use_integers(model, activation_bits)
    score, value = task.score(model, "valid")
    metric = task.metric_name(full_score, full)
    in_c = "" if activation_bits is None else f" with {activation_bits}-bit activations"
    return (
        f"accuracy: {metric} of {task.name} on validation data {value:.5f} in "
        f"{precision}{in_c}, {full:.5f} as trained "
        f"({value - full:+.5f}; score {score - full_score:+.5f}, lower is better)"
    )


def exported_layer(cell: CellModule, precision: Precision) -> nn.Module:
    """The layer that an exported file defines, with the weights of ``cell``; takes and gives
    float32, or what the weights were.
    """
    source = to_source(
        cell.genome,
        input_size=cell.input_size,
        hidden_size=cell.hidden_size,
        num_layers=cell.num_layers,
        bidirectional=cell.bidirectional,
        precision=precision,
        sizes=cell.sizes,
    )
    # The source is made here and now from a genome that was checked, and lies in a folder of our
    # own until it is loaded.
    with tempfile.TemporaryDirectory(prefix="cellsearch-") as folder:
        path = Path(folder) / "exported.py"
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("cellsearch_exported_cell", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    layer = module.Recurrent()
    layer.load_state_dict(in_precision(cell.genome, cell.state_dict(), precision))
    assert isinstance(layer, nn.Module)
    return _Between(
        layer.eval(),
        torch.float32 if precision in ("int8", "float32") else getattr(torch, precision),
    )


class _Between(nn.Module):
    """A layer that computes in ``dtype`` within a model that does not."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer, dtype

    def forward(
        self, x: Tensor | PackedSequence, state: Tensor | tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor | tuple[Tensor, ...]]:
        """The layer's outputs in the dtype of its inputs; states stay in its own."""
        before = x.dtype if isinstance(x, Tensor) else x.data.dtype
        if state is not None:
            state = (
                state.to(self.dtype)
                if isinstance(state, Tensor)
                else tuple(part.to(self.dtype) for part in state)
            )
        output, final = self.layer(x.to(self.dtype), state)
        return output.to(before), final
