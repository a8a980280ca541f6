"""The search: asks the strategy, answers duplicates, grants training, remembers, resumes. It trains nothing itself."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from cellsearch import tasks, zoo
from cellsearch.environment import differences, fingerprint
from cellsearch.errors import ConfigError, EnvironmentFailure, RunError
from cellsearch.executors.base import Executor
from cellsearch.genome.identity import search_key
from cellsearch.job import Job, Outcome
from cellsearch.search.checkpoints import Checkpoints, inheritable, write_atomically
from cellsearch.search.decisions import Decisions
from cellsearch.search.declared import SearchedExperiment
from cellsearch.search.events import BestChanged, DuplicateAnswered, EnvironmentChanged, Resumed, SearchEvent, TrialEnded, TrialStarted
from cellsearch.search.resume import check_same_experiment
from cellsearch.store import Duplicate, Store
from cellsearch.tasks.base import Arrays
from cellsearch.trial import Failure, History, Proposal, Rung, Status, Trial

__all__ = ["Observer", "Search"]

Observer = Callable[[SearchEvent], None]

_ATTEMPTS = 10
_POLL_SECONDS = 1.0
_SWEEP_EVERY = 16


class Search:
    """One run: an experiment and the store of what came out so far. :meth:`open` makes one.

    :meth:`run` does everything with an executor. By hand: :meth:`ask` for a trial, train what :meth:`job` says, :meth:`tell` the outcome.
    Whatever :meth:`ask` and :meth:`tell` did is in the store when they return. One thread uses a search; :meth:`stop` may be called
    from anywhere, also from a signal handler.
    """

    def __init__(self, store: Store, experiment: SearchedExperiment) -> None:
        self.path = store.path
        self.experiment = experiment
        self._store = store
        self._checkpoints = Checkpoints(store.path)
        self._observer: Observer | None = None
        self._unseen: list[SearchEvent] = []
        self._stopping = self._stopping_now = self._closed = False
        self._told = 0
        self._best: Trial | None = None

        store.requeue()
        lookahead = experiment.lookahead if experiment.deterministic else 0
        self._decisions = Decisions(store.history(), store.decisions(), lookahead=lookahead)
        self._queue = deque(self._decisions.open_jobs())
        self._handed_out: set[tuple[int, int]] = set()
        self._undecided = deque(self._decisions.undecided())
        self._inherited = dict(store.inherited())
        self._duplicates = list(store.duplicates())
        self._seeds: dict[int, int] = {}
        self._last_text = (-1, "")
        trials = self._decisions.trials
        self._numbers = {key: number for number, key in store.keys().items() if trials[number].status is not Status.DUPLICATE}
        self._checkpoints.clean()
        self._update_best(self.history)
        if trials:
            self._tell_observer(Resumed(sum(trial.status.finished for trial in trials), len(self._queue)))
        self._record_environment()

    # -- opening and closing -------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path, experiment: SearchedExperiment | None = None) -> Search:
        """Create the run in folder ``path``, or resume it: jobs that were under way when it ended are done again, nothing else is.

        Raises :class:`RunError` if another process writes the run, or if it is the run of another experiment (it names the keys that
        differ; ``trials`` may be raised, ``workers`` may be anything), :class:`EnvironmentFailure` if the place cannot hold a run.
        To look at a run without writing it, use :meth:`cellsearch.store.Store.read`.
        """
        if experiment is None:
            text = str(Path(path) / "experiment.toml")
            raise ConfigError("a search needs its experiment", where=str(path), hint=f"pass cellsearch.load_experiment({text!r})")
        store = Store.open(path)
        try:
            text = experiment.to_toml()
            if store.experiment:
                check_same_experiment(store.experiment, text, where=str(store.path))
            if store.experiment != text:
                store.describe(text)
            write_atomically(store.path / "experiment.toml", text)
            return cls(store, experiment)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Let go of the run. Trials that were handed out and not told about wait for the next time. May be called twice."""
        if self._decisions.open_jobs() and not self._closed:
            self._store.requeue()
        self._closed = True
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, EnvironmentFailure):
            self._closed = True  # perhaps a full disk: opening the run again re-queues as well
        self.close()

    def _record_environment(self) -> None:
        now = fingerprint()
        before = self._store.environments()
        self._store.add_environment(now)
        if before and (changes := differences(before[-1].fingerprint, now)):
            text = ", ".join(f"{name}: {old} -> {new}" for name, (old, new) in changes.items())
            self._store.add_event("environment changed", text)
            self._tell_observer(EnvironmentChanged(changes))

    # -- looking -------------------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """All trials as they are now; a duplicate shows the results of the trial that answers it."""
        return self._decisions.view(self._decisions.next_position)

    @property
    def duplicates(self) -> tuple[Duplicate, ...]:
        """The proposals that were answered instead of trained."""
        return tuple(self._duplicates)

    @property
    def best(self) -> Trial | None:
        """The best trial that the strategy proposed; the best baseline if there is none; ``None`` if nothing has a score."""
        return self._best

    # -- ask and tell --------------------------------------------------------------------------------------------------

    def ask(self) -> Trial | None:
        """The next trial to train, recorded as running; its last rung is what is to be trained, see :meth:`job`.

        ``None``: nothing now, because the strategy or the order of a deterministic search waits for trials that were handed out;
        when none is handed out, the search has ended.
        """
        if self._queue:
            number, rung = self._queue.popleft()
            self._store.start(number, rung)
            trial = self._decisions.trials[number].with_(status=Status.RUNNING)
            self._decisions.trials[number] = trial
            return self._hand_out(trial)
        while (decided := self._decide()) is not None:
            if decided.status is Status.RUNNING:
                return self._hand_out(decided)
        return None

    def job(self, trial: Trial) -> Job:
        """The work that a trial from :meth:`ask` stands for."""
        experiment, rung = self.experiment, trial.rungs[-1]
        number = len(trial.rungs) - 1
        before = trial.rungs[-2].result if number else None
        return Job(
            trial=trial.number,
            rung=number,
            genome=self._genome_text(trial),
            task=experiment.task,
            task_options=dict(experiment.task_options),
            training=experiment.training,
            steps=rung.budget.steps,
            seed=self._seed(trial.number),
            limits=experiment.limits,
            checkpoint=str(self._checkpoints.path(trial.number, number)),
            resume=self._checkpoints.absolute(before.checkpoint if before else ""),
            inherit=self._checkpoints.absolute(self._inherited.get((trial.number, number), "")),
            connections=experiment.strategy.wants_connections,
        )

    def tell(self, outcome: Outcome) -> Trial:
        """Record what became of a trial's job, for good; the trial as it is now.

        Raises :class:`RunError` for a job that was not asked for or has an outcome already.
        """
        if not self._decisions.awaited(outcome.trial, outcome.rung):
            raise RunError(f"no outcome is awaited for trial {outcome.trial}, rung {outcome.rung}", where=str(self.path))
        outcome = self._checked(outcome)
        before = self._decisions.trials[outcome.trial]
        rungs = (*before.rungs[:-1], Rung(before.rungs[-1].budget, outcome.result))
        if outcome.failure is not None:
            status = Status.FAILED
        elif rungs[-1].budget.steps >= self.experiment.training.steps:
            status = Status.COMPLETED
        else:
            status = Status.RUNNING  # whether it gets more is decided in its turn
        trial = before.with_(rungs=rungs, status=status, failure=outcome.failure)
        self._store.add_outcome(outcome, status)
        self._decisions.end(trial, outcome.rung)
        self._handed_out.discard((outcome.trial, outcome.rung))
        if outcome.failure is None and status is Status.RUNNING:
            self._undecided = deque(sorted((*self._undecided, self._decisions.position(outcome.trial, outcome.rung))))
        self._tell_observer(TrialEnded(trial, outcome))
        self._update_best([trial])
        self._told += 1
        if self._told % _SWEEP_EVERY == 0:
            self._sweep()
        return trial

    # -- run -----------------------------------------------------------------------------------------------------------

    def run(self, executor: Executor, on_event: Observer | None = None, *, arrays: Arrays | None = None) -> None:
        """Search until the trials of the experiment are done, or :meth:`stop` is called. The caller closes the executor.

        ``on_event`` is told what happens; ``arrays``: the task's data, if it is not to be loaded from the task's options.
        """
        experiment = self.experiment
        self._observer = on_event
        self._stopping = self._stopping_now = False
        unseen, self._unseen = self._unseen, []
        for event in unseen:
            self._tell_observer(event)
        data = arrays if arrays is not None else tasks.get(experiment.task).load(experiment.task_options)
        executor.start(experiment.task, dict(experiment.task_options), data, folder=self.path)
        try:
            self._loop(executor)
            self._sweep()
        finally:
            # What was handed out and has no outcome is asked for again, by the next run() or by the next process.
            self._queue = deque(self._decisions.open_jobs())
            self._handed_out.clear()
            self._observer = None

    def _loop(self, executor: Executor) -> None:
        while not self._stopping_now:
            while not self._stopping and len(self._handed_out) < executor.capacity and (trial := self.ask()) is not None:
                executor.submit(self.job(trial))
            if not self._handed_out:
                return
            for outcome in executor.events(_POLL_SECONDS):
                self.tell(outcome)

    def stop(self, *, now: bool = False) -> None:
        """Let :meth:`run` return when the trials being trained have ended, or ``now``: then they are trained again on resume."""
        self._stopping = True
        self._stopping_now = now or self._stopping_now

    # -- deciding ------------------------------------------------------------------------------------------------------

    def _decide(self) -> Trial | None:
        """The next decision, recorded: a trial to train (running) or a duplicate; ``None`` when none can be made now."""
        for horizon in self._decisions.horizons():
            decided = self._continue(horizon) or self._propose(horizon)
            if decided is not None:
                return decided
        return None

    def _continue(self, horizon: int) -> Trial | None:
        """Judge, in order of decision, the trials whose results are known by now; the first that gets more training."""
        while self._undecided and self._undecided[0] < horizon:
            position = self._undecided[0]
            # In a deterministic search the verdict knows what was decided before, nothing that happened to end earlier.
            history = self._decisions.view(position + 1 if self.experiment.deterministic else self._decisions.next_position)
            trial = history.by_number[self._decisions.job_at(position)[0]]
            budget = self.experiment.schedule.next_budget(history, trial, self.experiment.training.steps)
            if budget is not None:
                self._store.add_rung(trial.number, budget, horizon=horizon)
                self._undecided.popleft()
                further = trial.with_(rungs=(*trial.rungs, Rung(budget)), status=Status.RUNNING)
                self._decisions.decide(further, budget.rung, horizon)
                return further
            self._store.stop(trial.number)
            self._undecided.popleft()
            self._decisions.trials[trial.number] = trial.with_(status=Status.STOPPED)
            self._update_best([self._decisions.trials[trial.number]])
        return None

    def _propose(self, horizon: int) -> Trial | None:
        """A new trial; ``None`` when there are enough, or the strategy has nothing to propose now."""
        experiment = self.experiment
        number = len(self._decisions.trials)
        if number >= experiment.trials:
            return None
        history = self._decisions.view(horizon)
        answered: list[Duplicate] = []
        attempts = 1 if number < len(experiment.baselines) else _ATTEMPTS
        while (proposal := self._proposal(history, number, len(answered))) is not None:
            key = search_key(proposal.genome)
            twin = self._numbers.get(key)
            if twin is None:
                return self._add(history, Trial(number, proposal, Status.RUNNING), key, horizon, answered)
            answered.append(Duplicate(number, len(answered), twin))
            if len(answered) == attempts:
                return self._add(history, Trial(number, proposal, Status.DUPLICATE, duplicate_of=twin), key, horizon, answered)
        return None

    def _proposal(self, history: History, number: int, attempt: int) -> Proposal | None:
        experiment = self.experiment
        if number < len(experiment.baselines):
            name = experiment.baselines[number]
            return Proposal(zoo.load(name), origin=f"baseline:{name}")
        return experiment.strategy.propose(experiment.space, history, np.random.default_rng([experiment.seed, number, attempt]))

    def _add(self, history: History, trial: Trial, key: str, horizon: int, answered: Sequence[Duplicate]) -> Trial:
        """Record a new trial before anything is done about it."""
        inherit = ""
        if trial.status is not Status.DUPLICATE:
            budget = self.experiment.schedule.next_budget(history, trial, self.experiment.training.steps)
            if budget is None:
                raise RunError(f"the schedule grants trial {trial.number} no training at all", where=str(self.path))
            trial = trial.with_(rungs=(Rung(budget),))
            inherit = self._inherit(history, trial.proposal.inherit)
        is_duplicate = trial.status is Status.DUPLICATE
        self._store.add_trial(
            trial,
            key=key,
            genome=self._genome_text(trial),
            attempt=len(answered) - is_duplicate,
            seed=self._seed(trial.number),
            horizon=horizon,
            inherit=inherit,
            duplicates=answered,
        )
        self._decisions.decide(trial, 0, horizon)
        self._duplicates.extend(answered)
        if not is_duplicate:
            self._numbers[key] = trial.number
            self._inherited[trial.number, 0] = inherit
        for duplicate in answered:
            final = is_duplicate and duplicate is answered[-1]
            self._tell_observer(DuplicateAnswered(duplicate.trial, duplicate.attempt, duplicate.duplicate_of, final))
        return trial

    # -- inside --------------------------------------------------------------------------------------------------------

    def _hand_out(self, trial: Trial) -> Trial:
        self._handed_out.add((trial.number, len(trial.rungs) - 1))
        self._tell_observer(TrialStarted(trial))
        return trial

    def _inherit(self, history: History, number: int | None) -> str:
        """The checkpoint to start from; ``""`` for none, or when it is too old to be kept: then training starts from scratch."""
        if number is None or not inheritable(history, number):
            return ""
        result = history.by_number[number].result
        return result.checkpoint if result is not None else ""

    def _seed(self, number: int) -> int:
        """The random seed of a trial's training: the same whenever, wherever and however often it is trained."""
        if number not in self._seeds:
            self._seeds[number] = int(np.random.SeedSequence([self.experiment.seed, number]).generate_state(1)[0])
        return self._seeds[number]

    def _genome_text(self, trial: Trial) -> str:
        """The JSON form of the trial's genome, written once for the store and the job."""
        if self._last_text[0] != trial.number:
            self._last_text = (trial.number, trial.genome.to_json())
        return self._last_text[1]

    def _checked(self, outcome: Outcome) -> Outcome:
        """The outcome with a checkpoint path relative to the run, and a failure instead of a score that is not finite."""
        result, failure = outcome.result, outcome.failure
        if result is not None and not math.isfinite(result.score):
            failure = Failure("nan", f"the score is {result.score}")
            result = None
        if (result is None) == (failure is None):
            raise RunError(f"the outcome of trial {outcome.trial} has neither or both of result and failure", where=str(self.path))
        if result is not None and result.checkpoint:
            result = replace(result, checkpoint=self._checkpoints.relative(result.checkpoint))
        return Outcome(outcome.trial, outcome.rung, result, failure, outcome.worker, outcome.wall_seconds)

    def _update_best(self, trials: Iterable[Trial]) -> None:
        """Keep ``best.cell`` true. A trial in flight to a higher rung does not count until it is done."""
        candidates = list(trials)
        if self._best is not None:
            candidates.append(self._best)
        ended = [
            t for t in candidates if t.status in (Status.COMPLETED, Status.STOPPED) and math.isfinite(t.score) and not t.is_intermediate
        ]
        if not ended:
            return
        best = min(ended, key=lambda t: (t.is_baseline, t.score, t.number))
        if self._best is not None and best.number == self._best.number:
            return
        self._best = best
        result = best.result
        assert result is not None
        doc = f"Best cell of {self.experiment.name}: trial {best.number}, score {result.score:.6g} after {result.steps} steps."
        write_atomically(self.path / "best.cell", best.genome.to_text(doc))
        self._tell_observer(BestChanged(best))

    def _sweep(self) -> None:
        pinned: set[str] = set()
        for number, rung in self._decisions.open_jobs():
            trial = self._decisions.trials[number]
            pinned.add(self._inherited.get((number, rung), ""))
            before = trial.rungs[rung - 1].result if rung else None
            pinned.add(before.checkpoint if before is not None else "")
        self._checkpoints.sweep(self._decisions.view(self._decisions.last_horizon), pinned)

    def _tell_observer(self, event: SearchEvent) -> None:
        if self._observer is not None:
            self._observer(event)
        elif isinstance(event, Resumed | EnvironmentChanged):
            self._unseen.append(event)
