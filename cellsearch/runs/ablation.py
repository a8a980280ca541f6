"""Ablation of a cell: what is taken out, how all that is left is trained, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cellsearch import files, tasks, zoo
from cellsearch.ablation import AblationRow, AblationTable
from cellsearch.errors import ConfigError, RunError, checked_arguments, command
from cellsearch.executors.base import Executor
from cellsearch.finals.journal import Journal
from cellsearch.finals.rounds import Rounds
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.job import Job, Limits, Outcome, Training
from cellsearch.options import table_of
from cellsearch.options import unknown as unknown_name
from cellsearch.runs.making import put_aside
from cellsearch.runs.snapshot import ABLATIONS, Snapshot, safe_name
from cellsearch.space.removals import Removal, Removals, removals
from cellsearch.store.lock import RunLock, holder, require_plain
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.own_data import Given
from cellsearch.tasks.suite import SUITE
from cellsearch.trial import Trial

__all__ = ["NODES", "WHOLE", "AblationPlan", "plan_ablation", "plan_cell_ablation"]

FIRST_SEED = 30_000
NODES = ("gate", "value", "state", "function")
"""Kinds of removals that are of nodes and states, not of connections."""
KINDS = (*NODES, "connection")
WHOLE = "the whole cell"
"""What the trainings of the cell as it is are called."""


@dataclass(frozen=True)
class AblationPlan:
    """An ablation that can begin."""

    folder: Path
    """Where it is kept."""
    name: str
    """Of its files."""
    label: str
    """What the cell is called."""
    genome: Genome
    """The cell."""
    found: Removals
    """What can be taken out of it."""
    kinds: tuple[str, ...]
    """Of what is taken out; empty: of everything."""
    job: Job
    """A training of the cell; its seed is the first."""
    seeds: int
    """Trainings of each cell."""
    arrays: Arrays
    """The task's data."""

    @property
    def removed(self) -> tuple[Removal, ...]:
        """What is taken out, one after the other."""
        return tuple(one for one in self.found.distinct if not self.kinds or one.kind in self.kinds)

    @property
    def trainings(self) -> int:
        """How many trainings there are, those that were done before included."""
        return self.seeds * (1 + len(self.removed))

    @property
    def target(self) -> Path:
        """The file of the table."""
        return self.folder / f"{self.name}.json"

    @property
    def journal(self) -> Path:
        """The file with what each training gave; it stays, so that more seeds can be added."""
        return self.folder / f"{self.name}.trainings.json"

    @property
    def described(self) -> dict[str, Any]:
        """All that the outcomes depend on, as plain data."""
        job = self.job
        return {
            "cells": {name: genome.to_json() for name, genome in self._cells(all_kinds=True)},
            "training": table_of(job.training),
            "limits": asdict(job.limits),
            "task": [job.task, dict(job.task_options)],
        }

    def run(
        self, executor: Executor, on_outcome: Callable[[str, Outcome], None] | None = None
    ) -> AblationTable:
        """Train what was not trained before, and write the table. The caller closes the executor.

        What was interrupted goes on, and more seeds are trained in addition: each outcome is kept
        as it comes. Files of an ablation with another training are put aside under names that end
        in a number.

        on_outcome: told what was removed and the outcome of each training.

        Raises :class:`RunError` where another process makes an ablation in the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if other := holder(self.folder):
            raise RunError(
                f"an ablation is under way here already ({other})",
                where=str(self.folder),
                hint="wait for it, or stop it: it goes on later",
            )
        with closing(RunLock(self.folder, "making an ablation")):
            journal = Journal(
                self.journal, self.described, "journal of an ablation", "remove it to start anew"
            )
            if self.journal.exists() and not journal.was_interrupted:
                put_aside(self.journal)
                put_aside(self.target)
            journal.begin()
            options = dict(self.job.task_options)
            executor.start(self.job.task, options, self.arrays, folder=self.folder)
            rounds = Rounds(executor, on_outcome, journal)
            outcomes = rounds.train(
                {name: self._jobs(genome) for name, genome in self._cells(all_kinds=False)}
            )
            table = self._table(outcomes)
            files.write_atomically(self.target, table.to_json(), what="table of the ablation")
        return table

    def _cells(self, *, all_kinds: bool) -> list[tuple[str, Genome]]:
        removed = self.found.distinct if all_kinds else self.removed
        return [(WHOLE, self.genome), *((one.name, one.genome) for one in removed)]

    def _jobs(self, genome: Genome) -> dict[str, Job]:
        text = genome.to_json()
        return {
            str(k): replace(self.job, genome=text, seed=self.job.seed + k)
            for k in range(self.seeds)
        }

    def _table(self, outcomes: Mapping[str, Mapping[str, Outcome]]) -> AblationTable:
        known = _known_cells() if self.removed else {}
        rows = [
            _row(one, known.get(search_key(one.genome), ""), [*outcomes[one.name].values()])
            for one in self.removed
        ]
        kept = [*outcomes[WHOLE].values()]
        scored = next((o.result for o in kept if o.result is not None), None)
        kind = tasks.get(self.job.task)
        return AblationTable(
            label=self.label,
            task=self.job.task,
            metric=kind.metric_name(scored.score, scored.metric) if scored else kind.metric,
            steps=self.job.steps,
            hidden_size=self.job.training.hidden_size,
            seeds=self.seeds,
            whole=_row(Removal(WHOLE, "value", "", self.genome), "", kept, kind=""),
            removed=tuple(rows),
            idle=self.found.idle,
            impossible=tuple(self.found.impossible.items()),
        )


def _row(
    removal: Removal, known: str, outcomes: Sequence[Outcome], kind: str | None = None
) -> AblationRow:
    results = [o.result for o in outcomes if o.result is not None]
    failures = tuple(o.failure.kind for o in outcomes if o.failure is not None)
    return AblationRow(
        name=removal.name,
        kind=removal.kind if kind is None else kind,
        meaning=removal.meaning,
        cell=removal.genome.to_text(),
        scores=tuple(result.score for result in results),
        failures=failures,
        also=removal.also,
        known=known,
        cell_weights=results[0].cell_parameters if results else 0,
        parameters=results[0].parameters if results else 0,
        seconds=sum(result.seconds for result in results),
    )


def _known_cells() -> dict[str, str]:
    """The cells of the zoo, by what they compute."""
    return {search_key(zoo.load(name)): name for name in zoo.names()}


@checked_arguments
def plan_ablation(
    run: Snapshot,
    trial: Trial,
    *,
    seeds: int = 3,
    steps: int | None = None,
    share: float = 1.0,
    kinds: Sequence[str] = (),
    data: Given = None,
) -> AblationPlan:
    """What can be taken out of the cell of a trial, each trained from scratch as the run trains.

    seeds: trainings of each cell.
    steps: of each training (default: the run's).
    share: of these steps; 0.25 for a quarter.
    kinds: of what is taken out: ``"gate"``, ``"value"``, ``"state"``, ``"function"``,
        ``"connection"``; all if left out.
    data: where the user's own data lie now (default: as the run was opened).

    Raises :class:`ConfigError` for a run that searched on a suite.
    """
    declared = run.experiment
    if declared.task == SUITE:
        raise ConfigError(
            "an ablation is made on one task, and the run searched on a suite",
            where="task",
            hint=f"{command('ablate', f'{run.path}:{trial.number}')} --task NAME",
        )
    require_plain(run.path, (), (ABLATIONS,))
    return plan_cell_ablation(
        trial.genome,
        f"{run.path.name}-{trial.number}",
        (
            declared.task,
            declared.task_options,
            (run if data is None else replace(run, data=data)).load_arrays(),
        ),
        declared.training,
        limits=declared.limits,
        folder=run.path / ABLATIONS,
        name=f"trial-{trial.number}",
        seeds=seeds,
        steps=steps,
        share=share,
        kinds=kinds,
    )


@checked_arguments
def plan_cell_ablation(
    genome: Genome,
    label: str,
    data: tuple[str, Mapping[str, Any], Arrays],
    training: Training,
    *,
    folder: Path,
    limits: Limits | None = None,
    name: str = "",
    seeds: int = 3,
    steps: int | None = None,
    share: float = 1.0,
    kinds: Sequence[str] = (),
) -> AblationPlan:
    """The same of any cell on any task.

    label: what the cell is called.
    data: name of the task, its options, its arrays.
    training: how all cells are trained.
    folder: where it is kept.
    limits: of each training.
    name: of its files (default: the label).
    seeds, steps, share, kinds: as of :func:`plan_ablation`.
    """
    task, options, arrays = data
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="seeds", hint="allowed: 1 or more")
    if not 0 < share <= 1:
        raise ConfigError(
            f"{share:g} is out of range", where="share", hint="allowed: above 0, up to 1"
        )
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise unknown_name("kind of removal", unknown[0], KINDS, where="kinds")
    count = max(1, round((steps or training.steps) * share))
    training = replace(training, steps=count)
    tasks.get(task).check_training(training, where=f"task {task}")
    job = Job(
        trial=0,
        rung=0,
        genome=genome.to_json(),
        task=task,
        task_options=options,
        training=training,
        steps=count,
        seed=FIRST_SEED,
        limits=limits or Limits(),
    )
    return AblationPlan(
        folder=folder,
        name=safe_name(name or label),
        label=label,
        genome=genome,
        found=removals(genome),
        kinds=tuple(kinds),
        job=job,
        seeds=seeds,
        arrays=arrays,
    )
