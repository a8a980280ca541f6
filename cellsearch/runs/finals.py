"""Finals of a run: who takes part, of which size, and under which protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cellsearch import tasks
from cellsearch.errors import ConfigError, InputFileError, checked_arguments
from cellsearch.executors.base import Executor
from cellsearch.finals import Finalist, FinalTable, Protocol, run_finals
from cellsearch.finals.journal import Journal
from cellsearch.finals.sizes import TOLERANCE
from cellsearch.genome.device import DeviceLimits
from cellsearch.job import Limits, Outcome, Precision, Training
from cellsearch.options import table_of
from cellsearch.runs.making import (
    AGAINST,
    Making,
    begin_journal,
    finalists_of,
    journal_of,
    keep,
    making_alone,
    model_sizes,
    refuse,
)
from cellsearch.runs.snapshot import FINALS, Snapshot
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.own_data import Given
from cellsearch.tasks.suite import SUITE
from cellsearch.training import check_precision, naive
from cellsearch.training.bodies import check_body

__all__ = ["FinalPlan", "plan_finals", "plan_one"]


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
        target = self.folder / FINALS
        with making_alone(self.folder, target, again=self.again):
            plan = self._as_begun()
            journal = begin_journal(target, plan.described, again=self.again)
            table = plan.make(Making(executor, on_outcome, journal))
            keep(table, target, journal)
        return table

    @checked_arguments
    def make(self, making: Making, *, prefix: str = "") -> FinalTable:
        """Train all of them and judge, beside what needs no cell; ``prefix``: of the keys in the
        journal.
        """
        protocol, options = self.protocol, dict(self.protocol.task_options)
        making.executor.start(protocol.task, options, self.arrays, folder=self.folder)
        table = run_finals(
            making.executor,
            self.finalists,
            self.sizes,
            protocol,
            making.on_outcome,
            journal=making.journal,
            prefix=prefix,
        )
        return table.beside(naive(protocol.task, options, self.arrays, "test"))

    def _as_begun(self) -> FinalPlan:
        """The plan as version 0.1 has begun it in this folder, or else as it is."""
        if self.protocol.sweep_seeds:
            return self
        before = replace(self, protocol=self.protocol.as_before)
        try:
            begun = Journal(journal_of(self.folder / FINALS), before.described).was_interrupted
        except InputFileError:
            return self  # whoever opens it says so
        return before if begun else self

    @property
    def described(self) -> dict[str, Any]:
        """All that the outcomes depend on, as plain data."""
        protocol = self.protocol
        return {
            "finalists": [[f.name, f.form, f.baseline] for f in self.finalists],
            "hidden sizes": dict(self.sizes),
            "seeds": protocol.seeds,
            "rates": protocol.rates,
            "training": table_of(protocol.training),
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
    precision: Precision = "float32",
    again: bool = False,
    data: Given = None,
) -> FinalPlan:
    """Who takes part in the finals of a run, and how.

    top: how many found cells take part.
    seeds: trainings of each cell that count.
    against: zoo cells that they are compared with; ``"transformer"``, which is no cell.
    hidden_size: of the first of these that is a cell (default: the run's).
    steps: of each training (default: the run's).
    sweep_seeds: trainings of each learning rate in the sweep (0: one, and up to three where noise
        decides between rates).
    precision: of the products of all cells, whatever the search used.
    again: whether the test data may be read again, after earlier finals of this run.
    data: where the user's own data lie now (default: as the run was opened).

    Raises :class:`RunError` for a run that is being searched, and for one whose finals were made
    unless ``again``; :class:`NoCandidateError` for a run without a cell that takes part,
    :class:`ConfigError` where no sizes give equally many weights.
    """
    refuse(run.path, run.path / FINALS, again=again)
    declared = run.experiment
    if declared.task == SUITE:
        raise ConfigError(
            "the test data of a suite cannot be read together",
            where="task",
            hint="make finals on its tasks, Run.plan_finals_on(); the command finals does so",
        )
    training = replace(
        declared.training,
        steps=steps or declared.training.steps,
        hidden_size=hidden_size or declared.training.hidden_size,
        precision=precision,
    )
    arrays = (run if data is None else replace(run, data=data)).load_arrays()
    return plan_one(
        run.path,
        finalists_of(run, top, against),
        (declared.task, declared.task_options, arrays),
        training,
        declared.limits,
        seeds=seeds,
        sweep_seeds=sweep_seeds,
        device=declared.measured,
        again=again,
    )


@checked_arguments
def plan_one(
    folder: Path,
    finalists: tuple[Finalist, ...],
    data: tuple[str, Mapping[str, Any], Arrays],
    training: Training,
    limits: Limits,
    *,
    seeds: int,
    sweep_seeds: int,
    device: DeviceLimits | None,
    tolerance: float = TOLERANCE,
    again: bool = False,
) -> FinalPlan:
    """Finals on one task.

    data: name of the task, its options, its arrays.
    seeds, sweep_seeds: as of :func:`plan_finals`.
    tolerance: how far the weights of two models may differ, as a share.
    """
    name, options, arrays = data
    check_precision(training)
    for finalist in finalists:
        if finalist.body:
            check_body(finalist.body, name, training)
    task = tasks.get(name).create(options, arrays)
    sizes = model_sizes(task, finalists, training, device, tolerance)
    protocol = Protocol(
        name, options, training, limits, seeds=seeds, sweep_seeds=sweep_seeds, device=device
    )
    return FinalPlan(folder, finalists, sizes, protocol, arrays, again)
