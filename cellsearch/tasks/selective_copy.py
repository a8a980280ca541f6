"""Selective copying: repeat the symbols that stand among noise, in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.errors import ConfigError
from cellsearch.options import at_least
from cellsearch.tasks.base import Split
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import NOTHING, Example, RecallTask

__all__ = ["SelectiveCopy", "SelectiveCopyOptions"]

SYMBOLS = 8
NOISE, RECALL = SYMBOLS, SYMBOLS + 1


@dataclass(frozen=True, slots=True)
class SelectiveCopyOptions(TaskOptions):
    """Options of :class:`SelectiveCopy`."""

    length: int = 24
    """L, which holds the ``items``."""
    items: Annotated[int, at_least(1)] = 4
    """Symbols to repeat."""
    test_lengths: tuple[int, ...] = (24, 48)
    """Lengths in the test data."""
    evaluation_size: Annotated[int, at_least(1)] = 500
    """Examples of each evaluation set."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if min((self.length, *self.test_lengths)) < self.items:
            raise ConfigError(
                "the length is smaller than the number of items",
                where="length",
                hint="use a larger one",
            )


class SelectiveCopy(RecallTask):
    """Symbols at random places among noise; then they are asked for in their order.

    Definition: Jing et al. 2019 (denoise task), Gu & Dao 2023, section 3.1: unlike in copying, the
    distances are random, so the cell must decide by content what to keep. L positions hold
    ``items`` symbols (of eight) at random places and noise elsewhere; then come ``items`` recall
    marks, at which the symbols are the targets. Score: cross-entropy at the recall marks (ln 8 =
    2.079 without memory). Metric: accuracy there; chance is 1/8. The test also asks at twice the
    length.
    """

    name: ClassVar[str] = "selective_copy"
    metric: ClassVar[str] = "recall accuracy"
    summary: ClassVar[str] = "repeat four symbols that stand at random places among noise"
    source: ClassVar[str] = (
        "Jing et al. 2019, Neural Computation 31(4); Gu & Dao 2023, arXiv 2312.00752"
    )
    Options: ClassVar[type[SelectiveCopyOptions]] = SelectiveCopyOptions
    options: SelectiveCopyOptions
    tokens = SYMBOLS + 2
    symbols = (*map(str, range(SYMBOLS)), ".", "?")  # noise and recall mark last

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: SelectiveCopyOptions, count: int, length: int
    ) -> Example:
        """``x [L + items, B]`` and ``y [L + items, B]``."""
        items = rng.integers(0, SYMBOLS, (options.items, count))
        places = np.sort(
            rng.permuted(np.tile(np.arange(length), (count, 1)), axis=1)[:, : options.items], axis=1
        )
        x = np.full((length + options.items, count), NOISE, dtype=np.int64)
        x[places.T, np.arange(count)] = items
        x[length:] = RECALL
        y = np.full_like(x, NOTHING)
        y[length:] = items
        return x, y

    @classmethod
    def evaluation_lengths(cls, options: SelectiveCopyOptions, split: Split) -> tuple[int, ...]:
        """The training length, and in the test longer ones."""
        return options.test_lengths if split == "test" else (options.length,)

    def training_length(self, rng: np.random.Generator) -> int:
        """One length."""
        return self.options.length
