"""Sets of sequences, each with one label, one number, or a target at every position: classification
and regression.

Sequences are stored one behind the other, so that different lengths cost nothing: ``x [sum of T,
I]`` or token numbers ``[sum of T]``, ``lengths [N]``, ``split [N]`` (0 train, 1 valid, 2 test) and
``y``: ``[N]`` or ``[N, K]``, or ``[sum of T, ...]`` for a target at every position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError
from cellsearch.tasks.array_faults import BESIDE
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task, writable
from cellsearch.tasks.interface import (
    Answer,
    FeatureInputs,
    Interface,
    Readout,
    TokenInputs,
    features,
    values,
)
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.scaling import standardised

__all__ = ["SPLITS", "SequenceTask", "carve", "join", "pack"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
EVALUATION_BATCH = 256
PADDED = 1 << 23
"""So many numbers at most are also kept as padded sequences."""
GROUP = 16
"""Batches of sequences of one length that are fetched at once: for short ones the calls cost more
than the numbers.
"""
POOL = 50
"""Batches in a pool within which sequences are sorted by length, so that a batch is padded by a few
percent only.
"""


def join(sequences: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The sequences one behind the other, and their lengths."""
    return np.concatenate(list(sequences)), np.array([len(s) for s in sequences], dtype=np.int64)


def pack(
    sequences: Sequence[NDArray[Any]],
    y: NDArray[Any],
    split: NDArray[Any],
    *,
    standardise: bool = True,
) -> Arrays:
    """Arrays of a :class:`SequenceTask` from sequences ``[T, I]``; each feature gets mean 0 and
    deviation 1 of the training part.
    """
    x, lengths = join(sequences)
    if standardise:
        x, mean, scale = standardised(x, np.repeat(split == 0, lengths), "feature")
    else:
        mean, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    return {
        "x": x,
        "y": y,
        "lengths": lengths,
        "split": split.astype(np.uint8),
        "x_mean": mean,
        "x_scale": scale,
    }


