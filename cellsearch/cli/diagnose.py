"""``cellsearch diagnose``: what a trained cell does with time, beside LSTM and GRU trained in the
same way.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellsearch.cli.output import (
    data_option,
    emit_json,
    json_option,
    print_table,
    refuse_existing,
    write_atomically,
)

if TYPE_CHECKING:
    from cellsearch.job import Job
    from cellsearch.reporting.diagnosis import Diagnosed
    from cellsearch.runs.locate import Located

__all__ = ["COMMANDS"]

BESIDE = ("lstm", "gru")


@click.command(
    "diagnose", short_help="Gradients, memory, gates of a trained cell, beside LSTM and GRU."
)
@click.argument("cell")
@click.option(
    "--task", help="Train for this task; left out: the checkpoint of a run's trial, and its task."
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps.  [default: 300]")
@click.option("--hidden", type=click.IntRange(min=1), help="Hidden size H.  [default: 64]")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Decides weights and batches.  [default: 0]"
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="training.KEY=VALUE or task_options.KEY=VALUE.",
)
@click.option(
    "--positions",
    type=click.IntRange(min=2),
    default=100,
    show_default=True,
    help="Follow at most so many positions.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Average over so many sequences.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Draw into FILE.html or FILE.svg."
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@data_option
@json_option
def diagnose(
    cell: str,
    task: str | None,
    steps: int | None,
    hidden: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    positions: int,
    examples: int,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure what CELL does with time once it is trained, beside LSTM and GRU trained in the same
    way.

    CELL is a zoo name or a .cell or .json file, to be trained for --task, or a run folder (its best
    cell) or RUN:TRIAL, whose checkpoint is read. Measured on validation data: the norm of the
    gradient of the last output with respect to the state k positions before, the effective memory
    length, saturation of gates, the spectrum of the Jacobian of a step, and the loss over the
    position.
    """
    from cellsearch.runs.locate import locate

    if output is not None:
        if output.suffix not in (".html", ".svg"):
            raise click.UsageError(f"{output} is neither .html nor .svg")
        refuse_existing(output, force=force)
    located = locate(cell)
    if task is None:
        given = {"--steps": steps, "--hidden": hidden, "--seed": seed, "--set": settings or None}
        if any(value is not None for value in given.values()):
            raise click.UsageError(
                f"{', '.join(k for k, v in given.items() if v is not None)}: say --task "
                f"as well, to train anew"
            )
        if located.trial is None:
            raise click.UsageError(f"{cell} has no trained weights: say --task to train it")
        path, job = located.trial.checkpoint, located.trial.job
    else:
        path, job = (
            None,
            _new_job(
                located, task, steps or 300, 64 if hidden is None else hidden, seed or 0, settings
            ),
        )
    cells = _measure(located, job, path, positions, examples)
    _show(cells, job, output, as_json=as_json, force=force)


def _new_job(
    located: Located, task: str, steps: int, hidden: int, seed: int, settings: tuple[str, ...]
) -> Job:
    from cellsearch import tasks
    from cellsearch.cli.training import read_settings
    from cellsearch.job import Job

    tasks.get(task)
    training, options = read_settings(settings, steps, hidden)
    return Job(0, 0, located.genome.to_json(), task, options, training, steps, seed)


def _measure(
    located: Located, job: Job, path: Path | None, positions: int, examples: int
) -> list[Diagnosed]:
    """The cell first, then LSTM and GRU under the same job, unless the cell is one of them."""
    from cellsearch import zoo
    from cellsearch.diagnostics import diagnose as measure
    from cellsearch.reporting.diagnosis import Diagnosed
    from cellsearch.runs.trained import load_arrays, load_trained, train

    arrays = load_arrays(job)
    beside = [(name, zoo.load(name)) for name in BESIDE]
    cells: list[Diagnosed] = []
    for name, genome in [
        (located.label, located.genome),
        *((n, g) for n, g in beside if g.key != located.genome.key),
    ]:
        if path is not None and not cells:
            trained = load_trained(path, job, arrays)
            score, metric = trained.task.score(trained.model, "valid")
        else:
            if sys.stderr.isatty():
                click.echo(f"training {name} for {job.steps} steps ...", err=True)
            trained, result = train(replace(job, genome=genome.to_json()), arrays)
            score, metric = result.score, result.metric
        cells.append(
            Diagnosed(
                name,
                score,
                metric,
                measure(trained.model, trained.task, positions=positions, examples=examples),
            )
        )
    return cells


def _show(
    cells: list[Diagnosed], job: Job, output: Path | None, *, as_json: bool, force: bool
) -> None:
    from cellsearch import tasks
    from cellsearch.reporting import diagnosis as page

    metric = tasks.get(job.task).metric
    training = job.training
    protocol = (
        f"task {job.task} ({metric}), {job.steps} steps, H = {training.hidden_size}, seed "
        f"{job.seed}, validation data"
    )
    title = f"{cells[0].name} on {job.task}"
    if output is not None:
        draw = page.to_html if output.suffix == ".html" else page.to_svg
        write_atomically(output, draw(title, protocol, cells), force=force)
    if as_json:
        document = {
            "task": job.task,
            "metric_name": metric,
            "steps": job.steps,
            "hidden_size": training.hidden_size,
            "seed": job.seed,
        }
        rows = [
            {
                "cell": c.name,
                "score": c.score,
                "metric": c.metric,
                **asdict(c.found),
                "radius": c.found.spectrum.radius,
            }
            for c in cells
        ]
        emit_json({**document, "training": asdict(training), "cells": rows})
        return
    click.echo(f"{title}: {protocol}")
    headers, rows_ = page.summary_rows(cells)
    print_table(headers, rows_, right=range(1, len(headers)))
    gate_headers, gates = page.gate_rows(cells)
    if gates:
        click.echo("")
        print_table(gate_headers, gates, right=(1, 3, 4, 5))
    if output is not None:
        click.echo(f"drawn: {output}")


COMMANDS = (diagnose,)
