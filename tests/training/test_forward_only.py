"""Validation, prediction and generation keep nothing for a backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from support.trainings import SHORT, job
from torch.autograd.graph import saved_tensors_hooks

from cellsearch import training
from cellsearch.runs.trained import Trained, train
from cellsearch.streaming import Stepper
from cellsearch.streaming.language import write_text


class Saved(Exception):
    """Something was kept for a backward pass."""


@contextmanager
def nothing_saved() -> Iterator[None]:
    def refuse(tensor: torch.Tensor) -> torch.Tensor:
        raise Saved(f"{list(tensor.shape)} was kept")

    with saved_tensors_hooks(refuse, lambda kept: kept):
        yield


def trained(task: str, backend: str, precision: str = "float32") -> Trained:
    asked = replace(SHORT, steps=2, evaluations=1, backend=backend, precision=precision)
    one = job("gru", task=task, steps=2, training=asked)
    return train(one, training.prepare(task, one.task_options).arrays)[0]


@pytest.mark.parametrize("backend", ["native", "aten", "reference"])
@pytest.mark.parametrize("task", ["char_lm", "adding"])
def test_a_validation_keeps_nothing(task: str, backend: str) -> None:
    made = trained(task, backend)
    with nothing_saved():
        made.task.score(made.model, "valid")


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_training_step_does(backend: str) -> None:
    """What the other tests look for is there to be seen."""
    made = trained("adding", backend)
    made.model.train()
    batch = next(iter(made.task.batches("train", 0)))
    with pytest.raises(Saved), nothing_saved():
        batch.read_by(made.model)


def test_generation_and_streams_keep_nothing() -> None:
    made = trained("char_lm", "auto")
    with nothing_saved():
        assert len(write_text(made.model, made.task, 5)) >= 5
        stepper = Stepper(made.model.cell)
        y, _ = stepper(torch.randn(2, made.model.cell.input_size), stepper.start(2))
    assert not y.requires_grad
