"""Word problems of finite groups: which element do all elements read so far multiply to?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cellsearch.options import at_least
from cellsearch.tasks.base import Batch, CellFactory, Split
from cellsearch.tasks.formal import FormalOptions, Lengths
from cellsearch.tasks.interface import Answer, Interface, TokenInputs
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.synthetic import Example, SyntheticTask

__all__ = ["GroupWord", "GroupWordOptions", "multiplication_table"]

GroupName = Literal["s3", "a5", "s5", "z60"]


def _elements(group: GroupName) -> list[tuple[int, ...]]:
    """The elements as permutations, in lexicographic order, so that the identity comes first; those
    of Z60 as numbers.
    """
    if group == "z60":
        return [(k,) for k in range(60)]
    found = list(permutations(range(3 if group == "s3" else 5)))
    return [p for p in found if group != "a5" or _even(p)]


def _even(permutation: tuple[int, ...]) -> bool:
    pairs = [(a, b) for k, a in enumerate(permutation) for b in permutation[k + 1 :]]
    return sum(a > b for a, b in pairs) % 2 == 0


@cache
def multiplication_table(group: GroupName) -> NDArray[np.int64]:
    """``[V, V]``: element number ``a * b``, where ``(a * b)(i) = a(b(i))``; element 0 is the
    identity.
    """
    elements = _elements(group)
    if group == "z60":
        numbers = np.arange(60)
        return np.add.outer(numbers, numbers) % 60
    place = {element: number for number, element in enumerate(elements)}
    return np.array(
        [[place[tuple(a[i] for i in b)] for b in elements] for a in elements], dtype=np.int64
    )


@dataclass(frozen=True, slots=True)
class GroupWordOptions(FormalOptions):
    """Options of :class:`GroupWord`; lengths are numbers of elements."""

    min_length: Annotated[int, at_least(1)] = 2
    """Shortest word in training."""
    max_length: Annotated[int, at_least(1)] = 25
    """Longest word in training."""
    valid_lengths: Lengths = (25, 50)
    """Lengths in the validation data."""
    test_lengths: Lengths = (25, 100)
    """Lengths in the test data; they may be far longer, [100, 1024]."""
    group: GroupName = "s3"
    """S3: 6 elements, solvable; A5 (60) and S5 (120): not solvable; Z60: 60, commutative."""


class GroupWord(SyntheticTask):
    """The product of the elements of a group read so far, asked at every position.

    Definition: the word problem of Merrill, Petty & Sabharwal 2024: each token is an element of the
    group ``group``, independent and uniform; the target of position t is the product of the first t
    elements, from the identity, each new one multiplied from the right. Words of one length a
    batch, uniform in ``min_length`` to ``max_length``; longer ones show whether the cell tracks the
    state or has learned short words. S3 is solvable, A5 and S5 are not: by the usual conjecture
    (TC0 is not NC1) no fixed number of Transformer layers, S4 or Mamba tracks these at every
    length, and one layer of a nonlinear recurrence does.

    Score: error rate over all positions, mean over the lengths. Metric: accuracy; chance is 1/6 for
    S3, 1/60 for A5 and Z60, 1/120 for S5. Further numbers: the error rate at the last position of
    each length. Solved is, by the paper, above 90 %.
    """

    name: ClassVar[str] = "group_word"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = (
        "running product in a group (S3, A5, S5, Z60), trained on 2-25 elements"
    )
    source: ClassVar[str] = "Merrill, Petty & Sabharwal 2024, arXiv 2404.08819"
    Options: ClassVar[type[GroupWordOptions]] = GroupWordOptions
    options: GroupWordOptions
    group = 32

    @classmethod
    def chance(cls, options: GroupWordOptions) -> float:
        """Accuracy of who does not look at the word."""
        return 1 / len(_elements(options.group))

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: GroupWordOptions, count: int, length: int
    ) -> Example:
        """``x [T, B]`` elements and ``y [T, B]`` their products up to each position."""
        table = multiplication_table(options.group)
        x = rng.integers(0, len(table), (length, count))
        y = np.empty_like(x)
        product = np.zeros(count, dtype=np.int64)
        for t in range(length):
            product = table[product, x[t]]
            y[t] = product
        return x, y

    @classmethod
    def evaluation_lengths(cls, options: GroupWordOptions, split: Split) -> tuple[int, ...]:
        """The lengths of the split."""
        return options.valid_lengths if split == "valid" else options.test_lengths

    def training_length(self, rng: np.random.Generator) -> int:
        """Uniform in ``min_length`` to ``max_length``."""
        return int(rng.integers(self.options.min_length, self.options.max_length + 1))

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding, the cell, a linear readout at every position."""
        size = len(_elements(self.options.group))
        return heads.SequenceModel(cell_factory, tokens=size, outputs=size)

    def interface(self) -> Interface:
        """Elements in, as permutations of 1 to n (of Z60: numbers), their product out."""
        shift = 0 if self.options.group == "z60" else 1
        names = tuple(
            "".join(str(k + shift) for k in element) for element in _elements(self.options.group)
        )
        return Interface(
            inputs=TokenInputs(symbols=names, level="word"),
            answer=Answer(kind="classes", names=names),
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy over all positions, in nats."""
        return nn.functional.cross_entropy(prediction.flatten(0, 1), batch.y.flatten())

    def training_loss(
        self, model: nn.Module, batch: Batch, state: object = None
    ) -> tuple[torch.Tensor, object]:
        """See :meth:`Task.training_loss`."""
        assert isinstance(model, heads.SequenceModel)
        return model.cross_entropy(batch.x, batch.y, state)

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Error rate and accuracy over all positions, mean over the lengths."""
        right = [float(found.mean()) for found in self._right(model, split)]
        mean = sum(right) / len(right)
        return 1.0 - mean, mean

    def errors(self, model: nn.Module, split: Split) -> Mapping[str, float]:
        """``length 100``: error rate at the last position of words of that length; one for each
        length of the split.
        """
        lengths = self.evaluation_lengths(self.options, split)
        found = self._right(model, split)
        return {
            f"length {length}": 1.0 - float(right[-1].mean())
            for length, right in zip(lengths, found, strict=True)
        }

    def _right(self, model: nn.Module, split: Split) -> list[torch.Tensor]:
        """Which answers are right ``[T, B]``, for each length."""
        with heads.evaluation(model):
            return [(model(b.x)[0].argmax(-1) == b.y).double() for b in self.batches(split, 0)]
