"""CogScale: the package's data bit for bit, the authors' loss, score and protocol."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from functools import cache
from hashlib import sha256
from typing import Any

import cogscale
import numpy as np
import pytest
import torch
from torch import nn

from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError, EnvironmentFailure
from cellsearch.job import Job
from cellsearch.tasks import cogscale as own
from cellsearch.tasks import registry
from cellsearch.tasks.cogscale import CATEGORIES, Cogscale, variant_name
from cellsearch.tasks.interface import features
from cellsearch.testing.tasks import TaskContract
from cellsearch.training.loop import evaluate


@cache
def theirs_of(problem: str, seed: int = 0) -> dict[str, Any]:
    """What the package itself makes."""
    return cogscale.build_task(problem, difficulty="small", seed=seed)  # type: ignore[no-any-return]


@cache
def make(problem: str, seed: int = 0, difficulty: str = "small") -> Cogscale:
    kind = tasks.get(variant_name(problem, difficulty))
    options = {"data_seed": seed}
    task = kind.create(options, kind.load(options))
    assert isinstance(task, Cogscale)
    return task


class Fixed(nn.Module):
    """Answers with given numbers ``[N, T, O]``, one set for each number of sequences."""

    def __init__(self, answers: dict[tuple[int, int], torch.Tensor]) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, x: torch.Tensor, state: Any = None, lengths: Any = None) -> Any:
        return self.answers[x.shape[1], x.shape[0]].transpose(0, 1), None


def test_the_family_is_the_packages() -> None:
    assert set(CATEGORIES) == set(cogscale.tasks)
    for problem, category in CATEGORIES.items():
        assert cogscale.evals.cogscale_small[problem]["category"] == category


@pytest.mark.parametrize("problem", CATEGORIES)
def test_data_are_those_of_the_package_bit_for_bit(problem: str) -> None:
    for seed in (0, 3) if problem != "cross_situation" else (0,):
        theirs = theirs_of(problem, seed)
        ours = make(problem, seed).arrays
        for split in ("train", "valid", "test"):
            x, y = ours[f"{split}_x"], ours[f"{split}_y"]
            given = theirs[f"X_{split}"].astype(np.float32)
            if problem == "cross_situation":  # but for the order of the words
                x, given = (
                    np.stack(sorted(np.moveaxis(part, -1, 0), key=lambda column: column.tobytes()))
                    for part in (x, given)
                )
            assert np.array_equal(x, given)
            wanted = theirs[f"Y_{split}"]
            asked = (wanted != -100).any(-1)
            if CATEGORIES[problem] == "classification":
                assert np.array_equal(y != -100, asked)
                assert np.array_equal(y[asked], wanted.argmax(-1)[asked])
            else:
                assert np.array_equal(y, wanted.astype(np.float32))


@pytest.mark.parametrize(
    "problem", ["sorting_problem", "discrete_pattern_completion", "continuous_postcasting"]
)
def test_the_score_is_that_of_the_package(problem: str) -> None:
    task = make(problem)
    theirs = theirs_of(problem)
    for split in ("valid", "test"):
        y = theirs[f"Y_{split}"]
        answers = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        found, metric = task.score(Fixed({y.shape[:2]: answers}), split)  # type: ignore[arg-type]
        wanted = cogscale.compute_score(y, answers.numpy(), theirs["category"])
        assert found == metric == pytest.approx(float(wanted), abs=1e-6)


def published_threshold(answers: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """As the authors choose it: the first with the fewest sequences that have a fault."""
    best, chosen = math.inf, 0.5
    for threshold in np.linspace(0.01, 0.99, 100):
        right = ((1 / (1 + np.exp(-answers)) >= threshold) == (y > 0.5)).all(-1)
        if 1 - right.mean() < best:
            best, chosen = 1 - right.mean(), float(threshold)
    return chosen


@pytest.mark.parametrize("noise", [0.0, 1.5, 20.0])
def test_labels_are_cut_at_the_authors_threshold(noise: float) -> None:
    task = make("cross_situation")
    theirs = theirs_of("cross_situation")
    generator = torch.Generator().manual_seed(2)
    answers = {}
    for split in ("valid", "test"):
        y = torch.from_numpy(theirs[f"Y_{split}"]).float()
        answers[tuple(y.shape[:2])] = 4 * y - 1 + noise * torch.randn(y.shape, generator=generator)
    model = Fixed(answers)  # type: ignore[arg-type]
    y = theirs["Y_valid"]
    threshold = published_threshold(answers[y.shape[:2]].numpy()[:, -1], y[:, -1])
    test = theirs["Y_test"]
    given = answers[test.shape[:2]].numpy()
    wanted = cogscale.compute_score(test, given, "multi_classification", threshold)
    assert task.score(model, "test")[0] == pytest.approx(float(wanted), abs=1e-6)
    plain = cogscale.compute_score(test, given, "multi_classification")
    assert task.errors(model, "test")["error at threshold 0.5"] == pytest.approx(float(plain))
    if noise == 20.0:  # nothing is without fault: the authors' search ends at its first threshold
        assert threshold == pytest.approx(0.01)


def test_words_have_the_same_columns_in_every_process() -> None:
    program = (
        "from cellsearch import tasks\n"
        "from hashlib import sha256\n"
        "arrays = tasks.get('cogscale:cross_situation:small').load({})\n"
        "print(sha256(arrays['train_x'].tobytes()).hexdigest())"
    )
    digests = {sha256(make("cross_situation").arrays["train_x"].tobytes()).hexdigest()}
    for number in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": number}
        found = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        digests.add(found.stdout.decode().strip())
    assert len(digests) == 1
    words = make("cross_situation").arrays["train_x"]
    assert (words.sum(-1) <= 1).all()  # still one word at a position
    assert len(np.unique(words.reshape(-1, words.shape[-1]), axis=0)) == words.shape[-1] + 1


def test_an_epoch_is_every_sequence_once_in_batches_of_ten() -> None:
    task = make("adding_problem")
    batches = task.batches("train", 5)
    first = [next(batches) for _ in range(10)]
    assert {batch.x.shape for batch in first} == {(12, 10, 5)}
    seen = torch.cat([batch.x for batch in first], 1).transpose(0, 1).flatten(1)
    whole = torch.from_numpy(task.arrays["train_x"]).flatten(1)
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, whole.tolist()))
    again = next(task.batches("train", 5, 11))
    assert torch.equal(next(batches).x, next(task.batches("train", 5, 10)).x)
    assert torch.equal(next(batches).x, again.x)
    assert not torch.equal(first[0].x, next(task.batches("train", 6)).x)


def test_the_protocol_is_the_authors() -> None:
    training = make("adding_problem").protocol(3e-3, 14)
    assert (training.steps, training.evaluations, training.patience) == (500, 50, 10)
    assert (training.clip_norm, training.weight_decay, training.hidden_size) == (0, 0, 14)
    assert make("sinus_forecasting").protocol(1e-2, 9).steps == 50  # one sequence, one step


def test_of_equal_validation_scores_the_first_counts() -> None:
    task = make("adding_problem")
    training = task.protocol(1e-9, 4)  # nothing is learned, so all validations are equal
    genome = zoo.load("rnn_tanh")
    options = {"data_seed": 0}
    job = Job(0, 0, genome.to_json(), task.name, options, training, training.steps, 1, test=True)
    result = evaluate(job, task.arrays)
    assert result.metrics["best_step"] == 10
    assert result.steps == 110  # patience 10: ten epochs after the best one


def test_a_training_is_the_same_again() -> None:
    task = make("bracket_matching")
    training = task.protocol(1e-2, 5)
    options = {"data_seed": 0}
    genome = zoo.load("ran")
    job = Job(0, 0, genome.to_json(), task.name, options, training, 40, 1, test=True)
    first, second = evaluate(job, task.arrays), evaluate(job, task.arrays)
    assert len(first.curve) > 1
    assert math.isfinite(first.metrics["test_score"])
    assert (first.curve, first.metrics["test_score"]) == (
        second.curve,
        second.metrics["test_score"],
    )


def test_a_name_that_is_none_says_what_is_allowed() -> None:
    for name in ("cogscale:copy:small", "cogscale:simple_copy", "cogscale:simple_copy:tiny"):
        with pytest.raises(ConfigError, match="no task cogscale") as caught:
            tasks.get(name)
        assert "simple_copy" in caught.value.hint
        assert "medium" in caught.value.hint
    with pytest.raises(ConfigError, match="no variants"):
        tasks.get("adding:small")


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFailure, match="not installed") as caught:
        Cogscale.load({})
    assert "cellsearch[bench]" in caught.value.hint
    assert tasks.info("cogscale:simple_copy:small").metric == "error rate"
    assert tasks.info("cogscale").data == "there"
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    found = tasks.info("cogscale")
    assert found.data == "missing: pip install cogscale"
    assert found.missing == "the package cogscale is not installed"
    assert not found.download
    assert tasks.info("adding").data == "there"


def test_medium_is_the_packages() -> None:
    x = make("associative_recall", difficulty="medium").arrays["train_x"]
    assert x.shape == (1000, 32, 16)
    theirs = cogscale.build_task("associative_recall", difficulty="medium", seed=0)
    assert np.array_equal(x, theirs["X_train"].astype(np.float32))


@pytest.mark.parametrize("problem", ["simple_copy", "cross_situation", "chaotic_forecasting"])
def test_the_interface_says_what_goes_in_and_out(problem: str) -> None:
    task = make(problem)
    interface = task.interface()
    assert interface.outputs == task.outputs
    assert interface.inputs == features(tuple(f"x{k}" for k in range(task.features)))
    assert task.features == task.arrays["train_x"].shape[-1]
    kinds = {"classification": "classes", "multi_classification": "bits", "regression": "values"}
    assert interface.answer.kind == kinds[CATEGORIES[problem]]
    assert interface.streams


class TestContract(TaskContract):
    """What every task promises."""

    task = "cogscale:adding_problem:small"
    beats = 0.5
    steps = 500
