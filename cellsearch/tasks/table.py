"""Forecasts and labels from a table that the user brings (CSV, Parquet)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.job import Naive
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task, writable
from cellsearch.tasks.interface import Answer, Interface, features, values
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.sequences import SPLITS, SequenceTask
from cellsearch.tasks.tables.labelled import label_arrays
from cellsearch.tasks.tables.naive import channel_errors, forecasters, predictions, windows
from cellsearch.tasks.tables.options import TableOptions
from cellsearch.tasks.tables.understand import table_of_options
from cellsearch.tasks.tables.windows import forecast_arrays

__all__ = ["TableForecast", "TableLabels", "TableOptions"]

EVALUATION_BATCH = 512
GROUP = 8
"""Training batches that are made at once: one alone costs hardly less."""


class TableForecast(Task):
    """Predict columns of your own table, some rows ahead.

    ``cellsearch search --csv data.csv --predict COLUMN`` makes an experiment of it;
    ``docs/own_data.md`` shows it. Windows of the past go in, ``horizon`` rows of the predicted
    columns come out. Split: by time, and no two parts share a row. Missing values repeat the last
    known one, with a mark; they are no targets. Score: the mean squared error divided by the
    variance of the training part, over all predicted columns (1 is what its mean reaches). Metric:
    the root mean squared error in the unit of the column, or the score where several are predicted;
    the errors of each column in its own unit are in ``Result.metrics``.
    """

    name: ClassVar[str] = "table"
    metric: ClassVar[str] = "RMSE, or mean squared error (standardised)"
    summary: ClassVar[str] = "forecast columns of your own table (CSV, Parquet)"
    source: ClassVar[str] = "your own data"
    bidirectional: ClassVar[bool] = True
    Options: ClassVar[type[TableOptions]] = TableOptions
    options: TableOptions

    def __init__(self, options: TableOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self._values = torch.from_numpy(writable(arrays["values"]))
        self._target = torch.from_numpy(writable(arrays["target"]))
        self._window = int(arrays["window"])
        self._relative = bool(arrays["relative"])
        self._count = int(self._target.shape[1])
        self._columns = tuple(map(str, arrays["names"][: self._count]))
        self._unit = arrays["scale"][: self._count]
        self._valid = list(self._fixed("valid"))

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Read the table and cut it into windows. Raises :class:`ConfigError` without a path."""
        parsed = parse_options(cls.Options, options)
        return forecast_arrays(table_of_options(parsed), parsed).arrays

    @classmethod
    def metric_name(cls, score: float, metric: float) -> str:
        """One column has an error in its unit, several have the score only."""
        one = not math.isclose(score, metric, rel_tol=1e-6)
        return "RMSE" if one else "mean squared error (standardised)"

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`. Training windows are drawn at random, with overlaps."""
        if split != "train":
            yield from self._valid if split == "valid" else self._fixed(split)
            return
        group, first = divmod(start, GROUP)
        while True:
            drawn = np.random.default_rng([seed, group]).choice(
                self.arrays["train"], (GROUP, self.options.batch_size)
            )
            yield from [self._batch(places) for places in drawn[first:]]
            group, first = group + 1, 0

    def _fixed(self, split: Split) -> Iterator[Batch]:
        places = self.arrays[split]
        for k in range(0, len(places), EVALUATION_BATCH):
            yield self._batch(places[k : k + EVALUATION_BATCH])

    def _batch(self, places: NDArray[np.int64]) -> Batch:
        """``x [window, B, I]``; ``y [B, horizon * C]``, NaN where there is no target."""
        first = torch.from_numpy(writable(places))
        rows = first + torch.arange(-self._window, 0).unsqueeze(1)
        x = self._values[rows]
        ahead = first.unsqueeze(1) + torch.arange(self.options.horizon)
        y = self._target[ahead]
        if self._relative:
            last = x[-1]
            y = y - last[:, None, : self._count]
            x = x - last
        return Batch(x, y.flatten(1))

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """The cell, and a linear readout of the last row for all columns and steps."""
        return heads.SequenceModel(
            cell_factory,
            features=self._values.shape[1],
            outputs=self._count * self.options.horizon,
            readout="last",
        )

    def interface(self) -> Interface:
        """Rows of the columns in, the next ``horizon`` rows of those that are predicted out."""
        mean, scale = self.arrays["mean"], self.arrays["scale"]
        names = tuple(map(str, self.arrays["names"]))
        inputs = features(names, mean, scale, relative=self._relative, history=self._window)
        few = slice(self._count)
        answer = values(self._columns, mean[few], scale[few], horizon=self.options.horizon)
        return Interface(inputs=inputs, answer=answer, readout="last")

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean squared error of what has a target."""
        y = batch.y.to(prediction.dtype)
        known = torch.isfinite(y)
        if bool(known.all()):
            return nn.functional.mse_loss(prediction, y)
        return nn.functional.mse_loss(prediction[known], y[known])

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """See the class."""
        return self._scored(self._of_model(model, split))[:2]

    def errors(self, model: nn.Module, split: Split) -> Mapping[str, float]:
        """RMSE and MAE of each column in its own unit."""
        return self._scored(self._of_model(model, split))[2]

    def naive(self, split: Split) -> tuple[Naive, ...]:
        """The last value, the value a period ago, and a linear function of the window."""
        horizon = self.options.horizon
        made = []
        for name, forecaster in forecasters(self.arrays, horizon).items():
            differences = (
                found - windows(self.arrays["target"], places, 0, horizon)
                for places, found in predictions(forecaster, self.arrays[split])
            )
            made.append(Naive(name, *self._scored(differences)))
        return tuple(made)

    def _of_model(self, model: nn.Module, split: Split) -> Iterator[NDArray[np.float64]]:
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                difference = model(batch.x)[0].double() - batch.y
                yield difference.view(len(batch.y), self.options.horizon, self._count).numpy()

    def _scored(
        self, differences: Iterable[NDArray[np.float64]]
    ) -> tuple[float, float, Mapping[str, float]]:
        """Score, metric, and the errors of each column."""
        sums = [np.zeros(self._count) for _ in range(3)]
        for difference in differences:
            wrong = np.isinf(difference)
            if wrong.any():
                return math.nan, math.nan, {}
            for total, part in zip(sums, channel_errors(difference), strict=True):
                total += part
        count, squares, sizes = sums
        score = float(squares.sum() / count.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            rmse, mae = np.sqrt(squares / count) * self._unit, sizes / count * self._unit
        found = {}
        for k, column in enumerate(self._columns):
            found[f"RMSE {column}"], found[f"MAE {column}"] = float(rmse[k]), float(mae[k])
        return score, float(rmse[0]) if self._count == 1 else score, found


class TableLabels(SequenceTask):
    """Predict a label of each group of rows of your own table.

    ``cellsearch search --csv data.csv --predict LABEL --group COLUMN`` makes an experiment of it.
    The rows of a group, in the order of time, are one sequence; the label is the same in all of
    them. Split: whole groups at random, every class in its share. Missing values repeat the last
    known one of their group, with a mark. Metric: accuracy; score: error rate.
    """

    name: ClassVar[str] = "table_labels"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "label groups of rows of your own table (CSV, Parquet)"
    source: ClassVar[str] = "your own data"
    bidirectional: ClassVar[bool] = True
    Options: ClassVar[type[TableOptions]] = TableOptions

    def __init__(self, options: TableOptions, arrays: Arrays) -> None:
        self.classes = len(arrays["classes"])
        super().__init__(options, arrays)
        self.columns = tuple(map(str, arrays["names"]))  # type: ignore[misc]

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Read the table and take its groups apart. Raises :class:`ConfigError` without a path."""
        parsed = parse_options(cls.Options, options)
        return label_arrays(table_of_options(parsed), parsed).arrays

    def answer(self) -> Answer:
        """The labels of the table."""
        return Answer(kind="classes", names=tuple(map(str, self.arrays["classes"])))

    def naive(self, split: Split) -> tuple[Naive, ...]:
        """Always the label that most groups for training have."""
        part = SPLITS.index(split)
        counts = np.bincount(self.arrays["y"][self.arrays["split"] == 0], minlength=self.classes)
        right = float((self.arrays["y"][self.arrays["split"] == part] == counts.argmax()).mean())
        return (Naive(f"always {self.arrays['classes'][counts.argmax()]}", 1 - right, right),)
