"""What a search has computed: optimizer steps times multiply-adds of the model for one position, of
everything that it trains.

Supernets count, with the passes that measure their connections (three of them over as many
positions are one step). A training that failed counts in full; what is answered from the history,
refused before training or imported is free. Over a suite the tasks that a cell was trained on
count, each with its steps and sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from cellsearch import tasks, zoo
from cellsearch.experiment import Experiment
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import multiply_adds
from cellsearch.genome.parameters import fits_any_size, output_size
from cellsearch.history import Granted
from cellsearch.job import Training
from cellsearch.space import LayerSizes
from cellsearch.space.declaration import layer_footprint, layer_weights
from cellsearch.tasks.base import Arrays, Task
from cellsearch.tasks.suite import SUITE, Suite, part
from cellsearch.training.model import trained_sizes
from cellsearch.training.suite import member_training
from cellsearch.trial import Status, Trial

__all__ = ["Meter", "spent"]


@dataclass(frozen=True)
class _Share:
    """What a task adds to the cost of a trial."""

    steps: int
    sizes: LayerSizes
    pass_steps: float
    """Steps that a forward pass over one validation batch is worth: a third of one, times the
    positions that it has more."""

    @classmethod
    def of(cls, task: Task, training: Training) -> Self:
        """How a task is trained."""
        positions = [
            int(np.prod(next(iter(task.batches(split, 0))).x.shape[:2]))
            for split in ("train", "valid")
        ]
        ratio = positions[1] / positions[0] / 3
        return cls(training.steps, trained_sizes(task, training), ratio)


@dataclass(frozen=True)
class Meter:
    """Counts what trials of one experiment cost."""

    tasks: tuple[_Share, ...]
    """One for each task that a cell is trained for."""
    batches: int = 0
    """On how many of validation each connection of a supernet was measured."""

    @classmethod
    def of(cls, experiment: Experiment, arrays: Arrays) -> Self:
        """Of an experiment with its data, from :func:`cellsearch.training.prepare`."""
        batches = experiment.strategy.perturbation
        if experiment.task != SUITE:
            task = tasks.get(experiment.task).create(experiment.task_options, arrays)
            return cls((_Share.of(task, experiment.training),), batches)
        suite, found = Suite.parse(experiment.task_options), []
        for k, member in enumerate(suite.members):
            task = tasks.get(member.task).create(member.options, part(arrays, k))
            found.append(_Share.of(task, member_training(suite, member)))
        return cls(tuple(found), batches)

    @cached_property
    def unit(self) -> float:
        """Steps times multiply-adds of a training of the LSTM."""
        return self.full(zoo.load("lstm"))

    def full(self, genome: Genome, trained: int | None = None, passes: float = 0.0) -> float:
        """Steps times multiply-adds of all trainings of a cell.

        trained: of those for the first so many tasks.
        passes: each followed by so many passes over a validation batch.
        """
        return float(
            sum(
                (one.steps + passes * one.pass_steps) * _multiply_adds(genome, one.sizes)
                for one in self.tasks[:trained]
            )
        )

    def work(self, trial: Trial) -> float:
        """Steps times multiply-adds of everything that was trained for a trial."""
        if trial.status is Status.DUPLICATE or trial.is_rejected or trial.is_imported:
            return 0.0
        trained, passes, share = None, 0.0, 1.0
        if (result := trial.result) is not None:
            count = result.metrics.get("trained_tasks")
            trained = int(count) if count else None
            share = Granted.of(trial) / sum(one.steps for one in self.tasks[:trained])
            measured = [c for c in result.connections.values() if c.perturbation is not None]
            passes = self.batches * (len(measured) + 1.0) if measured else 0.0
        return share * self.full(trial.genome, trained, passes)

    def cost(self, trial: Trial) -> float:
        """:meth:`work` in trainings of the LSTM."""
        return self.work(trial) / self.unit


def spent(trials: Iterable[Trial], meter: Meter) -> Iterator[tuple[float, Trial]]:
    """What had been spent, in trainings of the LSTM, at the end of each trial that has ended, in
    order of number; baselines are left out.
    """
    total = 0.0
    for trial in trials:
        if trial.status.finished and not trial.is_baseline:
            total += meter.cost(trial)
            yield total, trial


def _multiply_adds(genome: Genome, sizes: LayerSizes) -> int:
    """Of a step of the model: its layers, what is before them and the readout."""
    if fits_any_size(genome):
        return layer_footprint(genome, sizes).macs_per_step
    named, around = dict(sizes.named), sizes.around
    projection = around.features * sizes.input_size
    before = projection if around.features not in (0, sizes.input_size) else 0
    width = output_size(genome, sizes.input_size, sizes.hidden_size, named) * sizes.directions
    return before + layer_weights(genome, sizes, multiply_adds) + around.outputs * width
