"""A cell against LSTM and GRU on every task of a suite, as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cellsearch.errors import TrainingError, checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Training
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.suite import SUITE, Member, Suite, load_suite_data, part
from cellsearch.training import ReferenceTraining
from cellsearch.training.results import ResultCache
from cellsearch.training.shares import OneTraining, fitness, task_share
from cellsearch.training.suite import REFERENCE_CELLS, references, targets, train_suite

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

    A training that fails is the worst result: the share of its seed is 0, and counts in the mean.

    seeds: of the trainings of the cell (default: the suite's).
    on_training: told before each training of a reference.

    Returns plain data: a row a task in ``tasks``, whose ``share`` is that over rates and seeds as
    the suite says, and ``fitness``, that of these shares. ``scores``, ``metrics`` and ``shares``
    hold a number for each of the row's ``rates`` and, within it, each seed; ``scores`` and
    ``metrics`` hold ``None`` for a training that failed, ``failures`` says how many did, ``failed``
    and ``messages`` why. Raises :class:`TrainingError` if every one failed.
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
    chosen = seeds or suite.seeds
    rows = [
        _row(
            suite,
            member,
            [
                _trained(job, suite, k, arrays, rate, seed)
                for rate in suite.rates_of(member)
                for seed in chosen
            ],
        )
        | {name: scores[k, b].tolist() for b, name in enumerate(REFERENCE_CELLS)}
        | {"baselines_cached": known[member.name]}
        for k, member in enumerate(suite.members)
    ]
    if all(row["failures"] == len(row["scores"]) for row in rows):
        raise TrainingError(rows[0]["messages"][0], kind=rows[0]["failed"][0])
    value = fitness(suite, [row["share"] for row in rows])
    return {
        "suite": suite.name,
        "seeds": list(chosen),
        "aggregation": suite.aggregation,
        "reference": suite.reference,
        "baseline_seeds": list(suite.seeds),
        "tasks": rows,
        "fitness": value,
        "score": 1.0 - value,
    }


def _trained(job: Job, suite: Suite, k: int, arrays: Arrays, rate: float, seed: int) -> OneTraining:
    """What a cell has reached at one task of the suite with one rate and seed, or why it has
    not.
    """
    member = replace(suite.members[k], rates=(rate,))
    alone = replace(suite, members=(member,), trainings=1, failures="fail")
    asked = replace(
        job, task_options=alone.to_document(), steps=member.steps, targets=job.targets[k : k + 1]
    )
    own = {f"0/{name}": array for name, array in part(arrays, k).items()}
    try:
        found = train_suite(asked, own, seed=seed)[1][0]
    except TrainingError as error:
        return OneTraining(rate, seed, 0.0, failure=error, steps=member.steps)
    return OneTraining(rate, seed, found.share, found.result, steps=member.steps)


def _row(suite: Suite, member: Member, found: Sequence[OneTraining]) -> dict[str, Any]:
    """What a cell has reached at one task, at each rate with each seed."""
    results = [one.result for one in found]
    errors = [one.failure for one in found if one.failure is not None]
    seconds = [result.seconds for result in results if result]
    return {
        "name": member.name,
        "task": member.task,
        "steps": member.steps,
        "rates": list(suite.rates_of(member)),
        "chance": member.chance,
        "scores": [result.score if result else None for result in results],
        "metrics": [result.metric if result else None for result in results],
        "shares": [one.share for one in found],
        "share": task_share(suite, found),
        "seconds": sum(seconds) / len(seconds) if seconds else None,
        "failures": len(errors),
        "failed": [error.kind for error in errors],
        "messages": [error.message for error in errors],
    }
