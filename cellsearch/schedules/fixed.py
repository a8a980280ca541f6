"""Everybody gets the full training at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cellsearch.history import History
from cellsearch.schedules.base import Schedule
from cellsearch.trial import Budget, Trial

__all__ = ["Fixed"]


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
