from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from cellsearch.options import at_least
from cellsearch.tasks.base import Batch, CellFactory, Split
from cellsearch.tasks.heads import SequenceModel, evaluation
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import Example, SyntheticTask


@dataclass(frozen=True)
class MajorityOptions(TaskOptions):
    length: Annotated[int, at_least(1)] = 9
    """T of the strings, odd."""
    evaluation_size: Annotated[int, at_least(1)] = 200
    """Examples of the validation and of the test set."""


class Majority(SyntheticTask):
    """Whether a string of bits has more ones than zeros. Metric: accuracy; score: error rate."""

    name: ClassVar[str] = "majority"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "the more frequent bit of a string"
    source: ClassVar[str] = "an example"
    Options: ClassVar[type[MajorityOptions]] = MajorityOptions
    options: MajorityOptions

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: MajorityOptions, count: int, length: int
    ) -> Example:
        bits = rng.integers(0, 2, (length, count))
        return bits, (2 * bits.sum(0) > length).astype(np.int64)

    @classmethod
    def evaluation_lengths(cls, options: MajorityOptions, split: Split) -> tuple[int, ...]:
        return (options.length,)

    def training_length(self, rng: np.random.Generator) -> int:
        return self.options.length

    def model(self, cell_factory: CellFactory) -> torch.nn.Module:
        return SequenceModel(cell_factory, tokens=2, outputs=2, readout="last")

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(prediction, batch.y)

    def score(self, model: torch.nn.Module, split: Split) -> tuple[float, float]:
        with evaluation(model):
            (batch,) = self.batches(split, 0)
            right = float((model(batch.x)[0].argmax(1) == batch.y).double().mean())
        return 1 - right, right
