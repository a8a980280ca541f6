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

from cellsearch.errors import EnvironmentFailure
from cellsearch.export.source import Precision, to_source
from cellsearch.export.weights import in_precision
from cellsearch.runs.trained import checkpoint_path, load_arrays, load_trained, trained_job
from cellsearch.runs.weights import trained_sizes

if TYPE_CHECKING:
    from torch.nn.utils.rnn import PackedSequence

    from cellsearch.runs.locate import Located

__all__ = ["accuracy", "exported_layer"]


def accuracy(located: Located, precision: Precision) -> str:
    """A line that says what the validation metric is with the cell as it was trained, and with the
    exported one.

    Everything but the recurrent layer (embedding, readout) stays as it was trained. Where the
    task's data are not there, the line says so.
    """
    path = checkpoint_path(located)
    job = trained_job(
        path,
        located.trial.result.steps
        if located.trial is not None and located.trial.result is not None
        else 0,
    )
    try:
        arrays = load_arrays(job)
    except EnvironmentFailure as error:
        return f"accuracy: not measured, for want of the data of {job.task}: {error}"
    trained = load_trained(path, job, arrays)
    full_score, full = trained.task.score(trained.model, "valid")
    cell = trained.model.cell
    assert isinstance(cell, nn.Module)
    trained.model.cell = exported_layer(located, dict(cell.state_dict()), precision)
    score, value = trained.task.score(trained.model, "valid")
    metric = trained.task.metric
    return (
        f"accuracy: {metric} of {job.task} on validation data {value:.5f} in "
        f"{precision}, {full:.5f} as trained "
        f"({value - full:+.5f}; score {score - full_score:+.5f}, lower is better)"
    )


def exported_layer(located: Located, weights: dict[str, Tensor], precision: Precision) -> nn.Module:
    """The layer that an exported file defines, with its weights; takes and gives float32, or what
    the weights were.
    """
    sizes = trained_sizes(located, weights)
    # The source is made here and now from a genome that was checked, and lies in a folder of our
    # own until it is loaded.
    with tempfile.TemporaryDirectory(prefix="cellsearch-") as folder:
        path = Path(folder) / "exported.py"
        path.write_text(to_source(located.genome, precision=precision, **sizes), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("cellsearch_exported_cell", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    layer = module.Recurrent()
    layer.load_state_dict(in_precision(located.genome, weights, precision))
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
