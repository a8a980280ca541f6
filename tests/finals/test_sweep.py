"""The sweep of learning rates: it widens until the best rate is inside, the same way for every
cell, and asks for another seed where noise decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cellsearch import zoo
from cellsearch.executors.base import Executor
from cellsearch.finals import Finalist, FinalTable, Protocol, run_finals
from cellsearch.genome.graph import Genome
from cellsearch.job import Failure, Job, Limits, Outcome, Result, Training
from cellsearch.tasks.base import Arrays

GRU = zoo.load("gru")
CELLS = (Finalist("found", zoo.load("mgu")), Finalist("gru", GRU, True))


class Landscape(Executor):
    """Answers each job by a function of its cell, rate and seed; ``None`` diverges."""

    capacity = 3

    def __init__(self, score: Callable[[bool, float, int], float | None]) -> None:
        self.score = score
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
        self.jobs.append(job)
        self.open.append(job)

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        jobs, self.open = self.open, []
        for job in jobs:
            baseline = Genome.from_json(job.genome) == GRU
            score = self.score(baseline, job.training.learning_rate, job.seed)
            if score is None:
                yield Outcome(job.trial, 0, failure=Failure("diverged", "scripted"))
                continue
            metrics = {"test_score": score, "test_metric": score} if job.test else {}
            result = Result(score, score, job.steps, 1.0, 100, 90, metrics=metrics)
            yield Outcome(job.trial, 0, result=result)

    def close(self, *, kill: bool = False) -> None:
        self.open.clear()


def final(executor: Landscape, **options: Any) -> FinalTable:
    training = Training(steps=4, learning_rate=0.01)
    protocol = Protocol("parity", {}, training, Limits(), seeds=2, **options)
    return run_finals(executor, CELLS, {"found": 8, "gru": 8}, protocol)


def valley(best: float) -> Callable[[float], float]:
    """A score with its minimum at this rate."""
    return lambda rate: 1.0 + abs(math.log2(rate / best))


def rates(executor: Landscape, baseline: bool) -> Counter[float]:
    """How often each rate was swept for the cell."""
    cell = (GRU if baseline else CELLS[0].genome).to_json()
    return Counter(
        round(job.training.learning_rate / 0.01, 6)
        for job in executor.jobs
        if not job.test and job.genome == cell
    )


@pytest.mark.parametrize(
    ("factor", "last"), [(1.0, None), (16.0, 32.0), (1 / 16, 1 / 32), (4.0, 8.0)]
)
def test_it_widens_until_the_best_rate_is_inside(factor: float, last: float | None) -> None:
    far, near = valley(0.01 * factor), valley(0.01)
    executor = Landscape(lambda baseline, rate, seed: (near if baseline else far)(rate))
    row = next(r for r in final(executor, sweep_seeds=1).rows if r.name == "found")
    assert row.learning_rate == pytest.approx(0.01 * factor)
    assert row.rate_inside
    tried = set(rates(executor, baseline=False))
    assert tried >= {0.25, 0.5, 1.0, 2.0, 4.0}
    beyond = {f for f in tried if not 0.25 <= f <= 4}
    assert (last is None and not beyond) or round(last or 0, 6) in beyond
    assert set(rates(executor, baseline=True)) == {0.25, 0.5, 1.0, 2.0, 4.0}
    assert [round(rate / 0.01, 6) for rate, _, _ in row.sweep] == sorted(tried)
    assert [score for _, score, _ in row.sweep] == [far(rate) for rate, _, _ in row.sweep]
    assert {count for _, _, count in row.sweep} == {1}


@pytest.mark.parametrize("sign", [1, -1])
def test_it_ends_at_a_bound_and_says_that_it_did(sign: int) -> None:
    executor = Landscape(lambda baseline, rate, seed: 10.0 + sign * math.log2(rate))
    rows = final(executor, sweep_seeds=1, widest=32.0).rows
    assert {row.name for row in rows} == {"found", "gru"}
    for row in rows:
        assert row.rate_inside is False
        assert row.learning_rate == pytest.approx(0.01 * 32.0**-sign)


def test_what_diverges_everywhere_is_tried_slower_and_what_cannot_be_built_is_not() -> None:
    executor = Landscape(lambda baseline, rate, seed: 1.0 if baseline or rate < 0.001 else None)
    row = next(r for r in final(executor, sweep_seeds=1).rows if r.name == "found")
    assert row.learning_rate < 0.001
    assert row.failures == 0

    class Broken(Landscape):
        def events(self, timeout: float | None = None) -> Iterator[Outcome]:
            for job, outcome in zip(list(self.open), super().events(), strict=True):
                broken = Genome.from_json(job.genome) != GRU
                failure = Failure("invalid", "scripted") if broken else None
                yield Outcome(job.trial, 0, None if broken else outcome.result, failure)

    other = Broken(lambda baseline, rate, seed: 1.0)
    final(other, sweep_seeds=1)
    assert sum(rates(other, baseline=False).values()) == 5


def test_equal_scores_choose_the_rate_of_the_run() -> None:
    assert {r.learning_rate for r in final(Landscape(lambda *_: 0.0)).rows} == {0.01}


def test_where_noise_decides_there_are_more_seeds() -> None:
    def noisy(baseline: bool, rate: float, seed: int) -> float:
        noise = 0.0 if baseline else (0.9, -0.3, -0.3, 0.0)[(seed + round(1e4 * rate)) % 4]
        return valley(0.01)(rate) + noise

    executor = Landscape(noisy)
    final(executor)
    calm, doubtful = rates(executor, baseline=True), rates(executor, baseline=False)
    assert sorted(calm.values()) == [1, 1, 1, 2, 2]
    assert max(doubtful.values()) == 3
    fixed = Landscape(noisy)
    final(fixed, sweep_seeds=2)
    assert set(rates(fixed, baseline=True).values()) == {2}


def test_the_mean_over_seeds_decides_and_a_failure_is_the_worst() -> None:
    def lucky(baseline: bool, rate: float, seed: int) -> float | None:
        if rate == 0.02:  # the best with the first seed, and fails with the second
            return 0.5 if seed == 10_000 else None
        return valley(0.01)(rate)

    table = final(Landscape(lucky))
    assert {row.learning_rate for row in table.rows} == {0.01}
    swept = {rate: score for rate, score, _ in table.rows[0].sweep}
    assert swept[0.02] == math.inf
    document = table.to_document()["rows"][0]
    assert [0.02, None, 2] in document["sweep"]
