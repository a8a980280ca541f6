"""The fast parts of a training step change no result: against plain torch, and against checkpoints
of torch's optimizer.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cellsearch import tasks, zoo
from cellsearch.compiler.module import CellModule
from cellsearch.errors import CheckpointError, ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.runs.trained import trained_job
from cellsearch.settings import Training
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.heads import SequenceModel
from cellsearch.training import checkpoint, evaluate
from cellsearch.training.fused import FlatAdam, fused_linear_cross_entropy
from cellsearch.training.model import cell_factory, make_task

LM: dict[str, Any] = {"valid_tokens": 2048, "tbptt": 8, "batch_size": 16}
CHECKPOINT = Path(__file__).parents[1] / "data" / "checkpoint_v1.safetensors"
CURVE = [(6, 5.858316083452258), (8, 5.822426615936921), (9, 5.804000738844115)]


@pytest.fixture(scope="module")
def text() -> Arrays:
    return tasks.get("char_lm").load(LM)


def lm_job(cell: str, **changes: Any) -> Job:
    training = Training(
        steps=6,
        hidden_size=12,
        learning_rate=1e-2,
        evaluations=1,
        weight_decay=0.05,
        clip_norm=0.2,
        dropout=0.0,
    )
    return Job(
        trial=0,
        rung=0,
        genome=zoo.load(cell).to_json(),
        task="char_lm",
        task_options=LM,
        training=replace(training, **changes),
        steps=6,
        seed=3,
    )


def plain_training(job: Job, arrays: Arrays) -> list[float]:
    """Losses of the same training in the usual way: embedding, cell, readout, loss, clipping,
    optimizer.
    """
    task = make_task(job, arrays)
    torch.manual_seed(job.seed)
    model = task.model(
        replace(cell_factory(Genome.from_json(job.genome), job.training), cross_entropy=None)
    )
    model = model.to(torch.float64 if job.training.dtype == "float64" else torch.float32)
    assert isinstance(model, SequenceModel)
    assert model.embedding is not None
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        parameters, job.training.learning_rate, weight_decay=job.training.weight_decay
    )
    losses, norms, state = [], [], None
    for batch in islice(task.batches("train", job.seed), job.steps):
        output, state = model.cell(model.embedding(batch.x), state)
        state = (
            state.detach()
            if isinstance(state, torch.Tensor)
            else tuple(part.detach() for part in state)
        )
        loss = nn.functional.cross_entropy(model.readout(output).flatten(0, 1), batch.y.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norms.append(float(nn.utils.clip_grad_norm_(parameters, job.training.clip_norm)))
        optimizer.step()
        losses.append(float(loss.detach()))
    assert max(norms) > job.training.clip_norm
    return losses


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize(("cell", "layers"), [("lstm", 1), ("gru", 2)])
def test_training_equals_plain_torch(
    text: Arrays, cell: str, layers: int, dtype: str, bound: float
) -> None:
    job = lm_job(cell, dtype=dtype, num_layers=layers)
    losses: list[float] = []
    evaluate(job, text, progress=lambda step, loss: losses.append(loss))
    expected = plain_training(job, text)
    assert losses == pytest.approx(expected, rel=bound)
    other = plain_training(replace(job, training=replace(job.training, weight_decay=0.5)), text)
    assert losses != pytest.approx(other, rel=bound)  # the comparison can fail


def test_the_fast_parts_are_really_used(text: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def watch(owner: type, name: str) -> None:
        whole = getattr(owner, name)

        def watched(*given: Any, **more: Any) -> Any:
            used.append(name)
            return whole(*given, **more)

        monkeypatch.setattr(owner, name, watched)

    watch(SequenceModel, "cross_entropy")
    watch(CellModule, "run_tokens")
    watch(FlatAdam, "clip")
    watch(FlatAdam, "update")
    evaluate(replace(lm_job("lstm"), steps=1), text)
    assert used[:4] == ["cross_entropy", "run_tokens", "clip", "update"]
    assert cell_factory(zoo.load("lstm"), Training()).cross_entropy is fused_linear_cross_entropy


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


def test_variational_dropout_is_reproducible_and_resumable(text: Arrays, tmp_path: Path) -> None:
    job = lm_job("lstm", variational_dropout=0.3)
    whole = evaluate(job, text)
    assert evaluate(job, text).curve == whole.curve
    assert evaluate(lm_job("lstm"), text).curve != whole.curve
    half = str(tmp_path / "half")
    evaluate(replace(job, steps=3, checkpoint=half), text)
    assert evaluate(replace(job, resume=half), text).curve[-1] == whole.curve[-1]
    with pytest.raises(ConfigError, match="is not a share"):
        evaluate(lm_job("lstm", variational_dropout=1.0), text)
