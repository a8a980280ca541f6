"""The online task: its laws, that no answer is seen too early, and that learning in the stream is
what recovers.
"""

from __future__ import annotations

import copy
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Training
from cellsearch.tasks.online_drift import CLIP_NORM, OnlineDrift
from cellsearch.testing.tasks import torch_factory
from cellsearch.training import evaluate
from cellsearch.training.model import cell_factory

SMALL: dict[str, Any] = {"length": 480, "laws": 2, "taps": 2, "tbptt": 16}


def made(**changes: Any) -> OnlineDrift:
    options = {**SMALL, **changes}
    return OnlineDrift.create(options, OnlineDrift.load(options))


def trained(genome: Genome, task: OnlineDrift, steps: int = 200) -> torch.nn.Module:
    torch.manual_seed(0)
    model = task.model(cell_factory(genome, Training(steps=steps, hidden_size=16)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for batch in islice(task.batches("train", 0), steps):
        optimizer.zero_grad()
        loss, _ = task.training_loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def test_training_follows_one_law_across_segments() -> None:
    task = made(noise=0.0)
    batches = list(islice(task.batches("train", 3), 4))
    x = torch.cat([b.x for b in batches])[..., 0].double()
    y = torch.cat([b.y for b in batches])[..., 0].double()
    law = task.arrays["laws"]
    expected = torch.tanh(law[0] * x[1:-1] + law[1] * x[:-2])
    assert torch.allclose(y[2:], expected, atol=1e-6)
    assert [b.first for b in batches] == [True, False, False, False]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_stream_changes_its_law_once_halfway(split: str) -> None:
    task = made(noise=0.0)
    stream = task.arrays[split].astype(np.float64)
    assert stream.shape == (480, 8, 2)
    law = task.arrays["laws"]
    expected = np.tanh(law[0] * stream[1:-1, :, 0] + law[1] * stream[:-2, :, 0])
    right = np.isclose(stream[2:, :, 1], expected, atol=1e-6).all(1)
    assert right[:238].all()
    assert not right[238:].any()


def test_validation_and_test_have_other_later_laws() -> None:
    arrays = OnlineDrift.load({**SMALL, "noise": 0.0})
    valid, test = (arrays[name].astype(np.float64) for name in ("valid", "test"))
    laws = []
    for stream in (valid, test):
        past = np.stack([stream[299:-1, :, 0].ravel(), stream[298:-2, :, 0].ravel()], axis=1)
        answer = np.arctanh(np.clip(stream[300:, :, 1].ravel(), -0.999999, 0.999999))
        laws.append(np.linalg.lstsq(past, answer, rcond=None)[0])
    assert np.abs(laws[0] - laws[1]).max() > 0.1


def test_learning_in_the_stream_recovers_from_the_drift() -> None:
    learning, frozen = made(), made(online_rate=0.0)
    model = trained(zoo.load("gru"), learning)
    variance = float(learning.arrays["valid"][..., 1].var())
    errors, without = (task.prequential(model, "valid") / variance for task in (learning, frozen))
    assert errors[:240].mean() < 0.15
    assert errors[240:256].mean() > 3 * errors[:240].mean()
    assert errors[-80:].mean() < 0.5 * errors[240:256].mean()
    assert without[-80:].mean() > 2 * errors[-80:].mean()
    assert learning.score(model, "valid")[0] == pytest.approx(errors.mean(), rel=1e-3)


def by_torch(task: OnlineDrift, model: torch.nn.Module, *, clip: bool) -> np.ndarray[Any, Any]:
    """What :meth:`OnlineDrift.prequential` says, by torch's own Adam and clipping."""
    learner = copy.deepcopy(model)
    optimizer = torch.optim.Adam(learner.parameters(), lr=task.options.online_rate)
    errors, state = [], None
    for batch in task.batches("valid", 0):
        prediction, state = learner(batch.x, state)
        wrong = (prediction - batch.y).square()
        errors.append(wrong.detach().double().mean((1, 2)).numpy())
        optimizer.zero_grad()
        wrong.mean().backward()  # type: ignore[no-untyped-call]
        if clip:
            torch.nn.utils.clip_grad_norm_(learner.parameters(), CLIP_NORM)
        optimizer.step()
        state = tuple(part.detach() for part in state)
    return np.concatenate(errors)


def test_the_learner_takes_the_steps_of_torch() -> None:
    task = made(length=240)
    torch.manual_seed(0)
    model = task.model(torch_factory())
    with torch.no_grad():
        model.readout.weight.mul_(20.0)  # type: ignore[operator, union-attr]  # gradients to clip
    found = task.prequential(model, "valid")
    assert np.allclose(found, by_torch(task, model, clip=True), rtol=1e-3)
    assert not np.allclose(found, by_torch(task, model, clip=False), rtol=1e-2)


def test_no_prediction_sees_its_answer() -> None:
    """Changed answers change no prediction before they are seen, but those after."""
    task = made()
    torch.manual_seed(0)
    model = task.model(torch_factory())
    before = task.prequential(model, "valid")
    for end in (480, 88):  # all answers from position 80 on are other ones, or those of one piece
        arrays = {name: np.array(array) for name, array in task.arrays.items()}
        arrays["valid"][80:end, :, 1] += 1.0
        after = OnlineDrift.create(SMALL, arrays).prequential(model, "valid")
        assert np.array_equal(before[:80], after[:80])
        assert (before[88:96] != after[88:96]).all()


def test_a_cell_without_memory_stays_at_one() -> None:
    task = made()
    memoryless = Genome.from_text("h[t] = tanh(linear(x[t])) + 0.0 * h[t-1]")
    assert task.score(trained(memoryless, task), "valid")[0] > 0.9


def test_a_search_can_use_it() -> None:
    training = Training(steps=20, hidden_size=8, evaluations=2)
    job = Job(0, 0, zoo.load("mgu").to_json(), "online_drift", SMALL, training, 20, 0, test=True)
    results = [evaluate(job, tasks.get("online_drift").load(SMALL)) for _ in range(2)]
    assert results[0].score == results[1].score
    assert results[0].metrics["test_metric"] == results[1].metrics["test_metric"] > 0


def test_a_learner_that_blows_up_has_no_score() -> None:
    task = made()
    model = task.model(torch_factory())
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    assert not np.isfinite(task.score(model, "valid")[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"length": 8, "laws": 2}, "no update"),
        ({"taps": 40}, "too small"),
        ({"every": 0}, "out of range"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        OnlineDrift.load(options)
