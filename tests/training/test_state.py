"""Trainings that are put down and taken up, those of older versions too, and weights that come from
a parent.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainings import SHORT, facts, job

from cellsearch import tasks
from cellsearch.errors import CheckpointError, ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.job import Training
from cellsearch.runs.trained import trained_job
from cellsearch.tasks.base import Arrays
from cellsearch.training import checkpoint, evaluate

CHECKPOINT = Path(__file__).parents[1] / "data" / "checkpoint_v1.safetensors"
CURVE = [(6, 5.858316083452258), (8, 5.822426615936921), (9, 5.804000738844115)]


# -- resume ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "training", [SHORT, replace(SHORT, dropout=0.3, num_layers=2, weight_decay=0.01)]
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_resumed_training_equals_one_without_interruption(
    text: Arrays, tmp_path: Path, cell: str, training: Training
) -> None:
    paths = {name: str(tmp_path / name) for name in ("whole", "half", "resumed")}
    training = replace(training, evaluations=1)
    evaluate(job(cell, steps=14, training=training, checkpoint=paths["whole"]), text)
    evaluate(job(cell, steps=5, training=training, checkpoint=paths["half"]), text)
    result = evaluate(
        job(cell, steps=14, training=training, resume=paths["half"], checkpoint=paths["resumed"]),
        text,
    )
    whole, resumed = checkpoint.read(paths["whole"]), checkpoint.read(paths["resumed"])
    for prefix in ("model.", "optimizer.", "state.", "rng"):
        a, b = whole.group(prefix), resumed.group(prefix)
        assert a.keys() == b.keys()
        assert a
        assert all(torch.equal(a[name], b[name]) for name in a), prefix
    assert whole.meta["progress"]["train_loss"] == resumed.meta["progress"]["train_loss"]
    assert [step for step, _ in result.curve] == [5, 14]
    assert result.steps == 14


def test_a_generated_task_resumes_too(tmp_path: Path) -> None:
    arrays = tasks.get("adding").load(job(task="adding").task_options)
    half = str(tmp_path / "half")
    evaluate(job(task="adding", steps=4, checkpoint=half), arrays)
    resumed = evaluate(job(task="adding", steps=9, resume=half), arrays)
    assert resumed.curve[-1] == evaluate(job(task="adding", steps=9), arrays).curve[-1]


def test_resuming_at_the_end_only_reports(text: Arrays, tmp_path: Path) -> None:
    path = str(tmp_path / "end")
    done = evaluate(job(checkpoint=path), text)
    again = evaluate(job(resume=path), text)
    assert facts(again) == facts(done)
    with pytest.raises(ConfigError, match="12 steps are done"):
        evaluate(job(resume=path, steps=11), text)


def test_another_trainings_checkpoint_is_refused(text: Arrays, tmp_path: Path) -> None:
    path = str(tmp_path / "lstm")
    evaluate(job(steps=2, checkpoint=path), text)
    for other, differs in (
        (job("gru", steps=4, resume=path), "genome"),
        (job(steps=4, resume=path, seed=2), "seed"),
        (job(steps=4, resume=path, training=replace(SHORT, learning_rate=1e-3)), "training"),
    ):
        with pytest.raises(CheckpointError, match=f"another training: {differs} differ"):
            evaluate(other, text)


def test_variational_dropout_is_reproducible_and_resumable(text: Arrays, tmp_path: Path) -> None:
    training = replace(SHORT, evaluations=1)
    dropping = job(steps=6, training=replace(training, variational_dropout=0.3))
    whole = evaluate(dropping, text)
    assert evaluate(dropping, text).curve == whole.curve
    assert evaluate(job(steps=6, training=training), text).curve != whole.curve
    half = str(tmp_path / "half")
    evaluate(replace(dropping, steps=3, checkpoint=half), text)
    assert evaluate(replace(dropping, resume=half), text).curve[-1] == whole.curve[-1]
    with pytest.raises(ConfigError, match=r"variational_dropout: .* is out of range"):
        evaluate(job(training=replace(training, variational_dropout=1.0)), text)


# -- checkpoints of older versions -----------------------------------------------------------------


def test_a_checkpoint_of_torchs_optimizer_goes_on_as_there(tmp_path: Path) -> None:
    """Written by the version that used torch.optim.AdamW and had fewer settings; the scores are
    those that it went on to.
    """
    job = trained_job(CHECKPOINT, 12)
    job = replace(
        job,
        training=replace(job.training, evaluations=3),
        steps=9,
        resume=str(CHECKPOINT),
        checkpoint=str(tmp_path / "new"),
    )
    arrays = tasks.get(job.task).load(job.task_options)
    result = evaluate(job, arrays)
    assert [step for step, _ in result.curve[-3:]] == [step for step, _ in CURVE]
    assert [score for _, score in result.curve[-3:]] == pytest.approx(
        [score for _, score in CURVE], rel=1e-9
    )
    assert evaluate(replace(job, resume=job.checkpoint), arrays).curve == result.curve


def rewritten(
    path: Path, *, drop: str = "", steps: float = 0.0, training: dict[str, Any] | None = None
) -> Path:
    """The old checkpoint with a tensor less, other numbers of steps for one weight, or other
    settings of its training.
    """
    stored = checkpoint.read(CHECKPOINT)
    tensors = {name: tensor for name, tensor in stored.tensors.items() if name != drop}
    if steps:
        tensors["optimizer.step.readout.bias"] = torch.tensor(steps)
    meta = json.loads(json.dumps(stored.meta))
    meta["identity"]["training"] |= training or {}
    checkpoint.write(path, tensors, meta)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"drop": "optimizer.exp_avg.readout.bias"}, "exp_avg"),
        ({"steps": 3.0}, r"different numbers of steps for different weights: \[3.0, 5.0\]"),
        ({"training": {"num_layers": 2}}, "training differ"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    path = rewritten(tmp_path / "changed", **change)
    job = replace(trained_job(CHECKPOINT, 12), steps=9, resume=str(path))
    with pytest.raises(CheckpointError, match=says):
        evaluate(job, tasks.get(job.task).load(job.task_options))


def test_settings_that_a_checkpoint_does_not_know_count_as_their_defaults(tmp_path: Path) -> None:
    stored = checkpoint.read(CHECKPOINT)
    meta = json.loads(json.dumps(stored.meta))
    assert meta["identity"]["training"].pop("gate_penalty") == 0.0
    checkpoint.write(tmp_path / "older", stored.tensors, meta)
    job = replace(trained_job(CHECKPOINT, 12), steps=6, resume=str(tmp_path / "older"))
    arrays = tasks.get(job.task).load(job.task_options)
    assert evaluate(job, arrays).steps == 6
    with pytest.raises(CheckpointError, match="training differ"):
        evaluate(replace(job, training=replace(job.training, gate_penalty=0.1)), arrays)


# -- inherit ---------------------------------------------------------------------------------------


def test_weights_of_a_parent_are_taken_over(text: Arrays, tmp_path: Path) -> None:
    path = str(tmp_path / "parent")
    parent = evaluate(job(steps=60, checkpoint=path), text)
    child = Genome.from_text(
        """
i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1], g))
c[t] = f * c[t-1] + i * g
h[t] = o * tanh(c[t])
"""
    )
    alone = evaluate(job(child, steps=2), text)
    helped = evaluate(job(child, steps=2, inherit=path), text)
    assert alone.metrics["inherited"] == 0
    assert helped.metrics["inherited"] == len(
        checkpoint.read(path).weights()
    )  # all but the new block o.weight_g
    assert helped.score < alone.score - 0.5
    assert helped.score < parent.score + 1.0
