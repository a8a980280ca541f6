"""Training of one candidate on one task: it learns, it is reproducible, it can be stopped, it ends
early when nothing gets better.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.trainings import LM, SHORT, facts, job
from torch import nn

from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError
from cellsearch.job import Job, Training
from cellsearch.tasks.adding import Adding
from cellsearch.tasks.base import Arrays, Batch, Split
from cellsearch.tasks.char_lm import CharLM
from cellsearch.training import checkpoint, evaluate
from cellsearch.training.loop import validation_steps

# -- learning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_it_learns_more_than_how_frequent_characters_are(text: Arrays, cell: str) -> None:
    counts = np.bincount(text["train"])
    share = counts[counts > 0] / counts.sum()
    unigram = float(-(share * np.log2(share)).sum())
    assert 4.2 < unigram < 4.4
    losses: list[float] = []
    training = replace(SHORT, hidden_size=24, learning_rate=2e-2)
    result = evaluate(
        job(cell, steps=120, training=training),
        text,
        progress=lambda step, loss: losses.append(loss),
    )
    assert result.score < unigram - 0.4
    assert losses[0] > math.log(63) * 0.95
    assert np.mean(losses[-20:]) < losses[0] - 1.0
    assert result.metrics["train_loss"] == pytest.approx(np.mean(losses[-20:]), abs=0.15)
    assert result.metric == result.score == min(score for _, score in result.curve)


def test_every_weight_moves(text: Arrays, tmp_path: Path) -> None:
    first, later = str(tmp_path / "first"), str(tmp_path / "later")
    evaluate(job(steps=1, checkpoint=first), text)
    evaluate(job(steps=2, checkpoint=later), text)
    a, b = checkpoint.read(first).group("model."), checkpoint.read(later).group("model.")
    assert a.keys() == b.keys()
    assert {"cell.l0.i.weight_x", "cell.l0.f.bias", "embedding.weight", "readout.bias"} <= a.keys()
    assert [name for name in a if torch.equal(a[name], b[name])] == []


def test_the_result_says_what_was_done(text: Arrays) -> None:
    result = evaluate(job("gru", steps=10, training=replace(SHORT, evaluations=4)), text)
    assert [step for step, _ in result.curve] == [2, 5, 8, 10]
    assert result.steps == 10
    assert result.cell_parameters == sum(
        int(np.prod(spec.sizes(12, 12))) for spec in zoo.load("gru").parameters
    )
    assert result.parameters == result.cell_parameters + 63 * 12 + 63 * 13
    assert result.checkpoint == ""
    assert result.connections == {}


def test_validations_are_spread_over_what_is_granted() -> None:
    assert validation_steps(0, 100, 4) == {25, 50, 75, 100}
    assert validation_steps(100, 300, 2) == {200, 300}
    assert validation_steps(0, 2, 5) == {1, 2}
    assert validation_steps(7, 7, 3) == frozenset()


@pytest.mark.parametrize(
    "training",
    [
        replace(SHORT, num_layers=2, dropout=0.2),
        replace(SHORT, dtype="float64"),
        replace(SHORT, weight_decay=0.1),
    ],
)
def test_other_settings_train_too(text: Arrays, training: Training) -> None:
    assert evaluate(job(training=training), text).score < 6.2


class _AlwaysFirst(CharLM):
    """The same segments, each treated as the beginning of a text."""

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        for batch in super().batches(split, seed, start):
            yield replace(batch, first=True) if split == "train" else batch


def test_the_state_is_carried_from_segment_to_segment(
    text: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: dict[str, list[float]] = {"carried": [], "forgotten": []}
    evaluate(job(steps=3), text, progress=lambda step, loss: losses["carried"].append(loss))
    monkeypatch.setattr(tasks, "get", lambda name: _AlwaysFirst)
    evaluate(job(steps=3), text, progress=lambda step, loss: losses["forgotten"].append(loss))
    assert losses["carried"][0] == losses["forgotten"][0]
    assert losses["carried"][1] != losses["forgotten"][1]


def test_the_best_weights_are_kept(text: Arrays, tmp_path: Path) -> None:
    """With a far too large learning rate the last validation is worse than an earlier one; that one
    counts.
    """
    path = str(tmp_path / "best")
    training = replace(SHORT, learning_rate=0.5, evaluations=12)
    result = evaluate(job(training=training, checkpoint=path), text)
    stored = checkpoint.read(path)
    assert result.metrics["best_step"] < 12
    assert result.score == min(score for _, score in result.curve) < result.curve[-1][1]
    task = tasks.get("char_lm").create(LM, text)
    from cellsearch.training.model import cell_factory

    model = task.model(cell_factory(zoo.load("lstm"), training))
    model.load_state_dict(stored.weights())
    assert task.score(model, "valid")[0] == pytest.approx(result.score, rel=1e-6)
    assert stored.cell_weights()["l0.i.weight_x"].shape == (12, 12)


def test_the_test_split_is_read_with_the_weights_that_validation_chose(
    text: Arrays, tmp_path: Path
) -> None:
    from cellsearch.training.model import cell_factory

    path = str(tmp_path / "best")
    training = replace(SHORT, learning_rate=0.5, evaluations=12)
    result = evaluate(job(training=training, checkpoint=path, test=True), text)
    assert result.metrics["best_step"] < 12
    task = tasks.get("char_lm").create(LM, text)
    model = task.model(cell_factory(zoo.load("lstm"), training))
    model.load_state_dict(checkpoint.read(path).weights())
    assert (result.metrics["test_score"], result.metrics["test_metric"]) == task.score(
        model, "test"
    )
    assert "test_score" not in evaluate(job(training=training), text).metrics


# -- reproducibility -------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits(text: Arrays) -> None:
    one = facts(evaluate(job(), text))
    torch.manual_seed(99)
    assert facts(evaluate(job(), text)) == one
    assert facts(evaluate(job(seed=2), text)) != one


def test_another_process_gives_the_same_bits(text: Arrays) -> None:
    script = """
