"""Shows how a search goes: tells a display what happens, in words that it knows."""

from __future__ import annotations

import sys

from cellsearch.errors import checked_arguments, command
from cellsearch.reporting.notebook import NotebookDisplay, in_notebook
from cellsearch.reporting.progress import Display, PlainDisplay
from cellsearch.search.events import (
    EnvironmentChanged,
    Observer,
    SearchEvent,
    TrialEnded,
    TrialStarted,
    WaitsForTold,
)
from cellsearch.search.search import Search

__all__ = ["progress", "show_event"]


@checked_arguments
def progress(search: Search) -> Observer:
    """What :meth:`Search.run` may be given to show how it goes: in a notebook one output that is
    drawn anew, anywhere else a line for each trial that has ended::

        search.run(cs.InProcess(), cs.progress(search))
    """
    experiment = search.experiment
    facts = experiment.name, experiment.question, experiment.trials
    display: Display = (
        NotebookDisplay(*facts) if in_notebook() else PlainDisplay(*facts, stream=sys.stdout)
    )
    display.seconds_left = lambda: search.seconds_left
    begun = False

    def tell(event: SearchEvent) -> None:
        nonlocal begun
        if not begun:
            begun = True
            display.begin(search.history)
        show_event(event, search, display)

    return tell


def show_event(event: SearchEvent, search: Search, display: Display) -> None:
    """Tell a display of one event."""
    if isinstance(event, TrialStarted) and display.notice.startswith(("starting", "waiting")):
        display.notice = ""
    if isinstance(event, WaitsForTold):
        display.notice = f"waiting for cells: {command('tell', search.path, 'FILE')}"
    if isinstance(event, EnvironmentChanged):
        changes = ", ".join(
            f"{name} {before} -> {now}" for name, (before, now) in event.changes.items()
        )
        display.notice = (
            f"note: the run was made elsewhere ({changes}); results may differ slightly"
        )
    ended = event.trial if isinstance(event, TrialEnded) and event.trial.status.finished else None
    display.update(search.history, ended)
