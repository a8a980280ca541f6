"""What every executor must do. Subclass :class:`ExecutorContract`, say how to make yours, and let
pytest collect it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellsearch.errors import ConfigError, EnvironmentFailure
from cellsearch.executors.base import Executor
from cellsearch.job import Job, Limits, Outcome, Training
from cellsearch.tasks.base import Arrays
from cellsearch.testing.noop import EVALUATION, evaluate

__all__ = ["TASK", "ExecutorContract", "collect", "make_job", "run_all", "train_lines"]

TASK = "noop"


def make_job(
    trial: int,
    options: Mapping[str, Any] | None = None,
    *,
    steps: int = 10,
    limits: Limits | None = None,
    task: str = TASK,
) -> Job:
    """A job for the evaluation that trains nothing."""
    return Job(
        trial=trial,
        rung=0,
        genome=f"genome {trial}",
        task=task,
        task_options=dict(options or {}),
        training=Training(steps=steps),
        steps=steps,
        seed=trial,
        limits=limits or Limits(),
    )


def collect(executor: Executor, count: int, seconds: float = 60.0) -> dict[int, Outcome]:
    """The next ``count`` outcomes by trial. Fails when they do not come in time, or when one comes
    twice.
    """
    outcomes: dict[int, Outcome] = {}
    end = time.monotonic() + seconds
    while len(outcomes) < count:
        assert time.monotonic() < end, (
            f"{len(outcomes)} of {count} outcomes within {seconds} seconds"
        )
        for outcome in executor.events(timeout=1.0):
            assert outcome.trial not in outcomes, f"trial {outcome.trial} has two outcomes"
            outcomes[outcome.trial] = outcome
    return outcomes


def run_all(executor: Executor, jobs: list[Job], seconds: float = 60.0) -> dict[int, Outcome]:
    """Run the jobs, as many at the same time as the executor takes; their outcomes by trial."""
    waiting, outcomes, under_way = list(jobs), dict[int, Outcome](), 0
    while waiting or under_way:
        while waiting and under_way < executor.capacity:
            executor.submit(waiting.pop(0))
            under_way += 1
        ended = collect(executor, 1, seconds)
        under_way -= len(ended)
        assert not outcomes.keys() & ended.keys()
        outcomes |= ended
    return outcomes


def train_lines(log: Path, what: str = "end") -> list[tuple[int, int, int]]:
    """The log of the no-op evaluation: (trial, rung, process) of each training that began or ended,
    in order.
    """
    if not log.exists():
        return []
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    return [
        (int(trial), int(rung), int(process))
        for trial, rung, event, process in lines
        if event == what
    ]


class ExecutorContract(ABC):
    """Tests of one executor. :meth:`make` gives a new one that runs the evaluation of this
    importable name.
    """

    @abstractmethod
    def make(self, evaluation: str = EVALUATION) -> Executor:
        """An executor of the kind under test."""

    @pytest.fixture
    def arrays(self) -> Arrays:
        """Some data."""
        return {"x": np.arange(1000, dtype=np.int64), "y": np.ones((3, 4), dtype=np.float32)}

    def test_every_job_has_one_outcome(self, arrays: Arrays) -> None:
        """As many jobs as one likes, each with its own result."""
        with self.make() as executor:
            executor.start(TASK, {}, arrays)
            outcomes = run_all(executor, [make_job(n) for n in range(20)])
        assert sorted(outcomes) == list(range(20))
        assert all(
            o.result is not None and o.failure is None and o.worker for o in outcomes.values()
        )
        scores = {n: o.result.score for n, o in outcomes.items() if o.result}
        assert len(set(scores.values())) == 20
        assert all(score == evaluate(make_job(n), {}).score for n, score in scores.items())

    def test_workers_get_the_data(self, arrays: Arrays) -> None:
        """The arrays of ``start`` arrive whole; a second ``start`` replaces them."""
        with self.make() as executor:
            executor.start(TASK, {}, arrays)
            first = run_all(executor, [make_job(0)])[0].result
            executor.start(TASK, {}, {"x": np.arange(3)})
            second = run_all(executor, [make_job(1)])[1].result
        assert first is not None
        assert first.metrics["data"] == 999 * 1000 / 2 + 12
        assert second is not None
        assert second.metrics["data"] == 3.0

    def test_data_cannot_be_spoiled(self, arrays: Arrays) -> None:
        """A candidate cannot change the data of the next one; the caller's arrays stay as they
        were, writable.
        """
        with self.make("cellsearch.testing.noop:spoil") as executor:
            executor.start(TASK, {}, arrays)
            failure = run_all(executor, [make_job(0)])[0].failure
        assert failure is not None
        assert "read-only" in failure.message
        assert arrays["x"].flags.writeable
        assert arrays["x"][0] == 0

    def test_failures_of_a_candidate_are_outcomes(self, arrays: Arrays) -> None:
        """What the evaluation says about its candidate is recorded, an evaluation with a bug too,
        and the next job runs.
        """
        kinds = ("nan", "diverged", "timeout", "memory", "invalid", "error")
        told = [({"fail": kind, "trials": [0]}, kind) for kind in kinds]
        told += [
            ({"raise": "value", "trials": [0]}, "error"),
            ({"raise": "memory", "trials": [0]}, "memory"),
        ]
        with self.make() as executor:
            for options, kind in told:
                executor.start(TASK, options, arrays)
                outcomes = run_all(executor, [make_job(0, options), make_job(1, options)])
                failure = outcomes[0].failure
                assert failure is not None
                assert failure.kind == kind
                assert failure.message
                assert outcomes[0].result is None
                assert outcomes[1].result is not None

    def test_what_would_fail_every_job_is_raised(self, arrays: Arrays) -> None:
        """A wrong option or a full disk is not a candidate's fault; the executor works on."""
        kinds: dict[str, type[Exception]] = {
            "config": ConfigError,
            "environment": EnvironmentFailure,
        }
        with self.make() as executor:
            for name, kind in kinds.items():
                options = {"raise": name, "trials": [0]}
                executor.start(TASK, options, arrays)
                executor.submit(make_job(0, options))
                with pytest.raises(kind, match="told to raise"):
                    collect(executor, 1)
                assert run_all(executor, [make_job(1, options)])[1].result is not None

    def test_events_without_jobs(self, arrays: Arrays) -> None:
        """Nobody waits for ever when nothing is under way."""
        with self.make() as executor:
            executor.start(TASK, {}, arrays)
            start = time.monotonic()
            assert list(executor.events()) == []
            assert time.monotonic() - start < 5

    def test_refuses_what_it_cannot_do(self, arrays: Arrays) -> None:
        """A job before the data, of another task, or more jobs than there is room for."""
        with self.make() as executor:
            with pytest.raises(ConfigError, match="no data yet"):
                executor.submit(make_job(0))
            executor.start(TASK, {}, arrays)
            with pytest.raises(ConfigError, match="another"):
                executor.submit(make_job(0, task="another"))
            with pytest.raises(ConfigError, match="is of task"):
                executor.submit(make_job(0, {"sleep": 1}))
            for n in range(executor.capacity):
                executor.submit(make_job(n))
            with pytest.raises(ConfigError, match="under way"):
                executor.submit(make_job(executor.capacity))
            collect(executor, executor.capacity)

    def test_unknown_evaluation(self) -> None:
        """A wrong name fails before any worker starts."""
        for name in ("cellsearch.testing.noop:nothing", "no.such.module:evaluate", "words"):
            with pytest.raises(ConfigError, match="can be imported"):
                self.make(name)

    def test_close_twice(self, arrays: Arrays) -> None:
        """Closing is always safe."""
        executor = self.make()
        executor.start(TASK, {}, arrays)
        executor.submit(make_job(0))
        executor.close(kill=True)
        executor.close()
