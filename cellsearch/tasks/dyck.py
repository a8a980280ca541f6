"""Dyck languages: which brackets may come next?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.errors import ConfigError
from cellsearch.options import at_least
from cellsearch.tasks.base import Batch, CellFactory, Split
from cellsearch.tasks.interface import Answer, Interface, TokenInputs
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import Example, SyntheticTask

__all__ = ["Dyck1", "Dyck2", "DyckOptions"]


@dataclass(frozen=True, slots=True)
class DyckOptions(TaskOptions):
    """Options of the Dyck languages; lengths are numbers of brackets, even ones."""

    max_length: Annotated[int, at_least(2)] = 30
    """Longest string in training; the shortest has 2."""
    valid_lengths: Annotated[tuple[Annotated[int, at_least(2)], ...], at_least(1)] = (30, 60)
    """Lengths in the validation data."""
    test_lengths: Annotated[tuple[Annotated[int, at_least(2)], ...], at_least(1)] = (30, 60, 120)
    """Lengths in the test data."""
    evaluation_size: Annotated[int, at_least(1)] = 300
    """Examples of each length."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        for name in ("valid_lengths", "test_lengths"):
            lengths = getattr(self, name)
            if any(length % 2 for length in lengths):
                raise ConfigError(
                    f"{list(lengths)} are not lengths of balanced strings",
                    where=name,
                    hint="even, 2 or more",
                )


class Dyck1(SyntheticTask):
    """Balanced strings of one kind of bracket: say after each bracket which may come next.

    Definition: set prediction on Dyck words as in Suzgun et al. 2019 (after Gers & Schmidhuber
    2001). An opening bracket may always come; a closing one where something is open, and it must be
    of the kind opened last. Strings are drawn uniformly step by step: at each position opening or
    closing with equal chance as far as the string can still be balanced at its end. Score: share of
    positions where the predicted set is wrong, mean over the lengths. Metric: share of strings
    without any wrong position. The longer lengths show whether counting was learned: training
    strings have 2 to 30 brackets, the test has 30, 60 and 120.
    """

    name: ClassVar[str] = "dyck1"
    metric: ClassVar[str] = "strings without error"
    summary: ClassVar[str] = (
        "which brackets may come next, one kind, trained on 2-30, tested on up to 120"
    )
    source: ClassVar[str] = "Suzgun et al. 2019, arXiv 1906.03648"
    Options: ClassVar[type[DyckOptions]] = DyckOptions
    options: DyckOptions
    kinds: ClassVar[int] = 1
    group: ClassVar[int] = 512  # a position costs the same for many strings as for few

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: DyckOptions, count: int, length: int
    ) -> Example:
        """``x [T, B]`` brackets (opening 0 to k - 1, closing k to 2k - 1) and ``y [T, B, k]``:
        which closing bracket may come next.
        """
        kinds = cls.kinds
        x = np.zeros((length, count), dtype=np.int64)
        tops, depths = np.zeros_like(x), np.zeros_like(x)
        stack = np.zeros(
            (length // 2 + 1) * count, dtype=np.int64
        )  # a row of count for each depth; flat, because that is faster
        columns = np.arange(count)
        depth, place, top = np.zeros(count, dtype=np.int64), columns, stack[:count]
        for t in range(length):
            opens = (rng.random(count) < 0.5) & (depth < length - t) | (depth == 0)
            kind = rng.integers(0, kinds, count)
            x[t] = np.where(opens, kind, kinds + top)
            stack[place] = (
                # above the top where a bracket closes: nobody reads it before it is written again
                kind
            )
            step = 2 * opens - 1
            depth, place = depth + step, place + count * step
            top = stack.take(np.maximum(place - count, columns))
            tops[t], depths[t] = top, depth
        y = (tops[:, :, None] == np.arange(kinds)) & (depths > 0)[:, :, None]
        return x, y.astype(np.float32)

    @classmethod
    def evaluation_lengths(cls, options: DyckOptions, split: Split) -> tuple[int, ...]:
        """The lengths of the split."""
        return options.valid_lengths if split == "valid" else options.test_lengths

    def training_length(self, rng: np.random.Generator) -> int:
        """Even, uniform in 2 to ``max_length``."""
        return 2 * int(rng.integers(1, self.options.max_length // 2 + 1))

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding, the cell, one logistic output for each kind of closing bracket."""
        return heads.SequenceModel(cell_factory, tokens=2 * self.kinds, outputs=self.kinds)

    def interface(self) -> Interface:
        """Brackets in, which closing ones may come next out."""
        opening, closing = (tuple(side[: self.kinds]) for side in ("([", ")]"))
        return Interface(
            inputs=TokenInputs(symbols=(*opening, *closing)),
            answer=Answer(kind="bits", names=closing),
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Binary cross-entropy, in nats an output."""
        return nn.functional.binary_cross_entropy_with_logits(
            prediction, batch.y.to(prediction.dtype)
        )

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Share of wrong positions, share of strings without one."""
        wrong_positions, right_strings = [], []
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                wrong = ((model(batch.x)[0] > 0) != (batch.y > 0.5)).any(-1)
                wrong_positions.append(float(wrong.double().mean()))
                right_strings.append(1.0 - float(wrong.any(0).double().mean()))
        return sum(wrong_positions) / len(wrong_positions), sum(right_strings) / len(right_strings)


class Dyck2(Dyck1):
    """Balanced strings of two kinds of brackets: say after each bracket which may come next.

    As :class:`Dyck1`, with the same score and metric; the kind of the closing bracket needs a
    stack, not only a counter.
    """

    name: ClassVar[str] = "dyck2"
    summary: ClassVar[str] = (
        "which brackets may come next, two kinds, trained on 2-30, tested on up to 120"
    )
    source: ClassVar[str] = "Suzgun et al. 2019, arXiv 1911.03329"
    kinds: ClassVar[int] = 2
