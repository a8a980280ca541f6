"""Finals of a run: who takes part, of which size, and under which protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from cellsearch import files, tasks, zoo
from cellsearch.errors import InputFileError, RunError, checked_arguments, command
from cellsearch.executors.base import Executor
from cellsearch.finals import Finalist, FinalTable, Protocol, equal_sizes, fitting_sizes, run_finals
from cellsearch.finals.journal import Journal
from cellsearch.genome.device import DeviceLimits
from cellsearch.genome.footprint import Footprint
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square
from cellsearch.job import Outcome, Training
from cellsearch.runs.snapshot import FINALS, Snapshot
from cellsearch.space import layer_footprint
from cellsearch.store import Store
from cellsearch.store.lock import RunLock
from cellsearch.tasks.base import Arrays, Task
from cellsearch.tasks.own_data import Given
from cellsearch.training import naive
from cellsearch.training.model import cell_factory, trained_sizes

__all__ = ["FinalPlan", "plan_finals"]

AGAINST = ("lstm", "gru")
JOURNAL = "finals.partial.json"
"""The file of a run's folder with what finals have given that have not ended yet."""
_DOING = "making finals"
"""What the lock of a run says meanwhile."""


@dataclass(frozen=True)
class FinalPlan:
    """Finals that can begin."""

    folder: Path
    """Of the run; the table is written there."""
    finalists: tuple[Finalist, ...]
    """Found cells and baselines."""
    sizes: Mapping[str, int]
    """Hidden size of each by name: with them all models have equally many weights, or, in a run
    with limits of a device, are as large as fits these."""
    protocol: Protocol
    """How all of them are trained."""
    arrays: Arrays
    """The task's data."""
    again: bool = False
    """Whether the test data may be read again, after earlier finals."""

    @property
    def trainings(self) -> int:
        """How many trainings there will be at least: a sweep that has to be widened, and rates
        between which noise decides, take more.
        """
        swept = len(self.protocol.rates) * max(1, self.protocol.sweep_seeds)
        return len(self.finalists) * (self.protocol.seeds + swept)

    def run(
        self, executor: Executor, on_outcome: Callable[[str, Outcome], None] | None = None
    ) -> FinalTable:
        """Train all of them, judge, and write ``finals.json``. The caller closes the executor.

        What was interrupted goes on: each outcome is kept as it comes. Earlier finals are kept as
        ``finals-1.json``, ``finals-2.json``, ...

        on_outcome: told the name of the finalist and the outcome of each training.

        Raises :class:`RunError` where others are under way, or have been made and ``again`` is not
        said.
        """
        _refuse(self.folder, again=self.again)
        with closing(RunLock(self.folder, _DOING)):
            _refuse_again(self.folder, again=self.again)
            return self._as_begun()._run(executor, on_outcome)

    def _run(
        self, executor: Executor, on_outcome: Callable[[str, Outcome], None] | None
    ) -> FinalTable:
        protocol = self.protocol
        journal = _journal(self.folder, self._described, again=self.again)
        journal.begin()
        executor.start(protocol.task, protocol.task_options, self.arrays, folder=self.folder)
        table = run_finals(
            executor, self.finalists, self.sizes, protocol, on_outcome, journal=journal
        )
        options = dict(protocol.task_options)
        table = table.beside(naive(protocol.task, options, self.arrays, "test"))
        _put_aside(self.folder / FINALS)
        files.write_atomically(self.folder / FINALS, table.to_json())
        journal.end()
        return table

    def _as_begun(self) -> FinalPlan:
        """The plan as version 0.1 has begun it in this folder, or else as it is."""
        before = replace(self, protocol=self.protocol.as_before)
        if self.protocol.sweep_seeds:
            return self
        try:
            return (
                before
                if Journal(self.folder / JOURNAL, before._described).was_interrupted
                else self
            )
        except InputFileError:
            return self  # whoever opens it says so

    @property
    def _described(self) -> dict[str, Any]:
        """All that the outcomes depend on, as plain data."""
        protocol = self.protocol
        return {
            "finalists": [[f.name, f.genome.to_json(), f.baseline] for f in self.finalists],
            "hidden sizes": dict(self.sizes),
            "seeds": protocol.seeds,
            "rates": protocol.rates,
            "training": asdict(protocol.training),
            "limits": asdict(protocol.limits),
            **({"device": asdict(protocol.device)} if protocol.device is not None else {}),
            **({} if protocol.is_as_before else {"sweep": [protocol.widest, protocol.sweep_seeds]}),
            "task": [protocol.task, dict(protocol.task_options)],
        }


