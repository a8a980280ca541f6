"""The trials and decisions of a run: each change is written to the store first and made in memory
then.

A decision is to train a new trial, to answer one as a duplicate, or to grant a trial a higher rung.
Decisions are numbered by ``position``. In a deterministic search decision n knows the results of
decisions up to n - lookahead, whatever else has ended meanwhile; later ones appear as running. So
the sequence of decisions follows from the results alone, and not from who was faster, how many
workers there are, or when the search was killed. When the strategy cannot propose anything with
what it may know, the *horizon* moves on, one result at a time, and never back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from cellsearch.job import JobId, Outcome
from cellsearch.store import Duplicate, Store, with_answers
from cellsearch.trial import Budget, History, Rung, Status, Trial

__all__ = ["Ledger", "random_seed"]

_IMPORTER = "imported"
"""Who did the work of imported trials, as far as this run knows."""


def random_seed(bits: int, *numbers: int) -> int:
    """A random seed of so many bits for what these numbers stand for."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=bits // 8).digest(), "big")


class Ledger:
    """Writes down what others have decided, and says what each decision may know.

    store: the run, opened for writing.
    seed: the experiment's.
    lookahead: how many decisions may be under way at the same time; 0: any number, and every
    decision knows everything that has ended.
    """

    def __init__(self, store: Store, *, seed: int, lookahead: int) -> None:
        self._store = store
        self._seed = seed
        self._lookahead = lookahead
        self._trials = [_under_way(trial) for trial in store.history()]
        self._duplicates = list(store.duplicates())
        self._has_duplicates = any(trial.status is Status.DUPLICATE for trial in self._trials)
        self._seeds = dict(store.seeds())
        self._inherited = dict(store.inherited())
        self._numbers = {
            key: number
            for number, key in store.keys().items()
            if self._trials[number].status is not Status.DUPLICATE
        }
        self._last_text = (-1, "")
        self._jobs: list[JobId] = []
        self._positions: dict[JobId, int] = {}
        self._open: set[int] = set()
        self._horizon = 0
        for decision in store.decisions():
            trial = self._trials[decision.trial]
            ended = (
                trial.status is Status.DUPLICATE
                or trial.status is Status.FAILED
                or trial.rungs[decision.rung].result is not None
            )
            self._append(JobId(decision.trial, decision.rung), ended)
            self._horizon = decision.horizon

    # -- trials ------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self._store.path

    @property
    def trials(self) -> Sequence[Trial]:
        """Each trial as it is now, by number; :attr:`history` shows duplicates with the results
        that answer them.
        """
        return self._trials

    @property
    def duplicates(self) -> Sequence[Duplicate]:
        """The proposals that were answered instead of trained."""
        return self._duplicates

    @property
    def history(self) -> History:
        """Everything that is known now."""
        return self.view(self.next_position)

    def number_of(self, key: str) -> int | None:
        """The trial that answers proposals with this search key; ``None``: the run does not know
        it.
        """
        return self._numbers.get(key)

    def keys(self) -> set[str]:
        """The search keys that are answered now."""
        return set(self._numbers)

    def inherited(self, job: JobId) -> str:
        """The checkpoint of another trial that this training starts from, relative to the run;
        ``""`` for none.
        """
        return self._inherited.get(job, "")

    def seed(self, number: int) -> int:
        """The random seed of a trial's training: the same whenever, wherever and however often it
        is trained.
        """
        if number not in self._seeds:
            self._seeds[number] = random_seed(32, self._seed, number)
        return self._seeds[number]

    def genome_text(self, trial: Trial) -> str:
        """The JSON form of the trial's genome, written once for the store and the job."""
        if self._last_text[0] != trial.number:
            self._last_text = (trial.number, trial.genome.to_json())
        return self._last_text[1]

    # -- decisions ---------------------------------------------------------------------------------

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
        if not self._lookahead:
            yield self.next_position
            return
        first = max(self._horizon, self.next_position - self._lookahead + 1)
        for horizon in range(first, self.next_position + 1):
            if horizon > min(self._open, default=self.next_position):
                return
            yield horizon

    def view(self, horizon: int) -> History:
        """The history with the results of positions before ``horizon`` only."""
        trials = self._trials.copy()
        for number, rung in self._jobs[horizon:]:
            trials[number] = _hidden(trials[number], rung)
        return History.ordered(with_answers(trials) if self._has_duplicates else trials)

    def position(self, job: JobId) -> int:
        """The position of the decision to train this."""
        return self._positions[job]

    def job_at(self, position: int) -> JobId:
        """The job that was decided at this position."""
        return self._jobs[position]

    def is_awaited(self, job: JobId) -> bool:
        """Whether this job has no outcome yet."""
        return self._positions.get(job, -1) in self._open

    def open_jobs(self) -> list[JobId]:
        """All jobs without an outcome, in order of decision."""
        return [self._jobs[position] for position in sorted(self._open)]

    def unjudged(self) -> list[int]:
        """Positions whose job has a result, but nobody has judged yet whether its trial gets more
        training.
        """
        return sorted(
            self._positions[trial.newest_job]
            for trial in self._trials
            if trial.status is Status.RUNNING and trial.rungs and trial.rungs[-1].result is not None
        )

    # -- writing -----------------------------------------------------------------------------------

    def add(
        self,
        trial: Trial,
        key: str,
        *,
        horizon: int,
        inherit: str = "",
        answered: Sequence[Duplicate] = (),
    ) -> None:
        """A new trial: running, with one rung, or a duplicate without any.

        ``answered``: what was proposed for this number and not trained; the last of them is the
        trial itself if it is a duplicate.
        """
        is_duplicate = trial.status is Status.DUPLICATE
        self._store.add_trial(
            trial,
            key=key,
            genome=self.genome_text(trial),
            attempt=len(answered) - is_duplicate,
            seed=self.seed(trial.number),
            horizon=horizon,
            inherit=inherit,
            duplicates=answered,
        )
        job = self._decide(trial, 0, horizon)
        self._duplicates.extend(answered)
        if not is_duplicate:
            self._numbers[key] = trial.number
            self._inherited[job] = inherit

    def add_ended(self, trial: Trial, key: str, *, horizon: int) -> None:
        """A new trial that has its results already, from another run."""
        begun = trial.with_(
            status=Status.RUNNING, rungs=(Rung(trial.rungs[0].budget),), failure=None
        )
        self._store.add_trial(
            begun,
            key=key,
            genome=self.genome_text(trial),
            attempt=0,
            seed=self.seed(trial.number),
            horizon=horizon,
        )
        for k, rung in enumerate(trial.rungs):
            if k:
                self._store.add_rung(trial.number, rung.budget, horizon=horizon)
            failure = trial.failure if rung.result is None else None
            status = trial.status if k == len(trial.rungs) - 1 else Status.RUNNING
            outcome = Outcome(trial.number, k, rung.result, failure, worker=_IMPORTER)
            self._store.add_outcome(outcome, status)
            so_far = trial.with_(rungs=trial.rungs[: k + 1])
            self._open.discard(self._positions[self._decide(so_far, k, horizon)])
        self._numbers[key] = trial.number

    def start(self, job: JobId) -> Trial:
        """A job that waited is handed out; the trial, running."""
        self._store.start(*job)
        return self._change(self._trials[job.trial].with_(status=Status.RUNNING))

    def grant(self, trial: Trial, budget: Budget, *, horizon: int) -> Trial:
        """A trial gets a higher rung; the trial, running."""
        self._store.add_rung(trial.number, budget, horizon=horizon)
        further = trial.with_(rungs=(*trial.rungs, Rung(budget)), status=Status.RUNNING)
        self._decide(further, budget.rung, horizon)
        return further

    def stop(self, trial: Trial) -> Trial:
        """A trial gets no more training; the trial, stopped."""
        self._store.stop(trial.number)
        return self._change(trial.with_(status=Status.STOPPED))

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A job has its outcome, which makes the trial what it is here."""
        self._store.add_outcome(outcome, trial.status)
        self._open.discard(self._positions[outcome.id])
        self._change(trial)

    # -- in memory ---------------------------------------------------------------------------------

    def _change(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        return trial

    def _decide(self, trial: Trial, rung: int, horizon: int) -> JobId:
        """Note a decision: a new trial, or a known one with another rung."""
        if trial.number == len(self._trials):
            self._trials.append(trial)
        else:
            self._change(trial)
        is_duplicate = trial.status is Status.DUPLICATE
        self._has_duplicates = self._has_duplicates or is_duplicate
        self._horizon = horizon
        return self._append(JobId(trial.number, rung), ended=is_duplicate)

    def _append(self, job: JobId, ended: bool) -> JobId:
        position = len(self._jobs)
        self._jobs.append(job)
        self._positions[job] = position
        if not ended:
            self._open.add(position)
        return job


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
