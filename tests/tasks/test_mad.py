"""The six tasks of MAD, against a reader that goes through a sequence token by token."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cellsearch import tasks
from cellsearch.errors import ConfigError
from cellsearch.tasks.base import CellFactory
from cellsearch.tasks.mad import MadTask
from cellsearch.tasks.synthetic import NOTHING

SMALL: dict[str, Any] = {"examples": 40, "evaluation_size": 60}
ALL = (
    "mad_compression",
    "mad_fuzzy_recall",
    "mad_in_context_recall",
    "mad_memorization",
    "mad_noisy_recall",
    "mad_selective_copying",
)
Rows = list[tuple[list[int], list[int]]]


def made(name: str, **options: Any) -> MadTask:
    kind = tasks.get(name)
    assert issubclass(kind, MadTask)
    table = {**SMALL, **options}
    return kind.create(table, kind.load(table))


def rows(task: MadTask, split: str) -> Rows:
    x, y = task.arrays[f"{split}_x"].tolist(), task.arrays[f"{split}_y"].tolist()
    options: Any = task.options
    assert len(x) == (options.examples if split == "train" else options.evaluation_size)
    return list(zip(x, y, strict=True))


@pytest.mark.parametrize("name", ["mad_in_context_recall", "mad_noisy_recall"])
def test_recall(name: str) -> None:
    """Only keys that were there before are asked, all of them, and one at the end."""
    task = made(name)
    noisy = name == "mad_noisy_recall"
    noise = 0
    for x, y in rows(task, "test"):
        assert len(x) == 127
        seen: dict[int, int] = {}
        for place in range(0, 126, 2):
            key, value = x[place], x[place + 1]
            assert y[place + 1] == NOTHING
            if key >= 16 or value >= 16:
                assert noisy
                assert min(key, value) >= 16
                assert y[place] == NOTHING
                noise += 1
                continue
            assert key < 8 <= value
            assert y[place] == (value if key in seen else NOTHING)
            assert seen.setdefault(key, value) == value
        assert y[126] == seen[x[126]]
    assert noise / (60 * 63) == pytest.approx(0.2 if noisy else 0, abs=0.03)


def test_values_are_drawn_anew_for_each_sequence() -> None:
    pairs = {(x[0], x[1]) for x, _ in rows(made("mad_in_context_recall"), "test")}
    assert len(pairs) > 30  # of 64


@pytest.mark.parametrize("name", ["mad_in_context_recall", "mad_noisy_recall", "mad_fuzzy_recall"])
def test_in_training_each_next_token_is_asked(name: str) -> None:
    task = made(name)
    for x, y in rows(task, "train"):
        assert x[1:] == y[:-1]
    options: Any = task.options
    sequences = task.arrays["train_x"]
    assert len(np.unique(sequences, axis=0)) == len(sequences)
    assert np.unique(sequences).tolist() == list(range(options.vocabulary))


def motifs(tokens: list[int]) -> list[tuple[int, ...]]:
    """Runs of key tokens (below 7) and of value tokens, one after the other."""
    found: list[list[int]] = []
    for token in tokens:
        if found and (found[-1][0] < 7) == (token < 7):
            found[-1].append(token)
        else:
            found.append([token])
    return [tuple(run) for run in found]


def test_fuzzy_recall() -> None:
    sizes = set()
    for x, y in rows(made("mad_fuzzy_recall"), "test"):
        assert len(x) == len(y) == 128
        whole = [*x, y[-1]]  # the last token is asked only
        start = next(k for k, token in enumerate(whole) if token != 15)
        assert start >= 1
        runs = motifs(whole[start:])
        expected = [NOTHING] * start
        seen: dict[tuple[int, ...], tuple[int, ...]] = {}
        for key, value in zip(runs[::2], runs[1::2], strict=True):
            assert len(key) == 3 == len(set(key))
            assert len(set(value)) == len(value) <= 3
            sizes.add(len(value))
            expected += [NOTHING] * 3
            expected += value if key in seen else [NOTHING] * len(value)
            assert seen.setdefault(key, value) == value
        assert y == expected[1:]
        assert runs[-2] in runs[:-2:2]  # the last key was there before
    assert sizes == {1, 2, 3}


def test_fuzzy_keys_of_training_have_all_sizes() -> None:
    lengths = {
        len(run)
        for x, _ in rows(made("mad_fuzzy_recall"), "train")
        for run in motifs([token for token in x if token != 15])
    }
    assert lengths == {1, 2, 3}


def test_memorization_is_one_map_for_all() -> None:
    task = made("mad_memorization", examples=256)
    known: dict[int, int] = {}
    for split in ("train", "valid", "test"):
        for x, y in rows(task, split):
            assert len(x) == 32
            for place in range(0, 32, 2):
                assert x[place] < 127
                assert x[place + 1] == 255
                assert y[place] == NOTHING
                assert 127 <= y[place + 1] < 255
                assert known.setdefault(x[place], y[place + 1]) == y[place + 1]
    assert len(set(known.values())) == len(known) == 127


def test_selective_copying() -> None:
    task = made("mad_selective_copying")
    places = set()
    for x, y in rows(task, "test"):
        assert len(x) == 256
        assert x.index(15) == 239
        assert x.count(15) == 1
        tokens = [token for token in x if token < 14]
        assert len(tokens) == 16
        assert y == [NOTHING] * 240 + tokens
        assert x[238] < 14  # a blank stands before a token, never after the last
        places.add(x.index(tokens[0]))
    assert len(places) > 8


def test_compression() -> None:
    found = rows(made("mad_compression"), "train")
    assert {token for x, _ in found for token in x} == set(range(16))
    assert len({tuple(x) for x, _ in found}) == len(found)
    for x, y in found:
        assert x == y
        assert len(x) == 32
        assert x[-1] == 15
        assert max(x[:-1]) < 15


def test_compression_is_told_from_the_last_output_alone() -> None:
    task = made("mad_compression")

    class LastOnly(nn.Module):
        """A layer whose earlier outputs are lost."""

        def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
            output = torch.full_like(x, float("nan"))
            output[-1] = x.mean(0)
            return output, state

    model = task.model(CellFactory(lambda width: LastOnly(), hidden_size=8))
    prediction, _ = model(next(task.batches("train", 0)).x)
    assert torch.isfinite(prediction).all()
    assert not torch.equal(prediction[0], prediction[1])  # positions differ


@pytest.mark.parametrize("name", ALL)
def test_the_best_constant_answer_reaches_the_declared_chance(name: str) -> None:
    task = made(name, examples=1, evaluation_size=400)
    asked = task.arrays["test_y"][task.arrays["test_y"] != NOTHING]
    assert np.bincount(asked).max() / len(asked) == pytest.approx(
        task.chance(task.options), abs=0.02
    )


@pytest.mark.parametrize("name", ALL)
def test_sequences_follow_from_their_seed(name: str) -> None:
    first, again, other = (made(name, data_seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first.arrays[key], again.arrays[key]) for key in first.arrays)
    assert not np.array_equal(first.arrays["train_x"], other.arrays["train_x"])
    assert not np.array_equal(first.arrays["valid_x"][:40], first.arrays["test_x"][:40])


def test_a_pass_holds_every_sequence_once() -> None:
    task = made("mad_compression", batch_size=8)
    epochs = [list(islice(task.batches("train", 3, start), 5)) for start in (0, 5)]
    passes = [{tuple(c) for b in epoch for c in b.x.T.tolist()} for epoch in epochs]
    assert passes[0] == passes[1] == {tuple(x) for x, _ in rows(task, "train")}
    assert not torch.equal(epochs[0][0].x, epochs[1][0].x)


@pytest.mark.parametrize(
    ("name", "table", "where"),
    [
        ("mad_selective_copying", {"copied": 200}, "length"),
        ("mad_noisy_recall", {"noise_vocabulary": 30}, "noise_vocabulary"),
        ("mad_fuzzy_recall", {"length": 10}, "motif"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, table: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(name, **table)
    assert where in caught.value.where


def test_longer_and_larger() -> None:
    assert made("mad_in_context_recall", length=1024).arrays["test_x"].shape == (60, 1023)
    assert made("mad_selective_copying", length=1024, copied=96).arrays["test_x"].shape[1] == 1024
    assert made("mad_fuzzy_recall", length=512, vocabulary=32).arrays["test_x"].max() == 31
    assert made("mad_memorization", vocabulary=8192).arrays["train_x"].max() == 8191


@pytest.mark.parametrize(
    ("name", "options", "learned"),
    [
        ("mad_memorization", {"vocabulary": 16, "length": 8, "examples": 256}, 0.95),
        ("mad_compression", {"vocabulary": 8, "length": 8, "examples": 2000}, 0.3),
    ],
)
def test_a_small_cell_learns_the_easy_ones(
    train: Callable[..., nn.Module], name: str, options: dict[str, Any], learned: float
) -> None:
    task = made(name, **{"evaluation_size": 200, **options})
    chance = task.chance(task.options)
    model = train(task, "gru", 32, steps=150, learning_rate=1e-2)
    assert chance < learned < task.score(model, "test")[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mad_in_context_recall", "mad_noisy_recall"])
def test_a_gru_recalls_better_than_chance(train: Callable[..., nn.Module], name: str) -> None:
    task = made(name, examples=12_800, length=32, evaluation_size=300)
    model = train(task, "gru", 64, steps=2000, learning_rate=3e-3)
    assert task.score(model, "test")[1] > 2 * task.chance(task.options)