@checked_arguments
def plan_finals(
    run: Snapshot,
    *,
    top: int = 3,
    seeds: int = 5,
    against: Sequence[str] = AGAINST,
    hidden_size: int | None = None,
    steps: int | None = None,
    sweep_seeds: int = 0,
    again: bool = False,
    data: Given = None,
) -> FinalPlan:
    """Who takes part in the finals of a run, and how.

    top: how many found cells take part.
    seeds: trainings of each cell that count.
    against: zoo cells that they are compared with.
    hidden_size: of the first of these (default: the run's).
    steps: of each training (default: the run's).
    sweep_seeds: trainings of each learning rate in the sweep (0: one, and up to three where noise
        decides between rates).
    again: whether the test data may be read again, after earlier finals of this run.
    data: where the user's own data lie now (default: as the run was opened).

    Raises :class:`RunError` for a run that is being searched, and for one whose finals were made
    unless ``again``; :class:`NoCandidateError` for a run without a cell that takes part,
    :class:`ConfigError` where no sizes give equally many weights.
    """
    _refuse(run.path, again=again)
    declared = run.experiment
    training = replace(
        declared.training,
        steps=steps or declared.training.steps,
        hidden_size=hidden_size or declared.training.hidden_size,
    )
    finalists = _finalists(run, top, against)
    kind = tasks.get(declared.task)
    arrays = (run if data is None else replace(run, data=data)).load_arrays()
    task = kind.create(declared.task_options, arrays)
    device = declared.measured
    if device is not None and device.bounds:
        sizes = fitting_sizes(
            {f.name: _costs(task, training, f.genome, device) for f in finalists}, device.bounds
        )
    else:
        counts = {f.name: _parameter_count(task, training, f.genome) for f in finalists}
        first = next(f.name for f in finalists if f.baseline)
        sizes = equal_sizes(counts, first, training.hidden_size)
    return FinalPlan(
        folder=run.path,
        finalists=finalists,
        sizes=sizes,
        protocol=Protocol(
            declared.task,
            declared.task_options,
            training,
            declared.limits,
            seeds,
            device=device,
            sweep_seeds=sweep_seeds,
        ),
        arrays=arrays,
        again=again,
    )


def _refuse(folder: Path, *, again: bool) -> None:
    """Raise :class:`RunError` while somebody writes the run, and where finals were made already."""
    writer = Store.writer(folder)
    if writer.endswith(_DOING):
        raise RunError(
            f"finals of this run are under way already ({writer})",
            where=str(folder),
            hint="wait for them",
        )
    if writer:
        raise RunError(
            f"the run is being searched by {writer}, and finals come at the end",
            where=str(folder),
            hint="wait for it, or stop it (Ctrl-C once); ls, best and report work meanwhile",
        )
    _refuse_again(folder, again=again)


def _refuse_again(folder: Path, *, again: bool) -> None:
    """Raise :class:`RunError` where finals were made already."""
    if (folder / FINALS).exists() and not again:
        raise RunError(
            "the finals of this run were made already, and test data are read once",
            where=str(folder / FINALS),
            hint=f"{command('report', folder)} shows them; --again (in Python, again=True) reads "
            "the test data once more and keeps the earlier table beside",
        )


def _journal(folder: Path, plan: Mapping[str, Any], *, again: bool) -> Journal:
    """The journal for this plan; one of another plan that has read test data is put aside, if that
    is meant.
    """
    path = folder / JOURNAL
    try:
        journal = Journal(path, plan)
    except InputFileError:
        if not again:
            raise
        _put_aside(path)
        return Journal(path, plan)
    if journal.others and not again:
        differing = [key for key in plan if journal.others.get(key) != journal.plan[key]]
        raise RunError(
            f"finals with other {' and '.join(differing)} were begun here, and have read test data",
            where=str(path),
            hint="the same command as then goes on with them; --again (in Python, again=True) "
            "puts them aside and reads the test data once more",
        )
    if journal.others:
        _put_aside(path)
    return journal


def _put_aside(path: Path) -> None:
    """Keep an earlier file under the first name that is free: ``finals-1.json``, ..."""
    stem, _, suffix = path.name.partition(".")
    number = 1
    while (aside := path.with_name(f"{stem}-{number}.{suffix}")).exists():
        number += 1
    if path.exists():
        path.rename(aside)


def _finalists(run: Snapshot, top: int, against: Sequence[str]) -> tuple[Finalist, ...]:
    """The named zoo cells and the best found cells that differ from them and from each other."""
    chosen = [Finalist(name, zoo.load(name), baseline=True) for name in dict.fromkeys(against)]
    keys = {f.genome.simplify().key for f in chosen}
    for trial in run.trials.ranked:
        key = trial.genome.simplify().key
        if not trial.is_baseline and key not in keys:
            keys.add(key)
            chosen.append(Finalist(trial.name, trial.genome))
        if len(chosen) == len(set(against)) + top:
            break
    if all(f.baseline for f in chosen):
        run.find_best()  # raises the error that says why there is none
    return tuple(chosen)


def _costs(
    task: Task, training: Training, genome: Genome, device: DeviceLimits
) -> Callable[[int], Footprint]:
    """What the cell costs on a device as a function of the hidden size."""

    @cache
    def cost(hidden_size: int) -> Footprint:
        sizes = trained_sizes(task, replace(training, hidden_size=hidden_size))
        if requires_square(genome):
            sizes = replace(sizes, input_size=hidden_size)
        return layer_footprint(genome, sizes, int8=device.int8)

    return cost


def _parameter_count(task: Task, training: Training, genome: Genome) -> Callable[[int], int]:
    """Trainable weights of the whole model as a function of the hidden size."""

    @cache
    def count(hidden_size: int) -> int:
        model = task.model(cell_factory(genome, replace(training, hidden_size=hidden_size)))
        return sum(p.numel() for p in model.parameters())

    return count
