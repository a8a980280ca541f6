"""What a model reads and answers: every task says it, and it fits the model and the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from support.small_tasks import (
    ARRAYS,
    NEED_DATA,
    NO_INTERFACE,
    QUICK,
    factory,
    labelled,
    small_data,
    small_task,
)

from cellsearch import tasks
from cellsearch.errors import ConfigError, InputFileError
from cellsearch.tasks.adding import Adding
from cellsearch.tasks.base import Task
from cellsearch.tasks.char_lm import CharLM, text_arrays
from cellsearch.tasks.corpora import TimeMachine
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.interface import Answer, FeatureInputs, Interface, TokenInputs, features
from cellsearch.tasks.sentiment import _WORD
from cellsearch.tasks.translation import Translation
from cellsearch.tasks.word_lm import WordLM, word_arrays

ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in NEED_DATA)]


def test_every_task_is_looked_at() -> None:
    assert {*QUICK, *NEED_DATA} == {*tasks.names(), *ARRAYS} - {"arrays", *NO_INTERFACE}
    assert {"table", "arrays: every"} < set(QUICK)


@pytest.mark.parametrize("name", ALL)
def test_the_interface_fits_the_model(name: str) -> None:
    task = small_task(name)
    interface, model = task.interface(), task.model(factory())
    assert isinstance(model, SequenceModel)
    assert interface.outputs == model.readout.out_features
    assert interface.readout == model.readout_kind
    if isinstance(interface.inputs, TokenInputs):
        assert model.embedding is not None
        assert interface.inputs.vocabulary == model.embedding.num_embeddings
    else:
        assert model.cell.input_size == len(interface.inputs.names)  # type: ignore[union-attr]
    assert len(interface.answer.columns) == (
        0 if interface.answer.kind == "tokens" else interface.outputs
    )


@pytest.mark.parametrize("name", ALL)
def test_the_interface_is_plain_data(name: str) -> None:
    interface = small_task(name).interface()
    assert Interface.from_plain(json.loads(json.dumps(interface.to_plain()))) == interface


def test_translation_says_what_is_possible() -> None:
    with pytest.raises(ConfigError, match="encoder and a decoder") as caught:
        object.__new__(Translation).interface()
    assert "--to source" in caught.value.hint


def test_a_task_whose_model_is_no_layer_with_a_readout_says_so() -> None:
    with pytest.raises(ConfigError, match="mad_compression does not say what its model reads"):
        small_task("mad_compression").interface()


def test_a_task_from_outside_without_it_gives_a_clear_error() -> None:
    class Foreign(Adding):
        name = "theirs"
        interface = Task.interface

    task = Foreign.create({"length": 4, "evaluation_size": 4}, Adding.load({"length": 4}))
    with pytest.raises(ConfigError, match="task theirs does not say what its model reads") as found:
        task.interface()
    assert "interface()" in found.value.hint


@pytest.mark.parametrize("name", ["arrays: labels", "arrays: values", "arrays: every"])
def test_raw_values_are_known_again(name: str) -> None:
    data = small_data(name)
    inputs = data.create().interface().inputs
    assert isinstance(inputs, FeatureInputs)
    raw = data.arrays["x"].astype(np.float64) * inputs.scale + inputs.mean
    whole = ARRAYS[name]().arrays["x"]
    assert np.allclose((raw - inputs.mean) / inputs.scale, whole, atol=1e-6)
    assert max(inputs.scale) != 1


def test_the_scaling_is_that_of_the_raw_data() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(1.6e9, 3600, (50, 6, 2))
    data = tasks.from_arrays(x, x[:, -1, 0], kind="regression")
    inputs = data.create().interface().inputs
    assert isinstance(inputs, FeatureInputs)
    made = ((x - inputs.mean) / inputs.scale).astype(np.float32).reshape(-1, 2)
    assert np.array_equal(made, data.arrays["x"])


def test_without_standardising_raw_values_are_read() -> None:
    x = np.random.default_rng(4).normal(3, 1, (20, 4))
    data = tasks.from_arrays(x, x[:, 0] > 3, standardise=False)
    interface = data.create().interface()
    assert interface.inputs == features(("x0",))
    assert interface.answer.labels == [False, True]


def test_the_description_survives_a_file_and_is_not_part_of_the_digest(tmp_path: Any) -> None:
    data = labelled()
    tasks.arrays.save(data, tmp_path / "mine.npz")
    again = tasks.arrays.read(tmp_path / "mine.npz")
    assert {name: a.tolist() for name, a in again.items()} == {
        name: a.tolist() for name, a in data.arrays.items()
    }
    bare = {name: data.arrays[name] for name in tasks.arrays.NAMES}
    assert tasks.arrays.digest(bare) == data.options["digest"] == tasks.arrays.digest(again)
    np.savez(tmp_path / "old.npz", **bare)  # type: ignore[arg-type]
    old = tasks.get("arrays").create({}, tasks.arrays.read(tmp_path / "old.npz"))
    with pytest.raises(ConfigError, match="how their inputs were scaled") as caught:
        old.interface()
    assert "--data" in caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"x_mean": np.zeros(3), "x_scale": np.ones(3)},
        {"x_mean": np.zeros(2)},
        {"x_mean": np.zeros(2), "x_scale": np.array([1.0, 0.0])},
        {"x_mean": np.zeros(2), "x_scale": np.array([1.0, np.nan])},
        {"x_names": np.array(["one"])},
        {"x_names": np.array([1, 2])},
        {"y_names": np.array(["one"])},
        {"horizon": np.array(2)},
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Any, wrong: Mapping[str, Any]
) -> None:
    arrays = {name: labelled().arrays[name] for name in tasks.arrays.NAMES}
    np.savez(tmp_path / "wrong.npz", **{**arrays, **wrong})
    with pytest.raises(InputFileError, match="do not fit"):
        tasks.arrays.read(tmp_path / "wrong.npz")


@pytest.mark.parametrize(
    "names", [{"names": ["a"]}, {"target_names": ["a", "b"]}, {"horizon": 2}, {"horizon": 0}]
)
def test_names_that_do_not_fit_are_refused(names: Mapping[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=(20, 4, 2))
    with pytest.raises(ConfigError, match="description of the data"):
        tasks.from_arrays(x, x[:, 0, 0], kind="regression", **names)


def test_texts_are_read_as_the_tasks_read_them() -> None:
    text = "Ein Käfer, 3 Käfer;\r\n\tund: mehr!\n" * 40
    char = CharLM.create({"batch_size": 4}, text_arrays(text, 9))
    inputs = char.interface().inputs
    assert isinstance(inputs, TokenInputs)
    assert np.array_equal(inputs.encode(text)[: len(char.arrays["train"])], char.arrays["train"])
    prepared = TimeMachine.prepared(text)
    symbols = np.array(sorted({*map(ord, prepared)}))
    novel = TimeMachine.create(
        {}, {**{split: np.zeros(999) for split in ("train", "valid", "test")}, "symbols": symbols}
    )
    inputs = novel.interface().inputs
    assert isinstance(inputs, TokenInputs)
    assert "".join(inputs.split(text)) == prepared
    assert inputs.decode(inputs.encode(text).tolist()) == prepared
    words = WordLM.create({}, word_arrays([text + "selten\n"] * 3, 6))
    inputs = words.interface().inputs
    assert isinstance(inputs, TokenInputs)
    assert np.array_equal(inputs.encode(text + "selten\n"), words.arrays["train"])


def test_a_sentence_is_cut_as_the_task_cuts_it() -> None:
    inputs = TokenInputs(
        symbols=("<unk>", "good", "?"),
        level="word",
        unknown=0,
        lower=True,
        word=_WORD.pattern,
        empty="?",
    )
    assert inputs.encode("GOOD film, good?").tolist() == [1, 0, 1, 2]
    assert inputs.encode("...").tolist() == [2]


@pytest.mark.parametrize(
    ("inputs", "text", "says"),
    [
        (TokenInputs(symbols=("a", "b")), "abc", "character 'c'"),
        (TokenInputs(symbols=("a", "b"), level="word"), "a ab", "word 'ab'"),
        (TokenInputs(level="number", count=3), "0 2 3", "'3'"),
        (TokenInputs(level="number", count=3), "0 -1", "'-1'"),
    ],
)
def test_symbols_that_the_model_does_not_know_are_named(
    inputs: TokenInputs, text: str, says: str
) -> None:
    with pytest.raises(InputFileError, match=says):
        inputs.encode(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 2},
        {"readout": "first"},
        {"inputs": {"kind": "pictures"}},
        {"inputs": {"kind": "features", "names": ["a"], "mean": [0.0], "scale": [0.0]}},
        {"inputs": {"kind": "features", "names": ["a"], "mean": [0.0, 1.0], "scale": [1.0]}},
        {"answer": {"kind": "values", "names": ["a"]}},
        {"answer": {"kind": "tokens"}},
        {"answer": None},
    ],
)
def test_damaged_interfaces_are_refused(wrong: Mapping[str, Any]) -> None:
    plain = Interface(inputs=features(("a",)), answer=Answer(kind="bits", names=("b",))).to_plain()
    assert Interface.from_plain(plain)
    with pytest.raises(InputFileError):
        Interface.from_plain({**plain, **wrong})
