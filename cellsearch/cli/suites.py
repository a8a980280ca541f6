"""``cellsearch suites``, and ``cellsearch evaluate --suite``: a cell against LSTM and GRU on
several tasks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from cellsearch.cli.failures import one_training
from cellsearch.cli.output import emit_json, number, print_table, table_option
from cellsearch.cli.parts import show_suite
from cellsearch.errors import amount
from cellsearch.experiment import catalog
from cellsearch.finals.statistics import mean_and_deviation
from cellsearch.runs.locate import locate
from cellsearch.tasks.own_data import with_data
from cellsearch.tasks.suite import SUITE, Suite
from cellsearch.training import ReferenceTraining

__all__ = ["COMMANDS", "evaluate_suite", "say_reference"]


@click.command("suites")
@click.argument("name", required=False)
@table_option
def suites(name: str | None, as_json: bool) -> None:
    """List the suites: several tasks under one protocol, made one score; with NAME, show one (also
    a TOML file) in full. An experiment names one with task = "suite:NAME".
    """
    if name is not None:
        show_suite(name, as_json)
        return
    found = [(catalog.load_suite(path), path) for path in catalog.entries(catalog.SUITES).values()]
    if as_json:
        emit_json(
            [
                {**suite.to_document(), "steps": suite.steps, "file": str(path)}
                for suite, path in found
            ]
        )
        return
    rows = [
        (
            s.name,
            ", ".join(f"{m.name} ({m.task}, {amount(m.steps, 'step')})" for m in s.members),
            s.aggregation,
            s.reference,
            s.description,
        )
        for s, _ in found
    ]
    print_table(("name", "tasks", "aggregation", "reference", "what it asks"), rows, wrap=1)


def evaluate_suite(
    cell: str, name: str, seed: int | None, data: Sequence[str], as_json: bool
) -> None:
    """Train a cell on every task of a suite, with each of its seeds or the one given, and print the
    table.
    """
    from cellsearch.runs.suites import suite_table  # loads torch

    located, suite = locate(cell), catalog.load_suite(name)
    if data:
        suite = Suite.parse(with_data(SUITE, suite.to_document(), data))
    show = sys.stderr.isatty() and not as_json
    with one_training(f"{located.label} on suite {suite.name}"):
        table = suite_table(
            located.genome,
            suite,
            seeds=() if seed is None else (seed,),
            on_training=say_reference if show else None,
        )
    document = {"cell": located.label, **table}
    if as_json:
        emit_json(document)
    else:
        _print(document)


def say_reference(event: ReferenceTraining) -> None:
    """Say on standard error which reference is trained now, or is known."""
    known = " (known)" if event.known else ""
    click.echo(f"reference {event.cell} on {event.task}, seed {event.seed} ...{known}", err=True)


def _print(document: dict[str, Any]) -> None:
    headers = ("task", "score", "LSTM", "GRU", "chance", "share", "seconds")
    rows = [
        (
            row["name"],
            *(_spread(row[key]) for key in ("scores", "lstm", "gru")),
            number(row["chance"]),
            number(row["share"], 3),
            number(row["seconds"], 1),
        )
        for row in document["tasks"]
    ]
    seeds = ", ".join(str(seed) for seed in document["seeds"])
    click.echo(
        f"{document['cell']} on suite {document['suite']}: validation scores (lower is "
        f"better), seeds {seeds}"
    )
    print_table(headers, rows, right=range(1, 7))
    for row in document["tasks"]:
        if row["failures"]:
            click.echo(
                f"{row['name']}: {row['failures']} of {len(row['scores'])} trainings failed "
                f"({', '.join(row['failed'])}), which counts as share 0 each; the scores have no "
                "mean that could be compared"
            )
    what = {
        "min": "smallest share",
        "mean": "mean share",
        "pareto": "mean share (one objective a task in a search)",
    }
    for row in document["tasks"]:
        if len(row["rates"]) > 1:
            rates = ", ".join(number(rate) for rate in row["rates"])
            click.echo(
                f"{row['name']}: trained at {rates} times its learning rate; the score is the "
                "mean over all of them, LSTM and GRU are shown at their best"
            )
    reference = {
        "lstm": "the LSTM's",
        "gru": "the GRU's",
        "best": "the better reference's",
        "perfect": "a perfect answer's",
    }[document["reference"]]
    click.echo(
        f"share of {reference} skill above chance; {what[document['aggregation']]}: "
        f"{number(document['fitness'], 3)}"
    )


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"failed {len(values) - len(known)} of {len(values)}"
    mean, deviation = mean_and_deviation(known)
    return number(mean) if len(values) == 1 else f"{number(mean)} ± {number(deviation)}"


COMMANDS = (suites,)
