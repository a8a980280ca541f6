"""The copying memory problem: repeat ten symbols after a long delay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.options import at_least
from cellsearch.tasks.base import Batch, CellFactory, Split
from cellsearch.tasks.interface import Answer, Interface, TokenInputs
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import Example, SyntheticTask

__all__ = ["Copy", "CopyOptions"]

SYMBOLS = 8
BLANK, DELIMITER = SYMBOLS, SYMBOLS + 1


@dataclass(frozen=True, slots=True)
class CopyOptions(TaskOptions):
    """Options of :class:`Copy`."""

    delay: Annotated[int, at_least(1)] = 20
    """T between the symbols and their recall."""
    items: Annotated[int, at_least(1)] = 10
    """Symbols to copy."""
    evaluation_size: Annotated[int, at_least(1)] = 500
    """Examples of validation and test set."""


class Copy(SyntheticTask):
    """Ten symbols, a delay, the same ten symbols.

    Definition: Arjovsky, Shah & Bengio 2016, section 4.1, after Hochreiter & Schmidhuber 1997. Ten
    categories. The input has T + 20 positions: ten symbols drawn from eight categories, T - 1
    blanks (ninth category), a delimiter (tenth), ten blanks. The target is T + 10 blanks, then the
    ten symbols. Score: cross-entropy over all positions in nats; without memory 10 ln 8 / (T + 20)
    = 0.520 for T = 20. Metric: accuracy of the ten recalled symbols; chance is 1/8.
    """

    name: ClassVar[str] = "copy"
    metric: ClassVar[str] = "recall accuracy"
    summary: ClassVar[str] = "repeat ten symbols after a delay (T = 20)"
    source: ClassVar[str] = "Arjovsky et al. 2016, arXiv 1511.06464, section 4.1"
    Options: ClassVar[type[CopyOptions]] = CopyOptions
    options: CopyOptions

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: CopyOptions, count: int, length: int
    ) -> Example:
        """``x [T + 20, B]`` and ``y [T + 20, B]``; ``length`` is T + 20."""
        items = rng.integers(0, SYMBOLS, (options.items, count))
        x = np.full((length, count), BLANK, dtype=np.int64)
        y = np.full((length, count), BLANK, dtype=np.int64)
        x[: options.items] = items
        x[-options.items - 1] = DELIMITER
        y[-options.items :] = items
        return x, y

    @classmethod
    def evaluation_lengths(cls, options: CopyOptions, split: Split) -> tuple[int, ...]:
        """One length for all."""
        return (options.delay + 2 * options.items,)

    def training_length(self, rng: np.random.Generator) -> int:
        """The same length."""
        return self.options.delay + 2 * self.options.items

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding, the cell, a linear readout at every position."""
        return heads.SequenceModel(cell_factory, tokens=SYMBOLS + 2, outputs=SYMBOLS + 1)

    def interface(self) -> Interface:
        """Symbols, blanks (``_``) and the delimiter (``:``) in, symbols and blanks out."""
        symbols = (*map(str, range(SYMBOLS)), "_")
        return Interface(
            inputs=TokenInputs(symbols=(*symbols, ":")),
            answer=Answer(kind="classes", names=symbols),
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy over all positions, in nats."""
        return nn.functional.cross_entropy(prediction.flatten(0, 1), batch.y.flatten())

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Cross-entropy, and accuracy over the last ten positions."""
        (batch,) = self.batches(split, 0)
        with heads.evaluation(model):
            prediction, _ = model(batch.x)
            recalled = slice(-self.options.items, None)
            right = prediction[recalled].argmax(-1) == batch.y[recalled]
            return float(self.loss(prediction, batch)), float(right.double().mean())
