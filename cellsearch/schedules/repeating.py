"""Repeating the trainings of cells that lead, with new seeds, before they rank.

The best of many noisy scores is better than its cell: the larger the search, the more so (the
winner's curse). So a cell whose score would put it among the best is trained again, and ranks by
the mean. Who is repeated is decided like a bandit's next pull: a cell counts as a leader as long as
the optimistic end of its interval, mean - ``confidence`` standard errors, is among the ``top``;
what is clearly not among them after two trainings gets no third. The standard error is that of all
repeated cells of the history together, because two scores of one cell say little of its own.

Racing with repeated evaluations: Heidrich-Meisner & Igel 2009 (ICML); confidence bounds for the
best of several: Kalyanakrishnan et al. 2012 (ICML, LUCB), here in its one-sided form.
"""

from __future__ import annotations

import math

from cellsearch.history import History, Index, Ranking
from cellsearch.job import Budget, Reevaluation
from cellsearch.trial import Status, Trial

__all__ = ["Leaders", "Noise", "repeat_budget"]


def repeat_budget(
    reevaluation: Reevaluation, history: History, trial: Trial, steps: int
) -> Budget | None:
    """The next repeat of a trial that has had the full training of ``steps``; ``None`` when it gets
    no more. Baselines are always repeated, for they are what the others are compared with.

    A pure function of the history, which need not hold the trial, or holds it as it was before.
    Supernets do not rank, results from elsewhere stay as they are, and the score of a cell that
    inherited weights has no repeat that it could be compared with: none of them is repeated.
    """
    scores = trial.scores_of(steps)
    if not 0 < len(scores) < reevaluation.trainings:
        return None
    if trial.is_intermediate or trial.is_imported or trial.proposal.inherit is not None:
        return None
    if not (trial.is_baseline or _leads(reevaluation, history, trial, scores, steps)):
        return None
    return Budget(steps, len(trial.rungs))


def _leads(
    reevaluation: Reevaluation,
    history: History,
    trial: Trial,
    scores: tuple[float, ...],
    steps: int,
) -> bool:
    mean = sum(scores) / len(scores)
    error = history.index(Noise, steps).deviation / math.sqrt(len(scores))
    bound = mean - reevaluation.confidence * error
    leaders = history.index(Leaders, steps)
    better = leaders.below(bound, trial.number)
    known = history.by_number.get(trial.number)
    before = leaders.value(known) if known is not None else None
    if before is not None:  # what the history knows of the trial itself
        better -= before < bound
    return better < reevaluation.top


class Leaders(Ranking):
    """Cells by the mean score of their full trainings so far; without the baselines."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def value(self, trial: Trial) -> float | None:
        """The mean, if the cell was trained in full and did not fail."""
        if trial.is_baseline or trial.is_intermediate or trial.duplicate_of is not None:
            return None
        scores = trial.scores_of(self._steps)
        if not scores or trial.status is Status.FAILED:
            return None
        return sum(scores) / len(scores)


class Noise(Index):
    """How far scores of one cell lie apart, over all cells with several."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._squares: dict[int, tuple[float, int]] = {}

    @property
    def deviation(self) -> float:
        """The pooled standard deviation of one training; 0 while no cell has two."""
        freedom = sum(count for _, count in self._squares.values())
        # exact, whatever the order in which trials came
        total = math.fsum(squares for squares, _ in self._squares.values())
        return math.sqrt(total / freedom) if freedom else 0.0

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        self._squares.pop(trial.number, None)
        scores = trial.scores_of(self._steps)
        if len(scores) > 1 and trial.duplicate_of is None:
            mean = sum(scores) / len(scores)
            squares = math.fsum((score - mean) ** 2 for score in scores)
            self._squares[trial.number] = squares, len(scores) - 1

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self._squares.pop(trial.number, None)
