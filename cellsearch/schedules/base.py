"""What every schedule is: a pure function from the history to who gets more training.

Like a strategy, a schedule keeps nothing: its answer follows from the history, so a run resumes by
opening its store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from cellsearch.history import History
from cellsearch.options import check_options
from cellsearch.trial import Budget, Trial

__all__ = ["Schedule"]


class Schedule(ABC):
    """Grants training. Subclasses are frozen dataclasses: their fields are the options of an
    experiment, nothing else, and say in their annotations what they allow (see
    :mod:`cellsearch.options`).
    """

    name: ClassVar[str]
    paper: ClassVar[str]

    def __post_init__(self) -> None:
        check_options(self)

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
