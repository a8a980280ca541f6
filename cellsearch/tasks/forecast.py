"""Forecasting: the next values of a series from a window of its past."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task, writable
from cellsearch.tasks.heads import SequenceModel, evaluation
from cellsearch.tasks.options import TaskOptions, at_least, parse_options

__all__ = ["ForecastOptions", "ForecastTask"]

EVALUATION_BATCH = 512
GROUP = 8
"""Training batches that are made at once: one alone costs hardly less."""


@dataclass(frozen=True, slots=True)
class ForecastOptions(TaskOptions):
    """``history``: positions that the cell reads; ``horizon``: how many it predicts at once."""

    history: int = 48
    horizon: int = 1

    def check(self) -> None:
        """Raise :class:`ConfigError` for an illegal value."""
        TaskOptions.check(self)
        at_least(1, history=self.history, horizon=self.horizon)


class ForecastTask(Task):
    """Predicts ``horizon`` values of all C channels from ``history`` values, in one go from the
    last position.

    Each channel is brought to mean 0 and deviation 1 of the training part. The last value of a
    window is subtracted from the window and from its targets, so that answering 0 is persistence. A
    window belongs to the split that holds its targets; its history may reach back into the split
    before. Score and metric: mean squared error of the standardised values over all channels and
    horizons.
    """

    metric: ClassVar[str] = "mean squared error (standardised)"
    bidirectional: ClassVar[bool] = True
    Options: ClassVar[type[ForecastOptions]] = ForecastOptions
    options: ForecastOptions

    @classmethod
    @abstractmethod
    def series(cls) -> tuple[NDArray[Any], tuple[int, int, int]]:
        """The series ``[n, C]``, and where training, validation and test end."""

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """The standardised series and the ends of the splits."""
        parse_options(cls.Options, options, cls.name)
        values, ends = cls.series()
        train = values[: ends[0]].astype(np.float64)
        standard = (values - train.mean(0)) / train.std(0)
        return {"series": standard.astype(np.float32), "ends": np.array(ends)}

    def __init__(self, options: ForecastOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self._series = torch.from_numpy(writable(arrays["series"]))
        begin = 0
        self._targets: dict[str, NDArray[np.int64]] = {}
        for split, end in zip(("train", "valid", "test"), arrays["ends"].tolist(), strict=True):
            self._targets[split] = np.arange(max(begin, options.history), end - options.horizon + 1)
            at_least(1, history=len(self._targets[split]))
            begin = end
        # Row k is the window of history and horizon that begins at position k, as it lies in the
        # series.
        length, channels = options.history + options.horizon, self._series.shape[1]
        self._windows = self._series.contiguous().as_strided(
            (len(self._series) - length + 1, length * channels), (channels, 1)
        )
        self._evaluation = {split: list(self._fixed(split)) for split in ("valid", "test")}

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`. Training windows are drawn at random, with overlaps."""
        if split != "train":
            yield from self._evaluation[split]
            return
        group, first = divmod(start, GROUP)
        while True:
            drawn = np.random.default_rng([seed, group]).choice(
                self._targets["train"], (GROUP, self.options.batch_size)
            )
            yield from self._made(drawn)[first:]
            group, first = group + 1, 0

    def _fixed(self, split: Split) -> Iterator[Batch]:
        targets = self._targets[split]
        for k in range(0, len(targets), EVALUATION_BATCH):
            yield from self._made(targets[None, k : k + EVALUATION_BATCH])

    def _made(self, targets: NDArray[np.int64]) -> list[Batch]:
        """Batches from the first positions of their targets ``[batches, B]``."""
        history, channels = self.options.history, self._series.shape[1]
        window = self._windows.index_select(0, torch.from_numpy(targets.ravel() - history)).view(
            *targets.shape, -1, channels
        )
        window -= window[:, :, history - 1 : history].clone()
        x, y = (
            window[:, :, :history].transpose(1, 2).contiguous(),
            window[:, :, history:].flatten(2),
        )
        return [Batch(x[k], y[k]) for k in range(len(targets))]

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """The cell, and a linear readout of the last position for all channels and horizons."""
        channels = self._series.shape[1]
        return SequenceModel(
            cell_factory, features=channels, outputs=channels * self.options.horizon, readout="last"
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean squared error."""
        return nn.functional.mse_loss(prediction, batch.y.to(prediction.dtype))

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Mean squared error, for both."""
        total, count = 0.0, 0
        with evaluation(model):
            for batch in self.batches(split, 0):
                total += float(self.loss(model(batch.x)[0], batch)) * len(batch.y)
                count += len(batch.y)
        return total / count, total / count
