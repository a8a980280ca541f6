from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Annotated, ClassVar

from cellsearch import Budget, History, Trial
from cellsearch.options import between
from cellsearch.schedules import Schedule


@dataclass(frozen=True)
class BetterHalf(Schedule):
    """A part of the training first; the rest for those that are no worse than the median.

    ``share``: how much of the training comes first.
    """

    name: ClassVar[str] = "better_half"
    paper: ClassVar[str] = "an example"

    share: Annotated[float, between(0, 1, open_low=True, open_high=True)] = 0.5

    def rungs(self, steps: int) -> tuple[int, ...]:
        return tuple(sorted({max(1, round(self.share * steps)), steps}))

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        rungs, done = self.rungs(steps), sum(rung.result is not None for rung in trial.rungs)
        if trial.status.finished or done == len(rungs):
            return None
        if done and not trial.is_baseline and not self._is_good(history, trial):
            return None
        return Budget(rungs[done], done)

    def _is_good(self, history: History, trial: Trial) -> bool:
        own, others = trial.score_at(0), [t.score_at(0) for t in history if not t.is_baseline]
        known = [score for score in others if score is not None and isfinite(score)]
        return own is not None and isfinite(own) and own <= median([*known, own])
