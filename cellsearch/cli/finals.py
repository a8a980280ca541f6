"""``cellsearch finals``: retrain the best cells and the baselines from scratch at equal model
weights, and say what is true.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cellsearch.cli.output import (
    data_option,
    emit_json,
    number,
    own_data_option,
    print_table,
    table_option,
)
from cellsearch.cli.signals import exit_code
from cellsearch.cli.workers import TrainingLines, make_executor, ray_options
from cellsearch.errors import RunError, amount, command
from cellsearch.experiment.overrides import parse_setting
from cellsearch.finals import FinalTable, FinalTables
from cellsearch.options import unknown
from cellsearch.reporting.finals import (
    effect_texts,
    metric_is_apart,
    metric_text,
    rate_text,
    score_header,
    tasks_grid,
    tasks_notes,
)
from cellsearch.reporting.page import cost_columns, cost_text
from cellsearch.runs import Run, open_run
from cellsearch.runs.finals import FinalPlan
from cellsearch.runs.finals_on import FinalPlans
from cellsearch.tasks.suite import SUITE

__all__ = ["COMMANDS"]


@click.command("finals")
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
    help="Zoo cells to compare with, or transformer (torch's own layers, causal); lstm and gru if "
    "left out.",
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
    "--sweep-seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Trainings of each learning rate in the sweep.  [default: one, and up to three where "
    "noise decides between rates]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    default="float32",
    show_default=True,
    help="Of the products of all cells, whatever the search used.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Ray workers; 0 trains in this process (default: the run's).",
)
@ray_options
@click.option(
    "--again",
    is_flag=True,
    help="Read the test data once more after earlier finals, whose table is kept.",
)
@click.option(
    "--on",
    multiple=True,
    metavar="TASK",
    help="Judge the cells on another task; several are judged together, too.",
)
@click.option(
    "--suite", metavar="NAME", help="Judge the cells on all tasks of this suite (name or file)."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="With --on: training.KEY=VALUE, or task_options.KEY=VALUE of the only task.",
)
@click.option("--show", is_flag=True, help="Print the tables of earlier finals, and train nothing.")
@own_data_option
@data_option
@table_option
def finals(
    run: Path,
    on: tuple[str, ...],
    suite: str | None,
    settings: tuple[str, ...],
    show: bool,
    workers: int | None,
    ray_address: str | None,
    worker_env: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Retrain the best cells of RUN and LSTM and GRU from scratch, with several seeds, and compare
    them on test data: of the searched task, of other tasks (--on), or of all tasks of a suite
    (--suite; of a run that searched on a suite, its own).

    All models get equally many parameters (within 1 %), the same sweep of learning rates, widened
    while the best one is at its edge and decided by validation, and the same budget; test data is
    read once a training, at the end. Writes finals.json (finals-NAME.json for other tasks) into
    the run's folder. After Ctrl-C the same command goes on.
    """
    opened = open_run(run, data=() if on or suite else options["data"])
    if show:
        _show(opened, as_json)
        return 0
    options["against"] = options["against"] or ("lstm", "gru")
    options["hidden_size"] = options.pop("hidden")
    options["sweep_seeds"] = options["sweep_seeds"] or 0
    plan = _plan(opened, on, suite, settings, options)
    count = opened.experiment.workers if workers is None else workers
    try:
        with make_executor(count, run, ray_address, worker_env) as executor:
            lines = TrainingLines(plan.trainings, "validation", more=True)
            table = plan.run(executor, lines)
    except KeyboardInterrupt:
        click.echo("stopped: the same command goes on with these finals", err=True)
        return exit_code()
    if as_json:
        emit_json(table.to_document())
    elif isinstance(table, FinalTables):
        _print_tasks(table)
    else:
        _print(table, opened.metric)
    return 0


