"""Whole models in C: raw values or tokens in, answers in the user's terms out, as
``model.predict`` gives them.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export.c.test_layers import apart
from support.c_files import Loaded
from support.small_tasks import NEED_DATA, QUICK, small_data, small_task, trained

from cellsearch import Genome, zoo
from cellsearch.errors import ConfigError, DataWarning
from cellsearch.export.c.integers import use_integers
from cellsearch.export.c.source import source
from cellsearch.export.c.write import c_model
from cellsearch.export.whole import whole_model
from cellsearch.job import Training
from cellsearch.runs.trained import load_trained
from cellsearch.tasks.base import Task
from cellsearch.tasks.prediction import prepare
from cellsearch.training.model import cell_factory


def untrained(task: Task, cell: str = "gru", **training: Any) -> Any:
    """The model of a task as it starts."""
    import torch

    torch.manual_seed(1)
    factory = cell_factory(zoo.load(cell), Training(**{"hidden_size": 5, **training}))
    model: Any = task.model(factory)
    model.described = task.interface()
    return model.eval()


def given(task: Task, seed: int = 0) -> Any:
    """A raw sequence."""
    rng = np.random.default_rng(seed)
    inputs: Any = task.interface().inputs
    if hasattr(inputs, "vocabulary"):
        return rng.integers(0, inputs.vocabulary, 7)
    steps = inputs.history or 7
    x = rng.standard_normal((steps, len(inputs.names))) * inputs.scale + inputs.mean
    return x.astype(np.float32)


def answers(loaded: Loaded, x: Any) -> Any:
    """[T, outputs], or the one answer [1, outputs]."""
    if loaded.model.predicts:
        return loaded.predict(x)[None]
    loaded.init()
    return np.stack([loaded.step(row) for row in x])


def check(name: str, folder: Path, **options: Any) -> None:
    task = small_task(name)
    square = name == "arrays: labels"
    model = untrained(task, "sru" if square else "gru", num_layers=1 if square else 2)
    whole = whole_model(model, task.interface())
    loaded = Loaded(c_model(whole, Path("m.c"), **options), folder)
    x = given(task)
    sequences, _ = prepare(task.interface(), x)
    wanted = model.predicted(sequences)[0].scores
    assert apart(answers(loaded, x), wanted) <= (3e-2 if options else 1e-5)
    if loaded.model.predicts and loaded.model.steps:  # the answer to each beginning
        loaded.init()
        for steps, row in enumerate(x, start=1):
            with warnings.catch_warnings():  # a beginning may be shorter than a window
                warnings.simplefilter("ignore", DataWarning)
                wanted = model.predicted([sequences[0][:steps]])[0].scores[0]
            assert apart(loaded.step(row), wanted) <= (3e-2 if options else 1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_a_whole_model_answers_as_in_python(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in QUICK if name.startswith("arrays")])
def test_so_does_one_of_integers(name: str, tmp_path: Path) -> None:
    check(name, tmp_path, precision="int8")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NEED_DATA) - {"online_drift"}))
def test_so_does_one_of_each_data_set(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


@pytest.mark.parametrize("integers", [False, True])
def test_a_token_beyond_the_vocabulary_is_refused(integers: bool, tmp_path: Path) -> None:
    task = small_task("arrays: tokens")
    whole = whole_model(untrained(task), task.interface())
    precision: Any = "int8" if integers else "float32"
    loaded = Loaded(c_model(whole, Path("m.c"), precision=precision), tmp_path)
    loaded.init()
    loaded.step(6)
    before = loaded.memory.copy()
    with pytest.raises(ValueError, match="refused"):
        loaded.step(7)
    assert np.array_equal(loaded.memory, before)
    with pytest.raises(ValueError, match="refused"):
        loaded.predict([1, 2, 7])


def test_a_shared_embedding_is_written_once(tmp_path: Path) -> None:
    task = small_task("arrays: tokens")
    model = untrained(task)
    whole = whole_model(model, task.interface())
    rows = len(whole.weights["readout.weight"])
    tied = {**whole.weights, "embedding.weight": whole.weights["readout.weight"]}
    object.__setattr__(whole, "weights", tied)
    made = c_model(whole, Path("m.c"))
    assert made.around.tied
    assert "w_readout_weight" not in source(made)
    assert f"token >= {made.around.symbols}" in source(made)
    assert rows == 2


def test_a_cell_that_reads_nothing_builds(tmp_path: Path) -> None:
    for name in ("arrays: tokens", "arrays: values"):
        task = small_task(name)
        whole = whole_model(untrained(task), task.interface())
        blind = Genome.from_text("h[t] = tanh(linear(h[t-1]))")
        weights = {key: array for key, array in whole.weights.items() if "cell." not in key}
        weights |= {"cell.l0.h.weight_h": np.eye(5, dtype=np.float32)}
        weights |= {"cell.l0.h.bias": np.ones(5, dtype=np.float32)}
        made = replace(whole, genome=blind, weights=weights)
        for precision in ("float32", "int8"):
            folder = tmp_path / f"{name[8:]}{precision}"
            folder.mkdir()
            Loaded(c_model(made, Path("m.c"), precision=precision), folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [8, 16])
def test_integers_cost_a_trained_model_little(bits: int, tmp_path: Path) -> None:
    job, _ = trained("arrays: values", tmp_path / "t.safetensors", steps=150, hidden_size=12)
    found = load_trained(tmp_path / "t.safetensors", job, small_data("arrays: values").arrays)
    before = found.task.score(found.model, "valid")[0]
    use_integers(found.model, bits)
    after = found.task.score(found.model, "valid")[0]
    assert after != before
    assert after < before * (1.03 if bits == 8 else 1.003)


def test_both_directions_are_refused() -> None:
    task = small_task("arrays: labels")
    whole = whole_model(untrained(task, bidirectional=True), task.interface())
    with pytest.raises(ConfigError, match="a stream has no future"):
        c_model(whole, Path("m.c"))
