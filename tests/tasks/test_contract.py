"""Every task keeps the contract; and the contract finds tasks that do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch

from cellsearch import tasks
from cellsearch.tasks.adding import Adding
from cellsearch.tasks.base import Batch, Split
from cellsearch.tasks.interface import Interface, features, values
from cellsearch.testing.tasks import TaskContract


class TestCharLM(TaskContract):
    task = "char_lm"
    options: ClassVar = {"tbptt": 16, "valid_tokens": 2048}
    beats = 4.0  # below the unigram entropy of the text, 4.28 bits
    steps = 80


class TestAdding(TaskContract):
    task = "adding"
    options: ClassVar = {"length": 6, "evaluation_size": 200}
    beats = 0.1  # always answering 1 gives 1/6
    steps = 250


class TestCopy(TaskContract):
    task = "copy"
    options: ClassVar = {"delay": 1, "items": 2, "evaluation_size": 50}
    beats = 0.7  # without memory 2 ln 8 / (T + 4) = 0.832


class TestParity(TaskContract):
    task = "parity"
    options: ClassVar = {
        "max_length": 3,
        "valid_lengths": [3],
        "test_lengths": [3, 5],
        "evaluation_size": 200,
    }
    beats = 0.1
    steps = 300


class TestModularSum(TaskContract):
    task = "modular_sum"
    options: ClassVar = {
        "max_length": 2,
        "valid_lengths": [2],
        "test_lengths": [2, 3],
        "evaluation_size": 200,
    }
    beats = 0.3  # chance 0.8
    steps = 200


class TestSelectiveCopy(TaskContract):
    task = "selective_copy"
    options: ClassVar = {"length": 4, "items": 1, "test_lengths": [4, 6], "evaluation_size": 100}
    beats = 1.0  # chance ln 8 = 2.08
    steps = 200


class TestAssociativeRecall(TaskContract):
    task = "associative_recall"
    options: ClassVar = {"pairs": 1, "length": 3, "evaluation_size": 200}
    beats = 3.0  # chance ln 32 = 3.47
    steps = 300


class TestDyck1(TaskContract):
    task = "dyck1"
    options: ClassVar = {
        "max_length": 8,
        "valid_lengths": [8],
        "test_lengths": [8, 12],
        "evaluation_size": 100,
    }
    beats = 0.1
    steps = 200


class TestDyck2(TaskContract):
    task = "dyck2"
    options: ClassVar = {
        "max_length": 8,
        "valid_lengths": [8],
        "test_lengths": [8, 12],
        "evaluation_size": 100,
    }
    beats = 0.25
    steps = 200


class TestAnBnCn(TaskContract):
    task = "anbncn"
    options: ClassVar = {"max_n": 3, "valid_n": 3, "test_n": 5, "batch_size": 16}
    beats = 0.2


class TestGroupWord(TaskContract):
    task = "group_word"
    options: ClassVar = {
        "batch_size": 32,
        "max_length": 3,
        "valid_lengths": [3],
        "test_lengths": [3, 6],
    }
    beats = 0.5  # chance 5/6
    steps = 200


class TestEvenPairs(TaskContract):
    task = "even_pairs"
    options: ClassVar = {
        "batch_size": 32,
        "max_length": 4,
        "valid_lengths": [4],
        "test_lengths": [4, 8],
    }
    beats = 0.1  # chance 0.5


class TestBinaryAddition(TaskContract):
    task = "binary_addition"
    options: ClassVar = {
        "batch_size": 32,
        "max_length": 4,
        "valid_lengths": [4],
        "test_lengths": [4, 8],
    }
    beats = 0.3  # chance about 0.5
    steps = 200


class TestOnlineDrift(TaskContract):
    task = "online_drift"
    options: ClassVar = {"length": 480, "laws": 2, "taps": 2, "tbptt": 16}
    beats = 0.6  # about 1 without memory
    steps = 120


class TestMackeyGlass(TaskContract):
    task = "mackey_glass"
    options: ClassVar = {"history": 24, "batch_size": 16}
    beats = 0.2  # persistence 0.3


class _ForgetsTheSeed(Adding):
    name = "broken"

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        return super().batches(split, 0, start)


class _ForgetsTheStart(Adding):
    name = "broken"

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        return super().batches(split, seed, 0)


class _ScoresInTraining(Adding):
    name = "broken"

    def score(self, model: torch.nn.Module, split: Split) -> tuple[float, float]:
        model.eval()
        return super().score(model, split)


class _TestsOnValidation(Adding):
    name = "broken"

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        return super().batches("valid" if split == "test" else split, seed, start)


@pytest.mark.parametrize(
    ("broken", "finds"),
    [
        (_ForgetsTheSeed, "test_training_batches_follow_from_the_seed"),
        (_ForgetsTheStart, "test_training_can_go_on_at_any_batch"),
        (_ScoresInTraining, "test_scoring_changes_nothing"),
        (_TestsOnValidation, "test_evaluation_is_always_the_same"),
    ],
)
def test_the_contract_finds_a_broken_task(
    monkeypatch: pytest.MonkeyPatch, broken: type[Adding], finds: str
) -> None:
    class Broken(TestAdding):
        task = "broken"

    monkeypatch.setattr(tasks, "get", lambda name: broken)
    with pytest.raises(AssertionError):
        getattr(Broken(), finds)()


def test_the_contract_finds_an_interface_of_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Adding):
        name = "broken"

        def interface(self) -> Interface:
            return Interface(inputs=features(("number",)), answer=values(("sum",)), readout="last")

    class Broken(TestAdding):
        task = "broken"

    monkeypatch.setattr(tasks, "get", lambda name: Wrong)
    with pytest.raises(AssertionError):
        Broken().test_what_it_reads_and_answers_fits_its_model()
