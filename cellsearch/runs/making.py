"""What finals of all kinds share: who takes part, of which size, where they are kept, and that test
data are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from cellsearch import files, zoo
from cellsearch.errors import ConfigError, InputFileError, RunError, command
from cellsearch.executors.base import Executor
from cellsearch.finals import Finalist, FinalTable, FinalTables, equal_sizes, fitting_sizes
from cellsearch.finals.journal import Journal
from cellsearch.genome.device import DeviceLimits
from cellsearch.genome.footprint import Footprint
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square, size_step
from cellsearch.job import Outcome, Training
from cellsearch.runs.snapshot import Snapshot
from cellsearch.space import layer_footprint
from cellsearch.store import Store
from cellsearch.store.lock import RunLock
from cellsearch.tasks.base import Task
from cellsearch.training.bodies import BODIES, body_factory
from cellsearch.training.model import cell_factory, trained_sizes

__all__ = [
    "AGAINST",
    "DOING",
    "Making",
    "begin_journal",
    "finalists_of",
    "journal_of",
    "keep",
    "making_alone",
    "model_sizes",
    "put_aside",
    "refuse",
]

AGAINST = ("lstm", "gru")
DOING = "making finals"
"""What the lock of a run says meanwhile."""


@dataclass(frozen=True)
class Making:
    """What makes finals, and what it tells whom."""

    executor: Executor
    """Trains."""
    on_outcome: Callable[[str, Outcome], None] | None
    """Told the name of the finalist and the outcome of each training."""
    journal: Journal
    """Keeps the outcomes."""


def model_sizes(
    task: Task,
    finalists: Sequence[Finalist],
    training: Training,
    device: DeviceLimits | None,
    tolerance: float,
) -> dict[str, int]:
    """The hidden size of each finalist on a task: with equally many weights of the whole models, or
    as large as fits a device.
    """
    steps = {f.name: size_step(f.genome, training.sizes) for f in finalists if f.genome is not None}
    if device is not None and device.bounds:
        genomes = {f.name: f.genome for f in finalists if f.genome is not None}
        if len(genomes) < len(finalists):
            raise ConfigError(
                "a transformer is no cell, and what it takes on a device is not known",
                where="against",
                hint="leave it out",
            )
        costs = {name: _costs(task, training, cell, device) for name, cell in genomes.items()}
        return fitting_sizes(costs, device.bounds, steps)
    counts = {f.name: _parameter_count(task, training, f) for f in finalists}
    baselines = sorted((f for f in finalists if f.baseline), key=lambda f: f.genome is None)
    first = baselines[0].name
    return equal_sizes(counts, first, training.hidden_size, tolerance, steps)


def refuse(folder: Path, target: Path, *, again: bool) -> None:
    """Raise :class:`RunError` while somebody writes the run, and where these finals were made
    already, whose table is ``target``.
    """
    writer = Store.writer(folder)
    if writer.endswith(DOING):
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
    _refuse_again(target, again=again)


@contextmanager
def making_alone(folder: Path, target: Path, *, again: bool) -> Iterator[None]:
    """Hold the lock of the run while finals are made whose table is ``target``. Raises
    :class:`RunError` as :func:`refuse` does.
    """
    refuse(folder, target, again=again)
    with closing(RunLock(folder, DOING)):
        _refuse_again(target, again=again)  # others may have ended meanwhile
        yield


def keep(table: FinalTable | FinalTables, target: Path, journal: Journal) -> None:
    """Write the table that the outcomes of the journal gave; an earlier one is put aside."""
    put_aside(target)
    files.write_atomically(target, table.to_json())
    journal.end()


def _refuse_again(target: Path, *, again: bool) -> None:
    """Raise :class:`RunError` where these finals were made already."""
    if target.exists() and not again:
        raise RunError(
            "the finals of this run were made already, and test data are read once",
            where=str(target),
            hint=f"{command('report', target.parent)} shows them; --again (in Python, again=True) "
            "reads the test data once more and keeps the earlier table beside",
        )


def journal_of(target: Path) -> Path:
    """The file beside the table ``target`` with what finals have given that have not ended yet."""
    return target.with_suffix(".partial.json")


def begin_journal(target: Path, plan: Mapping[str, Any], *, again: bool) -> Journal:
    """The journal for this plan, written; one of another plan that has read test data is put aside,
    if that is meant.
    """
    journal = _open_journal(journal_of(target), plan, again=again)
    journal.begin()
    return journal


def _open_journal(path: Path, plan: Mapping[str, Any], *, again: bool) -> Journal:
    try:
        journal = Journal(path, plan)
    except InputFileError:
        if not again:
            raise
        put_aside(path)
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
        put_aside(path)
    return journal


def put_aside(path: Path) -> None:
    """Keep an earlier file under the first name that is free: ``finals-1.json``, ..."""
    stem, _, suffix = path.name.partition(".")
    number = 1
    while (aside := path.with_name(f"{stem}-{number}.{suffix}")).exists():
        number += 1
    if path.exists():
        path.rename(aside)


def finalists_of(run: Snapshot, top: int, against: Sequence[str]) -> tuple[Finalist, ...]:
    """The named zoo cells and the best found cells that differ from them and from each other."""
    chosen = [
        Finalist(name, None, baseline=True, body=name)
        if name in BODIES
        else Finalist(name, _of_zoo(name), baseline=True)
        for name in dict.fromkeys(against)
    ]
    keys = {f.genome.simplify().key for f in chosen if f.genome is not None}
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


def _of_zoo(name: str) -> Genome:
    try:
        return zoo.load(name)
    except ConfigError as error:
        error.hint += f" (besides the cells of the zoo: {', '.join(BODIES)})"
        raise


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


def _parameter_count(task: Task, training: Training, finalist: Finalist) -> Callable[[int], int]:
    """Trainable weights of the whole model as a function of the hidden size."""

    @cache
    def count(hidden_size: int) -> int:
        sized = replace(training, hidden_size=hidden_size)
        if finalist.genome is None:
            factory = body_factory(finalist.body, sized)
        else:
            factory = cell_factory(finalist.genome, sized)
        return sum(p.numel() for p in task.model(factory).parameters())

    return count
