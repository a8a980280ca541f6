"""Schedules: who gets more training.

Like a strategy, a schedule keeps nothing: its answer follows from the history, so a run resumes by
opening its store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from statistics import fmean
from typing import Any, ClassVar

from cellsearch.errors import ConfigError
from cellsearch.trial import Budget, History, Status, Trial

__all__ = ["CurveStop", "Fixed", "LookAhead", "Schedule", "SuccessiveHalving", "create", "names"]


class Schedule(ABC):
    """Grants training. Subclasses are frozen dataclasses whose fields are the options of an
    experiment, nothing else.
    """

    name: ClassVar[str]
    paper: ClassVar[str]

    @abstractmethod
    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        """What the trial gets next: its first budget, or a higher rung, or ``None`` when it gets no
        more.

        ``history``: all trials that may be known (the trial itself need not be in it, or may be
        there in an older state); ``trial``: the trial as it is now; ``steps``: full training of the
        experiment, in optimizer steps. A budget counts all steps of the trial, so the steps of rung
        k + 1 include those of rung k. A trial that is finished for good gets ``None``.
        """

    @abstractmethod
    def rungs(self, steps: int) -> tuple[int, ...]:
        """The budgets in steps, rising; the last is ``steps``."""


@dataclass(frozen=True, slots=True)
class Fixed(Schedule):
    """Everybody gets the full training at once."""

    name: ClassVar[str] = "fixed"
    paper: ClassVar[str] = ""

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        """The full budget for a new trial, nothing more afterwards."""
        return None if trial.rungs or trial.status.finished else Budget(steps, 0)

    def rungs(self, steps: int) -> tuple[int, ...]:
        """One rung."""
        return (steps,)


@dataclass(frozen=True, slots=True)
class SuccessiveHalving(Schedule):
    """Asynchronous successive halving, stopping form: train a little, go on with the best 1/eta.

    Rungs are ``steps / eta**(levels - 1), ..., steps / eta, steps``. When a trial ends rung k, it
    is compared with all scores of rung k that are known at that moment (its own included), and goes
    on if it is among the best ``max(1, n // eta)``; otherwise it is stopped for good. So no worker
    ever waits for a rung to fill, at the price that early trials are judged against few others.
    Baselines always get the full training, because they are what the winner is compared with.

    Li et al. 2020 (MLSys, arXiv 1810.05934), algorithm 2, which promotes later instead of deciding
    at once; the stopping form is that of Klein et al. 2020 (arXiv 2003.10865), section 3.
    """

    name: ClassVar[str] = "halving"
    paper: ClassVar[str] = "Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning"

    eta: int = 3
    levels: int = 3

    def __post_init__(self) -> None:
        if self.eta < 2 or self.levels < 1:
            raise ConfigError(
                f"eta = {self.eta}, levels = {self.levels}",
                where="schedule_options",
                hint="eta is at least 2, levels at least 1",
            )

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
        scores = {
            other.number: score
            for other in history
            if (score := _score_at(other, rung)) is not None and not other.is_baseline
        }
        own = _score_at(trial, rung)
        if own is None or not own < float("inf"):
            return False
        scores[trial.number] = own
        # Equal scores: the earlier trial is better, so that the answer does not depend on the order
        # of a dictionary.
        better = sum((score, number) < (own, trial.number) for number, score in scores.items())
        return better < max(1, len(scores) // self.eta)


@dataclass(frozen=True, slots=True)
class LookAhead(Schedule):
    """A short training ranks candidates that have one parent in common: the best of its siblings so
    far goes on, the others stop.

    The first rung is ``share`` of the full training. Meant for growing with ``inherit``, where a
    candidate begins with the weights of its parent, so that a short training shows what the new
    node is good for. Nobody waits for a sibling: a candidate is compared with those that were
    decided on before it, so of n siblings in random order 1 + 1/2 + ... + 1/n go on (2.4 of 6).
    Controls, cells without a parent, and cells that only serve to find others get the full training
    at once.

    Cheap evaluation of candidates before a costly one: Liu et al. 2018 (PNAS, arXiv 1712.00559),
    section 3.3, with training in place of its predictor.
    """

    name: ClassVar[str] = "lookahead"
    paper: ClassVar[str] = (
        "Liu et al. 2018, Progressive Neural Architecture Search (with short trainings "
        "in place of a predictor)"
    )

    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(
                f"{self.share} is no share of a training",
                where="schedule_options.share",
                hint="more than 0, less than 1",
            )

    def rungs(self, steps: int) -> tuple[int, ...]:
        """The short training and the full one."""
        return tuple(sorted({max(1, round(self.share * steps)), steps}))

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        """The short training, then the full one for the best of the siblings."""
        if trial.status.finished:
            return None
        if trial.is_baseline or trial.is_intermediate or not trial.proposal.parents:
            return None if trial.rungs else Budget(steps, 0)
        rungs = self.rungs(steps)
        done = sum(rung.result is not None for rung in trial.rungs)
        if done >= len(rungs):
            return None
        if done == 0 or self._is_best(history, trial):
            return Budget(rungs[done], done)
        return None

    def _is_best(self, history: History, trial: Trial) -> bool:
        own, parent = _score_at(trial, 0), trial.proposal.parents[0]
        if own is None or not own < float("inf"):
            return False
        siblings = (
            other
            for other in history
            if other.proposal.parents[:1] == (parent,) and other.number != trial.number
        )
        return all(
            score is None or own < score for score in (_score_at(other, 0) for other in siblings)
        )


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

    Golovin et al. 2017 (KDD, Google Vizier), section 3.2.2. Each look is a rung, so
    ``training.evaluations`` counts between looks: 1 is enough for most.
    """

    name: ClassVar[str] = "curve_stop"
    paper: ClassVar[str] = (
        "Golovin et al. 2017, Google Vizier: A Service for Black-Box Optimization"
    )

    looks: int = 4
    grace: float = 0.2
    quantile: float = 0.5
    minimum: int = 5

    def __post_init__(self) -> None:
        if (
            self.looks < 1
            or self.minimum < 1
            or not 0 < self.grace < 1
            or not 0 < self.quantile < 1
        ):
            raise ConfigError(
                f"looks = {self.looks}, grace = {self.grace}, quantile = "
                f"{self.quantile}, minimum = {self.minimum}",
                where="schedule_options",
                hint="looks and minimum are at least 1; grace and quantile lie between 0 and 1",
            )

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
        ended = (
            t
            for t in history
            if t.status is Status.COMPLETED and t.number != trial.number and not t.is_intermediate
        )
        means = sorted(fmean(curve) for t in ended if (curve := _curve(t, step)))
        if len(means) < self.minimum:
            return True
        # The quantile between two neighbours, as numpy draws it: the median of an even number is
        # the mean of the two in the middle.
        place = self.quantile * (len(means) - 1)
        low = int(place)
        high = min(low + 1, len(means) - 1)
        return best <= means[low] + (place - low) * (means[high] - means[low])


def _curve(trial: Trial, step: int) -> list[float]:
    """The validation scores of a trial up to a step; what a higher rung repeats of a lower one
    counts once.
    """
    points = {
        at: score
        for rung in trial.rungs
        if rung.result is not None
        for at, score in rung.result.curve
        if at <= step
    }
    return [score for score in points.values() if score < float("inf")]


def _score_at(trial: Trial, rung: int) -> float | None:
    for done in trial.rungs:
        if done.budget.rung == rung and done.result is not None:
            return done.result.score
    return None


_SCHEDULES: dict[str, type[Schedule]] = {
    cls.name: cls for cls in (CurveStop, Fixed, LookAhead, SuccessiveHalving)
}


def names() -> tuple[str, ...]:
    """The names of all schedules."""
    return tuple(sorted(_SCHEDULES))


def create(name: str, options: Mapping[str, Any] | None = None) -> Schedule:
    """The schedule of this name. Raises :class:`ConfigError` for an unknown name, an unknown
    option, or a wrong value.
    """
    if name not in _SCHEDULES:
        raise ConfigError(
            f"there is no schedule {name!r}",
            where="schedule",
            hint="schedules: " + ", ".join(names()),
        )
    kind = _SCHEDULES[name]
    allowed = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for option, value in (options or {}).items():
        where = f"schedule_options.{option}"
        if option not in allowed:
            raise ConfigError(
                f"schedule {name} has no option {option!r}",
                where=where,
                hint="allowed: " + (", ".join(sorted(allowed)) or "none"),
            )
        default = allowed[option].default
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if default is not MISSING and (isinstance(value, bool) or not isinstance(value, kinds)):
            wanted = "a number" if float in kinds else "a whole number"
            raise ConfigError(
                f"{value!r:.60} is not {wanted}", where=where, hint=f"the default is {default!r}"
            )
    return kind(**dict(options or {}))
