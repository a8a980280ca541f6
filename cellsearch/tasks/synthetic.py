"""What generated tasks have in common: batches that depend on nothing but seed and number, and
fixed validation and test sets.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task, writable
from cellsearch.tasks.interface import Answer, Interface, TokenInputs
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions, parse_options

__all__ = ["NOTHING", "RecallTask", "SyntheticTask", "seeded"]

Example = (
    tuple[NDArray[Any], NDArray[Any]]
    | tuple[NDArray[Any], NDArray[Any], Mapping[str, NDArray[Any]]]
)
NOTHING = -100
"""Target of a position at which nothing is asked."""
_SPLITS = {"valid": 1, "test": 2}


def seeded(rng: np.random.Generator) -> Random:
    """A generator of Python's own that follows from ``rng``."""
    return Random(int(rng.integers(2**63)))


class SyntheticTask(Task):
    """A task whose examples are generated.

    Training batches are generated many at once, those of group g of seed s from ``default_rng([s,
    g])``: they never repeat, any of them can be the next, and what a batch costs does not show
    beside a training step. Validation and test examples come from ``default_rng([2**32 - 1, 1 or 2,
    ...])``: the same for every seed, and no training batch.
    """

    group: ClassVar[int] = 128
    """Training batches that are generated at once."""

    @classmethod
    @abstractmethod
    def generate(cls, rng: np.random.Generator, options: Any, count: int, length: int) -> Example:
        """``count`` examples of one length: inputs ``[T, count, ...]`` and targets; maybe what a
        step is given beside x, by the names of :attr:`Batch.beside`, each ``[T, count, ...]``.
        """

    @classmethod
    @abstractmethod
    def evaluation_lengths(cls, options: Any, split: Split) -> tuple[int, ...]:
        """Lengths of the examples of a split, one batch each."""

    @abstractmethod
    def training_length(self, rng: np.random.Generator) -> int:
        """Length of the examples of a training batch."""

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Generate the validation and test sets: ``valid_<k>_x``, ``valid_<k>_y``, ..."""
        parsed: Any = parse_options(cls.Options, options)
        arrays: dict[str, NDArray[Any]] = {}
        for split, number in _SPLITS.items():
            for k, length in enumerate(cls.evaluation_lengths(parsed, split)):  # type: ignore[arg-type]
                rng = np.random.default_rng([2**32 - 1, number, k])
                x, y, *beside = cls.generate(rng, parsed, parsed.evaluation_size, length)
                parts = {"x": x, "y": y, **(beside[0] if beside else {})}
                arrays.update({f"{split}_{k}_{name}": part for name, part in parts.items()})
        return arrays

    def __init__(self, options: TaskOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self._evaluation = {
            split: [
                _batch(arrays, f"{split}_{k}_")
                for k in range(len(self.evaluation_lengths(options, split)))  # type: ignore[arg-type]
            ]
            for split in _SPLITS
        }

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`."""
        if split != "train":
            yield from self._evaluation[split]
            return
        group, first = divmod(start, self.group)
        while True:
            yield from self._group(np.random.default_rng([seed, group]))[first:]
            group, first = group + 1, 0

    def _group(self, rng: np.random.Generator) -> list[Batch]:
        """A group of training batches: each draws its length, then all examples of one length are
        generated together.
        """
        size = self.options.batch_size
        lengths = [self.training_length(rng) for _ in range(self.group)]
        batches: list[Batch | None] = [None] * self.group
        for length in sorted(set(lengths)):
            members = [k for k, found in enumerate(lengths) if found == length]
            made = self.generate(rng, self.options, size * len(members), length)
            x, y = torch.from_numpy(made[0]), torch.from_numpy(made[1])
            given = {
                name: torch.split(torch.from_numpy(part), size, 1)
                for name, part in (made[2] if len(made) == 3 else {}).items()
            }
            along = 1 if y.dim() > 1 else 0  # targets of whole sequences are [B]
            parts = zip(members, torch.split(x, size, 1), torch.split(y, size, along), strict=True)
            for place, (k, x_part, y_part) in enumerate(parts):
                beside = {name: part[place].contiguous() for name, part in given.items()}
                batches[k] = Batch(x_part.contiguous(), y_part.contiguous(), beside=beside)
        return [batch for batch in batches if batch is not None]


def _batch(arrays: Arrays, prefix: str) -> Batch:
    """The batch of the arrays whose names begin so."""
    parts = {
        name.removeprefix(prefix): torch.from_numpy(writable(array))
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    return Batch(parts.pop("x"), parts.pop("y"), beside=parts)


class RecallTask(SyntheticTask):
    """Tokens in, a token out at the positions where something is asked (targets elsewhere are
    ``NOTHING``).

    Score: cross-entropy at those positions, in nats. Metric: accuracy at those positions.
    """

    tokens: ClassVar[int]
    symbols: ClassVar[tuple[str, ...]]
    """The text of each token."""

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding, the cell, a linear readout at every position."""
        return heads.SequenceModel(cell_factory, tokens=self.tokens, outputs=self.tokens)

    def interface(self) -> Interface:
        """Tokens in, tokens out."""
        words = any(len(symbol) > 1 for symbol in self.symbols)
        return Interface(
            inputs=TokenInputs(symbols=self.symbols, level="word" if words else "character"),
            answer=Answer(kind="classes", names=self.symbols),
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy where something is asked, in nats."""
        return nn.functional.cross_entropy(
            prediction.flatten(0, 1), batch.y.flatten(), ignore_index=NOTHING
        )

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Cross-entropy and accuracy where something is asked."""
        losses, right = [], []
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                prediction, _ = batch.read_by(model)
                asked = batch.y != NOTHING
                losses.append(float(self.loss(prediction, batch)))
                right.append(float((prediction.argmax(-1) == batch.y)[asked].double().mean()))
        return sum(losses) / len(losses), sum(right) / len(right)
