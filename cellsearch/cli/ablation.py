"""``cellsearch ablate``: take a cell apart, and say what each of its parts is worth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cellsearch import tasks, training
from cellsearch.ablation import AblationTable
from cellsearch.cli.output import (
    data_option,
    emit_json,
    own_data_option,
    print_table,
    table_option,
)
from cellsearch.cli.signals import exit_code
from cellsearch.cli.training import read_settings
from cellsearch.cli.workers import TrainingLines, make_executor, ray_options
from cellsearch.errors import RunError, amount, command
from cellsearch.genome.graph import Genome
from cellsearch.job import Outcome
from cellsearch.reporting.ablation import HEADERS, RIGHT, ablation_grid, ablation_notes
from cellsearch.runs import open_run
from cellsearch.runs.ablation import NODES, WHOLE, AblationPlan, plan_ablation, plan_cell_ablation
from cellsearch.runs.locate import locate

__all__ = ["COMMANDS"]

WHERE = Path("ablations")
"""Where ablations of cells on a task of one's own choice are kept."""


class Steps(click.ParamType[tuple[int | None, float]]):
    """Steps, ``500``, or a share of those of the run, ``25%``."""

    name = "steps"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, float]:
        """Both; a mistake ends the command with what is allowed."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(%?)", value)
        if found and found[2] and 0 < float(found[1]) <= 100:
            return None, float(found[1]) / 100
        if found and not found[2] and found[1].isdecimal() and int(found[1]):
            return int(found[1]), 1.0
        return self.fail(f"{value!r} is neither steps (500) nor a share of them (25%)", param, ctx)


@click.command("ablate")
@click.argument("cell")
@click.option("--task", help="Train on this task, not as the run does.")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Trainings of each cell.",
)
@click.option(
    "--steps",
    type=Steps(),
    metavar="N|P%",
    help="Optimizer steps of each training, or a share of the run's.  [default: the run's; 300 "
    "with --task]",
)
@click.option(
    "--hidden", type=click.IntRange(min=1), default=64, help="Hidden size, with --task (64)."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="With --task: training.KEY=VALUE or task_options.KEY=VALUE.",
)
@click.option(
    "--only",
    type=click.Choice(["nodes", "connections"]),
    help="Take out nodes and states, or connections.  [default: both]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Ray workers; 0 trains in this process.  [default: the run's; 0 with --task]",
)
@ray_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=WHERE,
    show_default=True,
    help="With --task: the folder in which the ablation is kept.",
)
@click.option("--show", is_flag=True, help="Print the tables of earlier ablations of a run.")
@own_data_option
@data_option
@table_option
@click.pass_context
def ablate(
    context: click.Context,
    /,
    cell: str,
    workers: int | None,
    ray_address: str | None,
    worker_env: tuple[str, ...],
    as_json: bool,
    show: bool,
    **options: Any,
) -> int:
    """Take each node, state and connection out of CELL in turn, train what is left from scratch
    with several seeds, and list what each costs, with an interval, the most expensive first.

    CELL is a run folder (its best cell) or RUN:TRIAL, trained as the run trains; or, with --task,
    any cell: a zoo name, a .cell or .json file. A gate that is taken out is 1, any other value and
    a state of the step before 0; a function of one value leaves what it reads; a connection goes
    with its weights, or is a term of 0 or a factor of 1. Cells that compute the same are trained
    once. Validation data, no test data. After Ctrl-C the same command goes on; with more --seeds it
    trains what is missing. Kept in the folder ablation of the run, and shown in its report.
    """
    located = locate(cell, options["data"] if options["task"] is None else ())
    if show:
        _show_tables(located.trained.run.path, as_json)
        return 0
    of_run = options["task"] is None
    if of_run:
        for name in ("hidden", "settings", "out"):
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                said = "set" if name == "settings" else name
                raise click.UsageError(f"--{said} needs --task; a run brings its own training")
        trial = located.trained
        if workers is None:
            workers = trial.run.experiment.workers
        plan = plan_ablation(trial.run, trial.trial, **_choice(options))
    else:
        plan = _on_task(located.genome, located.label, options)
        click.echo(
            f"{plan.label}: {amount(len(plan.removed), 'removal')}, "
            f"{amount(plan.trainings, 'training')} of {amount(plan.job.steps, 'step')}",
            err=True,
        )
    lines = TrainingLines(plan.trainings, "score")

    def on_outcome(name: str, outcome: Outcome) -> None:
        lines(name if name == WHOLE else f"without {name}", outcome)

    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        with make_executor(workers or 0, plan.folder, ray_address, worker_env) as executor:
            table = plan.run(executor, on_outcome)
    except KeyboardInterrupt:
        click.echo("stopped: the same command goes on with this ablation", err=True)
        return exit_code()
    if as_json:
        emit_json(table.to_document())
    else:
        _print_ablation(table)
        click.echo(f"\nkept in {plan.target}")
    return 0


def _choice(options: Mapping[str, Any]) -> dict[str, Any]:
    """What both kinds of plans are asked for."""
    steps, share = options["steps"] or (None, 1.0)
    kinds = {"nodes": NODES, "connections": ("connection",), None: ()}[options["only"]]
    return {"seeds": options["seeds"], "steps": steps, "share": share, "kinds": kinds}


def _on_task(genome: Genome, label: str, options: Mapping[str, Any]) -> AblationPlan:
    task, chosen = options["task"], _choice(options)
    tasks.get(task)
    steps = chosen["steps"] or 300
    declared, task_options = read_settings(
        options["settings"], steps, options["hidden"], task, options["data"]
    )
    arrays = training.prepare(task, task_options).arrays
    return plan_cell_ablation(
        genome,
        label,
        (task, task_options, arrays),
        declared,
        folder=options["out"],
        name=f"{label}-{task}",
        **chosen,
    )


def _show_tables(folder: Path, as_json: bool) -> None:
    """Print what ablations of a run have left."""
    found = open_run(folder).ablations()
    if not found:
        raise RunError(
            "no ablation has been made of this run",
            where=str(folder),
            hint=f"{command('ablate', folder)} makes one",
        )
    if as_json:
        emit_json({str(trial): table.to_document() for trial, table in found.items()})
        return
    for table in found.values():
        _print_ablation(table)


def _print_ablation(table: AblationTable) -> None:
    document = table.to_document()
    click.echo(f"{table.protocol}\n")
    print_table(HEADERS, ablation_grid(document), right=RIGHT)
    click.echo()
    for note in ablation_notes(document):
        click.echo(note)
    click.echo(f"{amount(table.trainings, 'training')} in {table.seconds:,.0f} s")


COMMANDS = (ablate,)
