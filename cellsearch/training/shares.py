"""One number out of several trainings of a cell on a task, and out of several tasks: shares of the
reference's skill, of which higher is better.

A training that failed has the share 0 and counts in every mean. Where learning rates are tried, a
mean over them asks for a cell that learns at each; the best of them asks what a cell can do where
its rate is chosen, as final comparisons do, and is then reduced by the part of the trainings that
diverged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cellsearch.errors import ConfigError, TrainingError
from cellsearch.job import Result
from cellsearch.tasks.suite import Member, Suite

__all__ = ["OneTraining", "Scored", "fitness", "scored", "share", "task_share"]

LEAST_SKILL = 0.02
"""A reference that is not better than chance by this share of chance has learned nothing, and
nothing can be compared with it.
"""


@dataclass(frozen=True, slots=True)
class OneTraining:
    """One of the trainings of a cell on a task."""

    rate: float
    """The factor of the task's learning rate."""
    seed: int
    """Decides weights and batches."""
    share: float
    """How much of the reference's skill the cell has; 0 where it diverged."""
    result: Result | None = None
    """What came out; ``None`` where it diverged."""
    failure: TrainingError | None = None
    """Why nothing did."""
    steps: int = 0
    """Optimizer steps that it was granted."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What came out of one task of a suite."""

    member: Member
    """The task."""
    result: Result
    """Of the training for it; of several, score, metric and further numbers are means (not a number
    where one of them diverged), steps and seconds sums, and the rest is that of the first."""
    share: float
    """How much of the reference's skill the cell has."""
    trainings: tuple[OneTraining, ...] = ()
    """All trainings for it."""

    @property
    def diverged(self) -> int:
        """How many of them diverged."""
        return sum(one.result is None for one in self.trainings)


def share(chance: float, score: float, reference: float, task: str = "") -> float:
    """Share of the reference's skill, at least 0. Raises :class:`ConfigError` where the reference
    itself has learned nothing.
    """
    skill = chance - reference
    if not skill > LEAST_SKILL * abs(chance):
        raise ConfigError(
            f"the reference scores {reference:.4g}, which is no better than chance "
            f"({chance:.4g}) by {LEAST_SKILL:.0%} of it at least",
            where=f"task {task}",
            hint="give it more steps, or correct chance",
        )
    return max(0.0, (chance - score) / skill)


def task_share(suite: Suite, trainings: Sequence[OneTraining]) -> float:
    """The share of a task out of those of its trainings, as the suite's ``over_rates`` says."""
    if suite.over_rates == "mean":
        return _mean([one.share for one in trainings])
    whole = sum(one.result is not None for one in trainings) / len(trainings)
    return whole * max(_mean([one.share for one in same]) for same in _by_rate(trainings))


def scored(suite: Suite, member: Member, trainings: Sequence[OneTraining]) -> Scored:
    """What several trainings say of a cell at one task."""
    value = task_share(suite, trainings)
    done = [one.result for one in trainings if one.result is not None]
    if len(trainings) == 1 and done:
        return Scored(member, done[0], value, tuple(trainings))
    meant = list(trainings)
    if suite.over_rates == "best":
        meant = max(_by_rate(trainings), key=lambda same: _mean([one.share for one in same]))
    numbers = [one.result for one in meant]
    first = done[0] if done else Result(math.nan, math.nan, 0, 0.0, 0, 0)
    result = replace(
        first,
        score=_mean([math.nan if r is None else r.score for r in numbers]),
        metric=_mean([math.nan if r is None else r.metric for r in numbers]),
        # what diverged on the way counts as granted
        steps=sum(one.steps if one.result is None else one.result.steps for one in trainings),
        seconds=sum(result.seconds for result in done),
        metrics={
            name: _mean([math.nan if r is None else r.metrics.get(name, math.nan) for r in numbers])
            for name in first.metrics
        },
        curve=(),
    )
    return Scored(member, result, value, tuple(trainings))


def fitness(suite: Suite, shares: Sequence[float]) -> float:
    """One number of the shares of the trained tasks, in the order of the suite; higher is better.

    ``min``: the smallest share. With ``stop_below`` a cell that failed a task is placed below all
    that failed none, by how many tasks it passed and then by its share of the one that it failed:
    ``stop_below * (passed + share / stop_below) / tasks``. The minimum alone would call a cell that
    fails the first task equal to one that fails the last. ``mean`` and ``pareto``: the mean. With
    ``most`` no share counts for more than that.
    """
    if suite.most:
        shares = [min(value, suite.most) for value in shares]
    if suite.aggregation != "min":
        return sum(shares) / len(shares)
    failed = next((k for k, value in enumerate(shares) if value < suite.stop_below), None)
    if failed is None:
        return min(shares)
    return suite.stop_below * (failed + shares[failed] / suite.stop_below) / len(suite.members)


def _by_rate(trainings: Sequence[OneTraining]) -> list[list[OneTraining]]:
    rates = dict.fromkeys(one.rate for one in trainings)
    return [[one for one in trainings if one.rate == rate] for rate in rates]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
