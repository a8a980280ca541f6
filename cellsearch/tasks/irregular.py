"""An irregular series with a known answer: what is left of impulses that decay between uneven
steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.options import above, at_least, between
from cellsearch.tasks.base import Batch, CellFactory, Split
from cellsearch.tasks.interface import Interface, features, values
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import Example, SyntheticTask

__all__ = ["Irregular", "IrregularOptions"]


@dataclass(frozen=True, slots=True)
class IrregularOptions(TaskOptions):
    """Options of :class:`Irregular`."""

    length: Annotated[int, at_least(2)] = 40
    """T of the sequences."""
    decay: Annotated[float, above(0)] = 1.0
    """Time in which an impulse falls to 1/e; the mean time between steps is 1."""
    spread: Annotated[float, between(0, 3)] = 0.0
    """Deviation of the logarithm of the times between steps (log-normal, mean 1), so that many are
    short and a few very long; 0: exponential times."""
    missing: Annotated[float, between(0, 0.9)] = 0.25
    """Share of the steps at which no impulse was observed: x and the mask are 0 there."""
    time_feature: bool = False
    """Whether the time since the step before is a column of x too, for cells that do not read
    ``dt[t]``."""
    evaluation_size: Annotated[int, at_least(1)] = 500
    """Examples of the validation and of the test set."""


class Irregular(SyntheticTask):
    """What is left of decaying impulses, at uneven times.

    Own definition, after the shot noise of Schottky 1918: steps lie at times with exponential (or
    log-normal, ``spread``) gaps of mean 1 (``dt``); at each an impulse a_t, normal of deviation 1,
    arrives (or nothing, where it is ``missing``). The target at every step is y_t = a_t + y_(t-1)
    exp(-dt_t / decay), with y = 0 before the first. A cell that decays with the time has it exactly
    (decay 1): h[t] = exp(-dt[t]) * h[t-1] + linear(x[t]). Score: mean squared error divided by the
    variance of y, 1 for always answering 0. Metric: the same.
    """

    name: ClassVar[str] = "irregular"
    metric: ClassVar[str] = "share of variance not explained"
    summary: ClassVar[str] = "what is left of decaying impulses at uneven times (T = 40)"
    source: ClassVar[str] = "own definition, shot noise after Schottky 1918"
    Options: ClassVar[type[IrregularOptions]] = IrregularOptions
    options: IrregularOptions

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: IrregularOptions, count: int, length: int
    ) -> Example:
        """``x [T, B, 1]`` (``[T, B, 2]`` with the time), ``y [T, B]``, times and masks."""
        if options.spread:
            gaps = rng.lognormal(-(options.spread**2) / 2, options.spread, (length, count))
        else:
            gaps = rng.exponential(1.0, (length, count))
        seen = rng.random((length, count)) >= options.missing
        impulses = np.where(seen, rng.normal(size=(length, count)), 0.0)
        left = np.zeros_like(gaps)
        state = np.zeros(count)
        for t in range(length):
            state = left[t] = impulses[t] + state * np.exp(-gaps[t] / options.decay)
        columns = [impulses, gaps] if options.time_feature else [impulses]
        observed = [seen, np.ones_like(seen)] if options.time_feature else [seen]
        x, mask = np.stack(columns, -1), np.stack(observed, -1)
        given = {"dt": gaps.astype(np.float32), "mask": mask.astype(np.float32)}
        return x.astype(np.float32), left.astype(np.float32), given

    @classmethod
    def evaluation_lengths(cls, options: IrregularOptions, split: Split) -> tuple[int, ...]:
        """One length for all."""
        return (options.length,)

    def training_length(self, rng: np.random.Generator) -> int:
        """The same length."""
        return self.options.length

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """The cell and a linear readout at every position."""
        columns = 2 if self.options.time_feature else 1
        return heads.SequenceModel(cell_factory, features=columns, outputs=1)

    def interface(self) -> Interface:
        """Impulses in, what is left of them out."""
        names = ("impulse", "time") if self.options.time_feature else ("impulse",)
        inputs = features(names, missing=True)
        return Interface(inputs=inputs, answer=values(("left",)), readout="every", time_unit=1.0)

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean squared error, divided by the variance of the batch's targets."""
        y = batch.y.to(prediction.dtype)
        return nn.functional.mse_loss(prediction.squeeze(2), y) / y.var(correction=0)

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """The same of the split, for both."""
        with heads.evaluation(model):
            (batch,) = self.batches(split, 0)
            error = float(self.loss(batch.read_by(model)[0], batch))
        return error, error
