"""The contract suite refuses executors that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellsearch.errors import ConfigError, EnvironmentFailure
from cellsearch.executors.base import Executor
from cellsearch.executors.in_process import InProcess
from cellsearch.executors.worker import load_evaluation, perform
from cellsearch.job import Job, Outcome
from cellsearch.tasks.base import Arrays
from cellsearch.testing.executors import ExecutorContract
from cellsearch.testing.noop import EVALUATION
from cellsearch.trial import Failure


class Doubling(InProcess):
    """Gives each outcome twice."""

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        for outcome in super().events(timeout):
            yield from (outcome, outcome)


class Mixing(InProcess):
    """Gives every job the result of another."""

    def submit(self, job: Job) -> None:
        super().submit(replace(job, genome="always the same", seed=1))


class Swallowing(InProcess):
    """Makes a candidate's failure of what fails every candidate."""

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        job = self._job
        try:
            yield from super().events(timeout)
        except (ConfigError, EnvironmentFailure) as error:
            assert job is not None
            yield Outcome(job.trial, job.rung, failure=Failure("error", str(error)))


class Open(Executor):
    """Hands the caller's own arrays to the candidates."""

    capacity = 1

    def __init__(self, evaluation: str) -> None:
        self._evaluate = load_evaluation(evaluation)
        self._jobs: list[Job] = []

    def start(
        self,
        task: str,
        task_options: Mapping[str, Any],
        arrays: Arrays,
        *,
        folder: Path | None = None,
    ) -> None:
        self._arrays = arrays

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        while self._jobs:
            yield perform(self._evaluate, self._jobs.pop(), self._arrays, "here")

    def close(self, *, kill: bool = False) -> None:
        self._jobs.clear()


def contract(make: Callable[[str], Executor]) -> ExecutorContract:
    class Contract(ExecutorContract):
        def make(self, evaluation: str = EVALUATION) -> Executor:
            return make(evaluation)

    return Contract()


@pytest.mark.parametrize(
    ("make", "test"),
    [
        (lambda name: Doubling(evaluation=name), "test_every_job_has_one_outcome"),
        (lambda name: Mixing(evaluation=name), "test_every_job_has_one_outcome"),
        (lambda name: Swallowing(evaluation=name), "test_what_would_fail_every_job_is_raised"),
        (Open, "test_data_cannot_be_spoiled"),
        (Open, "test_refuses_what_it_cannot_do"),
    ],
)
def test_wrong_executors_fail(make: Callable[[str], Executor], test: str) -> None:
    arrays = {"x": np.arange(10), "y": np.ones(3)}
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(contract(make), test)(arrays)
    getattr(contract(lambda name: InProcess(evaluation=name)), test)(
        {"x": np.arange(1000), "y": np.ones((3, 4))}
    )
