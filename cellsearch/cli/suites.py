"""``cellsearch suites``, and ``cellsearch evaluate --suite``: a cell against LSTM and GRU on
several tasks.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cellsearch.cli.output import emit_json, json_option, number, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cellsearch.tasks.suite import Suite
    from cellsearch.training import ReferenceTraining
    from cellsearch.training.suite import Scored

__all__ = ["COMMANDS", "evaluate_suite", "say_reference"]


@click.command("suites")
@json_option
def suites(as_json: bool) -> None:
    """List the suites: several tasks under one protocol, made one score. An experiment names one
    with task = "suite:NAME".
    """
    from cellsearch.experiment import catalog

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
            ", ".join(f"{m.name} ({m.task}, {m.steps} steps)" for m in s.members),
            s.aggregation,
            s.reference,
            s.description,
        )
        for s, _ in found
    ]
    print_table(("name", "tasks", "aggregation", "reference", "what it asks"), rows, wrap=1)


def evaluate_suite(cell: str, name: str, seed: int | None, as_json: bool) -> None:
    """Train a cell on every task of a suite, with each of its seeds or the one given, and print the
    table.
    """
    from cellsearch.experiment import catalog
    from cellsearch.job import Job
    from cellsearch.runs.locate import locate
    from cellsearch.settings import Training
    from cellsearch.tasks.suite import SUITE, load_suite_data
    from cellsearch.training.results import ResultCache
    from cellsearch.training.suite import references, targets, train_suite

    located, declared = locate(cell), catalog.load_suite(name)
    suite = replace(declared, stop_below=0.0)  # so that the table is complete
    trained = _Trained(show=sys.stderr.isatty() and not as_json)
    arrays = load_suite_data(suite)
    scores = references(suite, arrays, ResultCache(), trained)
    job = Job(
        trial=0,
        rung=0,
        genome=located.genome.to_json(),
        task=SUITE,
        task_options=suite.to_document(),
        training=Training(),
        steps=suite.steps,
        seed=0,
        targets=targets(suite, scores),
    )
    seeds = suite.seeds if seed is None else (seed,)
    runs = [train_suite(job, arrays, seed=one)[1] for one in seeds]
    document = _document(suite, scores, runs, trained)
    document = {"cell": located.label, "suite": suite.name, "seeds": list(seeds), **document}
    if as_json:
        emit_json(document)
    else:
        _print(document)


def say_reference(event: ReferenceTraining) -> None:
    """Say on standard error which reference is trained now, or is known."""
    known = " (known)" if event.known else ""
    click.echo(f"reference {event.cell} on {event.task}, seed {event.seed} ...{known}", err=True)


class _Trained:
    """Notes for which tasks references have to be trained, and says so where somebody reads it."""

    def __init__(self, *, show: bool) -> None:
        self.show = show
        self.known: dict[str, bool] = {}

    def __call__(self, event: ReferenceTraining) -> None:
        self.known[event.task] = self.known.get(event.task, True) and event.known
        if self.show:
            say_reference(event)


def _document(
    suite: Suite,
    scores: NDArray[np.float64],
    runs: Sequence[Sequence[Scored]],
    trained: _Trained,
) -> dict[str, Any]:
    """The whole table as plain data. ``scores [tasks, 2, seeds]``: of the references. Means are
    over the seeds; ``fitness`` is that of the mean shares.
    """
    from cellsearch.training.suite import REFERENCE_CELLS, fitness

    rows = []
    for k, member in enumerate(suite.members):
        results = [run[k].result for run in runs]
        shares = [run[k].share for run in runs]
        rows.append(
            {
                "name": member.name,
                "task": member.task,
                "steps": member.steps,
                "chance": member.chance,
                "scores": [result.score for result in results],
                "metrics": [result.metric for result in results],
                **{name: scores[k, b].tolist() for b, name in enumerate(REFERENCE_CELLS)},
                "shares": shares,
                "share": sum(shares) / len(shares),
                "seconds": sum(result.seconds for result in results) / len(results),
                "baselines_cached": trained.known[member.name],
            }
        )
    value = fitness(suite, [row["share"] for row in rows])
    return {
        "aggregation": suite.aggregation,
        "reference": suite.reference,
        "baseline_seeds": list(suite.seeds),
        "tasks": rows,
        "fitness": value,
        "score": 1.0 - value,
    }


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
    what = {
        "min": "smallest share",
        "mean": "mean share",
        "pareto": "mean share (one objective a task in a search)",
    }
    reference = {"lstm": "the LSTM's", "gru": "the GRU's", "best": "the better reference's"}[
        document["reference"]
    ]
    click.echo(
        f"share of {reference} skill above chance; {what[document['aggregation']]}: "
        f"{number(document['fitness'], 3)}"
    )


def _spread(values: Sequence[float]) -> str:
    from cellsearch.finals.statistics import mean_and_deviation

    mean, deviation = mean_and_deviation(values)
    return number(mean) if len(values) == 1 else f"{number(mean)} ± {number(deviation)}"


COMMANDS = (suites,)
