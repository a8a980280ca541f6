"""The search: asks the strategy, answers duplicates, grants training, remembers, resumes. It trains
nothing itself.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cellsearch import training
from cellsearch.errors import (
    ConfigError,
    EnvironmentFailure,
    RunError,
    amount,
    checked_arguments,
)
from cellsearch.executors.base import Executor
from cellsearch.experiment import Experiment
from cellsearch.files import write_atomically
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.job import Job, JobId, Outcome, Prefilter, Result, plain_text
from cellsearch.search.agenda import Agenda
from cellsearch.search.allowance import Spending, seconds_searched, steps_granted
from cellsearch.search.continuing import Imported, importable, taken_up
from cellsearch.search.events import (
    Announcer,
    EnvironmentChanged,
    Observer,
    Resumed,
    TrialEnded,
    TrialStarted,
    WaitsForTold,
)
from cellsearch.search.ledger import Ledger
from cellsearch.search.limits import counted, rehearse, say_dropped
from cellsearch.search.own_data import OwnData, settled
from cellsearch.search.parts import checked_outcome
from cellsearch.search.run_files import BestCell, Checkpoints
from cellsearch.store import Duplicate, Inbox, Store
from cellsearch.store.naive import NAIVE, write_naive
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.own_data import Given
from cellsearch.tasks.suite import metric_of
from cellsearch.training.data import Data, OnTraining
from cellsearch.training.environment import differences, fingerprint
from cellsearch.trial import Rung, Status, Trial

__all__ = ["Observer", "Search"]

_POLL_SECONDS = 1.0
_LOOK_SECONDS = 0.25
"""How often a search that waits for told cells looks whether there are any."""
_SWEEP_EVERY = 16


class Search:
    """One run: an experiment and the store of what came out so far. :meth:`open` makes one.

    :meth:`run` does everything with an executor. By hand: :meth:`ask` for a trial, train what
    :meth:`job` says, :meth:`tell` the outcome. Whatever :meth:`ask` and :meth:`tell` did is in the
    store when they return. One thread uses a search; :meth:`stop` may be called from anywhere, also
    from a signal handler.
    """

    def __init__(
        self, store: Store, experiment: Experiment, own_data: OwnData | None = None
    ) -> None:
        seconds_before, opened = seconds_searched(store), time.monotonic()
        self.path = store.path
        self.experiment = experiment
        self._store = store
        self._own_data = own_data or settled(store, experiment, None)[1]
        self._checkpoints = Checkpoints(store.path)
        self._announcer = Announcer()
        self._stopping = self._stopping_now = self._closed = False
        self._told = 0
        self._metric = store.metric
        self._targets: tuple[float, ...] = ()
        self._data: Data | None = None
        self._settled = False
        self._handed_out: set[JobId] = set()

        self._ledger = Ledger(
            store,
            seed=experiment.seed,
            lookahead=experiment.lookahead if experiment.deterministic else 0,
        )
        self._best = BestCell(store.path, experiment.name, tell=self._announcer.tell)
        self._inbox = Inbox(store.path)
        self._agenda = Agenda(
            self._ledger,
            experiment,
            best=self._best,
            inbox=self._inbox,
            tell=self._announcer.tell,
        )
        self._checkpoints.clean()
        history = self.history
        self._update_best()
        self._spending = Spending(
            experiment.allowance,
            seconds_before=seconds_before,
            steps_before=steps_granted(history),
            opened=opened,
        )
        if len(history):
            finished = len(history) - history.in_flight
            self._announcer.tell(Resumed(finished, self._agenda.waiting))
        self._record_environment()

    # -- opening and closing -----------------------------------------------------------------------

    @classmethod
    @checked_arguments
    def open(
        cls, path: str | Path, experiment: Experiment | None = None, *, data: Given = None
    ) -> Search:
        """Create the run in folder ``path``, or resume it: jobs that were under way when it ended
        are done again, nothing else is.

        data: where your own data lie, if not where the experiment says: a path, or paths by option.
            A run knows its data by their digest, so it goes on with equal ones from anywhere.

        Raises :class:`RunError` if another process writes the run, or if it is the run of another
        experiment (it names the keys that differ; ``trials`` may be raised, ``workers`` may be
        anything) or of other data, :class:`EnvironmentFailure` if the place cannot hold a run. To
        look at a run without writing it, use :func:`cellsearch.open_run`.
        """
        if experiment is None:
            text = str(Path(path) / "experiment.toml")
            raise ConfigError(
                "a search needs its experiment",
                where=str(path),
                hint=f"pass cellsearch.load_experiment({text!r}), or only look at the run: "
                f"cellsearch.open_run({str(path)!r})",
            )
        store = Store.open(path)
        try:
            experiment, own_data = taken_up(store, experiment, data)
            write_atomically(store.path / "experiment.toml", experiment.to_toml())
            return cls(store, experiment, own_data)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Let go of the run. Trials that were handed out and not told about wait for the next time.
        May be called twice.
        """
        if self._ledger.open_jobs() and not self._closed:
            self._store.requeue()
        if not self._closed:
            self._ledger.close()
        self._closed = True
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            self._announcer.tell(EnvironmentChanged(changes))

    # -- looking -----------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """All trials as they are now; a duplicate shows the results of the trial that answers
        it.
        """
        return self._ledger.history

    @property
    def duplicates(self) -> tuple[Duplicate, ...]:
        """The proposals that were answered instead of trained."""
        return tuple(self._ledger.duplicates)

    @property
    def finished(self) -> bool:
        """Whether all trials that the experiment asks for have ended."""
        history = self.history
        wanted = self.experiment.trials
        return (
            history.counted >= wanted and not self._agenda.has_baselines and not history.in_flight
        )

    @property
    def waits_for_told(self) -> bool:
        """Whether nothing is left to do until somebody tells the run a cell: its strategy proposes
        none itself, and everything that was told has ended.
        """
        return (
            self.experiment.strategy.is_outside
            and not (self._agenda.has_baselines or self.history.in_flight)
            and not (self.finished or self.used_up)
            and not self._inbox.letters()
        )

    @property
    def seconds(self) -> float:
        """Wall clock that the run was open for, in all sittings together."""
        return self._spending.seconds

    @property
    def used_up(self) -> str:
        """What of the experiment's allowance is used up, in words; ``""`` while there is some left
        of each.
        """
        return self._spending.used_up(self.history)

    @property
    def seconds_left(self) -> float:
        """Until the allowance is used up, if steps are done as fast as in this sitting so far;
        infinity where nothing is bounded.
        """
        return self._spending.seconds_left(self.history)

    @property
    def best(self) -> Trial | None:
        """The best trial that the strategy proposed; the best baseline if there is none; ``None``
        if nothing has a score.
        """
        return self._best.trial

    # -- before the first trial --------------------------------------------------------------------

    def settle(self, arrays: Arrays | None = None, executor: Executor | None = None) -> None:
        """Make sure that the search can begin: weights are counted at the sizes that it trains.
        Done by whatever needs it; to be called before :meth:`enqueue`, :meth:`import_run` and
        :meth:`ask` where data were given in memory and ``max_weights`` limits the cells.

        arrays: the task's data; left out, they are loaded where they are needed.
        executor: has these data, and is asked for what needs torch.

        Raises :class:`SpaceError` before the first trial of a run if the strategy finds no cell to
        propose; a :class:`cellsearch.errors.SearchWarning` says which seed genomes do not fit.
        """
        if self._settled:
            return
        before = self.experiment
        if before.counts_sizes:
            if arrays is None:
                arrays = self.prepare().arrays
            sizes = self._computed(
                executor,
                "layer_sizes",
                arrays,
                task=before.task,
                task_options=dict(before.task_options),
                training=before.training,
            )
            self.experiment = counted(before, sizes)
            self._agenda.use(self.experiment)
        if not self._ledger.count:
            rehearse(self.experiment, before.space, str(self.path))
            say_dropped(self.experiment)
        self._settled = True

    # -- ask and tell ------------------------------------------------------------------------------

    def ask(self) -> Trial | None:
        """The next trial to train, recorded as running; its last rung is what is to be trained, see
        :meth:`job`.

        ``None``: nothing now, because the strategy or the order of a deterministic search waits for
        trials that were handed out; when none is handed out, the search has ended.
        """
        self.settle()
        waiting = self._agenda.next_waiting()
        if waiting is not None:
            return self._hand_out(waiting)
        while not self._spending.hours_used_up and (decided := self._agenda.decide()) is not None:
            if decided.status is Status.RUNNING:
                return self._hand_out(decided)
        return None

    @checked_arguments
    def job(self, trial: Trial) -> Job:
        """The work that a trial from :meth:`ask` stands for. Over a suite it holds the targets of
        the data that :meth:`run` was given; who trains by hand puts them in.
        """
        experiment, strategy, job = self.experiment, self.experiment.strategy, trial.newest_job
        first = job.rung == 0
        repeat = len(trial.repeats)
        before = None if first or repeat else trial.rungs[-2].result
        is_gated = experiment.space.is_gated(trial.genome)
        return Job(
            trial=trial.number,
            rung=job.rung,
            genome=self._ledger.genome_text(trial),
            task=experiment.task,
            task_options=dict(experiment.task_options),
            training=experiment.training,
            steps=trial.rungs[-1].budget.steps,
            seed=self._ledger.seed(trial.number, repeat),
            repeat=repeat,
            limits=experiment.limits,
            prefilter=experiment.prefilter if first and trial.is_checked else Prefilter(),
            checkpoint="" if repeat else self._checkpoints.path(job),
            resume=self._checkpoints.absolute(before.checkpoint if before else ""),
            inherit=self._checkpoints.absolute(self._ledger.inherited(job)),
            quiet=strategy.quiet_start,
            connections=strategy.wants_connections,
            perturbation=strategy.perturbation if is_gated else 0,
            device=experiment.measured,
            targets=self._targets,
            was_under_way=job in self._ledger.was_under_way,
        )

    @checked_arguments
    def tell(self, outcome: Outcome) -> Trial:
        """Record what became of a trial's job, for good; the trial as it is now.

        Raises :class:`RunError` for a job that was not asked for or has an outcome already.
        """
        if not self._ledger.is_awaited(outcome.id):
            raise RunError(
                f"no outcome is awaited for trial {outcome.trial}, rung {outcome.rung}",
                where=str(self.path),
            )
        outcome = checked_outcome(outcome, str(self.path))
        if (result := outcome.result) is not None and result.checkpoint:
            result = replace(result, checkpoint=self._checkpoints.relative(result.checkpoint))
            outcome = replace(outcome, result=result)
        before = self._ledger.trial(outcome.trial)
        rungs = (*before.rungs[:-1], Rung(before.rungs[-1].budget, outcome.result))
        if outcome.failure is not None:
            status = Status.FAILED
        elif (
            rungs[-1].budget.steps >= self.experiment.training.steps
            and not self.experiment.reevaluation.any
        ):
            status = Status.COMPLETED
        else:
            status = Status.RUNNING  # whether it gets more is decided in its turn
        trial = before.with_(rungs=rungs, status=status, failure=outcome.failure)
        if result is not None and not self._metric:
            self._remember_metric(result)
        self._ledger.end(trial, outcome)
        self._handed_out.discard(outcome.id)
        self._announcer.tell(TrialEnded(trial, outcome))
        self._best.update([trial])
        self._told += 1
        if self._told % _SWEEP_EVERY == 0:
            self._sweep()
        return trial

    # -- warm start --------------------------------------------------------------------------------

    @checked_arguments
    def enqueue(self, genome: Genome, reason: str = "") -> Trial:
        """Let this cell be the next trial that is trained (after the baselines), whatever the
        strategy would propose. Without opening the search, also while another process is at work in
        it: :meth:`cellsearch.runs.Run.tell`.

        reason: why, in words; kept, and shown with the trial.

        Returns its trial, with origin ``enqueued``; a cell that the run knows already is not
        trained again, its trial is returned. It counts as one of the experiment's trials; after the
        last of them it comes on top. Raises :class:`SpaceError` if the space does not hold it.
        """
        self.settle()
        self.experiment.space.require(genome, "the enqueued cell")
        return self._agenda.enqueue(genome, plain_text(reason))

    @checked_arguments
    def import_run(self, path: str | Path) -> Imported:
        """Take over the trials of another run as history: they are known to the strategy, answer
        duplicates, and are not trained again.

        They do not count against the experiment's trials, except baselines of this experiment.
        Cells that this run knows already, or that its space does not hold, are left out;
        :class:`Imported` says how many, and why. Raises :class:`ConfigError` if task, task options
        or training differ, because then the results do not hold here.
        """
        self.settle()
        found, skipped = importable(Path(path), self.experiment, self._own_data.known)
        taken, known = self._agenda.take_over(found)
        if known:
            skipped["were known already"] = known
        self._store.add_event("imported", f"{amount(taken, 'trial')} of {path}")
        self._update_best()
        return Imported(taken, dict(skipped))

    # -- run ---------------------------------------------------------------------------------------

    def prepare(self, on_training: OnTraining | None = None) -> Data:
        """The data for :meth:`run`: loaded from where they lie now, and the references of a suite
        trained; ``on_training`` is told before each of these.

        Raises :class:`ConfigError` for data that are not there, and for a precision that nothing
        here computes fast; :class:`RunError` for data that were replaced since the run was opened.
        """
        if self._data is None:
            task, options = self.experiment.task, self._own_data.loadable()
            on_training = on_training or self._announcer.tell
            training.check_precision(self.experiment.training)
            data = training.prepare(task, options, on_training=on_training)
            self._own_data.require_unchanged()
            self._data = data
        return self._data

    @checked_arguments
    def run(
        self,
        executor: Executor,
        on_event: Observer | None = None,
        *,
        arrays: Arrays | None = None,
        data: Data | None = None,
        wait: bool = False,
    ) -> None:
        """Search until the trials of the experiment are done, or :meth:`stop` is called. The caller
        closes the executor.

        on_event: is told what happens.
        arrays: data of a single task, instead of ``data``.
        data: from :meth:`prepare`, which is called here if neither is given.
        wait: where the strategy proposes nothing itself, wait for cells that are told instead of
            returning when all of them have ended.

        Raises :class:`ConfigError` for ``wait`` with a strategy that waits for nobody.
        """
        experiment = self.experiment
        if wait and not experiment.strategy.is_outside:
            raise ConfigError(
                f"the strategy {experiment.strategy.name} proposes cells itself and waits for "
                "nobody",
                where="wait",
                hint="leave it out, or use the strategy external",
            )
        self._stopping = self._stopping_now = False
        self._take_back()  # what ask() gave out by hand and tell() has not heard of
        self._announcer.listen(on_event)
        if data is None:
            data = self.prepare() if arrays is None else Data(arrays)
        self._targets = data.targets
        options = dict(experiment.task_options)
        executor.start(experiment.task, options, data.arrays, folder=self.path)
        self.settle(data.arrays, executor)
        if not (self.path / NAIVE).exists():
            about = {"task": experiment.task, "task_options": options, "split": "valid"}
            found = self._computed(executor, "naive", data.arrays, **about)
            write_naive(self.path, found)
        try:
            self._loop(executor, wait=wait)
            self._sweep()
        finally:
            self._take_back()
            self._announcer.listen(None)

    def _loop(self, executor: Executor, *, wait: bool) -> None:
        said = False
        while not self._stopping_now:
            while (
                not self._stopping
                and len(self._handed_out) < executor.capacity
                and (trial := self.ask()) is not None
            ):
                executor.submit(self.job(trial))
            if not self._handed_out:
                if not wait or self._stopping or self.finished or self.used_up:
                    return
                if not said:
                    self._announcer.tell(WaitsForTold())
                said = True
                time.sleep(_LOOK_SECONDS)
                continue
            said = False
            for outcome in executor.events(_POLL_SECONDS):
                self.tell(outcome)

    @checked_arguments
    def stop(self, *, now: bool = False) -> None:
        """Let :meth:`run` return when the trials being trained have ended, or ``now``: then they
        are trained again on resume.
        """
        self._stopping = True
        self._stopping_now = now or self._stopping_now

    # -- inside ------------------------------------------------------------------------------------

    @staticmethod
    def _computed(executor: Executor | None, name: str, arrays: Arrays, **arguments: object) -> Any:
        """What a function of :mod:`cellsearch.training` returns: by the executor, because this
        process may do without torch, which takes longer to load than all else.
        """
        if executor is None:
            return getattr(training, name)(arrays=arrays, **arguments)
        return executor.compute(f"{training.__name__}:{name}", arrays, **arguments)

    def _hand_out(self, trial: Trial) -> Trial:
        self._handed_out.add(trial.newest_job)
        self._announcer.tell(TrialStarted(trial))
        return trial

    def _take_back(self) -> None:
        """Let what was handed out and has no outcome wait, to be asked for again."""
        self._agenda.refill()
        self._handed_out.clear()

    def _remember_metric(self, result: Result) -> None:
        """Write down what the task's number is called, so that readers need not load the task."""
        try:
            self._metric = plain_text(metric_of(self.experiment.task, result))
        except Exception:  # noqa: BLE001  (the task's own code: whoever reads the run is told)
            return
        self._store.remember_metric(self._metric)

    def _update_best(self) -> None:
        history = self.history
        found = (history.best(baselines=False), history.best())
        self._best.update([trial for trial in found if trial is not None])

    def _sweep(self) -> None:
        ledger = self._ledger
        self._checkpoints.sweep(ledger.view(ledger.last_horizon), ledger.checkpoints_read())
