"""Finals on other tasks than the searched one: on tasks by name, or on all of a suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cellsearch import tasks
from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.executors.base import Executor
from cellsearch.experiment.catalog import load_suite
from cellsearch.finals import FinalTables, TaskTable
from cellsearch.job import Limits, Outcome, Precision, Training
from cellsearch.options import keys
from cellsearch.runs.finals import FinalPlan, plan_one
from cellsearch.runs.making import (
    AGAINST,
    Making,
    begin_journal,
    finalists_of,
    keep,
    making_alone,
    refuse,
)
from cellsearch.runs.snapshot import Snapshot, finals_file
from cellsearch.tasks.own_data import Given, with_data
from cellsearch.tasks.suite import SUITE, Member, Suite, load_suite_data, part
from cellsearch.training.suite import member_training

__all__ = ["FinalPlans", "On", "plan_finals_on"]

On = Sequence[str] | Mapping[str, Mapping[str, Any]]
"""Names of tasks, or options by the name of the task."""
TOLERANCE = 0.10
"""How far the weights of two models may differ where small models cannot be more equal; the table
says how far they do."""
_OF_THE_TASK = ("steps", "hidden_size", "batch_size", "tbptt", "precision")
"""What of a run's training says nothing about another task, or is said elsewhere."""


@dataclass(frozen=True)
class FinalPlans:
    """Finals on several tasks that can begin."""

    folder: Path
    """Of the run."""
    name: str
    """Of the suite, or of the tasks; the table is written into a file of this name."""
    plans: tuple[tuple[str, FinalPlan], ...]
    """What each task is called, and how finals are made on it."""
    again: bool = False
    """Whether the test data may be read again, after earlier finals on these tasks."""

    @property
    def trainings(self) -> int:
        """How many trainings there will be at least, see :attr:`FinalPlan.trainings`."""
        return sum(plan.trainings for _, plan in self.plans)

    def run(
        self, executor: Executor, on_outcome: Callable[[str, Outcome], None] | None = None
    ) -> FinalTables:
        """Train on one task after the other, judge, and write ``finals-NAME.json``. The caller
        closes the executor; what was interrupted goes on, as with :meth:`FinalPlan.run`.

        on_outcome: told ``TASK, CELL`` and the outcome of each training.

        Raises :class:`RunError` as :meth:`FinalPlan.run` does.
        """
        target = self.folder / finals_file(self.name)
        described = {name: plan.described for name, plan in self.plans}
        with making_alone(self.folder, target, again=self.again):
            journal = begin_journal(target, {"tasks": described}, again=self.again)
            making = Making(executor, on_outcome, journal)
            found = FinalTables(
                self.name, tuple(_made(name, plan, making) for name, plan in self.plans)
            )
            keep(found, target, journal)
        return found


def _made(name: str, plan: FinalPlan, making: Making) -> TaskTable:
    """Make the finals of one task."""
    on_outcome = making.on_outcome

    def note(cell: str, outcome: Outcome) -> None:
        if on_outcome is not None:
            on_outcome(f"{name}, {cell}", outcome)

    table = plan.make(replace(making, on_outcome=note), prefix=f"{name}/")
    task = plan.protocol.task
    row = next((row for row in table.rows if row.scores), None)
    kind = tasks.get(task)
    metric = kind.metric if row is None else kind.metric_name(row.scores[0], row.metrics[0])
    return TaskTable(name, task, metric, table)


@checked_arguments
def plan_finals_on(
    run: Snapshot,
    *,
    on: On = (),
    suite: str | Path = "",
    training: Mapping[str, Any] | None = None,
    top: int = 3,
    seeds: int = 5,
    against: Sequence[str] = AGAINST,
    hidden_size: int | None = None,
    steps: int | None = None,
    sweep_seeds: int = 0,
    precision: Precision = "float32",
    again: bool = False,
    data: Given = None,
) -> FinalPlans:
    """Finals of a run's cells on tasks that it was not searched on.

    Each task has a sweep, seeds and sizes of its own: all models have equally many weights, within
    1 %, or as nearly as small models can, within 10 %, which the table says. The limit of time that
    the run has for its own task does not hold.

    on: names of tasks, or their options by name. They are trained as the run trains, but with
        the task's own batch size and segments.
    suite: or all tasks of the suite of this name or file, trained as it says. Left out, of a run
        that searched on a suite, its own.
    training: settings of the training that differ, by name.
    data: where the user's own data lie, as ``TASK.OPTION=PATH`` where there are several.
    top, seeds, against, hidden_size, steps, sweep_seeds, precision, again: as of
        :func:`cellsearch.runs.finals.plan_finals`; steps of every task.

    Raises :class:`ConfigError` for unknown tasks, options and suites, otherwise what
    :func:`cellsearch.runs.finals.plan_finals` raises.
    """
    chosen = _suite(run, on, suite, training or {}, steps)
    target = run.path / finals_file(chosen.name)
    refuse(run.path, target, again=again)
    if data:
        chosen = Suite.parse(with_data(SUITE, chosen.to_document(), data))
    finalists = finalists_of(run, top, against)
    arrays = load_suite_data(chosen)
    declared = run.experiment
    limits = Limits(memory_mb=declared.limits.memory_mb)
    plans = []
    for k, member in enumerate(chosen.members):
        one = member_training(chosen, member)
        one = replace(
            one,
            steps=steps or one.steps,
            hidden_size=hidden_size or one.hidden_size,
            precision=(training or {}).get("precision", precision),
        )
        tasks.get(member.task).check_training(one, where=f"task {member.name}")
        plan = plan_one(
            run.path,
            finalists,
            (member.task, member.options, part(arrays, k)),
            one,
            limits,
            seeds=seeds,
            sweep_seeds=sweep_seeds,
            device=declared.measured,
            tolerance=TOLERANCE,
            again=again,
        )
        plans.append((member.name, plan))
    return FinalPlans(run.path, chosen.name, tuple(plans), again)


def _suite(
    run: Snapshot,
    on: On,
    suite: str | Path,
    training: Mapping[str, Any],
    steps: int | None,
) -> Suite:
    """The tasks and how each is trained."""
    declared = run.experiment
    if on and suite:
        raise ConfigError("say either tasks or a suite", where="on", hint="leave one of them out")
    if not on:
        if not suite and declared.task != SUITE:
            raise ConfigError(
                "finals on other tasks need their names", where="on", hint="say on= or suite="
            )
        found = load_suite(suite) if suite else Suite.parse(declared.task_options)
        if not training:
            return found
        members = tuple(
            replace(member, training={**member.training, **training}) for member in found.members
        )
        return replace(found, members=members)
    options: Mapping[str, Any] = on if isinstance(on, Mapping) else {task: {} for task in on}
    own = asdict(declared.training)
    taken = {key: own[key] for key in keys(Training) if key not in _OF_THE_TASK}
    taken |= {"hidden_size": own["hidden_size"], **training}
    members = tuple(
        Member(task=task, steps=steps or own["steps"], chance=0.0, options=dict(asked))
        for task, asked in options.items()
    )
    return Suite(name="+".join(options), members=members, training=taken)
