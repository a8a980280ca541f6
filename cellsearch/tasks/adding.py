"""The adding problem: remember two marked numbers over a long time and add them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.options import at_least
from cellsearch.tasks.base import Batch, CellFactory, Split
from cellsearch.tasks.interface import Interface, features, values
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import Example, SyntheticTask

__all__ = ["Adding", "AddingOptions"]


@dataclass(frozen=True, slots=True)
class AddingOptions(TaskOptions):
    """Options of :class:`Adding`."""

    length: Annotated[int, at_least(2)] = 50
    """T of the sequences."""
    evaluation_size: Annotated[int, at_least(1)] = 1000
    """Examples of the validation and of the test set."""


class Adding(SyntheticTask):
    """The sum of two marked numbers.

    Idea: Hochreiter & Schmidhuber 1997, experiment 4. Variant: Le, Jaitly & Hinton 2015, section
    4.1: at each of T steps the input is a number uniform in [0, 1) and a mark that is 1 at two
    positions and 0 elsewhere; the target is the sum of the two marked numbers. As in Arjovsky et
    al. 2016, section 4.2, one mark is in the first half, the other in the second. Metric and score:
    mean squared error at the last step. Always answering 1 gives 1/6 = 0.1667.
    """

    name: ClassVar[str] = "adding"
    metric: ClassVar[str] = "mean squared error"
    summary: ClassVar[str] = "add two marked numbers of a long sequence (T = 50)"
    source: ClassVar[str] = (
        "Hochreiter & Schmidhuber 1997, Neural Computation 9(8); variant of Le et al. "
        "2015, arXiv 1504.00941"
    )
    bidirectional: ClassVar[bool] = True
    Options: ClassVar[type[AddingOptions]] = AddingOptions
    options: AddingOptions

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: AddingOptions, count: int, length: int
    ) -> Example:
        """``x [T, B, 2]`` (number, mark) and ``y [B]``."""
        x = np.zeros((length, count, 2), dtype=np.float32)
        x[:, :, 0] = rng.random((length, count), dtype=np.float32)
        columns = np.arange(count)
        marked = (rng.integers(0, length // 2, count), rng.integers(length // 2, length, count))
        for rows in marked:
            x[rows, columns, 1] = 1.0
        return x, x[marked[0], columns, 0] + x[marked[1], columns, 0]

    @classmethod
    def evaluation_lengths(cls, options: AddingOptions, split: Split) -> tuple[int, ...]:
        """One length for all."""
        return (options.length,)

    def training_length(self, rng: np.random.Generator) -> int:
        """The same length."""
        return self.options.length

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """The cell and a linear readout of the last position."""
        return heads.SequenceModel(cell_factory, features=2, outputs=1, readout="last")

    def interface(self) -> Interface:
        """Numbers and marks in, the sum out."""
        return Interface(
            inputs=features(("number", "mark")), answer=values(("sum",)), readout="last"
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean squared error."""
        return nn.functional.mse_loss(prediction.squeeze(1), batch.y.to(prediction.dtype))

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Mean squared error, for both."""
        with heads.evaluation(model):
            errors = [
                float(self.loss(model(batch.x)[0], batch)) for batch in self.batches(split, 0)
            ]
        return sum(errors) / len(errors), sum(errors) / len(errors)
