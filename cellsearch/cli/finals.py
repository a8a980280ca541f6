"""``cellsearch finals``: retrain the best cells and the baselines from scratch at equal model
weights, and say what is true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from cellsearch.cli.output import (
    data_option,
    emit_json,
    json_option,
    number,
    own_data_option,
    print_table,
)
from cellsearch.cli.signals import exit_code
from cellsearch.cli.workers import make_executor, ray_options
from cellsearch.errors import amount
from cellsearch.finals import FinalTable
from cellsearch.job import Outcome
from cellsearch.reporting.finals import effect_texts, rate_text
from cellsearch.reporting.page import cost_columns, cost_text
from cellsearch.runs import open_run

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
    "--sweep-seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Trainings of each learning rate in the sweep.  [default: one, and up to three where "
    "noise decides between rates]",
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
@own_data_option
@data_option
@json_option
def finals(
    run: Path,
    top: int,
    seeds: int,
    against: Sequence[str],
    hidden: int | None,
    steps: int | None,
    sweep_seeds: int | None,
    workers: int | None,
    ray_address: str | None,
    worker_env: tuple[str, ...],
    again: bool,
    data: tuple[str, ...],
    as_json: bool,
) -> int:
    """Retrain the best cells of RUN and LSTM and GRU from scratch, with several seeds, and compare
    them on test data.

    All models get equally many parameters (within 1 %), the same sweep of learning rates, widened
    while the best one is at its edge and decided by validation, and the same budget; test data is
    read once a training, at the end.
    Writes finals.json into the run's folder. After Ctrl-C the same command goes on.
    """
    opened = open_run(run, data=data)
    plan = opened.plan_finals(
        top=top,
        seeds=seeds,
        against=against or ("lstm", "gru"),
        hidden_size=hidden,
        steps=steps,
        sweep_seeds=sweep_seeds or 0,
        again=again,
    )
    sizes = ", ".join(f"{name}: H = {size}" for name, size in plan.sizes.items())
    least, steps_each = amount(plan.trainings, "training"), plan.protocol.training.steps
    click.echo(f"at least {least} of {amount(steps_each, 'step')}; {sizes}", err=True)
    declared = opened.experiment
    count = declared.workers if workers is None else workers
    try:
        with make_executor(count, run, ray_address, worker_env) as executor:
            table = plan.run(executor, _Progress(plan.trainings))
    except KeyboardInterrupt:
        click.echo("stopped: the same command goes on with these finals", err=True)
        return exit_code()
    if as_json:
        emit_json(table.to_document())
    else:
        _print(table, opened.metric)
    return 0


class _Progress:
    """A line on standard error for each training that ended."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def __call__(self, name: str, outcome: Outcome) -> None:
        self.done += 1
        text = (
            f"validation {outcome.result.score:.4f}"
            if outcome.result
            else f"failed: {outcome.failure and outcome.failure.kind}"
        )
        total = max(self.total, self.done)
        click.echo(f"[{self.done}/{total}] {name}: {text}", err=True)


def _print(table: FinalTable, metric: str) -> None:
    costs = cost_columns(row.device for row in table.rows)
    headers = [
        "cell",
        f"test {metric}",
        "deviation",
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
        for row in table.rows
    ]
    rows += [[one.name, number(one.score), *["–"] * (10 + len(costs))] for one in table.naive]
    print_table(headers, rows, right=range(1, 12 + len(costs)))
    errors = [(row.name, row.errors) for row in table.rows if row.errors]
    errors += [(one.name, one.errors) for one in table.naive if one.errors]
    if errors:
        names = list(errors[0][1])
        click.echo("\nerrors on test data in the unit of each column")
        texts = [[name, *(number(found.get(n, math.nan)) for n in names)] for name, found in errors]
        print_table(["", *names], texts, right=range(1, len(names) + 1))
    click.echo(f"\n{table.sentence}")


COMMANDS = (finals,)
