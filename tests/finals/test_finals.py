"""Finals: equal sizes, the protocol, and a verdict that can go all three ways."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellsearch.errors import ConfigError
from cellsearch.executors.base import Executor
from cellsearch.finals import Finalist, FinalRow, Protocol, equal_sizes, run_finals, verdict
from cellsearch.genome import Genome
from cellsearch.job import Job, Limits, Outcome, Training
from cellsearch.tasks.base import Arrays
from cellsearch.trial import Failure, Result

LSTM = Genome.from_text(
    "i = sigmoid(linear(x[t], h[t-1]))\nf = sigmoid(linear(x[t], h[t-1]))\ng = "
    "tanh(linear(x[t], h[t-1]))\n"
    "o = sigmoid(linear(x[t], h[t-1]))\nc[t] = f * c[t-1] + i * g\nh[t] = o * tanh(c[t])\n"
)
RNN = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))\n")


class Scripted(Executor):
    """Answers each job with a score that is a plain function of it, so that the protocol alone is
    tested.
    """

    capacity = 2

    def __init__(self, offset: float, best_rate: float = 0.02, fail: bool = False) -> None:
        self.offset, self.best_rate, self.fail = offset, best_rate, fail
        self.jobs: list[Job] = []
        self.open: list[Job] = []

    def start(
        self,
        task: str,
        task_options: Mapping[str, Any],
        arrays: Arrays,
        *,
        folder: Path | None = None,
    ) -> None:
        pass

    def submit(self, job: Job) -> None:
        assert len(self.open) < self.capacity
        self.jobs.append(job)
        self.open.append(job)

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        jobs, self.open = self.open, []
        for job in jobs:
            found = Genome.from_json(job.genome) == RNN
            if found and self.fail and job.test:
                yield Outcome(job.trial, 0, failure=Failure("nan", "scripted"))
                continue
            score = (
                2.0
                + abs(job.training.learning_rate - self.best_rate)
                + 0.001 * (job.seed % 7)
                + (self.offset if found else 0.0)
            )
            metrics = {"test_score": score + 0.1, "test_metric": score + 0.1} if job.test else {}
            result = Result(score, score, job.steps, 1.0, 1000, 900, metrics=metrics)
            yield Outcome(job.trial, 0, result=result)

    def close(self, *, kill: bool = False) -> None:
        self.open.clear()


def final(executor: Scripted, seeds: int = 5):
    protocol = Protocol("parity", {}, Training(steps=10, learning_rate=0.02), Limits(), seeds=seeds)
    return run_finals(
        executor,
        [Finalist("found", RNN), Finalist("lstm", LSTM, True)],
        {"found": 20, "lstm": 10},
        protocol,
    )


@pytest.mark.parametrize(
    ("offset", "word"),
    [
        (-0.3, "found is better than lstm"),
        (0.3, "found is worse than lstm"),
        (0.0, "equal within noise"),
    ],
)
def test_verdict_goes_all_three_ways(offset: float, word: str) -> None:
    assert word in final(Scripted(offset)).sentence


def test_sweep_is_decided_by_validation_and_test_is_read_once_a_seed() -> None:
    executor = Scripted(0.0, best_rate=0.04)
    table = final(executor)
    assert {row.learning_rate for row in table.rows} == {0.04}
    swept = [job for job in executor.jobs if not job.test]
    tested = [job for job in executor.jobs if job.test]
    assert Counter(
        job.training.learning_rate for job in swept if job.seed == 10_000
    ) == dict.fromkeys((0.005, 0.01, 0.02, 0.04, 0.08), 2)
    assert len(tested) == 2 * 5
    assert not {job.seed for job in swept} & {job.seed for job in tested}
    assert {job.training.hidden_size for job in tested} == {20, 10}


def test_too_few_seeds_are_said() -> None:
    assert "use more seeds" in final(Scripted(-0.3), seeds=3).sentence


def test_failures_are_counted_not_hidden() -> None:
    table = final(Scripted(0.0, fail=True))
    row = next(row for row in table.rows if row.name == "found")
    assert row.failures == 5
    assert table.sentence == "No found cell could be trained."
    assert json.loads(table.to_json())["rows"][-1]["mean"] is None


def test_needs_a_baseline() -> None:
    with pytest.raises(ConfigError, match="baseline"):
        run_finals(
            Scripted(0.0),
            [Finalist("found", RNN)],
            {"found": 8},
            Protocol("parity", {}, Training(), Limits()),
        )


def test_equal_sizes_are_equal_within_one_percent() -> None:
    counts = {
        "lstm": lambda h: 8 * h * h + 4 * h + 65 * h,
        "gru": lambda h: 6 * h * h + 4 * h + 65 * h,
        "rnn": lambda h: 2 * h * h + 66 * h,
    }
    sizes = equal_sizes(counts, "lstm", 128)
    actual = [counts[name](size) for name, size in sizes.items()]
    assert max(actual) / min(actual) <= 1.01
    assert sizes["rnn"] > sizes["gru"] > sizes["lstm"]


def test_sizes_that_cannot_be_equal_are_refused() -> None:
    with pytest.raises(ConfigError, match="within 1%"):
        equal_sizes({"a": lambda h: 1000 * h * h, "b": lambda h: 777 * h * h + 5}, "a", 3)


def test_a_verdict_says_how_many_trainings_failed() -> None:
    row = FinalRow("found", False, 10, 1000, 0.01, (1.0, 1.1), (1.0, 1.1), 1.0, 3, p=0.01)
    base = replace(row, name="lstm", baseline=True, scores=(2.0, 2.1), failures=0, p=math.nan)
    assert "3 of 5 trainings of found failed" in verdict(row, base)
    assert "failed" not in verdict(replace(row, failures=0), base)


def test_verdict_names_the_numbers() -> None:
    row = FinalRow("found", False, 10, 1000, 0.01, (1.0, 1.1), (1.0, 1.1), 1.0, 0, p=0.5)
    text = verdict(row, replace(row, name="lstm", baseline=True, p=math.nan))
    assert "1.0500" in text
    assert "p = 0.500" in text
