"""Median stopping: who learns more slowly than others did is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, ClassVar

from cellsearch.history import History, Ranking
from cellsearch.options import at_least, between
from cellsearch.schedules.base import Schedule
from cellsearch.trial import Budget, Status, Trial

__all__ = ["CurveStop"]


@dataclass(frozen=True, slots=True)
class CurveStop(Schedule):
    """The median stopping rule: stop a trial whose best score so far is worse than what completed
    trials had by then.

    After ``grace`` of the steps and at ``looks`` - 1 further, evenly spaced points, the best
    validation score of the trial is compared with the completed trials: for each of them the mean
    of its validation scores up to the same step. It stops when it is strictly worse than the
    ``quantile`` of these means (0.5: their median; 0.8 stops only the worst fifth, more or less).
    Nothing is stopped before ``minimum`` trials have been completed; baselines count among these
    and are never stopped themselves. Unlike halving it keeps no fixed share: while the completed
    trials are poor, everything better than half of them goes on.

    looks: how often a trial is judged before its end.
    grace: share of the steps before the first look.
    quantile: of the means of completed trials, which a trial must reach.
    minimum: so many completed trials before anything is stopped.

    Golovin et al. 2017 (KDD, Google Vizier), section 3.2.2. Each look is a rung, so
    ``training.evaluations`` counts between looks: 1 is enough for most.
    """

    name: ClassVar[str] = "curve_stop"
    paper: ClassVar[str] = (
        "Golovin et al. 2017, Google Vizier: A Service for Black-Box Optimization"
    )

    looks: Annotated[int, at_least(1)] = 4
    grace: Annotated[float, between(0, 1, open_low=True, open_high=True)] = 0.2
    quantile: Annotated[float, between(0, 1, open_low=True, open_high=True)] = 0.5
    minimum: Annotated[int, at_least(1)] = 5

    def rungs(self, steps: int) -> tuple[int, ...]:
        """The looks and the end."""
        shares = [self.grace + (1 - self.grace) * k / self.looks for k in range(self.looks)]
        return tuple(sorted({*(max(1, round(steps * share)) for share in shares), steps}))

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        """The next look, if the trial's curve is good enough."""
        rungs = self.rungs(steps)
        done = sum(rung.result is not None for rung in trial.rungs)
        if trial.status.finished or done >= len(rungs):
            return None
        if done == 0 or trial.is_baseline or self._good_enough(history, trial, rungs[done - 1]):
            return Budget(rungs[done], done)
        return None

    def _good_enough(self, history: History, trial: Trial, step: int) -> bool:
        best = min(_curve(trial, step), default=float("inf"))
        if not best < float("inf"):
            return False
        means: Sequence[float] = history.index(MeansUntil, step).values
        known = history.by_number.get(trial.number)
        if known is not None and (own := _mean(known, step)) is not None:
            means = list(means)
            means.remove(own)
        if len(means) < self.minimum:
            return True
        # The quantile between two neighbours, as numpy draws it: the median of an even number is
        # the mean of the two in the middle.
        place = self.quantile * (len(means) - 1)
        low = int(place)
        high = min(low + 1, len(means) - 1)
        return best <= means[low] + (place - low) * (means[high] - means[low])


class MeansUntil(Ranking):
    """The mean scores of completed trials up to a step."""

    reads_curves = True

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def value(self, trial: Trial) -> float | None:
        """The mean, if the trial counts and has any score by then."""
        return _mean(trial, self._step)


def _mean(trial: Trial, step: int) -> float | None:
    if trial.status is not Status.COMPLETED or trial.is_intermediate:
        return None
    curve = _curve(trial, step)
    return fmean(curve) if curve else None


def _curve(trial: Trial, step: int) -> list[float]:
    """The validation scores of a trial up to a step; what a higher rung repeats of a lower one
    counts once, trainings with other seeds do not.
    """
    points = {
        at: score
        for rung in trial.rungs[: len(trial.rungs) - len(trial.repeats)]
        if rung.result is not None
        for at, score in rung.result.curve
        if at <= step
    }
    return [score for score in points.values() if score < float("inf")]
