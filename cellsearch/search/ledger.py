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
    lookahead: how many trials may be under way at the same time; 0: any number, and every decision
    knows everything that has ended.
    """

    def __init__(self, store: Store, *, seed: int, lookahead: int) -> None:
        self._store = store
        self._seed = seed
        self._lookahead = lookahead
        trials = store.history()
        self.was_under_way = frozenset(
            t.newest_job for t in trials if t.status is Status.RUNNING and _awaits(t)
        )
        """The jobs that somebody was at work on when the run was left without being closed."""
        self._trials = [_at_rest(trial) for trial in trials]
        store.requeue()
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
        self._open: dict[JobId, None] = {}
        self._unfinished = {t.number for t in self._trials if not t.status.finished}
        self._rejected = sum(trial.is_rejected for trial in self._trials)
        self._counted = History(self._trials).counted
        self._horizons = [0] * len(self._trials)
        self._horizon = 0
        for decision in store.decisions():
            trial = self._trials[decision.trial]
            if decision.rung == 0:
                # Version 0.1 counted decisions, of which there are no fewer than trials.
                self._horizon = min(decision.horizon, decision.trial)
                self._horizons[decision.trial] = self._horizon
            if not trial.status.finished and trial.rungs[decision.rung].result is None:
                self._open[JobId(decision.trial, decision.rung)] = None

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
        return self.view(len(self._trials))

    @property
    def counted(self) -> int:
        """:attr:`cellsearch.trial.History.counted`, of all trials as they are now."""
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
    def last_horizon(self) -> int:
        """What the last proposal knew: results of trials before this."""
        return self._horizon

    def horizons(self) -> Iterator[int]:
        """What the next proposal may know: as little as possible first, then more, as far as there
        are results.
        """
        number = len(self._trials)
        if not self._lookahead:
            yield number
            return
        ended = min(self._unfinished, default=number)
        yield from range(max(self._horizon, number - self._lookahead + 1, 0), ended + 1)

    def view(self, horizon: int) -> History:
        """The history with the results of trials before ``horizon`` only; the others have just
        begun.
        """
        trials = self._trials.copy()
        for number in range(horizon, len(trials)):
            trials[number] = _begun(trials[number])
        return self._answered(trials)

    def unjudged(self) -> list[Trial]:
        """The trials whose rung has its result, but about which nobody has decided yet whether they
        get more training.
        """
        trials = (self._trials[number] for number in sorted(self._unfinished))
        return [trial for trial in trials if trial.rungs and trial.rungs[-1].result is not None]

    def view_of_verdict(self, trial: Trial) -> History | None:
        """What the verdict on the newest rung of a trial knows; ``None`` while an earlier trial has
        a say in it that is not known yet.
        """
        if not self._lookahead:
            return self.history
        number, rung = trial.newest_job
        horizon = self._horizons[number]
        for earlier in self._unfinished:
            if earlier < number:
                is_beyond = len(self._trials[earlier].rungs) > rung + 1
                if earlier < horizon or not is_beyond:
                    return None
        trials = self._trials[: number + 1]
        for later in range(horizon, number):
            trials[later] = _up_to(trials[later], rung)
        return self._answered(trials)

    def is_awaited(self, job: JobId) -> bool:
        """Whether this job has no outcome yet."""
        return job in self._open

    def open_jobs(self) -> list[JobId]:
        """All jobs without an outcome, in order of decision."""
        return list(self._open)

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
        self._append(trial, horizon)
        self._duplicates.extend(answered)
        if is_duplicate:
            self._has_duplicates = True
        else:
            job = trial.newest_job
            self._open[job] = None
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
        self._append(trial, horizon)
        self._numbers[key] = trial.number

    def start(self, job: JobId) -> Trial:
        """A job that waited is handed out; the trial, running."""
        self._store.start(*job)
        return self._change(self._trials[job.trial].with_(status=Status.RUNNING))

    def grant(self, trial: Trial, budget: Budget) -> Trial:
        """A trial gets a higher rung; the trial, running."""
        self._store.add_rung(trial.number, budget, horizon=self._horizons[trial.number])
        further = trial.with_(rungs=(*trial.rungs, Rung(budget)), status=Status.RUNNING)
        self._open[further.newest_job] = None
        return self._change(further)

    def stop(self, trial: Trial) -> Trial:
        """A trial gets no more training; the trial, stopped."""
        self._store.stop(trial.number)
        return self._change(trial.with_(status=Status.STOPPED))

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A job has its outcome, which makes the trial what it is here."""
        self._store.add_outcome(outcome, trial.status)
        self._open.pop(outcome.id, None)
        self._change(trial)

    # -- in memory ---------------------------------------------------------------------------------

    def _change(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        if trial.status.finished and trial.number in self._unfinished:
            self._unfinished.remove(trial.number)
            self._rejected += trial.is_rejected
            self._counted -= trial.is_rejected
        return trial

    def _append(self, trial: Trial, horizon: int) -> None:
        self._trials.append(trial)
        self._horizons.append(horizon)
        self._horizon = horizon
        self._rejected += trial.is_rejected
        self._counted += not (trial.is_rejected or trial.is_imported)
        if not trial.status.finished:
            self._unfinished.add(trial.number)

    def _answered(self, trials: list[Trial]) -> History:
        return History.ordered(with_answers(trials) if self._has_duplicates else trials)


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
