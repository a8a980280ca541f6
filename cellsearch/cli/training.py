"""``cellsearch evaluate``: train one cell on one task or suite, so that anybody can check a claim
in one command.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import Any

import click
from click.core import ParameterSource

from cellsearch import options, tasks, training
from cellsearch.cli.failures import one_training
from cellsearch.cli.output import (
    data_option,
    emit_json,
    json_option,
    number,
    own_data_option,
    size_option,
)
from cellsearch.cli.suites import evaluate_suite
from cellsearch.errors import amount
from cellsearch.experiment import read_training
from cellsearch.experiment.overrides import parse_setting
from cellsearch.job import Job, Training
from cellsearch.reporting.screen import Screen
from cellsearch.runs.locate import locate
from cellsearch.tasks.own_data import with_data

__all__ = ["COMMANDS", "read_settings"]


@click.command("evaluate")
@click.argument("cell")
@click.option("--task", help="Name of the task (cellsearch tasks lists them).")
@click.option("--suite", help="Name or file of a suite of tasks (cellsearch suites lists them).")
@click.option(
    "--steps", type=click.IntRange(min=1), default=300, show_default=True, help="Optimizer steps."
)
@click.option(
    "--hidden", type=click.IntRange(min=1), default=64, show_default=True, help="Hidden size H."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Decides weights and batches.  [default: 0, or all seeds of the suite]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="training.KEY=VALUE or task_options.KEY=VALUE.",
)
@size_option
@click.option("--test", is_flag=True, help="Read the test data once at the end.")
@own_data_option
@data_option
@json_option
@click.pass_context
def evaluate(
    context: click.Context,
    cell: str,
    task: str | None,
    suite: str | None,
    steps: int,
    hidden: int,
    seed: int | None,
    settings: tuple[str, ...],
    sizes: dict[str, int | str],
    test: bool,
    data: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train CELL on one task and print its validation score and metric (lower score is better), or
    on every task of a suite and print how it compares with LSTM and GRU under the same protocol.

    CELL is a zoo name, a .cell or .json file, a run folder (its best cell), or RUN:TRIAL.
    """
    if (task is None) == (suite is None):
        raise click.UsageError("say either --task or --suite")
    if suite is not None:
        for name in ("steps", "hidden", "settings", "sizes", "test"):
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                said = {"settings": "set", "sizes": "size"}.get(name, name)
                raise click.UsageError(
                    f"a suite brings its own training, so --{said} cannot be said"
                )
        evaluate_suite(cell, suite, seed, data, as_json)
    elif task is not None:
        settings += tuple(f"training.sizes.{name}={size}" for name, size in sizes.items())
        _evaluate_task(cell, task, steps, hidden, seed or 0, settings, test, data, as_json)


def _evaluate_task(
    cell: str,
    task: str,
    steps: int,
    hidden: int,
    seed: int,
    settings: tuple[str, ...],
    test: bool,
    data: tuple[str, ...],
    as_json: bool,
) -> None:
    located = locate(cell)
    kind = tasks.get(task)
    declared, task_options = read_settings(settings, steps, hidden, task, data)
    arrays = training.prepare(task, task_options).arrays
    job = Job(
        trial=0,
        rung=0,
        genome=located.genome.to_json(),
        task=task,
        task_options=task_options,
        training=declared,
        steps=steps,
        seed=seed,
        test=test,
    )
    show = sys.stderr.isatty() and not as_json
    with one_training(f"{located.label} on {task}"):
        result = training.evaluate(job, arrays, progress=_Progress(steps) if show else None)
    metric = kind.metric_name(result.score, result.metric)
    if as_json:
        emit_json(
            {
                "cell": located.label,
                "task": task,
                "metric_name": metric,
                "seed": seed,
                **asdict(result),
                "cell_weights": result.cell_parameters,
                "model_weights": result.parameters,
                "training": options.table_of(declared),
            }
        )
        return
    precision = declared.precision
    rounded = "" if precision == "float32" else f", products in {precision}"
    click.echo(
        f"{located.label} on {task}: {metric} {number(result.metric)} "
        f"(validation), score {number(result.score)}{rounded}"
    )
    if test:
        click.echo(
            f"test: {metric} {number(result.metrics['test_metric'])}, score "
            f"{number(result.metrics['test_score'])}"
        )
    click.echo(
        f"{amount(result.steps, 'step')} in {result.seconds:.1f} s; cell weights: "
        f"{result.cell_parameters:,}, model weights: {result.parameters:,}"
    )


def read_settings(
    settings: tuple[str, ...], steps: int, hidden: int, task: str, data: tuple[str, ...]
) -> tuple[Training, dict[str, Any]]:
    """The training and the task's options that ``--set`` and ``--data`` ask for."""
    tables: dict[str, dict[str, Any]] = {"training": {}, "task_options": {}}
    for setting in settings:
        key, value = parse_setting(setting)
        table, _, option = key.partition(".")
        if table not in tables or not option:
            raise options.unknown("setting", key, [f"{name}.KEY" for name in tables], where="--set")
        place = tables[table]
        if table == "training" and option.startswith("sizes."):  # training.sizes.P=H/2
            place, option = place.setdefault("sizes", {}), option.removeprefix("sizes.")
        place[option] = value
    declared = read_training(tables["training"], "--set")
    if "hidden_size" in tables["training"] or "steps" in tables["training"]:
        raise click.UsageError(
            "say --hidden and --steps, not --set training.hidden_size or training.steps"
        )
    return (
        replace(declared, steps=steps, hidden_size=hidden),
        with_data(task, tables["task_options"], data),
    )


class _Progress:
    """A line on standard error that is written over and over."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._screen = Screen(stderr=True)

    def __call__(self, step: int, loss: float) -> None:
        last = step == self.steps
        if step % 10 == 0 or last:
            self._screen.rewrite(f"step {step} of {self.steps}, loss {loss:.4f}   ", last=last)


COMMANDS = (evaluate,)
