"""The fast parts of a training step change no result: against plain torch, and against checkpoints
of torch's optimizer.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import nn

from cellsearch import tasks, zoo
from cellsearch.compiler.module import CellModule
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Training
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.heads import SequenceModel
from cellsearch.training import evaluate
from cellsearch.training.fused import FlatAdam, fused_linear_cross_entropy
from cellsearch.training.model import cell_factory, make_task

LM: dict[str, Any] = {"valid_tokens": 2048, "tbptt": 8, "batch_size": 16}


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
