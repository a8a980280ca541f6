"""The trials and decisions of a run: each change is written to the store first and made in memory
then.

A decision is to train a new trial, to answer one as a duplicate, to grant a trial a higher rung, or
to stop it. In a deterministic search it knows only what follows from its place:

- trial n is proposed when the trials up to n - lookahead have ended, with their results; later ones
  appear as just begun. When the strategy cannot propose anything with that, the *horizon* moves on,
  one trial at a time, and never back.
- the verdict on rung k of trial n knows that too, and of the later trials before n their results up
  to rung k.

So what is decided about a trial follows from the results of earlier trials alone, and not from who
was faster, how many workers there are, when the search was killed, or after which trial it was cut
off: a bound decides whether something is begun, never what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from cellsearch.history import Granted, History
from cellsearch.job import JobId, Outcome
from cellsearch.store import Duplicate, Records, Store
from cellsearch.trial import Budget, Rung, Status, Trial

__all__ = ["Ledger", "random_generator", "random_seed"]

_IMPORTER = "imported"
"""Who did the work of imported trials, as far as this run knows."""


def random_seed(bits: int, *numbers: int) -> int:
    """A random seed of so many bits for what these numbers stand for."""
    return int.from_bytes(_digest(bits, numbers), "big")


def random_generator(*numbers: int) -> np.random.Generator:
    """The random generator for what these numbers stand for: ``default_rng(random_seed(128,
    ...))``, which takes three times as long.
    """
    words = np.frombuffer(_digest(128, numbers)[::-1], dtype="<u4")
    return np.random.Generator(np.random.PCG64(words))


def _digest(bits: int, numbers: tuple[int, ...]) -> bytes:
    return blake2b(repr(numbers).encode(), digest_size=bits // 8).digest()


class Ledger:
    """Writes down what others have decided, and says what each decision may know.

    store: the run, opened for writing.
    seed: the experiment's.
    lookahead: how many trials may be under way at the same time; 0: any number, and every decision
    knows everything that has ended.
    """

    def __init__(self, store: Store, *, seed: int, lookahead: int) -> None:
        self._store = store
        self._seed = seed
        self._lookahead = lookahead
        self._lookup = store.lookup
        numbers = store.lookup.unfinished
        unfinished = [store.trial(number) for number in numbers]
        self.was_under_way = frozenset(
            t.newest_job for t in unfinished if t.status is Status.RUNNING and _awaits(t)
        )
        """The jobs that somebody was at work on when the run was left without being closed."""
        store.requeue()
        self._records = Records(store.lookup, shown=_at_rest)
        self._last_text = (-1, "")
        self._last_added = (-1, 0, "")  # number, seed, and what its first job inherits
        self._open = dict.fromkeys(store.lookup.open_jobs())
        self._unfinished = set(numbers)
        self._horizon = store.lookup.last_horizon
        self._granted: Granted | None = None
        totals = store.lookup.totals()
        self._rejected = totals.rejected
        self._counted = totals.counted + sum(not trial.is_imported for trial in unfinished)

    # -- trials ------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self._store.path

    @property
    def count(self) -> int:
        """How many trials there are."""
        return self._records.count

    def trial(self, number: int) -> Trial:
        """The trial as it is now; :attr:`history` shows duplicates with the results that answer
        them.
        """
        return self._records.stored(number)

    @property
    def duplicates(self) -> Sequence[Duplicate]:
        """The proposals that were answered instead of trained."""
        return self._store.duplicates()

    @property
    def history(self) -> History:
        """Everything that is known now."""
        return self.view(self.count)

    @property
    def counted(self) -> int:
        """:attr:`cellsearch.history.History.counted`, of all trials as they are now."""
        return self._counted

    @property
    def rejected(self) -> int:
        """How many trials a check before training rejected."""
        return self._rejected

    @property
    def unfinished(self) -> int:
        """How many trials have not ended."""
        return len(self._unfinished)

    def number_of(self, key: str) -> int | None:
        """The trial that answers proposals with this search key; ``None``: the run does not know
        it.
        """
        return self._lookup.with_key(key)

    def inherited(self, job: JobId) -> str:
        """The checkpoint of another trial that this training starts from, relative to the run;
        ``""`` for none.
        """
        number, _, inherit = self._last_added
        return inherit if job == (number, 0) else self._lookup.inherited(job)

    def seed(self, number: int, repeat: int = 0) -> int:
        """The random seed of a trial's training, or of a repeat of it: the same whenever, wherever
        and however often it is trained.
        """
        if repeat:
            return random_seed(32, self._seed, number, repeat)
        if number == self._last_added[0]:
            return self._last_added[1]
        stored = self._lookup.seed(number) if number < self.count else None
        return random_seed(32, self._seed, number) if stored is None else stored

    def steps(self, before: int | None = None, full: int = 0) -> int:
        """Optimizer steps of all trials; or those that the trials ``before`` this number may have
        taken in the end, when ``full`` is all that one can get, and those of this one so far.
        """
        if self._granted is None:
            self._granted = self._lookup.granted()
            for number in self._unfinished:
                self._granted.put(self.trial(number))
        steps = self._granted.steps
        if before is None:
            return steps
        steps -= sum(Granted.of(self.trial(number)) for number in range(before + 1, self.count))
        begun = (Granted.of(self.trial(n)) for n in self._unfinished if n < before)
        return steps + sum(max(full - taken, 0) for taken in begun)

    def genome_text(self, trial: Trial) -> str:
        """The JSON form of the trial's genome, written once for the store and the job."""
        if self._last_text[0] != trial.number:
            self._last_text = (trial.number, trial.genome.to_json())
        return self._last_text[1]

    # -- decisions ---------------------------------------------------------------------------------

    @property
    def last_horizon(self) -> int:
        """What the last proposal knew: results of trials before this."""
        return self._horizon

    def horizons(self) -> Iterator[int]:
        """What the next proposal may know: as little as possible first, then more, as far as there
        are results.
        """
        number = self.count
        if not self._lookahead:
            yield number
            return
        ended = min(self._unfinished, default=number)
        yield from range(max(self._horizon, number - self._lookahead + 1, 0), ended + 1)

    def view(self, horizon: int) -> History:
        """The history with the results of trials before ``horizon`` only; the others have just
        begun.
        """
        hidden = {number: _begun(self.trial(number)) for number in range(horizon, self.count)}
        return self._shown(hidden, self.count)

    def unjudged(self) -> list[Trial]:
        """The trials whose rung has its result, but about which nobody has decided yet whether they
        get more training.
        """
        trials = map(self.trial, sorted(self._unfinished))
        return [trial for trial in trials if trial.rungs and trial.rungs[-1].result is not None]

    def view_of_verdict(self, trial: Trial) -> History | None:
        """What the verdict on the newest rung of a trial knows; ``None`` while an earlier trial has
        a say in it that is not known yet.
        """
        if not self._lookahead:
            return self.history
        number, rung = trial.newest_job
        horizon = self._lookup.horizon(number)
        for earlier in self._unfinished:
            if earlier < number:
                is_beyond = len(self.trial(earlier).rungs) > rung + 1
                if earlier < horizon or not is_beyond:
                    return None
        hidden = {later: _up_to(self.trial(later), rung) for later in range(horizon, number)}
        return self._shown(hidden, number + 1)

    def _shown(self, trials: Mapping[int, Trial], count: int) -> History:
        """The first ``count`` trials, some of them as they were before."""
        hidden = {n: trial for n, trial in trials.items() if trial != self.trial(n)}
        self._records.show(hidden, count)
        return self._records.view()

    def is_awaited(self, job: JobId) -> bool:
        """Whether this job has no outcome yet."""
        return job in self._open

    def open_jobs(self) -> list[JobId]:
        """All jobs without an outcome, in order of decision."""
        return list(self._open)

    def checkpoints_read(self) -> set[str]:
        """The checkpoints that jobs without an outcome start from, relative to the run."""
        paths: set[str] = set()
        for job in self._open:
            before = self.trial(job.trial).rungs[job.rung - 1].result if job.rung else None
            paths |= {self.inherited(job), before.checkpoint if before is not None else ""}
        return paths

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
        seed = self.seed(trial.number)
        self._store.add_trial(
            trial,
            key=key,
            genome=self.genome_text(trial),
            attempt=len(answered) - is_duplicate,
            seed=seed,
            horizon=horizon,
            inherit=inherit,
            duplicates=answered,
        )
        self._last_added = (trial.number, seed, inherit)
        self._append(trial, horizon)
        if not is_duplicate:
            self._open[trial.newest_job] = None

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
        self._append(trial, horizon)

    def start(self, job: JobId) -> Trial:
        """A job that waited is handed out; the trial, running."""
        self._store.start(*job)
        return self._change(self.trial(job.trial).with_(status=Status.RUNNING))

    def grant(self, trial: Trial, budget: Budget) -> Trial:
        """A trial gets a higher rung; the trial, running."""
        self._store.add_rung(trial.number, budget, horizon=self._lookup.horizon(trial.number))
        further = trial.with_(rungs=(*trial.rungs, Rung(budget)), status=Status.RUNNING)
        self._open[further.newest_job] = None
        return self._change(further)

    def stop(self, trial: Trial, status: Status = Status.STOPPED) -> Trial:
        """A trial gets no more training; the trial, stopped or completed."""
        self._store.stop(trial.number, status)
        return self._change(trial.with_(status=status))

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A job has its outcome, which makes the trial what it is here."""
        self._store.add_outcome(outcome, trial.status)
        self._open.pop(outcome.id, None)
        self._change(trial)

    def note(self, kind: str, text: str) -> None:
        """Something happened to the run."""
        self._store.add_event(kind, text)

    def close(self) -> None:
        """The store is about to be closed."""
        self._records.detach()

    # -- in memory ---------------------------------------------------------------------------------

    def _change(self, trial: Trial) -> Trial:
        self._put(trial, self.trial(trial.number))
        if trial.status.finished and trial.number in self._unfinished:
            self._unfinished.remove(trial.number)
            self._rejected += trial.is_rejected
            self._counted -= trial.is_rejected
        return trial

    def _append(self, trial: Trial, horizon: int) -> None:
        self._put(trial, None)
        self._horizon = horizon
        self._rejected += trial.is_rejected
        self._counted += not (trial.is_rejected or trial.is_imported)
        if not trial.status.finished:
            self._unfinished.add(trial.number)

    def _put(self, trial: Trial, before: Trial | None) -> None:
        if self._granted is not None:
            self._granted.put(trial, before)
        self._records.put(trial)


def _awaits(trial: Trial) -> bool:
    """Whether the newest job of a trial has no result."""
    return bool(trial.rungs) and trial.rungs[-1].result is None


def _at_rest(trial: Trial) -> Trial:
    """The trial while nobody trains: waiting for its turn. One that waits only for the verdict
    whether it gets more training is not in any queue, so it counts as running.
    """
    if trial.status.finished:
        return trial
    return trial.with_(status=Status.WAITING if _awaits(trial) else Status.RUNNING)


def _begun(trial: Trial) -> Trial:
    """The trial as it was when its first rung was running."""
    if trial.status is Status.DUPLICATE:
        return trial
    first = tuple(Rung(rung.budget) for rung in trial.rungs[:1])
    return trial.with_(rungs=first, status=Status.RUNNING, failure=None)


def _up_to(trial: Trial, rung: int) -> Trial:
    """The trial as it was when a verdict on this rung had let it go on, if one did."""
    if len(trial.rungs) <= rung + 1:
        return trial
    return trial.with_(rungs=trial.rungs[: rung + 1], status=Status.RUNNING, failure=None)