def carve(train: int, test: int, share: int) -> NDArray[np.uint8]:
    """Split numbers of ``train`` items, of which one in ``share`` (at random, always the same)
    becomes validation, then ``test`` items.
    """
    split = np.zeros(train + test, dtype=np.uint8)
    split[np.random.default_rng(0).permutation(train)[: train // share]] = 1
    split[train:] = 2
    return split


class SequenceTask(Task):
    """Classification (``classes`` > 0) or regression (``classes`` = 0, ``targets`` numbers) of
    sequences.

    Subclasses set ``classes`` or ``targets``, ``tokens`` (vocabulary of token inputs, 0 for real
    inputs), and ``readout``. Classification: score is the error rate, metric the accuracy.
    Regression: score and metric are the mean squared error. With ``readout == "every"`` each
    position has a target; positions beyond the end of a sequence do not count.
    """

    classes = 0
    targets = 1
    tokens = 0
    readout: Readout = "last"
    columns: ClassVar[tuple[str, ...]] = ()
    """What the columns of real inputs are called, where they have names."""

    def __init__(self, options: TaskOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self._x = torch.from_numpy(writable(arrays["x"]))
        self._y = torch.from_numpy(writable(arrays["y"]))
        self._lengths = np.asarray(arrays["lengths"])
        self._starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
        self._beside = {
            name: torch.from_numpy(writable(arrays[name])) for name in BESIDE if name in arrays
        }
        self._uniform = bool(self._lengths.min() == self._lengths.max())
        self._whole = self._padded()
        self._members = {
            name: np.flatnonzero(arrays["split"] == k) for k, name in enumerate(SPLITS)
        }
        for split, members in self._members.items():
            if not len(members):
                raise ConfigError(
                    f"the {split} split is empty",
                    where=f"task {self.name}",
                    hint="give more sequences",
                )
        self._evaluation = {split: list(self._fixed_batches(split)) for split in ("valid", "test")}

    def _padded(self) -> dict[str, torch.Tensor]:
        """All sequences one beside the other ``[N, T, ...]``, which makes batches cheaper; nothing
        where that takes too much memory.
        """
        longest = int(self._lengths.max())
        per_position = {"x": self._x, **({"y": self._y} if self.readout == "every" else {})}
        positions = longest * len(self._lengths)
        fitting = {
            name: values
            for name, values in per_position.items()
            if positions * values[:1].numel() <= PADDED
        }
        if not fitting:
            return {}
        every = torch.from_numpy(self._positions(np.arange(len(self._lengths)), longest))
        return {name: _rows(values, every) for name, values in fitting.items()}

    @property
    def features(self) -> int:
        """Width I of real inputs, 0 for tokens."""
        return 0 if self.tokens else int(self._x.shape[1])

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`. Each epoch is a new permutation; what does not fill the last
        batch waits for the next epoch.
        """
        if split != "train":
            yield from self._evaluation[split]
            return
        members = self._members["train"]
        size = min(self.options.batch_size, len(members))
        an_epoch = len(members) // size
        number = start
        while True:
            epoch, first = divmod(number, an_epoch)
            chosen = self._epoch(members, size, np.random.default_rng([seed, epoch]))[first:]
            yield from (
                self._groups(chosen)
                if self._uniform and "x" in self._whole and not self._beside
                else map(self._batch, chosen)
            )
            number += len(chosen)

    def _epoch(
        self, members: NDArray[Any], size: int, rng: np.random.Generator
    ) -> list[NDArray[Any]]:
        order = rng.permutation(members)[: len(members) // size * size]
        batches: list[NDArray[Any]] = []
        for pool in range(0, len(order), size * POOL):
            chosen = order[pool : pool + size * POOL]
            if not self._uniform:
                chosen = chosen[np.argsort(self._lengths[chosen], kind="stable")]
            batches.extend(chosen[k : k + size] for k in range(0, len(chosen), size))
        return [batches[k] for k in rng.permutation(len(batches))]

    def _fixed_batches(self, split: Split) -> Iterator[Batch]:
        members = self._members[split]
        members = members[np.argsort(self._lengths[members], kind="stable")]
        for k in range(0, len(members), EVALUATION_BATCH):
            yield self._batch(members[k : k + EVALUATION_BATCH])

    def _groups(self, chosen: Sequence[NDArray[Any]]) -> Iterator[Batch]:
        """What :meth:`_batch` gives for each of these, if all sequences have one length."""
        for k in range(0, len(chosen), GROUP):
            group = chosen[k : k + GROUP]
            joined = self._batch(np.concatenate(group))
            # Each batch gets memory of its own: a slice of [T, B] lies scattered.
            x = _apart(joined.x, len(group))
            y = (
                _apart(joined.y, len(group))
                if self.readout == "every"
                else joined.y.view(len(group), -1, *joined.y.shape[1:])
            )
            yield from map(Batch, x.unbind(), y.unbind())

    def _batch(self, chosen: NDArray[Any]) -> Batch:
        lengths, numbers = self._lengths[chosen], torch.from_numpy(chosen)
        longest = int(lengths.max())
        x = self._sequences(self._x, self._whole.get("x"), numbers, longest)
        if self.readout == "every":
            y = self._sequences(self._y, self._whole.get("y"), numbers, longest)
        else:
            y = self._y.index_select(0, numbers)
        same = self._uniform or int(lengths.min()) == longest
        beside = {
            name: self._sequences(values, None, numbers, longest)
            for name, values in self._beside.items()
        }
        return Batch(x, y, None if same else torch.from_numpy(lengths), beside=beside)

    def _sequences(
        self, values: torch.Tensor, whole: torch.Tensor | None, numbers: torch.Tensor, longest: int
    ) -> torch.Tensor:
        """The chosen sequences of values ``[T, B, ...]``; beyond its end a sequence repeats its
        last value.
        """
        if whole is not None:
            return whole.index_select(0, numbers)[:, :longest].transpose(0, 1).contiguous()
        return _rows(values, torch.from_numpy(self._positions(numbers.numpy(), longest).T))

    def _positions(self, chosen: NDArray[Any], longest: int) -> NDArray[Any]:
        """Where the values of the chosen sequences lie, ``[B, T]``."""
        steps: NDArray[Any] = np.minimum(np.arange(longest), self._lengths[chosen, None] - 1)
        found: NDArray[Any] = self._starts[chosen, None] + steps
        return found

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding for tokens, the cell, a linear readout of the last position, of the mean, or of
        every position.
        """
        outputs = self.classes or self.targets
        return heads.SequenceModel(
            cell_factory,
            tokens=self.tokens,
            features=self.features,
            outputs=outputs,
            readout=self.readout,
        )

    def interface(self) -> Interface:
        """Tokens or columns in, a class or values out."""
        unit = self.arrays.get("time_unit")
        if unit is None and "dt" in self.arrays:
            raise self.scaling_unknown()
        return Interface(
            inputs=self.inputs(),
            answer=self.answer(),
            readout=self.readout,
            time_unit=None if unit is None else float(unit),
        )

    def inputs(self) -> TokenInputs | FeatureInputs:
        """What the model reads: token numbers, or columns with the scaling that the arrays hold
        (``x_mean``, ``x_scale``). Raises :class:`ConfigError` if they do not.
        """
        if self.tokens:
            return TokenInputs(level="number", count=self.tokens)
        names = self.columns or tuple(f"x{k}" for k in range(self.features))
        try:
            missing = "mask" in self.arrays
            mean, scale = self.arrays["x_mean"], self.arrays["x_scale"]
            return features(names, mean, scale, missing=missing)
        except KeyError as error:
            raise self.scaling_unknown() from error

    def scaling_unknown(self) -> ConfigError:
        """The error for arrays without the scaling of their inputs."""
        return ConfigError(
            f"the data of the task {self.name} do not say how their inputs were scaled: they hold "
            "no x_mean and x_scale",
            where=f"task {self.name}",
            hint="load them again with this version",
        )

    def answer(self) -> Answer:
        """What it answers: class numbers, or values as the targets are."""
        if self.classes:
            names = tuple(map(str, range(self.classes)))
            return Answer(kind="classes", names=names, label_type="int")
        names = ("y",) if self.targets == 1 else tuple(f"y{k}" for k in range(self.targets))
        return values(names)

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy in nats, or mean squared error."""
        prediction, y = self._counted(prediction, batch)
        if self.classes:
            return nn.functional.cross_entropy(prediction, y)
        return nn.functional.mse_loss(prediction, y.to(prediction.dtype).view_as(prediction))

    def _counted(self, prediction: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Predictions and targets, one a row, without padding."""
        if self.readout != "every":
            return prediction, batch.y
        if batch.lengths is None:
            return prediction.flatten(0, 1), batch.y.flatten(0, 1)
        inside = torch.arange(len(batch.x)).unsqueeze(1) < batch.lengths
        return prediction[inside], batch.y[inside]

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Error rate and accuracy, or the mean squared error twice."""
        total, count = 0.0, 0
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                prediction, y = self._counted(batch.read_by(model)[0], batch)
                if not torch.isfinite(prediction).all():
                    return math.nan, math.nan
                if self.classes:
                    total += float((prediction.argmax(-1) == y).double().sum())
                else:
                    total += float(
                        nn.functional.mse_loss(
                            prediction, y.to(prediction.dtype).view_as(prediction)
                        )
                    ) * len(y)
                count += len(y)
        mean = total / count
        return (1.0 - mean, mean) if self.classes else (mean, mean)


def _rows(values: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """``values[numbers]``; twice as fast for small batches."""
    return values.index_select(0, numbers.flatten()).view(*numbers.shape, *values.shape[1:])


def _apart(values: torch.Tensor, count: int) -> torch.Tensor:
    """``[T, count * B, ...]`` as ``[count, T, B, ...]``."""
    return values.view(len(values), count, -1, *values.shape[2:]).transpose(0, 1).contiguous()
