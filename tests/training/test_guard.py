"""What ends a training: numbers that are not finite, a loss that explodes, time, memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from support.trainings import SHORT, job

from cellsearch import tasks
from cellsearch.errors import TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.job import Limits
from cellsearch.tasks.adding import Adding
from cellsearch.tasks.base import Arrays, Batch, Split
from cellsearch.training import evaluate


class _PoisonedAtStep(Adding):
    """Adding whose training batch number 7 (of steps counted from 1) holds a NaN, or a huge
    number.
    """

    poison: ClassVar[float] = math.nan

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        for number, batch in enumerate(super().batches(split, seed, start), start=start + 1):
            if split == "train" and number == 7:
                batch.y[0] = self.poison
            yield batch


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [(math.nan, "nan", "nan"), (math.inf, "nan", "inf"), (1e3, "diverged", "at first")],
)
def test_a_bad_number_is_found_at_its_step(
    monkeypatch: pytest.MonkeyPatch, value: float, kind: str, says: str
) -> None:
    monkeypatch.setattr(_PoisonedAtStep, "poison", value)
    monkeypatch.setattr(tasks, "get", lambda name: _PoisonedAtStep)
    steps: list[int] = []
    wanted = job(task="adding")
    with pytest.raises(TrainingError, match="at step 7") as caught:
        evaluate(
            wanted, Adding.load(wanted.task_options), progress=lambda step, loss: steps.append(step)
        )
    assert caught.value.kind == kind
    assert says in str(caught.value)
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_cell_that_gives_nan_fails_at_the_first_step(text: Arrays) -> None:
    cell = Genome.from_text("h[t] = sqrt(linear(x[t], h[t-1]))")
    with pytest.raises(TrainingError, match="loss is nan at step 1") as caught:
        evaluate(job(cell), text)
    assert caught.value.kind == "nan"


def test_a_gradient_that_is_not_finite_is_found(text: Arrays) -> None:
    """The value is finite, 0, but the derivative of the root at 0 is not."""
    cell = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1])) + sqrt(square(h[t-1] - h[t-1]))")
    with pytest.raises(
        TrainingError, match=r"norm of the gradient is (nan|inf) at step 1"
    ) as caught:
        evaluate(job(cell), text)
    assert caught.value.kind == "nan"


def test_time_is_limited(text: Arrays) -> None:
    with pytest.raises(TrainingError, match=r"0.05 s are allowed") as caught:
        evaluate(job(steps=10_000, limits=Limits(seconds=0.05)), text)
    assert caught.value.kind == "timeout"


def test_memory_is_limited(text: Arrays) -> None:
    wide = replace(SHORT, hidden_size=1024, batch_size=64, tbptt=64)
    with pytest.raises(TrainingError, match="100 MiB are allowed") as caught:
        evaluate(job(steps=3, training=wide, limits=Limits(memory_mb=100)), text)
    assert caught.value.kind == "memory"
    with pytest.raises(TrainingError, match="weights, which need") as caught:
        evaluate(job(training=replace(SHORT, hidden_size=4096), limits=Limits(memory_mb=100)), text)
    assert caught.value.kind == "memory"


def test_memory_within_the_limit_is_fine(text: Arrays) -> None:
    assert evaluate(job(steps=2, limits=Limits(seconds=100.0, memory_mb=2000)), text).steps == 2
