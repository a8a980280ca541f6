"""Schedules: who gets more training.

Like a strategy, a schedule keeps nothing: its answer follows from the history, so a run resumes by opening its store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from cellsearch.errors import ConfigError
from cellsearch.trial import Budget, History, Trial

__all__ = ["Fixed", "Schedule", "SuccessiveHalving", "create", "names"]


class Schedule(ABC):
    """Grants training. Subclasses are frozen dataclasses whose fields are the options of an experiment, nothing else."""

    name: ClassVar[str]
    paper: ClassVar[str]

    @abstractmethod
    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        """What the trial gets next: its first budget, or a higher rung, or ``None`` when it gets no more.

        ``history``: all trials that may be known (the trial itself need not be in it, or may be there in an older state);
        ``trial``: the trial as it is now; ``steps``: full training of the experiment, in optimizer steps. A budget counts all
        steps of the trial, so the steps of rung k + 1 include those of rung k. A trial that is finished for good gets ``None``.
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

    Rungs are ``steps / eta**(levels - 1), ..., steps / eta, steps``. When a trial ends rung k, it is compared with all scores of rung k
    that are known at that moment (its own included), and goes on if it is among the best ``max(1, n // eta)``; otherwise it is
    stopped for good. So no worker ever waits for a rung to fill, at the price that early trials are judged against few others.
    Baselines always get the full training, because they are what the winner is compared with.

    Li et al. 2020 (MLSys, arXiv 1810.05934), algorithm 2, which promotes later instead of deciding at once; the stopping form is that of
    Klein et al. 2020 (arXiv 2003.10865), section 3.
    """

    name: ClassVar[str] = "halving"
    paper: ClassVar[str] = "Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning"

    eta: int = 3
    levels: int = 3

    def __post_init__(self) -> None:
        if self.eta < 2 or self.levels < 1:
            raise ConfigError(
                f"eta = {self.eta}, levels = {self.levels}", where="schedule_options", hint="eta is at least 2, levels at least 1"
            )

    def rungs(self, steps: int) -> tuple[int, ...]:
        """The budgets; levels that would come below one step, or equal to the next, are left out."""
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
        scores = {other.number: score for other in history if (score := _score_at(other, rung)) is not None and not other.is_baseline}
        own = _score_at(trial, rung)
        if own is None or not own < float("inf"):
            return False
        scores[trial.number] = own
        # Equal scores: the earlier trial is better, so that the answer does not depend on the order of a dictionary.
        better = sum((score, number) < (own, trial.number) for number, score in scores.items())
        return better < max(1, len(scores) // self.eta)


def _score_at(trial: Trial, rung: int) -> float | None:
    for done in trial.rungs:
        if done.budget.rung == rung and done.result is not None:
            return done.result.score
    return None


_SCHEDULES: dict[str, type[Schedule]] = {cls.name: cls for cls in (Fixed, SuccessiveHalving)}


def names() -> tuple[str, ...]:
    """The names of all schedules."""
    return tuple(sorted(_SCHEDULES))


def create(name: str, options: Mapping[str, Any] | None = None) -> Schedule:
    """The schedule of this name. Raises :class:`ConfigError` for an unknown name, an unknown option, or a wrong value."""
    if name not in _SCHEDULES:
        raise ConfigError(f"there is no schedule {name!r}", where="schedule", hint="schedules: " + ", ".join(names()))
    kind = _SCHEDULES[name]
    allowed = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for option, value in (options or {}).items():
        where = f"schedule_options.{option}"
        if option not in allowed:
            raise ConfigError(
                f"schedule {name} has no option {option!r}", where=where, hint="allowed: " + (", ".join(sorted(allowed)) or "none")
            )
        default = allowed[option].default
        if default is not MISSING and (isinstance(value, bool) or not isinstance(value, type(default))):
            raise ConfigError(f"{value!r} is not {type(default).__name__}", where=where)
    return kind(**dict(options or {}))
