"""Which of the settings that were tried counts: the one with the best mean validation score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellsearch.benchmark.base import ExerciseResult
from cellsearch.job import Training

__all__ = ["WORST", "ChosenSetting", "choices", "failures"]

WORST = 1.0
"""The validation score of a training that failed: the worst error rate."""


@dataclass(frozen=True, slots=True)
class ChosenSetting:
    """What counts of a cell at one problem."""

    training: Training
    """The setting that validation has chosen."""
    findings: tuple[ExerciseResult, ...]
    """Its trainings, in the order of the seeds."""

    @property
    def weights(self) -> int:
        """Of the whole model; 0 where every training failed."""
        known = (f.result.parameters for f in self.findings if f.result is not None)
        return next(known, 0)


def choices(cell: str, findings: Sequence[ExerciseResult]) -> Mapping[str, ChosenSetting]:
    """Of each problem the choice among all that was tried with the cell of this name; of equal
    settings the first.
    """
    tried: dict[str, dict[Training, list[ExerciseResult]]] = defaultdict(lambda: defaultdict(list))
    for finding in _of(cell, findings):
        tried[finding.exercise.problem][finding.exercise.training].append(finding)
    found = {}
    for problem, settings in tried.items():
        training, chosen = min(settings.items(), key=lambda one: _mean_valid(one[1]))
        ordered = sorted(chosen, key=lambda finding: finding.exercise.seed)
        found[problem] = ChosenSetting(training, tuple(ordered))
    return found


def failures(cell: str, findings: Sequence[ExerciseResult]) -> int:
    """How many trainings of the cell of this name failed, of all settings."""
    return sum(finding.result is None for finding in _of(cell, findings))


def _of(cell: str, findings: Sequence[ExerciseResult]) -> list[ExerciseResult]:
    return [finding for finding in findings if finding.exercise.cell == cell]


def _mean_valid(findings: Sequence[ExerciseResult]) -> float:
    return float(np.mean([WORST if f.result is None else f.result.score for f in findings]))
