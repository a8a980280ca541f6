"""Successive halving: train a little, go on with the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cellsearch.history import History, Ranking
from cellsearch.options import at_least
from cellsearch.schedules.base import Schedule
from cellsearch.trial import Budget, Trial

__all__ = ["SuccessiveHalving"]


@dataclass(frozen=True, slots=True)
class SuccessiveHalving(Schedule):
    """Asynchronous successive halving, stopping form: train a little, go on with the best 1/eta.

    Rungs are ``steps / eta**(levels - 1), ..., steps / eta, steps``. When a trial ends rung k, it
    is compared with all scores of rung k that are known at that moment (its own included), and goes
    on if it is among the best ``max(1, n // eta)``; otherwise it is stopped for good. So no worker
    ever waits for a rung to fill, at the price that early trials are judged against few others.
    Baselines always get the full training, because they are what the winner is compared with.

    eta: of so many trials one goes on.
    levels: rungs in all; each gets ``eta`` times the training of the one before.

    Li et al. 2020 (MLSys, arXiv 1810.05934), algorithm 2, which promotes later instead of deciding
    at once; the stopping form is that of Klein et al. 2020 (arXiv 2003.10865), section 3.
    """

    name: ClassVar[str] = "halving"
    paper: ClassVar[str] = "Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning"

    eta: Annotated[int, at_least(2)] = 3
    levels: Annotated[int, at_least(1)] = 3

    def rungs(self, steps: int) -> tuple[int, ...]:
        """The budgets; levels that would come below one step, or equal to the next, are left
        out.
        """
        budgets = {max(1, round(steps / self.eta**k)) for k in range(self.levels)}
        return tuple(sorted(budgets))

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        """The next rung, if the trial is among the best of its last one."""
        if trial.status.finished:
            return None
        rungs = self.rungs(steps)
        done = sum(rung.result is not None for rung in trial.rungs)
        if done >= len(rungs):
            return None
        if done == 0 or trial.is_baseline or self._among_best(history, trial, done - 1):
            return Budget(rungs[done], done)
        return None

    def _among_best(self, history: History, trial: Trial, rung: int) -> bool:
        own = trial.score_at(rung)
        if own is None or not own < float("inf"):
            return False
        scores = history.index(ScoresAt, rung)
        # Equal scores: the earlier trial is better, so that the answer does not depend on the order
        # of a dictionary.
        better, others = scores.below(own, trial.number), len(scores.values)
        known = history.by_number.get(trial.number)
        before = scores.value(known) if known is not None else None
        if before is not None:  # what the history knows of the trial itself
            better -= before < own
            others -= 1
        return better < max(1, (others + 1) // self.eta)


class ScoresAt(Ranking):
    """The scores that a rung gave to trials that are no baselines."""

    def __init__(self, rung: int) -> None:
        super().__init__()
        self._rung = rung

    def value(self, trial: Trial) -> float | None:
        """The score at the rung, if it has one."""
        return None if trial.is_baseline else trial.score_at(self._rung)
