"""Forecasting: the next values of a series from a window of its past."""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, InputFileError
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task, writable
from cellsearch.tasks.data import registry
from cellsearch.tasks.interface import Interface, features, values
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions, parse_options
from cellsearch.tasks.scaling import standardised

__all__ = [
    "ETTh1",
    "ETTh1Options",
    "ForecastOptions",
    "ForecastTask",
    "MackeyGlass",
    "Positions",
    "Sunspots",
]

EVALUATION_BATCH = 512
ETTH1_HOURS = (8640, 2880, 2880)
"""Training, validation and test of ETTh1: 12, 4 and 4 months."""
GROUP = 8
"""Training batches that are made at once: one alone costs hardly less."""
Positions = Annotated[int, at_least(1)]


@dataclass(frozen=True, slots=True)
class ForecastOptions(TaskOptions):
    """Options of the forecasts."""

    history: Positions = 48
    """Positions that the cell reads."""
    horizon: Positions = 1
    """How many positions it predicts at once."""


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
    channels: ClassVar[tuple[str, ...]]
    """What the C channels are called."""

    @classmethod
    @abstractmethod
    def series(cls) -> tuple[NDArray[Any], tuple[int, int, int]]:
        """The series ``[n, C]``, and where training, validation and test end."""

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """The standardised series and the ends of the splits."""
        parse_options(cls.Options, options)
        series, ends = cls.series()
        known = np.arange(len(series)) < ends[0]
        standard, mean, scale = standardised(series, known, "channel")
        return {"series": standard, "ends": np.array(ends), "mean": mean, "scale": scale}

    def __init__(self, options: ForecastOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self._targets: dict[str, NDArray[np.int64]] = {}
        self._lay_out(arrays["ends"])
        self._evaluation = {split: list(self._fixed(split)) for split in ("valid", "test")}

    def _lay_out(self, ends: NDArray[np.int64]) -> None:
        """Find the targets of each split, and lay the windows of the series out."""
        history, horizon = self.options.history, self.options.horizon
        self._series = torch.from_numpy(writable(self.arrays["series"]))
        begin = 0
        for split, end in zip(("train", "valid", "test"), ends.tolist(), strict=True):
            self._targets[split] = np.arange(max(begin, history), end - horizon + 1)
            if not len(self._targets[split]):
                raise ConfigError(
                    f"no window of {history} + {horizon} positions fits into the {split} part",
                    where="task_options.history",
                    hint="use a shorter history or horizon",
                )
            begin = end
        # Row k is the window of history and horizon that begins at position k, as it lies in the
        # series.
        length, channels = history + horizon, self._series.shape[1]
        self._windows = self._series.contiguous().as_strided(
            (len(self._series) - length + 1, length * channels), (channels, 1)
        )

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
        return heads.SequenceModel(
            cell_factory, features=channels, outputs=channels * self.options.horizon, readout="last"
        )

    def interface(self) -> Interface:
        """A window of the channels in, their next ``horizon`` steps out."""
        mean, scale = self.arrays["mean"], self.arrays["scale"]
        inputs = features(self.channels, mean, scale, relative=True, history=self.options.history)
        answer = values(self.channels, mean, scale, horizon=self.options.horizon)
        return Interface(inputs=inputs, answer=answer, readout="last")

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean squared error."""
        return nn.functional.mse_loss(prediction, batch.y.to(prediction.dtype))

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Mean squared error, for both."""
        total, count = 0.0, 0
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                total += float(self.loss(batch.read_by(model)[0], batch)) * len(batch.y)
                count += len(batch.y)
        return total / count, total / count


class Sunspots(ForecastTask):
    """Predict the sunspot number of the next month from those of four years.

    Source: SILSO, Royal Observatory of Belgium: 3,126 monthly numbers, 1749 to 2009. Split: last
    726 months test, the 300 before validation, 2,100 training. Metric and score: mean squared error
    of the standardised numbers. Persistence (the same number again) gives 0.262 on the test (0.248
    if mean and deviation are those of the first 2,400 months). Reference: GRU, tanh RNN and LSTM of
    width 16 reach .232, .246 and .255 (.220, .233, .242 in that other unit).
    """

    name: ClassVar[str] = "sunspots"
    summary: ClassVar[str] = "predict next month's sunspot number (univariate, one step ahead)"
    source: ClassVar[str] = "SILSO, Royal Observatory of Belgium"
    dataset: ClassVar[str] = "sunspots"
    channels = ("sunspots",)

    @classmethod
    def series(cls) -> tuple[NDArray[Any], tuple[int, int, int]]:
        """``[3126, 1]``."""
        stored = registry.read_arrays(cls.dataset)
        values = stored["x"].astype(np.float64)[:, None] * float(stored["scale"])
        return values, (len(values) - 1026, len(values) - 726, len(values))


@dataclass(frozen=True, slots=True)
class ETTh1Options(ForecastOptions):
    """See :class:`ForecastOptions`."""

    history: Positions = 96
    horizon: Positions = 24


class ETTh1(ForecastTask):
    """Predict seven hourly measurements of a transformer 24 hours ahead from 96 hours.

    Source: Zhou et al. 2021 (Informer), 17,420 hours of which 14,400 are used. Split (official): 12
    months training (8,640), 4 validation (2,880), 4 test (2,880). Metric and score: mean squared
    error of the standardised values over all seven channels. On the test, repeating the last value
    gives 1.222, the same hour of the day before 0.424. Reference: GRU and LSTM of width 48 reach
    .393 and .401.
    """

    name: ClassVar[str] = "etth1"
    summary: ClassVar[str] = (
        "predict seven measurements of a transformer 24 hours ahead (multivariate)"
    )
    source: ClassVar[str] = "Zhou et al. 2021, arXiv 2012.07436"
    dataset: ClassVar[str] = "etth1"
    channels = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    Options: ClassVar[type[ETTh1Options]] = ETTh1Options

    @classmethod
    def series(cls) -> tuple[NDArray[Any], tuple[int, int, int]]:
        """``[14400, 7]``."""
        rows = list(csv.reader(io.StringIO(registry.read_text(cls.dataset))))
        if rows[0] != ["date", *cls.channels] or len(rows) < sum(ETTH1_HOURS) + 1:
            raise InputFileError(
                f"a table with columns {rows[0]} and {len(rows)} rows", where=cls.dataset
            )
        values = np.array(
            [[float(field) for field in row[1:]] for row in rows[1 : sum(ETTH1_HOURS) + 1]]
        )
        return values, tuple(np.cumsum(ETTH1_HOURS))


@dataclass(frozen=True, slots=True)
class MackeyGlassOptions(ForecastOptions):
    """See :class:`ForecastOptions`."""

    horizon: Positions = 6
    noise: Annotated[float, at_least(0)] = 0.0
    """Deviation of the noise that is added to the series, as a share of its own."""


class MackeyGlass(ForecastTask):
    """Predict a chaotic series six steps ahead from 48.

    Source: generated; Mackey & Glass 1977 (Science 197), ``dx/dt = 0.2 x(t - 17) / (1 + x(t -
    17)^10) - 0.1 x``, from ``x = 1.2`` by Runge-Kutta with ten steps a unit of time, of which every
    tenth is kept, the first 500 left out. Split: 3,000 training, 500 validation, 500 test. Metric
    and score: mean squared error of the standardised values. Persistence gives 0.294 on the
    test.
    """

    name: ClassVar[str] = "mackey_glass"
    summary: ClassVar[str] = "predict a chaotic series six steps ahead (Mackey-Glass, generated)"
    source: ClassVar[str] = "Mackey & Glass 1977, Science 197"
    channels = ("x",)
    Options: ClassVar[type[MackeyGlassOptions]] = MackeyGlassOptions

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """See :meth:`ForecastTask.load`; with the noise that the options ask for."""
        arrays = super().load(options)
        noise = parse_options(cls.Options, options).noise
        if noise:
            drawn = np.random.default_rng(0).standard_normal(arrays["series"].shape)
            noisy = (arrays["series"] + noise * drawn).astype(arrays["series"].dtype)
            return {**arrays, "series": noisy}
        return arrays

    @classmethod
    def series(cls) -> tuple[NDArray[Any], tuple[int, int, int]]:
        """``[4000, 1]``."""
        left_out, kept = 500, 4000
        return _mackey_glass(left_out + kept)[left_out:, None], (3000, 3500, kept)


def _mackey_glass(count: int, *, delay: int = 17, inner: int = 10) -> NDArray[np.float64]:
    """So many values, one a unit of time. The delayed value between two inner steps is their
    mean.
    """
    lag, step = delay * inner, 1.0 / inner
    x = [1.2] * (lag + 1)

    def change(now: float, past: float) -> float:
        return 0.2 * past / (1.0 + past**10) - 0.1 * now

    for k in range(lag, lag + (count - 1) * inner):
        now, past, next_past = x[k], x[k - lag], x[k - lag + 1]
        between = (past + next_past) / 2
        first = change(now, past)
        second = change(now + step / 2 * first, between)
        third = change(now + step / 2 * second, between)
        fourth = change(now + step * third, next_past)
        x.append(now + step / 6 * (first + 2 * second + 2 * third + fourth))
    return np.array(x[lag::inner])
