"""Generated tasks follow their definitions."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from cellsearch.errors import ConfigError
from cellsearch.tasks.adding import Adding
from cellsearch.tasks.anbncn import AnBnCn
from cellsearch.tasks.associative_recall import AssociativeRecall, AssociativeRecallOptions
from cellsearch.tasks.copy import Copy, CopyOptions
from cellsearch.tasks.dyck import Dyck1, Dyck2, DyckOptions
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.parity import ModularSum, Parity, ParityOptions
from cellsearch.tasks.selective_copy import SelectiveCopy, SelectiveCopyOptions


def test_adding_has_one_mark_in_each_half() -> None:
    task = Adding.create({"length": 11}, Adding.load({"length": 11}))
    for batch in islice(task.batches("train", 0), 20):
        marks = batch.x[:, :, 1]
        assert set(marks.flatten().tolist()) == {0.0, 1.0}
        assert (marks[:5].sum(0) == 1).all()
        assert (marks[5:].sum(0) == 1).all()
        assert torch.allclose((batch.x[:, :, 0] * marks).sum(0), batch.y)
        assert float(batch.x.min()) >= 0
        assert float(batch.x[:, :, 0].max()) < 1


def test_adding_always_one_scores_a_sixth() -> None:
    options = {"evaluation_size": 20_000, "length": 2}
    task = Adding.create(options, Adding.load(options))

    class Always(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            return torch.ones(x.shape[1], 1), None

    assert task.score(Always(), "valid")[0] == pytest.approx(1 / 6, rel=0.02)
    assert task.score(Always(), "test")[1] == pytest.approx(1 / 6, rel=0.02)


def test_copy_is_laid_out_as_defined() -> None:
    x, y = Copy.generate(np.random.default_rng(0), CopyOptions(delay=5), 3, 25)
    assert x.shape == y.shape == (25, 3)
    assert x[:10].max() <= 7
    assert (x[10:14] == 8).all()  # T - 1 blanks
    assert (x[14] == 9).all()  # the delimiter
    assert (x[15:] == 8).all()
    assert (y[:15] == 8).all()
    assert (y[15:] == x[:10]).all()
    assert (x == 9).sum() == 3


def test_copy_without_memory_scores_what_is_published() -> None:
    """Blank for T + 10 positions, then one of eight at random: 10 ln 8 / (T + 20)."""
    task = Copy.create({"delay": 20}, Copy.load({"delay": 20}))

    class NoMemory(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            logits = torch.full((*x.shape, 9), -60.0)
            logits[:30, :, 8] = 60.0
            logits[30:, :, :8] = 0.0
            return logits, None

    score, accuracy = task.score(NoMemory(), "valid")
    assert score == pytest.approx(10 * math.log(8) / 40, rel=1e-4)
    assert accuracy == pytest.approx(1 / 8, abs=0.02)


def test_parity_is_the_sum_of_the_bits() -> None:
    task = Parity.create({}, Parity.load({}))
    lengths = set()
    for batch in islice(task.batches("train", 0), 200):
        assert torch.equal(batch.x.sum(0) % 2, batch.y)
        lengths.add(len(batch.x))
    assert lengths == set(range(1, 21))


def test_parity_evaluates_each_length_alike() -> None:
    task = Parity.create({}, Parity.load({}))
    assert [len(batch.x) for batch in task.batches("valid", 0)] == [20, 40]
    assert [len(batch.x) for batch in task.batches("test", 0)] == [20, 40, 100]

    class ShortOnly(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            right = x.sum(0) % 2
            answer = right if len(x) <= 20 else 1 - right
            return nn.functional.one_hot(answer, 2).float(), None

    assert task.score(ShortOnly(), "valid") == (0.5, 0.5)
    error, accuracy = task.score(ShortOnly(), "test")
    assert accuracy == pytest.approx(1 / 3)
    assert error == pytest.approx(2 / 3)


def test_modular_sum_has_five_classes() -> None:
    task = ModularSum.create({}, ModularSum.load({}))
    batch = next(task.batches("train", 0))
    assert torch.equal(batch.x.sum(0) % 5, batch.y)
    assert set(
        torch.cat([b.x.flatten() for b in islice(task.batches("train", 0), 20)]).tolist()
    ) == set(range(5))


def test_selective_copy_asks_for_the_symbols_in_their_order() -> None:
    options = SelectiveCopyOptions(length=12, items=3)
    x, y = SelectiveCopy.generate(np.random.default_rng(0), options, 50, 12)
    places = set()
    for column in range(50):
        symbols = [int(v) for v in x[:12, column] if v < 8]
        places |= {t for t in range(12) if x[t, column] < 8}
        assert symbols == y[12:, column].tolist()
        assert (x[:12, column] == 8).sum() == 9
    assert (x[12:] == 9).all()
    assert (y[:12] == -100).all()
    assert places == set(range(12))


def test_associative_recall_asks_each_key_once() -> None:
    options = AssociativeRecallOptions(pairs=4, length=32)
    x, y = AssociativeRecall.generate(np.random.default_rng(0), options, 40, 32)
    for column in range(40):
        stored = dict(zip(x[0:8:2, column].tolist(), x[1:8:2, column].tolist(), strict=True))
        assert len(stored) == 4
        asked = {int(x[t, column]): int(y[t, column]) for t in range(8, 32) if y[t, column] != -100}
        assert asked == stored
        assert all(1 <= key < 32 <= value < 64 for key, value in stored.items())
        assert ((x[8:, column] == 0) == (y[8:, column] == -100)).all()
    assert (y[:8] == -100).all()


@pytest.mark.parametrize("cls", [Dyck1, Dyck2])
def test_dyck_strings_are_balanced_and_the_sets_right(cls: type[Dyck1]) -> None:
    """Checked against a plain stack, string by string."""
    kinds = cls.kinds
    for length in (2, 8, 30):
        x, y = cls.generate(np.random.default_rng(length), DyckOptions(), 60, length)
        for column in range(60):
            stack: list[int] = []
            for t in range(length):
                bracket = int(x[t, column])
                if bracket < kinds:
                    stack.append(bracket)
                else:
                    assert stack.pop() == bracket - kinds
                allowed = [1.0 if stack and stack[-1] == k else 0.0 for k in range(kinds)]
                assert y[t, column].tolist() == allowed
            assert stack == []
    assert len({tuple(column) for column in x.T}) == 60


def test_anbncn_sets_follow_from_the_prefix_alone() -> None:
    """What may come next depends on what was read, never on the n that only comes out later."""
    task = AnBnCn.create({}, AnBnCn.load({}))
    (batch,) = task.batches("test", 0)
    assert batch.lengths is not None
    assert (batch.lengths == 3 * torch.arange(1, 31) + 1).all()
    seen: dict[tuple[int, ...], tuple[float, ...]] = {}
    for column, length in enumerate(batch.lengths.tolist()):
        word = batch.x[:length, column].tolist()
        n = (length - 1) // 3
        assert word == [3] + [0] * n + [1] * n + [2] * n
        for t in range(length):
            prefix, allowed = tuple(word[: t + 1]), tuple(batch.y[t, column].tolist())
            assert seen.setdefault(prefix, allowed) == allowed
            if t + 1 < length:
                assert allowed[word[t + 1]] == 1.0
        assert allowed == (0.0, 0.0, 0.0, 1.0)
    assert seen[(3,)] == (1.0, 0.0, 0.0, 0.0)
    assert seen[(3, 0)] == (1.0, 1.0, 0.0, 0.0)
    assert seen[(3, 0, 0, 1)] == (0.0, 1.0, 0.0, 0.0)


def test_set_tasks_score_positions_and_strings() -> None:
    class AlwaysMayClose(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            return torch.ones(*x.shape, 1), None

    task = Dyck1.create({}, Dyck1.load({}))
    (first, second) = task.batches("valid", 0)
    wrong = (float((first.y == 0).double().mean()) + float((second.y == 0).double().mean())) / 2
    positions, strings = task.score(AlwaysMayClose(), "valid")
    assert positions == pytest.approx(wrong)
    assert strings == 0.0


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ParityOptions, {"valid_lengths": []}),
        (ParityOptions, {"valid_lengths": [0]}),
        (ParityOptions, {"valid_lengths": 20}),
        (ParityOptions, {"max_length": 2.0}),
        (ParityOptions, {"batch_size": True}),
        (CopyOptions, {"delay": 0}),
        (CopyOptions, {"batch_size": 0}),
    ],
)
def test_illegal_options_are_refused(kind: type[ParityOptions], options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"task_options.{name}"):
        parse_options(kind, options)


def test_strings_of_similar_length_stand_side_by_side() -> None:
    task = AnBnCn.create({}, AnBnCn.load({}))
    seen: set[int] = set()
    places = inside = 0
    for batch in islice(task.batches("train", 0), 64):
        assert batch.lengths is not None
        seen |= set(((batch.lengths - 1) // 3).tolist())
        places, inside = places + batch.x.numel(), inside + int(batch.lengths.sum())
        for column, length in enumerate(batch.lengths.tolist()):
            n = (length - 1) // 3
            assert batch.x[:length, column].tolist() == [3, *[0] * n, *[1] * n, *[2] * n]
    assert seen == set(range(1, 11))
    assert 1 - inside / places < 0.1
