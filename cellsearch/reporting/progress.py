"""What a search shows while it runs: one plain line an ended trial; on a terminal a live table
(:mod:`cellsearch.reporting.live`).
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from cellsearch import _moved
from cellsearch.errors import amount, visible
from cellsearch.history import History
from cellsearch.trial import Status, Trial

__all__ = ["Display", "PlainDisplay", "eta_seconds"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """What was here before the live table had a module of its own."""
        return _moved.value(__name__, name)


Clock = Callable[[], float]


def eta_seconds(done: int, total: int, elapsed: float) -> float:
    """Seconds until all trials have ended if they go on as they did; NaN before the first has
    ended.
    """
    return elapsed / done * (total - done) if done else math.nan


class Display(ABC):
    """Shows a search.

    name, question: of the experiment, and what it wants to know.
    total: trials that it asks for.
    clock: seconds of any origin.
    """

    def __init__(
        self, name: str, question: str, total: int, *, clock: Clock = time.monotonic
    ) -> None:
        self.name, self.question, self.total = name, question, total
        self._clock = clock
        self._started = clock()
        self._ended_before = 0
        self.notice = ""
        self.seconds_left: Callable[[], float] = lambda: math.inf
        """Seconds until something else than the number of trials ends the search."""

    def begin(self, history: History) -> None:
        """The search starts, or goes on with what its store holds."""
        self._started = self._clock()
        self._ended_before = ended(history)

    @abstractmethod
    def update(self, history: History, trial: Trial | None = None) -> None:
        """Something happened; ``trial`` has ended."""

    @abstractmethod
    def end(self) -> None:
        """Nothing more will happen."""

    def remaining(self, history: History) -> float:
        """Estimated seconds until the end."""
        now = ended(history)
        before = self._ended_before
        by_trials = eta_seconds(now - before, self.total - before, self._clock() - self._started)
        left = self.seconds_left()
        return (
            min(by_trials, left)
            if math.isfinite(by_trials)
            else left
            if math.isfinite(left)
            else by_trials
        )


def ended(history: History) -> int:
    """How many trials are over, of those that count against the experiment's."""
    return history.totals.ended


def duration(seconds: float) -> str:
    """``"2:05"``, ``"1:02:05"``; a dash where nobody knows."""
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class PlainDisplay(Display):
    """One line an ended trial: for pipes, logs and CI."""

    def __init__(
        self, name: str, question: str, total: int, *, stream: TextIO, clock: Clock = time.monotonic
    ) -> None:
        super().__init__(name, question, total, clock=clock)
        self._stream = stream

    def begin(self, history: History) -> None:
        """Say what is asked, and what is there already."""
        super().begin(history)
        self._write(f"{self.name}: {self.question}" if self.question else self.name)
        if self._ended_before:
            self._write(
                f"resuming: {self._ended_before} of {amount(self.total, 'trial')} "
                f"{'is' if self._ended_before == 1 else 'are'} there already"
            )
        if self.notice:
            self._write(self.notice)
            self.notice = ""

    def update(self, history: History, trial: Trial | None = None) -> None:
        """Print a line if a trial has ended, or if there is something to say."""
        if self.notice:
            self._write(self.notice)
            self.notice = ""
        if trial is not None:
            self._write(self._line(history, trial))

    def end(self) -> None:
        """Nothing is left to print."""

    def _line(self, history: History, trial: Trial) -> str:
        width = len(str(self.total))
        parts = [f"[{ended(history):{width}}/{self.total}] {trial.name:9}", outcome(trial)]
        if trial.result is not None:
            weights = amount(trial.result.cell_parameters, "cell weight")
            parts.append(f"{weights}, {trial.result.seconds:.1f} s")
        best = history.best()
        if best is not None:
            parts.append(f"best {best.score:.4f} {best.name}")
        parts += [str(trial.proposal.origin)] if not trial.is_baseline else []
        parts.append(f"ETA {duration(self.remaining(history))}")
        return "  ".join(parts)

    def _write(self, text: str) -> None:
        print(visible(text, newlines=True), file=self._stream, flush=True)


def outcome(trial: Trial) -> str:
    """What became of a trial, in a few words."""
    if trial.failure is not None:
        return f"failed ({trial.failure.kind})"
    if trial.duplicate_of is not None:
        return f"= trial {trial.duplicate_of}"
    text = f"score {trial.score:.4f}" if math.isfinite(trial.score) else "no score"
    return f"{text} (stopped early)" if trial.status is Status.STOPPED else text
