"""``cellsearch diagnose``: what a trained cell does with time, beside LSTM and GRU trained in the
same way.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellsearch import tasks
from cellsearch.cli.failures import one_training
from cellsearch.cli.output import (
    data_option,
    emit_json,
    figure_option,
    own_data_option,
    print_table,
    size_option,
    table_option,
)
from cellsearch.cli.training import read_settings
from cellsearch.errors import amount
from cellsearch.files import refuse_existing, write_new
from cellsearch.job import Job
from cellsearch.reporting.figures import paper_drawing, write_figure
from cellsearch.runs.locate import locate

if TYPE_CHECKING:
    from cellsearch.runs.diagnosis import Comparison

__all__ = ["COMMANDS"]


@click.command("diagnose")
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
@size_option
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
@figure_option("the charts")
@click.option("--force", is_flag=True, help="Overwrite these files.")
@click.option(
    "--keep",
    is_flag=True,
    help="Keep the measures of a run's trial in its folder, where `cellsearch ui` shows them.",
)
@own_data_option
@data_option
@table_option
def diagnose(
    cell: str,
    task: str | None,
    steps: int | None,
    hidden: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    sizes: dict[str, int | str],
    positions: int,
    examples: int,
    output: Path | None,
    figure: Path | None,
    force: bool,
    keep: bool,
    data: tuple[str, ...],
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
    if output is not None:
        if output.suffix not in (".html", ".svg"):
            raise click.UsageError(
                f"{output} is neither .html nor .svg; --figure {output.with_suffix('.pdf')} "
                "writes PDF"
            )
        refuse_existing(output, force=force)
    if figure is not None:
        refuse_existing(figure, force=force)
    if keep and task is not None:
        raise click.UsageError("--keep is for the trial of a run, without --task")
    settings += tuple(f"training.sizes.{name}={size}" for name, size in sizes.items())
    located = locate(cell, data if task is None else None)
    if task is None:
        given = {"--steps": steps, "--hidden": hidden, "--seed": seed, "--set": settings or None}
        if any(value is not None for value in given.values()):
            raise click.UsageError(
                f"{', '.join(k for k, v in given.items() if v is not None)}: say --task "
                f"as well, to train anew"
            )
        if located.trial is None:
            raise click.UsageError(f"{cell} has no trained weights: say --task to train it")
        with one_training(f"beside {located.label}"):
            found = located.trial.diagnose(
                positions=positions, examples=examples, on_training=_say_training
            )
        if keep:
            located.trial.keep_diagnosis(found)
    else:
        from cellsearch.runs.diagnosis import compare  # loads torch

        tasks.get(task)
        training, options = read_settings(
            settings, steps or 300, 64 if hidden is None else hidden, task, data
        )
        genome = located.genome
        job = Job(0, 0, genome.to_json(), task, options, training, training.steps, seed or 0)
        with one_training(f"{located.label} and beside it on {task}"):
            found = compare(
                located.label,
                genome,
                job,
                positions=positions,
                examples=examples,
                on_training=_say_training,
            )
    if figure is not None:
        write_figure(figure, paper_drawing(found.to_svg()), force=force)
    _show(found, output, figure, as_json=as_json, force=force)


def _say_training(name: str, steps: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"training {name} for {amount(steps, 'step')} ...", err=True)


def _show(
    found: Comparison, output: Path | None, figure: Path | None, *, as_json: bool, force: bool
) -> None:
    from cellsearch.runs.diagnosis_page import gate_rows, summary_rows  # loads torch

    if output is not None:
        drawn = found.to_html() if output.suffix == ".html" else found.to_svg()
        write_new(output, drawn, force=force)
    if as_json:
        emit_json(found.to_document())
        return
    click.echo(f"{found.title}: {found.protocol}")
    headers, rows = summary_rows(found.cells)
    print_table(headers, rows, right=range(1, len(headers)))
    gate_headers, gates = gate_rows(found.cells)
    if gates:
        click.echo("")
        print_table(gate_headers, gates, right=(1, 3, 4, 5))
    for path in (output, figure):
        if path is not None:
            click.echo(f"drawn: {path}")


COMMANDS = (diagnose,)
