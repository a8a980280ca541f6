"""What a comparison of runs holds of each: how its best score fell, and what it shares."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from cellsearch.genome.graph import Genome

__all__ = ["ComparedGroup", "ComparedRun", "SharedCell", "deviation", "mean"]


@dataclass(frozen=True)
class ComparedRun:
    """How the best score of one run fell."""

    path: str
    """The folder of the run."""
    seed: int
    """Its random seed."""
    points: tuple[tuple[float, float], ...]
    """How much had been spent and the best score then, at each improvement."""
    end: float
    """How much had been spent when its last trial ended."""
    trials: int
    """How many trials have ended, without baselines and those that cost nothing."""

    def best(self, spent: float) -> float:
        """The best score when so much was spent; infinity before the first."""
        place = bisect_right(self.points, (spent, math.inf))
        return self.points[place - 1][1] if place else math.inf


@dataclass(frozen=True)
class ComparedGroup:
    """Runs that differ by their seed alone."""

    name: str
    """What tells it from the others."""
    runs: tuple[ComparedRun, ...]
    """In order of seed."""
    p: float = math.nan
    """Of the rank test against the control, corrected for the number of tests; NaN for the control
    itself, and where there is no test."""
    superiority: float = math.nan
    """Probability that a run of it ends better than one of the control."""
    low: float = math.nan
    """Lower end of the 95 % bootstrap interval of that."""
    high: float = math.nan
    """Upper end."""

    def scores(self, spent: float) -> tuple[float, ...]:
        """The best score of each run when so much was spent; infinity for none."""
        return tuple(run.best(spent) for run in self.runs)


@dataclass(frozen=True)
class SharedCell:
    """A cell that more than one run has found."""

    genome: Genome
    """As the run wrote it in which it did best."""
    found: tuple[tuple[str, int, float], ...]
    """Run, number of the trial, score; best first."""
    groups: tuple[str, ...]
    """Names of the groups that found it."""

    @property
    def mean(self) -> float:
        """Mean score."""
        return sum(score for *_, score in self.found) / len(self.found)

    @property
    def spread(self) -> float:
        """Highest score minus lowest."""
        return self.found[-1][2] - self.found[0][2]


def mean(scores: Sequence[float]) -> float:
    """Their mean; NaN where one is missing."""
    found = math.fsum(scores) / len(scores) if scores else math.nan
    return found if math.isfinite(found) else math.nan


def deviation(scores: Sequence[float]) -> float:
    """Their sample standard deviation; NaN for fewer than two, and where one is missing."""
    middle = mean(scores)
    if len(scores) < 2:
        return math.nan
    return math.sqrt(math.fsum((score - middle) ** 2 for score in scores) / (len(scores) - 1))
