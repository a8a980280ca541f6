"""A cell against LSTM and GRU on every task of a suite, as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cellsearch.errors import checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.settings import Training
from cellsearch.tasks.suite import SUITE, Member, Suite, load_suite_data
from cellsearch.training import ReferenceTraining
from cellsearch.training.results import ResultCache
from cellsearch.training.suite import (
    REFERENCE_CELLS,
    Scored,
    fitness,
    references,
    targets,
    train_suite,
)

__all__ = ["suite_table"]


@checked_arguments
def suite_table(
    genome: Genome,
    suite: Suite,
    *,
    seeds: Sequence[int] = (),
    on_training: Callable[[ReferenceTraining], None] | None = None,
) -> dict[str, Any]:
    """Train a cell on every task of a suite. The table is complete, whatever the suite stops below.

    seeds: of the trainings of the cell (default: the suite's).
    on_training: told before each training of a reference.

    Returns plain data: a row a task in ``tasks``, whose means are over the seeds, and ``fitness``,
    that of the mean shares.
    """
    suite = replace(suite, stop_below=0.0)
    known: dict[str, bool] = {}

    def note(event: ReferenceTraining) -> None:
        known[event.task] = known.get(event.task, True) and event.known
        if on_training is not None:
            on_training(event)

    arrays = load_suite_data(suite)
    scores = references(suite, arrays, ResultCache(), note)
    job = Job(
        trial=0,
        rung=0,
        genome=genome.to_json(),
        task=SUITE,
        task_options=suite.to_document(),
        training=Training(),
        steps=suite.steps,
        seed=0,
        targets=targets(suite, scores),
    )
    runs = [train_suite(job, arrays, seed=seed)[1] for seed in seeds or suite.seeds]
    rows = [
        _row(member, [run[k] for run in runs])
        | {name: scores[k, b].tolist() for b, name in enumerate(REFERENCE_CELLS)}
        | {"baselines_cached": known[member.name]}
        for k, member in enumerate(suite.members)
    ]
    value = fitness(suite, [row["share"] for row in rows])
    return {
        "suite": suite.name,
        "seeds": list(seeds or suite.seeds),
        "aggregation": suite.aggregation,
        "reference": suite.reference,
        "baseline_seeds": list(suite.seeds),
        "tasks": rows,
        "fitness": value,
        "score": 1.0 - value,
    }


def _row(member: Member, scored: Sequence[Scored]) -> dict[str, Any]:
    """What a cell has reached at one task, with each seed."""
    results = [one.result for one in scored]
    shares = [one.share for one in scored]
    return {
        "name": member.name,
        "task": member.task,
        "steps": member.steps,
        "chance": member.chance,
        "scores": [result.score for result in results],
        "metrics": [result.metric for result in results],
        "shares": shares,
        "share": sum(shares) / len(shares),
        "seconds": sum(result.seconds for result in results) / len(results),
    }
