"""Forecasts from measured series of which rows and values were removed: uneven times, missing
values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError
from cellsearch.options import at_least, between
from cellsearch.tasks.base import Arrays, Batch, CellFactory
from cellsearch.tasks.forecasting import ETTh1, ForecastOptions, ForecastTask, Positions, Sunspots
from cellsearch.tasks.interface import Interface, features, values
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import parse_options

__all__ = ["ETTh1Gaps", "GapsOptions", "GapsTask", "SunspotsGaps"]


@dataclass(frozen=True, slots=True)
class GapsOptions(ForecastOptions):
    """Options of :class:`GapsTask`; ``history`` counts the rows that are left."""

    history: Positions = 32
    removed: Annotated[float, between(0, 0.9)] = 0.5
    """Share of the rows that are removed, so that times are uneven."""
    missing: Annotated[float, between(0, 0.9)] = 0.25
    """Share of the values of the other rows that are missing."""
    extra_columns: bool = False
    """Whether the time since the row before and the mask are columns of x too, for cells that do
    not read ``dt[t]`` and ``mask[t]``."""
    drawn: Annotated[int, at_least(0)] = 0
    """Decides which rows and values are removed."""


class GapsTask(ForecastTask):
    """Predicts all C channels of a series at the ``horizon`` rows after the last one that is read,
    from the ``history`` rows before it that are left.

    Each row is removed with the chance ``removed``, each value of the others with the chance
    ``missing``, independently, the same ones for every cell; targets are the measured values, also
    those of rows that were removed. ``dt`` is the time since the row before in units of its mean, 1
    at the first of a window; missing values are 0, the mean of the training part, and masked. A
    target's last row decides its split; its history may reach back into the split before. Score and
    metric: mean squared error of the standardised values.
    """

    Options: ClassVar[type[GapsOptions]] = GapsOptions
    options: GapsOptions

    @classmethod
    def load(cls, options: Mapping[str, object]) -> Arrays:
        """The standardised series, which rows are left, and which of their values were seen."""
        arrays = super().load(options)
        parsed = parse_options(cls.Options, options)
        rng = np.random.default_rng([2**32 - 1, parsed.drawn])
        series = arrays["series"]
        kept = np.flatnonzero(rng.random(len(series)) >= parsed.removed)
        seen = rng.random(series.shape) >= parsed.missing
        return {**arrays, "kept": kept, "seen": seen[kept]}

    def _lay_out(self, ends: NDArray[np.int64]) -> None:
        """Targets are numbers of rows that are left: the last of their window."""
        options, kept, seen = self.options, self.arrays["kept"], self.arrays["seen"]
        series = self.arrays["series"]
        last = np.arange(options.history - 1, len(kept))
        begin = 0
        for split, end in zip(("train", "valid", "test"), ends.tolist(), strict=True):
            first, final = kept[last] + 1, kept[last] + options.horizon
            self._targets[split] = last[(first >= begin) & (final < end)]
            if not len(self._targets[split]):
                raise ConfigError(
                    f"no window of {options.history} rows that are left fits into the {split} part",
                    where="task_options.history",
                    hint="use a shorter history or horizon, or remove less",
                )
            begin = end
        gaps = np.diff(kept, prepend=kept[0] - 1) * (1 - options.removed)
        columns = [np.where(seen, series[kept], 0.0)]
        if options.extra_columns:
            columns += [gaps[:, None], seen]
        self._gaps = gaps.astype(np.float32)
        self._x = np.concatenate(columns, axis=1).astype(np.float32)
        self._mask = np.ones_like(self._x)
        self._mask[:, : series.shape[1]] = seen

    def _made(self, targets: NDArray[np.int64]) -> list[Batch]:
        """Batches from the last rows of their windows ``[batches, B]``."""
        return [self._batch(last) for last in targets]

    def _batch(self, last: NDArray[np.int64]) -> Batch:
        options = self.options
        rows = last - np.arange(options.history - 1, -1, -1)[:, None]
        later = self.arrays["kept"][last][:, None] + np.arange(1, options.horizon + 1)
        y = self.arrays["series"][later].reshape(len(last), -1)
        gaps = self._gaps[rows]
        gaps[0] = 1.0
        x = self._x[rows]
        if options.extra_columns:
            x[0, :, self.arrays["series"].shape[1]] = 1.0
        given = {"dt": torch.from_numpy(gaps), "mask": torch.from_numpy(self._mask[rows])}
        return Batch(torch.from_numpy(x), torch.from_numpy(y), beside=given)

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """The cell, and a linear readout of the last row for all channels and horizons."""
        outputs = len(self.channels) * self.options.horizon
        return heads.SequenceModel(
            cell_factory, features=self._x.shape[1], outputs=outputs, readout="last"
        )

    def interface(self) -> Interface:
        """A window of the rows in, the next ``horizon`` of the series out."""
        mean, scale = self.arrays["mean"], self.arrays["scale"]
        names = self.channels
        more: tuple[str, ...] = ()
        if self.options.extra_columns:
            more = ("time since the row before", *(f"{name} seen" for name in names))
        inputs = features(
            (*names, *more),
            np.concatenate([mean, np.zeros(len(more))]),
            np.concatenate([scale, np.ones(len(more))]),
            history=self.options.history,
        )
        answer = values(names, mean, scale, horizon=self.options.horizon)
        return Interface(inputs=inputs, answer=answer, readout="last")


class SunspotsGaps(GapsTask):
    """The sunspot number of the month after the last one that was read, of months half of which
    were removed, and a quarter of the values of the others.

    Source and split: those of :class:`~cellsearch.tasks.forecasting.Sunspots`; windows of 32 rows,
    about 64 months. Metric and score: see :class:`GapsTask`. Repeating the last value that was seen
    gives 0.312 on the test.
    """

    name: ClassVar[str] = "sunspots_gaps"
    summary: ClassVar[str] = "predict next month's sunspot number from months with gaps"
    source: ClassVar[str] = Sunspots.source
    dataset: ClassVar[str] = Sunspots.dataset
    channels = Sunspots.channels
    series = Sunspots.series


@dataclass(frozen=True, slots=True)
class ETTh1GapsOptions(GapsOptions):
    """See :class:`GapsOptions`."""

    history: Positions = 48


class ETTh1Gaps(GapsTask):
    """Seven measurements of a transformer in the hour after the last one that was read, of hours
    half of which were removed, and a quarter of the values of the others.

    Source and split: those of :class:`~cellsearch.tasks.forecasting.ETTh1`; windows of 48 rows,
    about 96 hours. Metric and score: see :class:`GapsTask`. Repeating the last values that were
    seen gives 0.329 on the test.
    """

    name: ClassVar[str] = "etth1_gaps"
    summary: ClassVar[str] = "predict seven measurements of a transformer from hours with gaps"
    source: ClassVar[str] = ETTh1.source
    dataset: ClassVar[str] = ETTh1.dataset
    channels = ETTh1.channels
    series = ETTh1.series
    Options: ClassVar[type[ETTh1GapsOptions]] = ETTh1GapsOptions
