"""The order in which a search decides, and what each decision may know.

A decision is to train a new trial, to answer one as a duplicate, or to grant a trial a higher rung.
Decisions are numbered by ``position``. In a deterministic search decision n knows the results of
decisions up to n - lookahead, whatever else has ended meanwhile; later ones appear as running. So
the sequence of decisions follows from the results alone, and not from who was faster, how many
workers there are, or when the search was killed. When the strategy cannot propose anything with
what it may know, the *horizon* moves on, one result at a time, and never back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cellsearch.store import Decision
from cellsearch.store.rows import answered
from cellsearch.trial import History, Rung, Status, Trial

__all__ = ["Decisions"]


class Decisions:
    """All trials and decisions of a search, in memory. ``lookahead`` = 0: every decision knows
    everything that has ended.
    """

    def __init__(
        self, trials: Iterable[Trial], decisions: Iterable[Decision], *, lookahead: int
    ) -> None:
        self.trials = [_under_way(trial) for trial in trials]
        self._lookahead = lookahead
        self._jobs: list[tuple[int, int]] = []
        self._positions: dict[tuple[int, int], int] = {}
        self._open: set[int] = set()
        self._horizon = 0
        self._has_duplicates = any(trial.status is Status.DUPLICATE for trial in self.trials)
        for decision in decisions:
            trial = self.trials[decision.trial]
            ended = (
                trial.status is Status.DUPLICATE
                or trial.status is Status.FAILED
                or trial.rungs[decision.rung].result is not None
            )
            self._append(decision.trial, decision.rung, ended)
            self._horizon = decision.horizon

    @property
    def next_position(self) -> int:
        """The position of the next decision."""
        return len(self._jobs)

    @property
    def last_horizon(self) -> int:
        """What the last decision knew: results of positions before this."""
        return self._horizon

    def horizons(self) -> Iterator[int]:
        """What the next decision may know: as little as possible first, then more, as far as there
        are results.
        """
        first = (
            max(self._horizon, self.next_position - self._lookahead + 1)
            if self._lookahead
            else self.next_position
        )
        for horizon in range(first, self.next_position + 1):
            if self._lookahead and horizon > self._first_open():
                return
            yield horizon

    def position(self, trial: int, rung: int) -> int:
        """The position of the decision to train this."""
        return self._positions[trial, rung]

    def job_at(self, position: int) -> tuple[int, int]:
        """The (trial, rung) that was decided at this position."""
        return self._jobs[position]

    def awaited(self, trial: int, rung: int) -> bool:
        """Whether this job has no outcome yet."""
        return self._positions.get((trial, rung), -1) in self._open

    def open_jobs(self) -> list[tuple[int, int]]:
        """All (trial, rung) without an outcome, in order of decision."""
        return [self._jobs[position] for position in sorted(self._open)]

    def undecided(self) -> list[int]:
        """Positions whose job has a result, but nobody has judged yet whether its trial gets more
        training.
        """
        ready = [
            t
            for t in self.trials
            if t.status is Status.RUNNING and t.rungs and t.rungs[-1].result is not None
        ]
        return sorted(self._positions[trial.number, len(trial.rungs) - 1] for trial in ready)

    def decide(self, trial: Trial, rung: int, horizon: int) -> None:
        """Note a decision: a new trial, or a known one with another rung."""
        if trial.number == len(self.trials):
            self.trials.append(trial)
        else:
            self.trials[trial.number] = trial
        is_duplicate = trial.status is Status.DUPLICATE
        self._has_duplicates = self._has_duplicates or is_duplicate
        self._append(trial.number, rung, is_duplicate)
        self._horizon = horizon

    def end(self, trial: Trial, rung: int) -> None:
        """Note the outcome of a job."""
        self.trials[trial.number] = trial
        self._open.discard(self._positions[trial.number, rung])

    def view(self, horizon: int) -> History:
        """The history with the results of positions before ``horizon`` only."""
        trials = list(self.trials)
        for number, rung in self._jobs[horizon:]:
            trials[number] = _hidden(trials[number], rung)
        return History.ordered(answered(trials) if self._has_duplicates else trials)

    def _append(self, trial: int, rung: int, ended: bool) -> None:
        position = len(self._jobs)
        self._jobs.append((trial, rung))
        self._positions[trial, rung] = position
        if not ended:
            self._open.add(position)

    def _first_open(self) -> int:
        return min(self._open, default=self.next_position)


def _under_way(trial: Trial) -> Trial:
    """A trial that waits only for the verdict whether it gets more training is not in any queue, so
    it counts as running.
    """
    judged = not trial.rungs or trial.rungs[-1].result is None or trial.status.finished
    return trial if judged else trial.with_(status=Status.RUNNING)


def _hidden(trial: Trial, rung: int) -> Trial:
    """The trial as it was when this rung of it was running."""
    if trial.status is Status.DUPLICATE:
        return trial
    rungs = trial.rungs
    if len(rungs) > rung:
        rungs = (*rungs[:rung], Rung(rungs[rung].budget))
    return trial.with_(rungs=rungs, status=Status.RUNNING, failure=None)
