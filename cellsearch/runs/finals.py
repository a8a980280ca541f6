"""Finals of a run: who takes part, of which size, and under which protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cellsearch import files, tasks, zoo
from cellsearch.errors import checked_arguments
from cellsearch.executors.base import Executor
from cellsearch.finals import Finalist, FinalTable, Protocol, equal_sizes, run_finals
from cellsearch.genome.graph import Genome
from cellsearch.job import Outcome
from cellsearch.runs.snapshot import FINALS, Snapshot
from cellsearch.settings import Training
from cellsearch.tasks.base import Arrays, Task
from cellsearch.training import prepare
from cellsearch.training.model import cell_factory

__all__ = ["FinalPlan", "plan_finals"]

AGAINST = ("lstm", "gru")


@dataclass(frozen=True)
class FinalPlan:
    """Finals that can begin."""

    folder: Path
    """Of the run; the table is written there."""
    finalists: tuple[Finalist, ...]
    """Found cells and baselines."""
    sizes: Mapping[str, int]
    """Hidden size of each by name: with them all models have equally many weights."""
    protocol: Protocol
    """How all of them are trained."""
    arrays: Arrays
    """The task's data."""

    @property
    def trainings(self) -> int:
        """How many trainings there will be."""
        return len(self.finalists) * (self.protocol.seeds + len(self.protocol.rates))

    def run(
        self, executor: Executor, on_outcome: Callable[[str, Outcome], None] | None = None
    ) -> FinalTable:
        """Train all of them, judge, and write ``finals.json``. The caller closes the executor.

        on_outcome: told the name of the finalist and the outcome of each training.
        """
        protocol = self.protocol
        executor.start(protocol.task, protocol.task_options, self.arrays, folder=self.folder)
        table = run_finals(executor, self.finalists, self.sizes, protocol, on_outcome)
        files.write_atomically(self.folder / FINALS, table.to_json())
        return table


@checked_arguments
def plan_finals(
    run: Snapshot,
    *,
    top: int = 3,
    seeds: int = 5,
    against: Sequence[str] = AGAINST,
    hidden_size: int | None = None,
    steps: int | None = None,
) -> FinalPlan:
    """Who takes part in the finals of a run, and how.

    top: how many found cells take part.
    seeds: trainings of each cell that count.
    against: zoo cells that they are compared with.
    hidden_size: of the first of these (default: the run's).
    steps: of each training (default: the run's).

    Raises :class:`NoCandidateError` for a run without a cell that takes part, :class:`ConfigError`
    where no sizes give equally many weights.
    """
    declared = run.experiment
    training = replace(
        declared.training,
        steps=steps or declared.training.steps,
        hidden_size=hidden_size or declared.training.hidden_size,
    )
    finalists = _finalists(run, top, against)
    kind = tasks.get(declared.task)
    arrays = prepare(declared.task, declared.task_options).arrays
    task = kind.create(declared.task_options, arrays)
    counts = {f.name: _parameter_count(task, training, f.genome) for f in finalists}
    first = next(f.name for f in finalists if f.baseline)
    return FinalPlan(
        folder=run.path,
        finalists=finalists,
        sizes=equal_sizes(counts, first, training.hidden_size),
        protocol=Protocol(declared.task, declared.task_options, training, declared.limits, seeds),
        arrays=arrays,
    )


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


def _parameter_count(task: Task, training: Training, genome: Genome) -> Callable[[int], int]:
    """Trainable weights of the whole model as a function of the hidden size."""

    @cache
    def count(hidden_size: int) -> int:
        model = task.model(cell_factory(genome, replace(training, hidden_size=hidden_size)))
        return sum(p.numel() for p in model.parameters())

    return count
