"""A trained model of every task takes raw values and gives answers, without its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_tasks import (
    NEED_DATA,
    QUICK,
    labelled,
    measured,
    raw_sequences,
    small_task,
    trained,
)

from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError, DataWarning
from cellsearch.job import Training
from cellsearch.runs.trained import load_described, load_trained
from cellsearch.tasks.adaptive import AdaptiveModel
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.interface import Answer, Interface, TokenInputs, features, values
from cellsearch.training import checkpoint
from cellsearch.training.model import cell_factory, described_model, make_task

ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in NEED_DATA)]


def alone(path: Path, job: Any) -> SequenceModel:
    model = load_described(path, job)
    assert isinstance(model, SequenceModel)
    return model


@pytest.mark.parametrize("name", ALL)
def test_the_checkpoint_alone_gives_the_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / "trained.safetensors"
    job, result = trained(name, path)
    model = alone(path, job)
    task = small_task(name)
    with_data = load_trained(path, job, task.arrays)
    assert isinstance(with_data.model, SequenceModel)
    state = with_data.model.state_dict()
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(model.state_dict()[key], state[key]) for key in state)
    assert model.interface == with_data.model.interface
    assert with_data.task.score(model, "valid") == pytest.approx((result.score, result.metric))


@pytest.mark.parametrize("name", ALL)
def test_raw_values_give_what_the_model_says(name: str, tmp_path: Path) -> None:
    job, _ = trained(name, tmp_path / "a")
    model, task = alone(tmp_path / "a", job), make_task(job, small_task(name).arrays)
    answer = model.interface.answer
    raw, read = (part[:40] for part in raw_sequences(task))
    found = model.predicted(raw)
    for k, (sequence, predicted) in enumerate(zip(read, found, strict=True)):
        with torch.no_grad():
            output = model(torch.from_numpy(sequence)[:, None])[0].double()
        output = output[:, 0] if model.interface.streams else output
        if answer.kind == "values":
            expected = output.numpy() * answer.scale + answer.mean
            size = np.max(answer.scale)
        elif answer.kind == "bits":
            expected, size = torch.sigmoid(output).numpy(), 1
        else:
            expected, size = torch.softmax(output, -1).numpy(), 1
        assert np.allclose(predicted.scores / size, expected / size, atol=2e-5), k
    assert len(found) == len(raw)


def test_forecasts_are_relative_to_the_last_value(tmp_path: Path) -> None:
    job, _ = trained("etth1", tmp_path / "a")
    data = small_task("etth1")
    model = alone(tmp_path / "a", job)
    mean, scale = data.arrays["mean"], data.arrays["scale"]
    series = data.arrays["series"]
    raw = series.astype(np.float64) * scale + mean
    (batch, *_) = data.batches("valid", 0)
    begin = int(data.arrays["ends"][0])
    with torch.no_grad():
        output = model(batch.x)[0].double().numpy()
    for k in (0, 1, 17):
        end = begin + k
        window = raw[end - 40 : end]  # more than the history: the last part counts
        found = model.predict(window)
        assert found.shape == (3, 7)
        expected = (output[k].reshape(3, 7) + series[end - 1]) * scale + mean
        assert np.allclose(found / scale, expected / scale, atol=1e-4)
    with pytest.warns(DataWarning, match="fewer than the 12"):
        model.predict(raw[:5])


def test_answers_are_the_users_own(tmp_path: Path) -> None:
    job, _ = trained("arrays: labels", tmp_path / "a")
    model, data = alone(tmp_path / "a", job), labelled()
    raw, _ = raw_sequences(data.create())
    labels = model.predict(raw)
    assert set(labels) <= {"rising", "falling, or so"}
    probabilities = model.predict(raw, probabilities=True)
    assert probabilities.shape == (len(raw), 2)
    assert np.allclose(probabilities.sum(1), 1)
    first = model.interface.answer.labels
    assert [first[k] for k in probabilities.argmax(1)] == labels
    assert model.predict(raw[0]) == labels[0]
    job, _ = trained("arrays: tokens", tmp_path / "b")
    assert set(alone(tmp_path / "b", job).predict(np.eye(5, dtype=int))) <= {3, 4}


def test_several_steps_of_several_targets(tmp_path: Path) -> None:
    job, _ = trained("arrays: values", tmp_path / "a", steps=60, learning_rate=0.02)
    model, data = alone(tmp_path / "a", job), measured()
    raw, _ = raw_sequences(data.create())
    found = model.predict(np.stack(raw))
    assert found.shape == (len(raw), 2, 2)
    assert abs(found[..., 1].mean() - 1013) < 10  # hPa
    with pytest.raises(ConfigError, match="no probabilities"):
        model.predict(raw, probabilities=True)


@pytest.mark.parametrize("name", ["arrays: every", "char_lm", "online_drift"])
def test_a_stream_gives_what_the_whole_sequence_gives(name: str, tmp_path: Path) -> None:
    job, _ = trained(name, tmp_path / "a")
    model = alone(tmp_path / "a", job)
    raw, _ = raw_sequences(make_task(job, small_task(name).arrays))
    (whole,) = model.predicted([raw[0][:9]])
    stream = model.stream()
    for _ in range(2):
        rows = [stream.predicted(position) for position in raw[0][:9]]
        scores = np.concatenate([row.scores for row in rows if row is not None])
        assert np.allclose(scores, whole.scores, atol=1e-5 * np.abs(whole.scores).max())
        stream.reset()


def test_a_text_goes_in_and_the_next_symbols_come_out(tmp_path: Path) -> None:
    job, _ = trained("char_lm", tmp_path / "a")
    model = alone(tmp_path / "a", job)
    said = model.predict("In the beginning")
    assert len(said) == 16
    stream = model.stream()
    assert [stream(symbol) for symbol in "In the beginning"] == said


def test_models_that_need_whole_sequences_refuse_streams(tmp_path: Path) -> None:
    job, _ = trained("arrays: labels", tmp_path / "a")
    with pytest.raises(ConfigError, match="once a sequence"):
        alone(tmp_path / "a", job).stream()
    job, _ = trained("arrays: every", tmp_path / "b", bidirectional=True)
    with pytest.raises(ConfigError, match="both directions"):
        alone(tmp_path / "b", job).stream()


@pytest.mark.parametrize("cell", ["lstm", "sru", "mingru"])
@pytest.mark.parametrize("name", ["arrays: labels", "arrays: every"])
def test_directions_layers_and_dtypes(cell: str, name: str, tmp_path: Path) -> None:
    changes = {"bidirectional": True, "num_layers": 1 if cell == "sru" else 2, "dtype": "float64"}
    job, result = trained(name, tmp_path / "a", cell=cell, **changes)
    model, task = alone(tmp_path / "a", job), small_task(name)
    assert task.score(model, "valid") == pytest.approx((result.score, result.metric))
    raw, read = raw_sequences(task)
    with torch.no_grad():
        output = model(torch.from_numpy(read[3])[:, None])[0].double()
    scores = model.predicted(raw)[3].scores
    if name == "arrays: labels":
        assert np.allclose(scores, torch.softmax(output, -1).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros((4, 3)), r"shape \[4, 3\]"),
        (np.zeros((2, 4, 3)), r"shape \[4, 3\]"),
        (np.zeros((4, 0)), "shape"),
        (np.zeros((0, 2)), "empty|dimensions"),
        ([[1.0, np.nan]], "not finite.* tilt at position 0"),
        ([np.zeros((3, 2)), np.full((2, 2), np.inf)], "pressure at position 0 of sequence 1"),
        ("some text", "dimensions|numbers"),
        (5.0, "dimensions"),
        ([], "dimensions"),
        ([["a", "b"]], "type"),
        (np.zeros((1, 1, 2, 2)), "dimensions"),
        ([np.zeros((3, 2)), np.zeros(2)], r"shape \[2\]"),
    ],
)
def test_data_that_the_model_cannot_read(data: Any, says: str, tmp_path: Path) -> None:
    job, _ = trained("arrays: labels", tmp_path / "a", steps=1)
    with pytest.raises(ConfigError, match=says):
        alone(tmp_path / "a", job).predict(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.array([0, 7]), "do not hold tokens|does not hold tokens"),
        (np.array([0, -1]), "does not hold tokens"),
        (np.array([0.5]), "does not hold tokens"),
        ("0 x", "not a token"),
        ("", "empty"),
        (["1 2", ""], "empty"),
    ],
)
def test_tokens_that_the_model_does_not_know(data: Any, says: str, tmp_path: Path) -> None:
    job, _ = trained("arrays: tokens", tmp_path / "a", steps=1)
    with pytest.raises(Exception, match=says) as caught:
        alone(tmp_path / "a", job).predict(data)
    assert "Config" in type(caught.value).__name__ or "Input" in type(caught.value).__name__


def test_a_single_feature_needs_no_last_axis(tmp_path: Path) -> None:
    job, _ = trained("arrays: every", tmp_path / "a")
    model = alone(tmp_path / "a", job)
    x = np.random.default_rng(0).normal(5, 2, (4, 6))
    found = model.predict(x[..., None])
    assert found.shape == (4, 6, 1)
    assert np.array_equal(model.predict(x), found)
    assert np.allclose(model.predict(x[0]), found[0])
    ragged = model.predict([x[0], x[1][:3]])
    assert np.allclose(ragged[1], found[1][:3], atol=1e-5)


def test_a_checkpoint_of_before_says_nothing(tmp_path: Path) -> None:
    job, _ = trained("arrays: labels", tmp_path / "a")
    stored = checkpoint.read(tmp_path / "a")
    bare = {key: value for key, value in stored.meta.items() if key not in ("interface", "model")}
    checkpoint.write(tmp_path / "old", stored.tensors, bare)
    assert load_described(tmp_path / "old", job) is None
    data = labelled()
    model = load_trained(tmp_path / "old", job, data.arrays).model
    assert model.predict(np.zeros((3, 2))) in ("rising", "falling, or so")  # type: ignore[operator]
    old = {name: data.arrays[name] for name in tasks.arrays.NAMES}
    model = load_trained(tmp_path / "old", job, old).model
    assert model(torch.zeros(3, 1, 2))[0].shape == (1, 2)
    with pytest.raises(ConfigError, match="how their inputs were scaled"):
        model.predict(np.zeros((3, 2)))  # type: ignore[operator]


def test_an_adaptive_softmax_comes_back_whole(tmp_path: Path) -> None:
    factory = cell_factory(zoo.load("gru"), Training(hidden_size=8))
    model = AdaptiveModel(factory, tokens=40, cutoffs=[5, 20, 30])
    answer = Answer(kind="tokens")
    symbols = tuple(f"w{k}" for k in range(40))
    interface = Interface(inputs=TokenInputs(symbols=symbols, level="word"), answer=answer)
    meta = {"interface": interface.to_plain(), "model": "AdaptiveModel"}
    again = described_model(meta, model.state_dict(), factory, "here")
    assert isinstance(again, AdaptiveModel)
    again.load_state_dict(model.state_dict())
    assert again.softmax.cutoffs == model.softmax.cutoffs
    probabilities = again.predict("w3 w39", probabilities=True)
    assert np.allclose(probabilities.sum(-1), 1)


def test_a_shared_embedding_stays_shared(tmp_path: Path) -> None:
    factory = cell_factory(zoo.load("gru"), Training(hidden_size=8))
    model = SequenceModel(factory, tokens=9, outputs=9, tied=True)
    inputs = TokenInputs(symbols=tuple("abcdefghi"))
    interface = Interface(inputs=inputs, answer=Answer(kind="tokens"))
    meta = {"interface": interface.to_plain(), "model": "SequenceModel"}
    again = described_model(meta, model.state_dict(), factory, "here")
    assert again is not None
    assert again.embedding is not None
    assert again.readout.weight is again.embedding.weight


def test_a_forecast_may_answer_the_first_of_its_columns() -> None:
    factory = cell_factory(zoo.load("gru"), Training(hidden_size=4))
    model = SequenceModel(factory, features=3, outputs=4, readout="last")
    model.described = Interface(
        inputs=features(
            ("a", "b", "c"), [10.0, 20.0, 30.0], [1.0, 2.0, 3.0], relative=True, history=5
        ),
        answer=values(("a", "b"), [10.0, 20.0], [1.0, 2.0], horizon=2),
        readout="last",
    )
    with torch.no_grad():
        model.readout.weight.zero_()
        model.readout.bias.zero_()
    x = np.random.default_rng(0).normal(20, 5, (9, 3))
    assert np.allclose(model.predict(x), [x[-1, :2], x[-1, :2]])  # persistence
