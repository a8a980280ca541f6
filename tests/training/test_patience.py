"""Early stopping: training ends after ``patience`` validations that brought nothing better, the
same way every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError
from cellsearch.job import Job
from cellsearch.settings import Training
from cellsearch.tasks.adding import Adding
from cellsearch.tasks.base import Arrays, Split
from cellsearch.training import evaluate
from cellsearch.trial import Result

OPTIONS: dict[str, Any] = {"length": 4, "evaluation_size": 20, "batch_size": 4}
TRAINING = Training(steps=20, hidden_size=4, evaluations=10)


def job(patience: int, **changes: Any) -> Job:
    training = replace(TRAINING, patience=patience)
    return replace(
        Job(0, 0, zoo.load("rnn_tanh").to_json(), "adding", OPTIONS, training, 20, 1), **changes
    )


@pytest.fixture
def arrays() -> Arrays:
    return tasks.get("adding").load(OPTIONS)


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Scores that the validations give, in turn, whatever the model is."""
    given: list[float] = []
    seen: list[int] = []

    def score(self: Adding, model: nn.Module, split: Split) -> tuple[float, float]:
        seen.append(1)
        return given[len(seen) - 1], 0.0

    monkeypatch.setattr(Adding, "score", score)
    return given


@pytest.mark.parametrize(
    ("patience", "given", "validations"),
    [
        (0, [5, 4, 9, 9, 9, 9, 9, 9, 9, 9], 10),
        (1, [5, 4, 4, 1], 3),
        (2, [5, 4, 9, 3, 9, 9, 1], 6),
        (3, [5, 6, 7, 8, 1], 4),
        (3, [5, 5, 5, 5, 1], 4),
        (9, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2], 10),
        (10, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2], 10),
    ],
)
def test_training_ends_when_patience_does(
    arrays: Arrays, scores: list[float], patience: int, given: Sequence[float], validations: int
) -> None:
    scores.extend(given)
    result = evaluate(job(patience), arrays)
    assert len(result.curve) == validations
    assert result.steps == 2 * validations
    assert result.score == min(given[:validations])


def facts(result: Result) -> tuple[object, ...]:
    return result.score, result.steps, result.curve, dict(result.metrics), dict(result.connections)


def test_a_training_that_was_put_down_ends_at_the_same_step(arrays: Arrays, tmp_path: Path) -> None:
    training = replace(TRAINING, learning_rate=0.3, patience=2, evaluations=10)
    whole = evaluate(job(0, training=training), arrays)
    assert 6 < whole.steps < 20, "the case is one in which patience ends"
    path = str(tmp_path / "half.safetensors")
    first = replace(training, evaluations=3)
    evaluate(job(0, training=first, steps=6, checkpoint=path), arrays)
    rest = evaluate(job(0, training=replace(training, evaluations=7), resume=path), arrays)
    assert rest.curve == whole.curve
    assert (rest.score, rest.steps) == (whole.score, whole.steps)


def test_a_higher_rung_of_a_training_out_of_patience_trains_nothing(
    arrays: Arrays, scores: list[float], tmp_path: Path
) -> None:
    scores.extend([1, 2, 3])
    path = str(tmp_path / "ended.safetensors")
    ended = evaluate(job(2, checkpoint=path), arrays)
    assert ended.steps == 6
    further = evaluate(job(2, resume=path, steps=40), arrays)
    assert further.steps == 6
    assert further.curve == ended.curve


def test_connections_are_measured_though_nobody_knew_the_end(
    arrays: Arrays, scores: list[float]
) -> None:
    scores.extend([1, 2, 3])
    result = evaluate(job(2, connections=True), arrays)
    assert result.steps == 6
    assert all(connection.saliency > 0 for connection in result.connections.values())


def test_with_patience_that_lasts_nothing_changes(arrays: Arrays) -> None:
    assert facts(evaluate(job(0), arrays)) == facts(evaluate(job(10), arrays))


def test_negative_patience_is_refused(arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match="patience"):
        evaluate(job(-1), arrays)
