"""Parity of a bit string, trained on short strings and tested on longer ones."""

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

__all__ = ["ModularSum", "Parity", "ParityOptions"]


@dataclass(frozen=True, slots=True)
class ParityOptions(TaskOptions):
    """Options of :class:`Parity` and :class:`ModularSum`; lengths are numbers of digits."""

    max_length: Annotated[int, at_least(1)] = 20
    """Longest string in training; the shortest has 1."""
    valid_lengths: Annotated[tuple[Annotated[int, at_least(1)], ...], at_least(1)] = (20, 40)
    """Lengths in the validation data."""
    test_lengths: Annotated[tuple[Annotated[int, at_least(1)], ...], at_least(1)] = (20, 40, 100)
    """Lengths in the test data."""
    evaluation_size: Annotated[int, at_least(1)] = 500
    """Examples of each length."""


class Parity(SyntheticTask):
    """Whether a string of bits holds an odd number of ones.

    Definition: Deletang et al. 2023 (regular tasks), as used by Beck et al. 2024 and Grazzi et al.
    2025: strings of independent fair bits, the answer is asked after the last bit, and lengths
    beyond training show whether the rule was learned. A training batch holds strings of one length,
    uniform in 1 to ``max_length``. Score: error rate, mean over the lengths (20 and 40 in
    validation, 20, 40 and 100 in the test). Metric: accuracy; chance is 0.5. Linear recurrences
    with coefficients in [0, 1] cannot solve it at any length (Grazzi et al. 2025).
    """

    name: ClassVar[str] = "parity"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "parity of bit strings, trained on 1-20 bits, tested on up to 100"
    source: ClassVar[str] = (
        "Deletang et al. 2023, arXiv 2207.02098; Grazzi et al. 2025, arXiv 2411.12537"
    )
    Options: ClassVar[type[ParityOptions]] = ParityOptions
    options: ParityOptions
    modulus: ClassVar[int] = 2

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: ParityOptions, count: int, length: int
    ) -> Example:
        """``x [T, B]`` digits and ``y [B]`` their sum modulo ``modulus``."""
        digits = rng.integers(0, cls.modulus, (length, count))
        return digits, digits.sum(0) % cls.modulus

    @classmethod
    def evaluation_lengths(cls, options: ParityOptions, split: Split) -> tuple[int, ...]:
        """The lengths of the split."""
        return options.valid_lengths if split == "valid" else options.test_lengths

    def training_length(self, rng: np.random.Generator) -> int:
        """Uniform in 1 to ``max_length``."""
        return int(rng.integers(1, self.options.max_length + 1))

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding, the cell, a linear readout of the last position."""
        return heads.SequenceModel(
            cell_factory, tokens=self.modulus, outputs=self.modulus, readout="last"
        )

    def interface(self) -> Interface:
        """Digits in, their sum modulo ``modulus`` out."""
        digits = tuple(map(str, range(self.modulus)))
        return Interface(
            inputs=TokenInputs(symbols=digits),
            answer=Answer(kind="classes", names=digits, label_type="int"),
            readout="last",
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy, in nats."""
        return nn.functional.cross_entropy(prediction, batch.y)

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Error rate and accuracy, mean over the lengths."""
        accuracy = self.accuracies(model, split)
        mean = sum(accuracy) / len(accuracy)
        return 1.0 - mean, mean

    def accuracies(self, model: nn.Module, split: Split) -> list[float]:
        """Accuracy at each length of the split."""
        with heads.evaluation(model):
            return [
                float((model(b.x)[0].argmax(-1) == b.y).double().mean())
                for b in self.batches(split, 0)
            ]


class ModularSum(Parity):
    """The sum of the digits 0 to 4 of a string, modulo 5.

    Definition: the regular task of Deletang et al. 2023 without brackets and signs: a cyclic group
    of five states instead of the two of parity. Lengths, score and metric as in :class:`Parity`:
    score is the error rate, metric the accuracy; chance is 0.2.
    """

    name: ClassVar[str] = "modular_sum"
    summary: ClassVar[str] = "sum of digits modulo 5, trained on 1-20 digits, tested on up to 100"
    source: ClassVar[str] = "Deletang et al. 2023, arXiv 2207.02098"
    modulus: ClassVar[int] = 5
