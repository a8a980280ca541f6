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
    """The run existed: it has ``finished`` trials already, and ``requeued`` jobs were under way
    when it ended and are done again.
    """

    finished: int
    requeued: int


@dataclass(frozen=True, slots=True)
class EnvironmentChanged:
    """The run was made on another machine or with other versions: what differs, as (before, now).
    Results may differ slightly.
    """

    changes: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A job was handed out: the first training of a trial, or a higher rung of it
    (``trial.rungs[-1].budget``).
    """

    trial: Trial


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """A job has an outcome, which is in the store. The trial may get more training later, if its
    status is not finished.
    """

    trial: Trial
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DuplicateAnswered:
    """A proposal was not trained, because ``duplicate_of`` has the same key. ``trial``: the number
    that it was proposed for.

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


SearchEvent = (
    Resumed
    | EnvironmentChanged
    | ReferenceTraining
    | TrialStarted
    | TrialEnded
    | DuplicateAnswered
    | BestChanged
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
