"""Trainings of references are paid once: what the cache of their results answers, and what it does
not.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.suites import one_training
from support.trainings import facts

import cellsearch as cs
from cellsearch import tasks, zoo
from cellsearch.errors import EnvironmentFailure, TrainingError
from cellsearch.job import Job, Limits, Result
from cellsearch.training import evaluate, results
from cellsearch.training.results import ResultCache


def test_the_cache_gives_back_the_whole_result(tmp_path: Path) -> None:
    job, arrays = one_training(connections=True)
    first, known = ResultCache(tmp_path).train(job, arrays)
    second, known_again = ResultCache(tmp_path).train(
        replace(job, trial=9, limits=Limits(seconds=5)), arrays
    )
    assert (known, known_again) == (False, True)
    assert first == second
    assert facts(second) == facts(evaluate(job, arrays))
    assert second.connections


@pytest.mark.parametrize(
    "change",
    [
        lambda job: replace(job, seed=2),
        lambda job: replace(job, steps=2),
        lambda job: replace(job, genome=zoo.load("gru").to_json()),
        lambda job: replace(job, training=replace(job.training, learning_rate=1e-3)),
        lambda job: replace(job, connections=True),
    ],
)
def test_another_training_is_not_answered(tmp_path: Path, change: Callable[[Job], Job]) -> None:
    job, arrays = one_training()
    cache = ResultCache(tmp_path)
    cache.train(job, arrays)
    assert not cache.train(change(job), arrays)[1]
    assert cache.train(job, arrays)[1]


def test_other_data_and_other_versions_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, arrays = one_training()
    cache = ResultCache(tmp_path)
    cache.train(job, arrays)
    other = {**arrays, "valid_0_y": 1 - arrays["valid_0_y"]}
    assert not cache.train(job, other)[1]
    with monkeypatch.context() as newer:
        newer.setattr(results, "code_version", lambda: "another")
        assert not cache.train(job, arrays)[1]
    with monkeypatch.context() as newer:
        newer.setattr(torch, "__version__", "9.9")
        assert not cache.train(job, arrays)[1]
    with monkeypatch.context() as newer:
        newer.setattr(results, "_machine", lambda: {"numpy": "9.9"})
        assert not cache.train(job, arrays)[1]
    assert cache.train(replace(job, targets=(0.1,)), arrays)[1]


def test_the_code_of_a_task_of_another_package_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, arrays = one_training()
    cache, file = ResultCache(tmp_path / "cache"), tmp_path / "foreign_task.py"
    monkeypatch.syspath_prepend(tmp_path)
    answered = []
    for note in ("first", "first", "second"):
        file.write_text(
            "from cellsearch.tasks.parity import Parity\n"
            f"class Mine(Parity):\n    note = {note!r}\n",
            "utf-8",
        )
        foreign = importlib.import_module("foreign_task").Mine
        with monkeypatch.context() as patched:
            patched.setattr(tasks, "get", lambda name, found=foreign: found)
            answered.append(cache.train(job, arrays)[1])
    assert answered == [False, True, False]
    assert not cache.train(job, arrays)[1], "the task of the same name that is ours"
    monkeypatch.delitem(sys.modules, "foreign_task")


def test_the_version_of_the_code_is_that_of_the_files_that_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = results.code_version.__wrapped__
    for name in (
        "training/loop.py",
        "compiler/backends/native/runtime.c",
        "tasks/adding.py",
        "settings.py",
        "options.py",
        "cli/output.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1", "utf-8")
    monkeypatch.setattr(results, "_PACKAGE", tmp_path)
    first = version()
    for name, matters in (
        ("cli/output.py", False),
        ("training/loop.py", True),
        ("compiler/backends/native/runtime.c", True),
        ("tasks/adding.py", True),
        ("settings.py", True),
        ("options.py", True),
    ):
        (tmp_path / name).write_text("2", "utf-8")
        assert (version() != first) == matters, name
        first = version()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:50],
        lambda text: "",
        lambda text: text.replace('"seed": 1', '"seed": 2'),
        lambda text: "[1]",
    ],
)
def test_damaged_and_foreign_files_are_written_anew(
    tmp_path: Path, damage: Callable[[str], str]
) -> None:
    job, arrays = one_training()
    cache = ResultCache(tmp_path)
    first, _ = cache.train(job, arrays)
    (file,) = tmp_path.glob("*.json")
    whole = file.read_text("utf-8")
    file.write_text(damage(whole), "utf-8")
    assert file.read_text("utf-8") != whole
    result, known = cache.train(job, arrays)
    assert not known
    assert facts(result) == facts(first)
    assert cache.train(job, arrays)[1]
    assert len(list(tmp_path.iterdir())) == 1, "no temporary file is left"


def test_failures_that_would_come_again_are_kept(tmp_path: Path) -> None:
    exploding = cs.Genome.from_text("n1 = linear(x[t], h[t-1])\nh[t] = n1 * n1 * n1")
    job, arrays = one_training(genome=exploding.to_json())
    job = replace(job, training=replace(job.training, learning_rate=1e4), steps=9)
    cache = ResultCache(tmp_path)
    failures = []
    for _ in range(2):
        with pytest.raises(TrainingError) as caught:
            cache.train(job, arrays)
        failures.append((caught.value.kind, caught.value.message))
    assert failures[0] == failures[1]
    assert failures[0][0] in ("nan", "diverged")
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    job, arrays = one_training()
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(EnvironmentFailure, match="the result cannot be written"):
        ResultCache(tmp_path / "file" / "results").train(job, arrays)


def test_only_plain_trainings_are_kept(tmp_path: Path) -> None:
    job, arrays = one_training(checkpoint=str(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match="from scratch"):
        ResultCache(tmp_path).train(job, arrays)


def test_however_an_entry_is_damaged_the_right_result_is_made_again(tmp_path: Path) -> None:
    """Bits, cuts, and values of other kinds at any place: never another error, never another
    number.
    """
    job, arrays = one_training(connections=True)
    cache = ResultCache(tmp_path)
    first, _ = cache.train(job, arrays)
    (file,) = tmp_path.glob("*.json")
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    question = json.loads(whole)["question"]
    damaged = [whole[: int(n)] for n in rng.integers(0, len(whole), 100)]
    for place in rng.integers(0, len(whole), 400):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    for odd in (None, [], {}, "x", 1, {"result": None}, {"result": {}}, {"failure": {}}):
        document = {**json.loads(whole), "answer": odd}
        damaged.append(json.dumps(document).encode())
        document["digest"] = results._digest(question, odd)
        damaged.append(json.dumps(document).encode())
    damaged += [b"[" * 100_000, b"9" * 5000, b"\xff\xfe", b"null", b"{}"]
    wrong = 0
    for data in damaged:
        file.write_bytes(data)
        found = results._read(file, question)
        assert found is None or (isinstance(found, Result) and facts(found) == facts(first))
        wrong += found is None
    assert wrong > 500
    file.unlink()
    file.mkdir()
    assert results._read(file, question) is None