import json, sys
from dataclasses import asdict
from cellsearch import tasks
from cellsearch.training import evaluate
from cellsearch.job import Job
from cellsearch.job import Limits, Prefilter, Training
given = json.loads(sys.stdin.read())
given |= {name: kind(**given[name]) for name, kind in (("training", Training), ("limits", Limits), ("prefilter", Prefilter))}
job = Job(**given)
print(json.dumps(asdict(evaluate(job, tasks.get(job.task).load(job.task_options)))))
"""
    wanted = job(training=replace(SHORT, dropout=0.1))
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(asdict(wanted)),
        capture_output=True,
        text=True,
        check=True,
    )
    there = json.loads(done.stdout)
    here = json.loads(json.dumps(asdict(evaluate(wanted, text))))
    assert {k: v for k, v in there.items() if k != "seconds"} == {
        k: v for k, v in here.items() if k != "seconds"
    }


def test_torch_is_left_as_it_was(text: Arrays) -> None:
    torch.manual_seed(5)
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    evaluate(job(steps=2), text)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads


def test_it_can_be_stopped(text: Arrays, tmp_path: Path) -> None:
    path, seen = str(tmp_path / "stopped"), []
    result = evaluate(
        job(checkpoint=path),
        text,
        progress=lambda step, loss: seen.append(step),
        should_stop=lambda: len(seen) >= 4,
    )
    assert result.steps == 5
    assert result.curve[-1][0] == 5
    assert facts(evaluate(job(resume=path), text))["steps"] == 12


# -- patience --------------------------------------------------------------------------------------


TINY: dict[str, Any] = {"length": 4, "evaluation_size": 20, "batch_size": 4}
VALIDATED = Training(steps=20, hidden_size=4, evaluations=10)


def patient(patience: int, **changes: Any) -> Job:
    training = replace(VALIDATED, patience=patience)
    return replace(
        Job(0, 0, zoo.load("rnn_tanh").to_json(), "adding", TINY, training, 20, 1), **changes
    )


@pytest.fixture
def arrays() -> Arrays:
    return tasks.get("adding").load(TINY)


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
    result = evaluate(patient(patience), arrays)
    assert len(result.curve) == validations
    assert result.steps == 2 * validations
    assert result.score == min(given[:validations])


def test_a_training_that_was_put_down_ends_at_the_same_step(arrays: Arrays, tmp_path: Path) -> None:
    training = replace(VALIDATED, learning_rate=0.3, patience=2, evaluations=10)
    whole = evaluate(patient(0, training=training), arrays)
    assert 6 < whole.steps < 20, "the case is one in which patience ends"
    path = str(tmp_path / "half.safetensors")
    first = replace(training, evaluations=3)
    evaluate(patient(0, training=first, steps=6, checkpoint=path), arrays)
    rest = evaluate(patient(0, training=replace(training, evaluations=7), resume=path), arrays)
    assert rest.curve == whole.curve
    assert (rest.score, rest.steps) == (whole.score, whole.steps)


def test_a_higher_rung_of_a_training_out_of_patience_trains_nothing(
    arrays: Arrays, scores: list[float], tmp_path: Path
) -> None:
    scores.extend([1, 2, 3])
    path = str(tmp_path / "ended.safetensors")
    ended = evaluate(patient(2, checkpoint=path), arrays)
    assert ended.steps == 6
    further = evaluate(patient(2, resume=path, steps=40), arrays)
    assert further.steps == 6
    assert further.curve == ended.curve


def test_connections_are_measured_though_nobody_knew_the_end(
    arrays: Arrays, scores: list[float]
) -> None:
    scores.extend([1, 2, 3])
    result = evaluate(patient(2, connections=True), arrays)
    assert result.steps == 6
    assert all(connection.saliency > 0 for connection in result.connections.values())


def test_with_patience_that_lasts_nothing_changes(arrays: Arrays) -> None:
    assert facts(evaluate(patient(0), arrays)) == facts(evaluate(patient(10), arrays))


def test_negative_patience_is_refused(arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match="patience"):
        evaluate(patient(-1), arrays)
