"""The word problem of groups, against matrices that are multiplied one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from cellsearch.errors import ConfigError
from cellsearch.experiment import catalog
from cellsearch.tasks.groups import GroupWord, GroupWordOptions, multiplication_table

SIZES = {"s3": 6, "a5": 60, "s5": 120, "z60": 60}


def made(**options: Any) -> GroupWord:
    return GroupWord.create(options, GroupWord.load(options))


def matrix(name: str) -> NDArray[np.int64]:
    """The matrix that moves unit vector i to unit vector p(i)."""
    rows = np.zeros((len(name), len(name)), dtype=np.int64)
    for i, image in enumerate(name):
        rows[int(image) - 1, i] = 1
    return rows


@pytest.mark.parametrize("group", ["s3", "a5", "s5"])
def test_targets_are_products_of_permutation_matrices(group: str) -> None:
    names = made(group=group).interface().answer.names
    x, y = GroupWord.generate(
        np.random.default_rng(0),
        GroupWordOptions(group=group),
        5,
        30,  # type: ignore[arg-type]
    )
    assert x.shape == y.shape == (30, 5)
    for drawn in (x, y):  # 150 elements, all equally probable
        assert len(np.unique(drawn)) > len(names) / 2
    for word, targets in zip(x.T, y.T, strict=True):
        product = np.eye(len(names[0]), dtype=np.int64)
        for element, target in zip(word, targets, strict=True):
            product = product @ matrix(names[element])
            assert (product == matrix(names[target])).all()


@pytest.mark.parametrize("group", SIZES)
def test_the_table_is_that_of_a_group(group: Any) -> None:
    table = multiplication_table(group)
    size = SIZES[group]
    assert table.shape == (size, size)
    assert (table[0] == np.arange(size)).all()  # the identity comes first
    assert (table[:, 0] == np.arange(size)).all()
    assert (np.sort(table, axis=1) == np.arange(size)).all()
    assert (np.sort(table, axis=0) == np.arange(size)[:, None]).all()
    a, b, c = np.random.default_rng(1).integers(0, size, (3, 500))
    assert (table[table[a, b], c] == table[a, table[b, c]]).all()


@pytest.mark.parametrize("group", SIZES)
def test_only_z60_is_commutative(group: Any) -> None:
    table = multiplication_table(group)
    assert (table == table.T).all() == (group == "z60")


def test_all_elements_of_a5_are_even() -> None:
    names = made(group="a5").interface().answer.names
    assert len(set(names)) == 60
    for name in names:
        assert round(np.linalg.det(matrix(name))) == 1
    assert {round(np.linalg.det(matrix(n))) for n in made(group="s5").interface().answer.names} == {
        1,
        -1,
    }


def test_z60_adds_numbers() -> None:
    options = GroupWordOptions(group="z60")
    x, y = GroupWord.generate(np.random.default_rng(2), options, 4, 200)
    assert len(set(x[:, 0].tolist())) > 50
    assert [sum(map(int, x[: t + 1, 0])) % 60 for t in range(200)] == y[:, 0].tolist()


@pytest.mark.parametrize("group", SIZES)
def test_who_does_not_look_is_right_by_chance(group: str) -> None:
    options = {"group": group, "test_lengths": [400], "evaluation_size": 100}
    task = made(**options)

    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            prediction = torch.zeros(*x.shape, SIZES[group])
            prediction[..., 3] = 1.0
            return prediction, None

    chance = GroupWord.chance(task.options)
    assert chance == 1 / SIZES[group]
    score, accuracy = task.score(Constant(), "test")
    assert score == 1 - accuracy
    assert accuracy == pytest.approx(chance, abs=4 * (chance / 40_000) ** 0.5)


def test_the_suite_declares_the_error_of_who_does_not_look() -> None:
    suite = catalog.load_suite(catalog.find(catalog.SUITES, "state_tracking").path)
    declared = {one.options["group"]: one.chance for one in suite.members if one.task != "parity"}
    assert set(declared) == {"s3", "z60", "a5"}
    for group, chance in declared.items():
        assert chance == pytest.approx(1 - 1 / SIZES[group], abs=1e-4)


def test_far_lengths_and_the_error_at_the_last_position() -> None:
    task = made(group="s3", test_lengths=[2, 5000], evaluation_size=3)
    assert [len(batch.x) for batch in task.batches("test", 0)] == [2, 5000]

    class RightOnlyAtLast(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            y = next(b.y for b in task.batches("test", 0) if b.y.shape == x.shape)
            prediction = nn.functional.one_hot((y + 1) % 6, 6).float()
            prediction[-1] = nn.functional.one_hot(y[-1], 6).float()
            return prediction, None

    found: Mapping[str, float] = task.errors(RightOnlyAtLast(), "test")
    assert found == {"length 2": 0.0, "length 5000": 0.0}
    assert task.score(RightOnlyAtLast(), "test")[1] == pytest.approx((1 / 2 + 1 / 5000) / 2)


def test_training_lengths() -> None:
    task = made(min_length=4, max_length=9, batch_size=2)
    batches = task.batches("train", 0)
    assert {len(next(batches).x) for _ in range(200)} == set(range(4, 10))
    with pytest.raises(ConfigError, match="longer than the longest"):
        GroupWordOptions(min_length=30)


def test_a_small_cell_learns_s3(train: Callable[..., nn.Module]) -> None:
    task = made(group="s3", max_length=4, valid_lengths=[4], test_lengths=[6], batch_size=32)
    model = train(task, "gru", 16, steps=250, learning_rate=2e-2)
    assert task.score(model, "valid")[1] > 0.95
    assert task.score(model, "test")[1] > 0.8  # longer than in training


@pytest.mark.slow
def test_a_gru_learns_a5_on_short_words(train: Callable[..., nn.Module]) -> None:
    task = made(group="a5", max_length=6, valid_lengths=[6], test_lengths=[12])
    model = train(task, "gru", 96, steps=3000, learning_rate=5e-3)
    assert task.score(model, "valid")[1] > 0.9
