"""The contract of tasks, as a suite that every task must pass.

Write one class a task::

    class TestAdding(TaskContract):
        task = Adding
        options = {"length": 10}
        beats = 0.1
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from cellsearch import tasks
from cellsearch.errors import ConfigError
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task
from cellsearch.tasks.interface import Interface, TokenInputs

__all__ = ["TaskContract", "same_batch", "torch_factory"]

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def torch_factory(
    kind: str = "lstm", hidden_size: int = 8, *, bidirectional: bool = False
) -> CellFactory:
    """A factory of ``torch.nn.LSTM``, ``GRU`` or ``RNN``: the model of a task without anything of
    the compiler.
    """
    return CellFactory(
        lambda input_size: _CELLS[kind](input_size, hidden_size, bidirectional=bidirectional),
        hidden_size=hidden_size,
        directions=2 if bidirectional else 1,
    )


def same_batch(a: Batch, b: Batch) -> bool:
    """Whether two batches are equal in every value."""
    lengths = (
        torch.equal(a.lengths, b.lengths)
        if a.lengths is not None and b.lengths is not None
        else a.lengths is b.lengths
    )
    beside = a.beside.keys() == b.beside.keys() and all(
        torch.equal(value, b.beside[name]) for name, value in a.beside.items()
    )
    same = torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and lengths and beside
    return same and a.first == b.first


class TaskContract:
    """What holds for every task."""

    task: ClassVar[str | type[Task]]
    """The task, or its name."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Those of a small version of it."""
    beats: ClassVar[float]
    """The validation score that an LSTM must come below: what a predictor without memory reaches,
    or less.
    """
    steps: ClassVar[int] = 150
    """How many steps of Adam that takes at most."""
    hidden_size: ClassVar[int] = 16
    """Width of the LSTM."""
    learning_rate: ClassVar[float] = 1e-2
    """Of Adam."""

    @property
    def kind(self) -> type[Task]:
        """The class of the task."""
        return tasks.get(self.task) if isinstance(self.task, str) else self.task

    def arrays(self) -> Arrays:
        """The data of the small version."""
        return self.kind.load(self.options)

    def made(self) -> Task:
        """The small version of the task."""
        return self.kind.create(self.options, self.arrays())

    def test_it_says_what_it_is(self) -> None:
        """Name, metric, one line, source, and a docstring that names the metric."""
        cls = self.kind
        assert cls.name
        assert self.task in (cls, cls.name)
        assert cls.metric
        assert cls.summary
        assert cls.source
        assert cls.__doc__
        assert "metric" in cls.__doc__.lower()

    def test_what_it_reads_and_answers_fits_its_model(self) -> None:
        """A task that says what its model reads and answers says it of this model."""
        task = self.made()
        try:
            interface = task.interface()
        except ConfigError:
            return  # it need not say it
        assert Interface.from_plain(json.loads(json.dumps(interface.to_plain()))) == interface
        batch = next(iter(task.batches("valid", 0)))
        model = task.model(torch_factory(hidden_size=self.hidden_size))
        with torch.no_grad():
            prediction, _ = batch.read_by(model)
        assert prediction.shape[-1] == interface.outputs
        assert (prediction.dim() == 3) == interface.streams
        if isinstance(interface.inputs, TokenInputs):
            assert batch.x.dim() == 2
            assert int(batch.x.max()) < interface.inputs.vocabulary
        else:
            assert batch.x.shape[2] == len(interface.inputs.names)

    def test_data_are_plain_and_the_same_every_time(self) -> None:
        """Options are JSON, arrays hold no objects, and loading twice gives the same."""
        first, second = self.arrays(), self.arrays()
        assert json.loads(json.dumps(dict(self.options))) == dict(self.options)
        assert first.keys() == second.keys()
        for name, array in first.items():
            assert array.dtype != object
            assert np.array_equal(array, second[name]), name

    def test_it_can_be_made_from_arrays_that_cannot_be_written(self) -> None:
        """As they come from the object store of a cluster."""
        arrays = dict(self.arrays())
        for array in arrays.values():
            array.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            task = self.kind.create(self.options, arrays)
            next(task.batches("train", 0))

    def test_an_unknown_option_is_refused(self) -> None:
        """With its name, and the names that are allowed."""
        try:
            self.kind.create({**self.options, "no_such_option": 1}, self.arrays())
        except ConfigError as refused:
            error = refused
        else:
            raise AssertionError("an unknown option was accepted")
        assert "no_such_option" in str(error)
        assert "batch_size" in error.hint

    def test_training_batches_follow_from_the_seed(self) -> None:
        """The same seed gives the same batches, another seed others."""
        task = self.made()
        again, other = (list(islice(self.made().batches("train", seed), 5)) for seed in (3, 4))
        first = list(islice(task.batches("train", 3), 5))
        assert all(same_batch(a, b) for a, b in zip(first, again, strict=True))
        assert not all(same_batch(a, b) for a, b in zip(first, other, strict=True))

    def test_training_can_go_on_at_any_batch(self) -> None:
        """Starting at batch k gives what comes after k batches from the start."""
        task = self.made()
        whole = list(islice(task.batches("train", 1), 40))
        for start in (1, 7, 33):
            rest = list(islice(task.batches("train", 1, start), 40 - start))
            assert all(same_batch(a, b) for a, b in zip(whole[start:], rest, strict=True)), start

    def test_evaluation_is_always_the_same(self) -> None:
        """Validation and test do not depend on a seed, and are not each other."""
        task = self.made()
        splits: tuple[Split, Split] = ("valid", "test")
        for split in splits:
            first, second = list(task.batches(split, 0)), list(task.batches(split, 1))
            assert first
            assert all(same_batch(a, b) for a, b in zip(first, second, strict=True))
        valid, test = (list(task.batches(split, 0)) for split in splits)
        assert len(valid) != len(test) or not all(
            a.x.shape == b.x.shape and torch.equal(a.x, b.x)
            for a, b in zip(valid, test, strict=True)
        )

    def test_every_weight_gets_a_gradient(self) -> None:
        """Nothing in the model is left out of the loss."""
        task = self.made()
        torch.manual_seed(0)
        model = task.model(torch_factory())
        batch = self._long_batch(task)
        loss = task.loss(batch.read_by(model)[0], batch)
        assert loss.shape == ()
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name

    def test_scoring_changes_nothing(self) -> None:
        """Neither weights, gradients, training mode nor the random generator."""
        task = self.made()
        torch.manual_seed(0)
        model = task.model(torch_factory())
        model.train()
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        generator = torch.get_rng_state()
        first, second = task.score(model, "valid"), task.score(model, "valid")
        assert first == second
        assert all(isinstance(number, float) and np.isfinite(number) for number in first)
        assert model.training
        assert torch.equal(generator, torch.get_rng_state())
        assert all(
            torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items()
        )
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_padding_does_not_count(self) -> None:
        """What stands beyond the end of a sequence changes nothing."""
        task = self.made()
        torch.manual_seed(0)
        model = task.model(torch_factory())
        padded = next(
            (b for b in islice(task.batches("train", 0), 50) if b.lengths is not None), None
        )
        if padded is None or padded.lengths is None:
            return
        beyond = torch.arange(len(padded.x)).unsqueeze(1) >= padded.lengths
        x = padded.x.clone()
        x[beyond] = x[beyond] * 0 if x.is_floating_point() else 0
        changed = replace(padded, x=x)
        with torch.no_grad():
            one, other = (task.loss(b.read_by(model)[0], b) for b in (padded, changed))
        assert torch.equal(one, other)

    def test_it_can_be_learned(self) -> None:
        """An LSTM gets below what a predictor without memory reaches."""
        task = self.made()
        torch.manual_seed(0)
        model = task.model(torch_factory(hidden_size=self.hidden_size))
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        before = task.score(model, "valid")[0]
        state: Any = None
        for batch in islice(task.batches("train", 0), self.steps):
            prediction, state = batch.read_by(model, None if batch.first else state)
            state = None if state is None else tuple(part.detach() for part in state)
            optimizer.zero_grad()
            task.loss(prediction, batch).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        after = task.score(model, "valid")[0]
        assert after < before
        assert after < self.beats, f"{after:.4f} after {self.steps} steps"

    def _long_batch(self, task: Task) -> Batch:
        return max(islice(task.batches("train", 0), 10), key=lambda batch: len(batch.x))
