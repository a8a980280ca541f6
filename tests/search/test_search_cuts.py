"""A deterministic search that is cut off, by trials, steps, time, a stop or a kill, and goes on is
the search that was never cut: whatever the strategy, the schedule, and what is rejected.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellsearch import schedules, strategies
from cellsearch.errors import TrainingError
from cellsearch.experiment import Experiment
from cellsearch.genome.graph import Genome
from cellsearch.job import Allowance, Job, Training
from cellsearch.search import Search
from cellsearch.simulation.simulate import fake_connections
from cellsearch.tasks.base import Arrays
from cellsearch.testing import noop
from cellsearch.testing.search import (
    Disordered,
    Killed,
    Row,
    differing_rows,
    final_table,
    small_experiment,
)
from cellsearch.testing.strategies import space
from cellsearch.trial import Result

EVALUATION = f"{__name__}:evaluate"
TRIALS = 18
STEPS = 18


def evaluate(job: Job, arrays: Arrays) -> Result:
    """Of the cells a part is rejected before training, a part fails, and a part ends early; which
    ones follows from the cell.
    """
    chance = hashlib.blake2b(job.genome.encode()).digest()[0] / 256
    rejected = float(job.task_options.get("rejected", 0.0))
    if job.rung == 0 and chance < rejected and job.trial > 1:
        raise TrainingError("cannot be trained", kind="prefilter")
    if chance > 0.93:
        raise TrainingError("went wrong", kind="nan")
    result = noop.evaluate(job, arrays)
    genome = Genome.from_json(job.genome)
    connections = fake_connections(space(), genome) if job.connections else {}
    steps = job.steps - (job.steps > 1 and 0.7 < chance < 0.85)
    return replace(result, connections=connections, steps=steps)


def experiment(strategy: str, schedule: str, rejected: float, seed: int) -> Experiment:
    options: dict[str, Any] = {"eta": 2} if schedule == "halving" else {}
    if schedule == "curve_stop":
        options = {"minimum": 3, "looks": 2}
    return small_experiment(
        strategies.create(strategy, {}),
        schedule=schedules.create(schedule, options),
        task_options={"rejected": rejected},
        deterministic=True,
        lookahead=1 + seed % 5,
        trials=TRIALS,
        seed=seed,
        training=Training(steps=STEPS, hidden_size=4),
    )


def sitting(path: Path, declared: Experiment, executor: Disordered, stop_after: int = 0) -> None:
    with Search.open(path, declared) as search:
        heard = iter(range(1, 10**6))

        def listen(_: object) -> None:
            if next(heard) == stop_after:
                search.stop()

        try:
            search.run(executor, listen, arrays={})
        except Killed:
            search._store.close()  # as the kernel would: nothing of the search's clean-up runs
            search._closed = True


def table(path: Path, declared: Experiment) -> list[Row]:
    with Search.open(path, declared) as search:
        search.run(Disordered(1, 0, evaluation=EVALUATION), arrays={})
        assert search.ask() is None
        return final_table(search.history)


def cut(path: Path, whole: Experiment, chance: random.Random) -> None:
    """Some sittings, each with bounds that allow a little more than the one before."""
    trials, steps = 3, 2 * STEPS
    for _ in range(7):
        trials += chance.randint(0, 4)
        steps += chance.randint(0, 4 * STEPS)
        kind = chance.choice(["trials", "steps", "hours", "stop", "kill"])
        bounded = replace(
            whole,
            trials=min(trials, TRIALS),
            allowance=Allowance(
                steps=steps if kind == "steps" else 0, hours=1e-12 if kind == "hours" else 0.0
            ),
        )
        executor = Disordered(
            chance.randint(1, 6),
            chance.randrange(1000),
            evaluation=EVALUATION,
            kill_after=chance.randint(0, 5) if kind == "kill" else -1,
        )
        sitting(path, bounded, executor, chance.randint(1, 12) if kind == "stop" else 0)


@pytest.mark.parametrize("rejected", [0.0, 0.4])
@pytest.mark.parametrize("schedule", schedules.names())
@pytest.mark.parametrize("strategy", [n for n in strategies.names() if n != "external"])
def test_a_cut_search_is_the_whole_search(
    tmp_path: Path, strategy: str, schedule: str, rejected: float
) -> None:
    chance = random.Random(f"{strategy} {schedule} {rejected}")
    declared = experiment(strategy, schedule, rejected, chance.randrange(100))
    expected = table(tmp_path / "whole", declared)
    assert len(expected) > TRIALS // 2
    assert ("prefilter" in {row[6] for row in expected}) == (rejected > 0)
    cut(tmp_path / "cut", declared, chance)
    assert differing_rows(table(tmp_path / "cut", declared), expected) == []


@pytest.mark.parametrize("schedule", schedules.names())
@pytest.mark.parametrize("bound", [{"trials": 9}, {"allowance": Allowance(steps=70)}])
def test_a_bound_gives_one_table_for_any_number_of_workers(
    tmp_path: Path, schedule: str, bound: dict[str, Any]
) -> None:
    declared = replace(experiment("genetic", schedule, 0.4, 4), **bound)
    expected = table(tmp_path / "1", declared)
    assert len(expected) > 3
    for workers in (2, 3, 7):
        path = tmp_path / str(workers)
        sitting(path, declared, Disordered(workers, workers, evaluation=EVALUATION))
        assert differing_rows(table(path, declared), expected) == []
