"""``cellsearch finals``: retrain the best cells and the baselines from scratch at equal parameters,
and say what is true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellsearch.cli.output import (
    data_option,
    emit_json,
    json_option,
    number,
    print_table,
    write_atomically,
)

if TYPE_CHECKING:
    from cellsearch.experiment import Experiment
    from cellsearch.finals import Finalist, FinalTable
    from cellsearch.genome.graph import Genome
    from cellsearch.runs import Run
    from cellsearch.tasks.base import Arrays

__all__ = ["COMMANDS"]


@click.command("finals", short_help="Retrain the best cells and the baselines, and judge.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How many found cells take part.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Trainings of each cell that count.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="CELL",
    help="Zoo cells to compare with; lstm and gru if left out.",
)
@click.option(
    "--hidden",
    type=click.IntRange(min=1),
    help="Hidden size of the first baseline (default: the run's).",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Optimizer steps of each training (default: the run's).",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Ray workers; 0 trains in this process (default: the run's).",
)
@click.option(
    "--ray-address", metavar="ADDRESS", help="Join this Ray cluster (or set RAY_ADDRESS)."
)
@data_option
@json_option
def finals(
    run: Path,
    top: int,
    seeds: int,
    against: Sequence[str],
    hidden: int | None,
    steps: int | None,
    workers: int | None,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Retrain the best cells of RUN and LSTM and GRU from scratch, with several seeds, and compare
    them on test data.

    All models get equally many parameters (within 1 %), the same small sweep of learning rates
    decided by validation, and the same budget; test data is read once a training, at the end.
    Writes finals.json into the run's folder.
    """
    from cellsearch import tasks
    from cellsearch.cli.searching import make_executor
    from cellsearch.finals import Protocol, equal_sizes, run_finals
    from cellsearch.runs import open_run
    from cellsearch.training import prepare

    data = open_run(run)
    declared = data.experiment
    if workers is not None:
        declared = replace(declared, workers=workers)
    training = replace(
        declared.training,
        steps=steps or declared.training.steps,
        hidden_size=hidden or declared.training.hidden_size,
    )
    declared = replace(declared, training=training)
    finalists = _finalists(data, top, against or ("lstm", "gru"))
    task = tasks.get(declared.task)
    arrays = prepare(declared.task, declared.task_options).arrays
    counts = {f.name: _parameter_count(declared, f.genome, arrays) for f in finalists}
    first = next(f.name for f in finalists if f.baseline)
    sizes = equal_sizes(counts, first, training.hidden_size)
    protocol = Protocol(declared.task, declared.task_options, training, declared.limits, seeds)
    total = len(finalists) * (seeds + len(protocol.rates))
    progress = _Progress(total)
    click.echo(
        f"{total} trainings of {training.steps} steps; "
        + ", ".join(f"{n}: H = {h}" for n, h in sizes.items()),
        err=True,
    )
    with make_executor(declared, ray_address, run) as executor:
        executor.start(declared.task, declared.task_options, arrays, folder=run)
        table = run_finals(executor, finalists, sizes, protocol, progress)
    write_atomically(run / "finals.json", table.to_json(), force=True)
    if as_json:
        emit_json(table.to_document())
    else:
        _print(table, task.metric)


def _finalists(data: Run, top: int, against: Sequence[str]) -> list[Finalist]:
    """The named zoo cells and the best found cells that differ from them and from each other."""
    from cellsearch import zoo
    from cellsearch.finals import Finalist

    chosen = [Finalist(name, zoo.load(name), baseline=True) for name in dict.fromkeys(against)]
    keys = {f.genome.simplify().key for f in chosen}
    for trial in data.trials.ranked:
        key = trial.genome.simplify().key
        if not trial.is_baseline and key not in keys:
            keys.add(key)
            chosen.append(Finalist(f"trial {trial.number}", trial.genome))
        if len(chosen) == len(set(against)) + top:
            break
    if all(f.baseline for f in chosen):
        data.find_best()  # raises the error that says why there is none
    return chosen


def _parameter_count(
    experiment: Experiment, genome: Genome, arrays: Arrays
) -> Callable[[int], int]:
    """Trainable weights of the whole model as a function of the hidden size."""
    from cellsearch.tasks import get
    from cellsearch.training.model import cell_factory

    task = get(experiment.task).create(experiment.task_options, arrays)

    @cache
    def count(hidden_size: int) -> int:
        model = task.model(
            cell_factory(genome, replace(experiment.training, hidden_size=hidden_size))
        )
        return sum(p.numel() for p in model.parameters())

    return count


class _Progress:
    """A line on standard error for each training that ended."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def __call__(self, name: str, outcome: object) -> None:
        from cellsearch.job import Outcome

        self.done += 1
        if isinstance(outcome, Outcome):
            text = (
                f"validation {outcome.result.score:.4f}"
                if outcome.result
                else f"failed: {outcome.failure and outcome.failure.kind}"
            )
            click.echo(f"[{self.done}/{self.total}] {name}: {text}", err=True)


def _print(table: FinalTable, metric: str) -> None:
    headers = [
        "cell",
        f"test {metric}",
        "deviation",
        "weights",
        "H",
        "rate",
        "ms a step",
        "failed",
        "p",
    ]
    rows = [
        [
            row.name + (" (baseline)" if row.baseline else ""),
            number(row.mean),
            number(row.deviation),
            f"{row.parameters:,}",
            str(row.hidden_size),
            f"{row.learning_rate:g}",
            number(row.step_ms, 1),
            str(row.failures),
            number(row.p, 3),
        ]
        for row in table.rows
    ]
    print_table(headers, rows, right=range(1, 9))
    click.echo(f"\n{table.sentence}")


COMMANDS = (finals,)
