"""What tests of searches share: a small experiment, executors that end jobs in any order or die,
and the table that must come out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellsearch import schedules, strategies
from cellsearch.executors.base import Executor
from cellsearch.executors.worker import load_evaluation, perform
from cellsearch.experiment import Experiment
from cellsearch.history import History
from cellsearch.job import Job, Outcome, Training
from cellsearch.strategies.base import Strategy
from cellsearch.tasks.base import Arrays
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.strategies import space

__all__ = ["Disordered", "Killed", "Row", "differing_rows", "final_table", "small_experiment"]

Row = tuple[Any, ...]


def small_experiment(
    strategy: str | Strategy = "genetic", *, space_name: str = "lstm_gru", **changes: Any
) -> Experiment:
    """An experiment over a real space with a real strategy, for the evaluation that trains
    nothing.
    """
    values: dict[str, Any] = {
        "name": "small",
        "space": space(space_name),
        "strategy": strategies.create(strategy, {}) if isinstance(strategy, str) else strategy,
        "task": "parity",
        "schedule": schedules.create("fixed", {}),
        "trials": 30,
        "seed": 5,
        "training": Training(steps=9, hidden_size=4),
    }
    return Experiment(**(values | changes))


def final_table(history: History) -> list[Row]:
    """All of a history that must not depend on who was faster: everything but times, workers and
    failure messages.
    """
    rows: list[Row] = []
    for trial in history:
        scores = tuple((r.budget.steps, r.result.score if r.result else None) for r in trial.rungs)
        proposal = trial.proposal
        failure = trial.failure.kind if trial.failure else ""
        rows.append(
            (
                trial.number,
                trial.genome.to_json(),
                proposal.parents,
                str(proposal.origin),
                trial.status.value,
                scores,
                failure,
                trial.duplicate_of,
            )
        )
    return rows


def differing_rows(a: list[Row], b: list[Row]) -> list[int]:
    """Numbers of the rows in which two tables differ, also by length."""
    return [n for n in range(max(len(a), len(b))) if a[n : n + 1] != b[n : n + 1]]


class Killed(BaseException):
    """The process was killed here, as far as the search can tell: no clean-up of the search may
    run.
    """


class Disordered(Executor):
    """Runs jobs in this process, but ends them in random order, as ``capacity`` workers of
    different speed would.

    ``kill_after``: raise :class:`Killed` instead of giving the next outcome, when so many have been
    given.
    """

    def __init__(
        self, capacity: int, seed: int, *, kill_after: int = -1, evaluation: str = EVALUATION
    ) -> None:
        self.capacity = capacity
        self.jobs: list[Job] = []
        self._evaluate = load_evaluation(evaluation)
        self._under_way: list[Job] = []
        self._random = random.Random(seed)
        self._left = kill_after
        self._arrays: Arrays = {}

    def start(
        self,
        task: str,
        task_options: Mapping[str, Any],
        arrays: Arrays,
        *,
        folder: Path | None = None,
    ) -> None:
        """Keep the data."""
        self._arrays = arrays

    def submit(self, job: Job) -> None:
        """Take a job."""
        assert len(self._under_way) < self.capacity
        self.jobs.append(job)
        self._under_way.append(job)

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        """Some of the jobs under way, in any order."""
        self._random.shuffle(self._under_way)
        count = self._random.randint(1, len(self._under_way)) if self._under_way else 0
        for _ in range(count):
            if self._left == 0:
                raise Killed
            self._left -= 1
            yield perform(self._evaluate, self._under_way.pop(), self._arrays, "disordered")

    def close(self, *, kill: bool = False) -> None:
        """Forget the jobs."""
        self._under_way.clear()
