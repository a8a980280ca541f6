"""What an observer of a search is told, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cellsearch.job import Outcome
from cellsearch.trial import Trial

__all__ = ["BestChanged", "DuplicateAnswered", "EnvironmentChanged", "Resumed", "SearchEvent", "TrialEnded", "TrialStarted"]


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run existed: it has ``finished`` trials already, and ``requeued`` jobs were under way when it ended and are done again."""

    finished: int
    requeued: int


@dataclass(frozen=True, slots=True)
class EnvironmentChanged:
    """The run was made on another machine or with other versions: what differs, as (before, now). Results may differ slightly."""

    changes: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A job was handed out: the first training of a trial, or a higher rung of it (``trial.rungs[-1].budget``)."""

    trial: Trial


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """A job has an outcome, which is in the store. The trial may get more training later, if its status is not finished."""

    trial: Trial
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DuplicateAnswered:
    """A proposal was not trained, because ``duplicate_of`` has the same key. ``trial``: the number that it was proposed for.

    ``final``: the strategy gave nothing but duplicates, so the trial itself is recorded as one.
    """

    trial: int
    attempt: int
    duplicate_of: int
    final: bool


@dataclass(frozen=True, slots=True)
class BestChanged:
    """There is a new best trial; ``best.cell`` holds its cell."""

    trial: Trial


SearchEvent = Resumed | EnvironmentChanged | TrialStarted | TrialEnded | DuplicateAnswered | BestChanged
