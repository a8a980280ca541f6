"""Telling one tracker of one run: everything that it does not know yet, and what comes until an
end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cellsearch.errors import checked_arguments
from cellsearch.files import failpoint
from cellsearch.tracking.base import TrackedCell, TrackedTrial, Tracker
from cellsearch.tracking.feed import Feed, tracked_run
from cellsearch.tracking.journal import ToldJournal
from cellsearch.tracking.registry import get, require

__all__ = ["FOLDER", "send"]

FOLDER = "tracking"
"""The folder in a run's that holds what trackers were told."""
BATCH = 256
"""Trials that a tracker is told of before it is asked to keep them."""


@checked_arguments
def send(
    path: str | Path, name: str, wait: Callable[[Feed], bool] = lambda feed: False
) -> tuple[int, str]:
    """Tell the tracker of this name of the run in folder ``path``, also while another process
    searches in it: what it does not know yet, and no trial twice.

    wait: called after each look at the run with what it reads; waits a while and says whether
        there may be more.

    Returns how many trials it was told of now, and where people find them. Raises
    :class:`ConfigError` for an unknown tracker or one whose library is missing, :class:`RunError`
    without such a run, and whatever the library raises.
    """
    require(name)
    folder = Path(path)
    journal = ToldJournal(folder / FOLDER / f"{name}.journal")
    run = tracked_run(folder)
    tracker = get(name)(run)
    identity = tracker.open(journal.identity, journal.known)
    if identity != journal.identity:
        journal.begin(identity)
    feed = Feed(folder, journal.trials)
    try:
        before = journal.known
        for step, number in enumerate(journal.trials):
            told = feed.tell(number)
            if step >= before:
                _tell(tracker, *told)
        _keep(tracker, journal)
        more = True
        while more:
            more = wait(feed)
            _catch_up(tracker, feed, journal)
        if feed.leader is not None:
            tracker.winner(feed.leader)
        tracker.close(finished=feed.counted >= run.asked_for)
        return journal.known - before, tracker.where
    finally:
        feed.close()


def _catch_up(tracker: Tracker, feed: Feed, journal: ToldJournal) -> None:
    """Tell of what has ended since."""
    numbers = feed.ended()
    for start in range(0, len(numbers), BATCH):
        batch = numbers[start : start + BATCH]
        journal.add(batch)
        for number in batch:
            _tell(tracker, *feed.tell(number))
        _keep(tracker, journal)


def _tell(tracker: Tracker, trial: TrackedTrial, best: TrackedCell | None) -> None:
    tracker.trial(trial)
    if best is not None:
        tracker.best(best)


def _keep(tracker: Tracker, journal: ToldJournal) -> None:
    tracker.flush()
    failpoint("tracker: told")
    journal.confirm()
