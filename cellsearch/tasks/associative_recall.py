"""Associative recall: which value was stored with this key?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.errors import ConfigError
from cellsearch.options import at_least, between
from cellsearch.tasks.base import Split
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import NOTHING, Example, RecallTask

__all__ = ["AssociativeRecall", "AssociativeRecallOptions"]

KEYS = 32
FILLER = 0


@dataclass(frozen=True, slots=True)
class AssociativeRecallOptions(TaskOptions):
    """Options of :class:`AssociativeRecall`."""

    pairs: Annotated[int, between(1, KEYS - 1)] = 4
    """Pairs of key and value."""
    length: int = 32
    """T of the sequence that holds pairs and questions."""
    evaluation_size: Annotated[int, at_least(1)] = 500
    """Examples of each evaluation set."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if self.length < 3 * self.pairs:
            raise ConfigError(
                f"{self.pairs} pairs in {self.length} positions",
                where="length",
                hint="three positions a pair are needed",
            )


class AssociativeRecall(RecallTask):
    """Pairs of key and value, then the keys again at random positions: answer with the value.

    Definition: multi-query associative recall of Arora et al. 2023, after Ba et al. 2016:
    vocabulary of 64 tokens (filler, 31 keys, 32 values); the first positions hold ``pairs``
    different keys, each followed by its value; in the rest each key stands once, at a random
    position, where its value is the target. Score: cross-entropy at the questions. Metric: accuracy
    there. Knowing only which values occurred gives 1 / pairs. Reference (4 pairs, 32 positions,
    width 128): GRU .29, LSTM .28, tanh RNN .10: recurrent cells of this size hardly leave the
    plateau.
    """

    name: ClassVar[str] = "associative_recall"
    metric: ClassVar[str] = "recall accuracy"
    summary: ClassVar[str] = (
        "answer with the value that was stored with a key (4 pairs, 32 positions)"
    )
    source: ClassVar[str] = "Arora et al. 2023, arXiv 2312.04927; Ba et al. 2016, arXiv 1610.06258"
    Options: ClassVar[type[AssociativeRecallOptions]] = AssociativeRecallOptions
    options: AssociativeRecallOptions
    tokens = 2 * KEYS
    symbols = ("-", *(f"k{k}" for k in range(1, KEYS)), *(f"v{k}" for k in range(KEYS)))

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: AssociativeRecallOptions, count: int, length: int
    ) -> Example:
        """``x [T, B]`` and ``y [T, B]``."""
        pairs, columns = options.pairs, np.arange(count)
        keys = rng.permuted(np.tile(np.arange(1, KEYS), (count, 1)), axis=1)[:, :pairs].T
        values = rng.integers(KEYS, 2 * KEYS, (pairs, count))
        x = np.full((length, count), FILLER, dtype=np.int64)
        x[0 : 2 * pairs : 2], x[1 : 2 * pairs : 2] = keys, values
        places = rng.permuted(np.tile(np.arange(2 * pairs, length), (count, 1)), axis=1)[
            :, :pairs
        ].T
        y = np.full_like(x, NOTHING)
        x[places, columns], y[places, columns] = keys, values
        return x, y

    @classmethod
    def evaluation_lengths(cls, options: AssociativeRecallOptions, split: Split) -> tuple[int, ...]:
        """One length for all."""
        return (options.length,)

    def training_length(self, rng: np.random.Generator) -> int:
        """The same length."""
        return self.options.length
