"""Loss over the position in the sequence: how much a model gains from what it has read so far."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cellsearch.errors import checked_arguments
from cellsearch.tasks.base import Batch, Task
from cellsearch.tasks.heads import evaluation

__all__ = ["position_losses"]


@checked_arguments
def position_losses(
    model: nn.Module, task: Task, batches: Iterable[Batch], *, positions: int
) -> tuple[float | None, ...]:
    """Mean loss at each of the first ``positions`` positions; ``()`` for a task that predicts once
    a sequence.

    Every batch starts from the initial state. The loss at a position is the task's own loss on that
    position alone, averaged over batches by their number of sequences there. ``None`` where nothing
    is asked. Source: Karpathy, Johnson & Fei-Fei 2015, arXiv 1506.02078, section 4.4, who compare
    models by the loss over the position.
    """
    totals: list[float] = []
    counts: list[int] = []
    with evaluation(model):
        for batch in batches:
            prediction, _ = batch.read_by(model)
            if not _per_position(prediction, batch):
                return ()
            for t in range(min(len(batch.x), positions)):
                if t == len(totals):
                    totals.append(0.0)
                    counts.append(0)
                running = (
                    batch.x.shape[1] if batch.lengths is None else int((batch.lengths > t).sum())
                )
                loss = (
                    float(task.loss(prediction[t : t + 1], _at(batch, t))) if running else math.nan
                )
                if not math.isnan(loss):  # the mean over no targets at all is NaN
                    totals[t] += loss * running
                    counts[t] += running
    return tuple(
        total / count if count else None for total, count in zip(totals, counts, strict=True)
    )


def _per_position(prediction: Tensor, batch: Batch) -> bool:
    return prediction.dim() > 2 and prediction.shape[:2] == batch.x.shape[:2] == batch.y.shape[:2]


def _at(batch: Batch, t: int) -> Batch:
    """One position of a batch."""
    lengths = None if batch.lengths is None else (batch.lengths - t).clamp(0, 1)
    return Batch(
        batch.x[t : t + 1],
        batch.y[t : t + 1],
        lengths if lengths is None else lengths.to(torch.int64),
    )
