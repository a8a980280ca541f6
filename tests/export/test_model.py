"""The whole model as one file: the same predictions and the same score as the run's own, for every
task, with torch and nothing of cellsearch.
"""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from support.small_tasks import NEED_DATA, QUICK, raw_sequences, small_task, trained

from cellsearch import zoo
from cellsearch.errors import ConfigError
from cellsearch.export.whole import whole_of
from cellsearch.export.write import Exported, export_cell
from cellsearch.genome.graph import Genome
from cellsearch.runs.trained import load_described
from cellsearch.tasks.heads import SequenceModel
from cellsearch.training.model import make_task

ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in NEED_DATA)]

GIVEN_MORE = {"episodes", "etth1_gaps", "irregular", "sunspots_gaps"}
"""Tasks that give a step more than x. An exported model reads x alone, so these cannot score it."""


def written(
    name: str, folder: Path, *, suffix: str = "pt", **options: Any
) -> tuple[SequenceModel, Any, Any, Exported]:
    """A trained model, its job and result, and what was exported of it."""
    job, result = trained(name, folder / "trained", **options)
    model = load_described(folder / "trained", job)
    assert isinstance(model, SequenceModel)
    whole = whole_of(model)
    done = export_cell(
        Genome.from_json(job.genome), folder / "best.py", "model", whole=whole, suffix=suffix
    )
    return model, job, result, done


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"exported_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(found: Any, expected: Any, size: float = 1.0) -> bool:
    """Whether answers are equal, numbers up to rounding."""
    if isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
        return np.allclose(np.asarray(found) / size, expected / size, atol=1e-5)
    if isinstance(expected, np.ndarray):
        return np.array_equal(np.asarray(found), expected)
    return bool(found == expected)


@pytest.mark.parametrize("name", ALL)
def test_it_predicts_what_the_model_predicts(name: str, tmp_path: Path) -> None:
    model, job, result, done = written(name, tmp_path)
    exported = loaded(done.path).load()
    task = make_task(job, small_task(name).arrays)
    if name not in GIVEN_MORE:
        score = task.score(exported, "valid")
        assert score == pytest.approx((result.score, result.metric), rel=1e-5)
    raw = raw_sequences(task)[0][:20]
    answer = model.interface.answer
    size = max(answer.scale, default=1.0)
    known = model.predict(raw)
    assert all(same(*pair, size) for pair in zip(exported.predict(raw), known, strict=True))
    assert same(exported.predict(raw[0]), known[0], size)
    if answer.kind == "values":
        return
    pairs = zip(
        exported.predict(raw, probabilities=True),
        model.predict(raw, probabilities=True),
        strict=True,
    )
    assert all(same(*pair) for pair in pairs)


def test_the_comparison_sees_another_answer() -> None:
    x = np.array([1.0, 2.0])
    assert not same(x + 1e-3, x)
    assert same(x + 1e-3, x, size=1e3)
    assert not same(np.array([True]), np.array([False]))
    assert not same(["a"], ["b"])


@pytest.mark.parametrize("cell", ["lstm", "sru", "mingru", "lstm_ln", "rwkv4"])
@pytest.mark.parametrize("name", ["arrays: labels", "arrays: every"])
def test_layers_directions_and_cells_of_all_classes(cell: str, name: str, tmp_path: Path) -> None:
    layers = 1 if cell in ("sru", "rwkv4") else 2
    options = {"bidirectional": True, "num_layers": layers, "dtype": "float64"}
    model, _, result, done = written(name, tmp_path, suffix="safetensors", cell=cell, **options)
    assert done.weights == tmp_path / "best.safetensors"
    exported = loaded(done.path).load()
    task = small_task(name)
    assert task.score(exported, "valid") == pytest.approx((result.score, result.metric))
    raw = raw_sequences(task)[0][:9]
    for found, expected in zip(exported.predict(raw), model.predict(raw), strict=True):
        assert same(found, expected, 10)


def test_a_stream_goes_on_with_its_state(tmp_path: Path) -> None:
    model, _, _, done = written("arrays: every", tmp_path)
    exported = loaded(done.path).load()
    x = np.random.default_rng(0).normal(5, 2, 7)
    state, rows = None, []
    for value in x:
        answer, state = exported.step(value, state)
        rows.append(answer)
    assert np.allclose(torch.stack(rows), model.predict(x), atol=1e-4)


def test_text_is_read_and_written(tmp_path: Path) -> None:
    model, _, _, done = written("char_lm", tmp_path)
    exported = loaded(done.path).load()
    assert exported.predict("In the beginning") == model.predict("In the beginning")
    answer, _ = exported.step("I")
    assert answer == model.predict("I")[0]


@pytest.mark.parametrize("name", ["arrays: labels", "parity"])
def test_it_needs_torch_alone(name: str, tmp_path: Path) -> None:
    *_, done = written(name, tmp_path)
    source = done.path.read_text(encoding="utf-8")
    modules = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]  # type: ignore[union-attr]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert modules <= {"torch", "re", "pathlib"}
    data = "'0110'" if name == "parity" else "[[1e6, -3.0], [1e6, -3.1]]"
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['cellsearch'] = None; import best; "
            f"print(best.load().predict({data}))",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert told.stdout.strip() in ("0", "1", "rising", "falling, or so")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("arrays: labels", [[1.0]], "2 columns"),
        ("arrays: labels", [[1.0, float("nan")]], "not finite"),
        ("arrays: labels", [], "no data"),
        ("parity", "012", "does not know '2'"),
        ("parity", "", "empty"),
        ("arrays: tokens", [7], "whole numbers from 0 to 6"),
    ],
)
def test_data_that_it_cannot_read(name: str, data: Any, says: str, tmp_path: Path) -> None:
    *_, done = written(name, tmp_path, steps=1)
    with pytest.raises(ValueError, match=says):
        loaded(done.path).load().predict(data)


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path: Path) -> None:
    genome = zoo.load("gru")
    with pytest.raises(ConfigError, match="cell without one"):
        export_cell(genome, tmp_path / "best.py", "model")
    model, *_ = written("parity", tmp_path)
    whole = whole_of(model)
    (tmp_path / "other.py.md").write_text("mine")
    for path, options, says in (
        ("best.py", {}, "exists"),
        ("other.py", {}, "exists"),
        ("more.pt", {}, "name for the weights"),
        ("more.py", {"class_name": "Model"}, "what the file calls"),
        ("more.py", {"precision": "int8"}, "precision"),
    ):
        with pytest.raises(ConfigError, match=says):
            export_cell(genome, tmp_path / path, "model", whole=whole, **options)
    left = {"best.py", "best.pt", "best.py.md", "other.py.md", "trained"}
    assert {path.name for path in tmp_path.iterdir()} == left
