"""The trials of a run, kept: each change is written to the store first and made in memory then."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from cellsearch.job import Outcome
from cellsearch.search.decisions import Decisions
from cellsearch.search.warm import IMPORTER
from cellsearch.store import Duplicate, Store
from cellsearch.trial import Budget, History, Rung, Status, Trial

__all__ = ["Ledger", "random_seed"]


def random_seed(bits: int, *numbers: int) -> int:
    """A random seed of so many bits for what these numbers stand for."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=bits // 8).digest(), "big")


class Ledger:
    """All trials and decisions of a run, in memory as in the store. It writes down what others have
    decided.

    ``decisions`` and ``duplicates`` are for reading. ``seed``: the experiment's; ``lookahead``: see
    :class:`Decisions`.
    """

    def __init__(self, store: Store, *, seed: int, lookahead: int) -> None:
        self.decisions = Decisions(store.history(), store.decisions(), lookahead=lookahead)
        self.duplicates = list(store.duplicates())
        self._store = store
        self._seed = seed
        self._seeds = dict(store.seeds())
        self._inherited = dict(store.inherited())
        trials = self.decisions.trials
        self._numbers = {
            key: number
            for number, key in store.keys().items()
            if trials[number].status is not Status.DUPLICATE
        }
        self._last_text = (-1, "")

    # -- reading -----------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self._store.path

    @property
    def trials(self) -> Sequence[Trial]:
        """Each trial as it is now, by number; :attr:`history` shows duplicates with the results
        that answer them.
        """
        return self.decisions.trials

    @property
    def history(self) -> History:
        """Everything that is known now."""
        return self.decisions.view(self.decisions.next_position)

    def number_of(self, key: str) -> int | None:
        """The trial that answers proposals with this search key; ``None``: the run does not know
        it.
        """
        return self._numbers.get(key)

    def keys(self) -> set[str]:
        """The search keys that are answered."""
        return set(self._numbers)

    def inherited(self, number: int, rung: int) -> str:
        """The checkpoint of another trial that this training starts from, relative to the run;
        ``""`` for none.
        """
        return self._inherited.get((number, rung), "")

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
        self.decisions.decide(trial, 0, horizon)
        self.duplicates.extend(answered)
        if not is_duplicate:
            self._numbers[key] = trial.number
            self._inherited[trial.number, 0] = inherit

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
            self._store.add_outcome(
                Outcome(trial.number, k, rung.result, failure, worker=IMPORTER), status
            )
            so_far = trial.with_(rungs=trial.rungs[: k + 1])
            self.decisions.decide(so_far, k, horizon)
            self.decisions.end(so_far, k)
        self._numbers[key] = trial.number

    def start(self, number: int, rung: int) -> Trial:
        """A job that waited is handed out; the trial, running."""
        self._store.start(number, rung)
        self.decisions.trials[number] = trial = self.trials[number].with_(status=Status.RUNNING)
        return trial

    def grant(self, trial: Trial, budget: Budget, *, horizon: int) -> Trial:
        """A trial gets a higher rung; the trial, running."""
        self._store.add_rung(trial.number, budget, horizon=horizon)
        further = trial.with_(rungs=(*trial.rungs, Rung(budget)), status=Status.RUNNING)
        self.decisions.decide(further, budget.rung, horizon)
        return further

    def stop(self, trial: Trial) -> Trial:
        """A trial gets no more training; the trial, stopped."""
        self._store.stop(trial.number)
        self.decisions.trials[trial.number] = stopped = trial.with_(status=Status.STOPPED)
        return stopped

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A job has its outcome, which makes the trial what it is here."""
        self._store.add_outcome(outcome, trial.status)
        self.decisions.end(trial, outcome.rung)
