"""What a job trains: settings that make sense for a task, sizes, directions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from support.trainings import SHORT, facts, gated_job, job

from cellsearch import tasks
from cellsearch.errors import ConfigError
from cellsearch.tasks.base import Arrays
from cellsearch.training import evaluate


def test_bidirectional_where_the_task_allows_it(text: Arrays) -> None:
    both = replace(SHORT, bidirectional=True)
    assert math.isfinite(
        evaluate(
            job(task="adding", training=both),
            tasks.get("adding").load(job(task="adding").task_options),
        ).score
    )
    with pytest.raises(ConfigError, match="both directions"):
        evaluate(job(training=both), text)


def test_segments_have_no_meaning_for_whole_sequences() -> None:
    arrays = tasks.get("adding").load(job(task="adding").task_options)
    short, long = (
        evaluate(job(task="adding", steps=3, training=replace(SHORT, tbptt=tbptt)), arrays)
        for tbptt in (0, 3)
    )
    assert facts(short) == facts(long)


@pytest.mark.parametrize(
    "setting",
    [
        {"dtype": "float16"},
        {"hidden_size": 0},
        {"learning_rate": 0.0},
        {"dropout": 1.0},
        {"evaluations": 0},
        {"clip_norm": -1.0},
        {"backend": "no-such-backend"},
    ],
)
def test_settings_that_nobody_could_train_with_are_refused(
    text: Arrays, setting: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        evaluate(job(training=replace(SHORT, **setting)), text)


def test_an_unknown_relaxation_is_refused(data: Arrays) -> None:
    with pytest.raises(ConfigError, match="unknown value 'l1'") as caught:
        evaluate(gated_job(replace(SHORT, relaxation="l1")), data)
    assert caught.value.where == "relaxation"