def _plan(
    opened: Run,
    on: Sequence[str],
    suite: str | None,
    settings: Sequence[str],
    options: Mapping[str, Any],
) -> FinalPlan | FinalPlans:
    """What is to be trained; says it on standard error."""
    if settings and not on:
        raise click.UsageError("--set is for the tasks of --on")
    if not on and not suite and opened.declared["task"] != SUITE:
        plan = opened.plan_finals(**{**options, "data": None})
        _announce(plan)
        return plan
    tables: dict[str, dict[str, Any]] = {"training": {}, "task_options": {}}
    for setting in settings:
        key, value = parse_setting(setting)
        table, _, option = key.partition(".")
        if table not in tables or not option:
            raise unknown("setting", key, [f"{name}.KEY" for name in tables], where="--set")
        tables[table][option] = value
    if tables["task_options"] and len(on) != 1:
        raise click.UsageError("task_options.KEY=VALUE needs one --on TASK, whose options they are")
    asked = dict.fromkeys(on, tables["task_options"])
    plans = opened.plan_finals_on(
        on=asked, suite=suite or "", training=tables["training"], **options
    )
    for name, one in plans.plans:
        _announce(one, f"{name}: ")
    return plans


def _announce(plan: FinalPlan, name: str = "") -> None:
    sizes = ", ".join(f"{cell}: H = {size}" for cell, size in plan.sizes.items())
    least, steps = amount(plan.trainings, "training"), plan.protocol.training.steps
    precision = plan.protocol.training.precision
    rounded = "" if precision == "float32" else f" with products in {precision}"
    click.echo(f"{name}at least {least} of {amount(steps, 'step')}{rounded}; {sizes}", err=True)


def _show(opened: Run, as_json: bool) -> None:
    """Print what finals have left."""
    table, others = opened.finals(), opened.finals_on()
    if table is None and not others:
        raise RunError(
            "no finals have been made of this run",
            where=str(opened.path),
            hint=f"{command('finals', opened.path)} makes them",
        )
    if as_json:
        found = {} if table is None else {"": table.to_document()}
        emit_json(found | {name: one.to_document() for name, one in others.items()})
        return
    if table is not None:
        _print(table, opened.metric)
    for one in others.values():
        _print_tasks(one)


def _print_tasks(tables: FinalTables) -> None:
    """The table of the only task, or all tasks as one table."""
    if len(tables.tasks) == 1:
        click.echo(f"on {tables.name}")
        _print(tables.tasks[0].table, tables.tasks[0].metric)
        return
    document = tables.to_document()
    headers, rows = tasks_grid(document)
    click.echo(f"on {tables.name}: mean test scores (lower is better), p against the best baseline")
    print_table(headers, rows, right=range(1, len(headers)))
    click.echo()
    for note in tasks_notes(document):
        click.echo(note)
    click.echo(f"\n{tables.sentence}")


def _print(table: FinalTable, metric: str) -> None:
    costs = cost_columns(row.device for row in table.rows)
    document = table.to_document()
    apart = metric_is_apart(document)
    headers = [
        "cell",
        score_header(document, metric),
        "deviation",
        *([metric] if apart else []),
        "cell weights",
        "model weights",
        *costs.values(),
        "H",
        "rate",
        "ms a step",
        "failed",
        "p",
        "difference (95 %)",
        "P(better)",
    ]
    rows = [
        [
            row.name + (" (baseline)" if row.baseline else ""),
            number(row.mean),
            number(row.deviation),
            *([metric_text(stored)] if apart else []),
            f"{row.cell_parameters:,}" if row.cell_parameters else "–",
            f"{row.parameters:,}" if row.parameters else "–",
            *(cost_text(name, row.device) for name in costs),
            str(row.hidden_size),
            rate_text(row.learning_rate, row.rate_inside),
            number(row.step_ms, 1),
            f"{row.failures} of {row.trainings}" if row.failures else "0",
            number(row.p, 3),
            *effect_texts(asdict(row.effect) if row.effect is not None else None),
        ]
        for row, stored in zip(table.rows, document["rows"], strict=True)
    ]
    for one in table.naive:
        own = [number(one.metric)] if apart else []
        rows.append([one.name, number(one.score), "–", *own, *["–"] * (9 + len(costs))])
    print_table(headers, rows, right=range(1, len(headers)))
    errors = [(row.name, row.errors) for row in table.rows if row.errors]
    errors += [(one.name, one.errors) for one in table.naive if one.errors]
    if errors:
        names = list(errors[0][1])
        click.echo("\nerrors on test data in the unit of each column")
        texts = [[name, *(number(found.get(n, math.nan)) for n in names)] for name, found in errors]
        print_table(["", *names], texts, right=range(1, len(names) + 1))
    click.echo()
    for row in table.rows:
        if row.note:
            click.echo(f"{row.note}.")
    click.echo(table.sentence)


COMMANDS = (finals,)
