"""What the tasks of formal languages have in common: a string, then blanks at which the answer is
read, on lengths far beyond those of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError
from cellsearch.options import at_least
from cellsearch.tasks.base import Batch, CellFactory, Split
from cellsearch.tasks.interface import Answer, Interface, TokenInputs
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import SyntheticTask

__all__ = ["CHOMSKY", "FormalLanguage", "FormalOptions"]

CHOMSKY = "Deletang et al. 2023, arXiv 2207.02098"
END = 2
"""The answer after which nothing counts, of tasks whose answers differ in length."""
Lengths = Annotated[tuple[Annotated[int, at_least(1)], ...], at_least(1)]


@dataclass(frozen=True, slots=True)
class FormalOptions(TaskOptions):
    """Options of a :class:`FormalLanguage`; lengths are those of the string, without the blanks."""

    batch_size: Annotated[int, at_least(1)] = 128
    """B, strings in a training batch."""
    min_length: Annotated[int, at_least(1)] = 1
    """Shortest string in training; a task that needs more takes what it needs."""
    max_length: Annotated[int, at_least(1)] = 40
    """Longest string in training."""
    valid_lengths: Lengths = (40, 80)
    """Lengths in the validation data."""
    test_lengths: Lengths = (41, 92, 143, 194, 245, 296, 347, 398, 449, 500)
    """Lengths in the test data: ten, evenly from 41 to 500."""
    evaluation_size: Annotated[int, at_least(1)] = 200
    """Strings of each length."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if self.min_length > self.max_length:
            raise ConfigError(
                f"the shortest length, {self.min_length}, is longer than the longest",
                where="min_length",
                hint=f"at most max_length, which is {self.max_length}",
            )


class FormalLanguage(SyntheticTask):
    """A string of symbols, then a blank for each symbol of the answer, at which the answer is
    given.

    ``x [T + Q, B]``; the last symbol of the alphabet is the blank. ``y [B]`` where ``single`` (one
    blank), else ``[Q, B]``. Where ``ends``, the answer closes with the class ``END`` and is filled
    up with zeros, which are learned but do not count in the score, as with the authors.

    The authors give symbols as one-hot vectors; here they are embedded, which for a cell that
    multiplies its input by a matrix is the same family of functions.
    """

    metric: ClassVar[str] = "accuracy"
    source: ClassVar[str] = CHOMSKY
    Options: ClassVar[type[FormalOptions]] = FormalOptions
    options: FormalOptions
    symbols: ClassVar[tuple[str, ...]]
    """The text of each token, the blank last."""
    answers: ClassVar[tuple[str, ...]]
    """The text of each class of the answer."""
    single: ClassVar[bool] = True
    """Whether the answer is one symbol."""
    ends: ClassVar[bool] = False
    """Whether the answer ends before the last blank."""
    shortest: ClassVar[int] = 1
    """The shortest string that the task is defined for."""
    group: ClassVar[int] = 32

    @classmethod
    def chance(cls, options: Any) -> float:
        """About the accuracy of the best answer that is always the same."""
        return 0.5 if cls.ends else 1 / len(cls.answers)

    @classmethod
    def evaluation_lengths(cls, options: FormalOptions, split: Split) -> tuple[int, ...]:
        """The lengths of the split, none below the shortest."""
        lengths = options.valid_lengths if split == "valid" else options.test_lengths
        return tuple(max(length, cls.shortest) for length in lengths)

    @classmethod
    def with_blanks(cls, x: NDArray[np.int64], blanks: int = 1) -> NDArray[np.int64]:
        """A string ``x [T, B]``, then so many blanks."""
        blank = len(cls.symbols) - 1
        return np.concatenate([x, np.full((blanks, x.shape[1]), blank, dtype=np.int64)])

    def training_length(self, rng: np.random.Generator) -> int:
        """Uniform in ``min_length`` to ``max_length``."""
        least = max(self.options.min_length, self.shortest)
        return int(rng.integers(least, max(least, self.options.max_length) + 1))

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding, the cell, a linear readout of the last position or of every one."""
        return heads.SequenceModel(
            cell_factory,
            tokens=len(self.symbols),
            outputs=len(self.answers),
            readout="last" if self.single else "every",
        )

    def interface(self) -> Interface:
        """The string and its blanks in, the answer at the blanks out."""
        return Interface(
            inputs=TokenInputs(symbols=self.symbols),
            answer=Answer(kind="classes", names=self.answers),
            readout="last" if self.single else "every",
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy at the blanks, in nats."""
        if self.single:
            return nn.functional.cross_entropy(prediction, batch.y)
        asked = prediction[-len(batch.y) :]
        return nn.functional.cross_entropy(asked.flatten(0, 1), batch.y.flatten())

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Error rate and accuracy, mean over the lengths."""
        accuracy = self.accuracies(model, split)
        mean = sum(accuracy) / len(accuracy)
        return 1.0 - mean, mean

    def errors(self, model: nn.Module, split: Split) -> Mapping[str, float]:
        """``length 500``: the error rate at each length of the split."""
        lengths = self.evaluation_lengths(self.options, split)
        found = zip(lengths, self.accuracies(model, split), strict=True)
        return {f"length {length}": 1.0 - accuracy for length, accuracy in found}

    def accuracies(self, model: nn.Module, split: Split) -> list[float]:
        """Accuracy at each length of the split."""
        with heads.evaluation(model):
            return [
                self.share_right(model(batch.x)[0].argmax(-1), batch.y)
                for batch in self.batches(split, 0)
            ]

    @classmethod
    def share_right(cls, given: torch.Tensor, y: torch.Tensor) -> float:
        """Share of the answers ``given`` that count and are right. ``given``: a class at each blank
        (other positions may stand before them).
        """
        right = (given if cls.single else given[-len(y) :]) == y
        if cls.ends:
            ended = (y == END).cumsum(0)
            right = right[(ended == 0) | ((ended == 1) & (y == END))]
        return float(right.double().mean())
