"""What an observer of a search is told, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cellsearch.job import Outcome
from cellsearch.training.data import ReferenceTraining
from cellsearch.trial import Trial

__all__ = [
    "Announcer",
    "BestChanged",
    "DuplicateAnswered",
    "EnvironmentChanged",
    "Observer",
    "Resumed",
    "SearchEvent",
    "TrialEnded",
    "TrialStarted",
]


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run existed."""

    finished: int
    """How many trials have ended already."""
    requeued: int
    """How many jobs were under way when it ended, and are done again."""


@dataclass(frozen=True, slots=True)
class EnvironmentChanged:
    """The run was made on another machine or with other versions: results may differ slightly."""

    changes: Mapping[str, tuple[str, str]]
    """What differs, as (before, now)."""


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A job was handed out: the first training of a trial, or a higher rung of it."""

    trial: Trial
    """The trial; ``rungs[-1].budget`` is what it was granted."""


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """A job has an outcome, which is in the store."""

    trial: Trial
    """The trial; it may get more training later if its status is not finished."""
    outcome: Outcome
    """What became of the job."""


@dataclass(frozen=True, slots=True)
class DuplicateAnswered:
    """A proposal was not trained, because another trial has the same key."""

    trial: int
    """The number that it was proposed for."""
    attempt: int
    """Which proposal for this number, from 0."""
    duplicate_of: int
    """The trial that has the same key."""
    final: bool
    """Whether the strategy gave nothing but duplicates, so that the trial is recorded as one."""


@dataclass(frozen=True, slots=True)
class BestChanged:
    """There is a new best trial; ``best.cell`` holds its cell."""

    trial: Trial
    """The trial."""


@dataclass(frozen=True, slots=True)
class WaitsForTold:
    """Nothing is left to train until somebody tells the run a cell; the search waits."""


SearchEvent = (
    Resumed
    | EnvironmentChanged
    | ReferenceTraining
    | TrialStarted
    | TrialEnded
    | DuplicateAnswered
    | BestChanged
    | WaitsForTold
)

Observer = Callable[[SearchEvent], None]


class Announcer:
    """Tells the observer what happens. What opening the run has to say waits until there is one."""

    def __init__(self) -> None:
        self._observer: Observer | None = None
        self._unseen: list[SearchEvent] = []

    def listen(self, observer: Observer | None) -> None:
        """Tell this one from now on, first of all what nobody has seen; ``None``: nobody."""
        self._observer = observer
        unseen, self._unseen = self._unseen, []
        for event in unseen:
            self.tell(event)

    def tell(self, event: SearchEvent) -> None:
        """Let the observer know; without one only what concerns the whole run is kept for the
        next.
        """
        if self._observer is not None:
            self._observer(event)
        elif isinstance(event, Resumed | EnvironmentChanged):
            self._unseen.append(event)
