"""What a trained cell costs on a small device, and what it is worth there with int8 weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cellsearch.compiler.module import CellModule
from cellsearch.compiler.weights import rows_as_int8
from cellsearch.genome.device import COSTS, DeviceLimits
from cellsearch.genome.graph import Genome
from cellsearch.space import LayerSizes, layer_footprint
from cellsearch.tasks.base import Task
from cellsearch.training.model import surroundings

__all__ = ["costs", "rounded"]


def costs(task: Task, genome: Genome, model: nn.Module, device: DeviceLimits) -> dict[str, float]:
    """What the model of a task around a cell costs: ``flash_bytes`` and so on."""
    layer = model.cell
    if not isinstance(layer, CellModule):
        return {}
    sizes = LayerSizes(
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        2 if layer.bidirectional else 1,
        tuple(layer.sizes.items()),
        surroundings(task, model),
    )
    found = layer_footprint(genome, sizes, int8=device.int8)
    return {name: float(getattr(found, name)) for name in COSTS}


@contextmanager
def rounded(model: nn.Module) -> Iterator[None]:
    """Within it every matrix of the model (of the cell, of what is before and after it) is what is
    left of it in int8, as :func:`cellsearch.compiler.weights.rows_as_int8` makes it; afterwards the
    weights are as before.
    """
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                integers, scale = rows_as_int8(weight)
                weight.copy_(integers * scale[:, None])
    try:
        yield
    finally:
        model.load_state_dict(before)
