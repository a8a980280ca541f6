"""The language a^n b^n c^n: which letter may come next?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task
from cellsearch.tasks.interface import Answer, Interface, TokenInputs
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions, parse_options

__all__ = ["AnBnCn", "AnBnCnOptions"]

LETTERS = 3
GROUP = 64
"""Training batches that are drawn at once and sorted by length, so that they are hardly padded."""
START, END = 3, 3
"""The start is a fourth input, the end a fourth output."""


@dataclass(frozen=True, slots=True)
class AnBnCnOptions(TaskOptions):
    """Options of :class:`AnBnCn`; evaluation begins at n = 1."""

    max_n: Annotated[int, at_least(1)] = 10
    """Largest n in training."""
    valid_n: Annotated[int, at_least(1)] = 15
    """Largest n of the validation set."""
    test_n: Annotated[int, at_least(1)] = 30
    """Largest n of the test set."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if self.valid_n == self.test_n:
            raise ConfigError(
                "validation and test would be the same", where="test_n", hint="use another number"
            )


class AnBnCn(Task):
    """Strings a^n b^n c^n: say after each letter which may come next.

    Definition: Gers & Schmidhuber 2001: input is a start mark, then n times a, b and c; the next
    symbol is to be predicted, as a set where more than one may come (after an a: a or b). So after
    the first b everything is determined, and n must have been counted. Training: n uniform in 1 to
    10, strings of similar length side by side. Validation: n = 1 to 15, test: n = 1 to 30, one
    string each. Score: share of positions where the predicted set is wrong, over all strings.
    Metric: share of strings without any wrong position. Reference: Gers & Schmidhuber's LSTM,
    trained on n up to 10, generalises on average to n = 52 after 20,000 to 50,000 strings.
    """

    name: ClassVar[str] = "anbncn"
    metric: ClassVar[str] = "strings without error"
    summary: ClassVar[str] = (
        "which letter may come next in a^n b^n c^n, trained on n = 1-10, tested on n = 1-30"
    )
    source: ClassVar[str] = "Gers & Schmidhuber 2001, IEEE Transactions on Neural Networks 12(6)"
    Options: ClassVar[type[AnBnCnOptions]] = AnBnCnOptions
    options: AnBnCnOptions

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """The values of n in evaluation."""
        parsed = parse_options(cls.Options, options)
        return {"valid": np.arange(1, parsed.valid_n + 1), "test": np.arange(1, parsed.test_n + 1)}

    def __init__(self, options: AnBnCnOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self._evaluation = {split: _strings(arrays[split]) for split in ("valid", "test")}
        self._training = _strings(np.arange(1, options.max_n + 1))

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`."""
        if split != "train":
            yield self._evaluation[split]
            return
        group, first = divmod(start, GROUP)
        while True:
            rng = np.random.default_rng([seed, group])
            drawn = np.sort(
                rng.integers(1, self.options.max_n + 1, GROUP * self.options.batch_size)
            ).reshape(GROUP, -1)
            for n in torch.from_numpy(drawn[rng.permutation(GROUP)[first:]]):
                yield self._chosen(n)
            group, first = group + 1, 0

    def _chosen(self, n: torch.Tensor) -> Batch:
        """The strings for these n, in rising order, out of those made beforehand."""
        every, columns, lengths = self._training, n - 1, 3 * n + 1
        longest = int(lengths[-1])
        return Batch(
            every.x[:longest].index_select(1, columns),
            every.y[:longest].index_select(1, columns),
            lengths,
        )

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding, the cell, one logistic output for each symbol that may come."""
        return heads.SequenceModel(cell_factory, tokens=LETTERS + 1, outputs=LETTERS + 1)

    def interface(self) -> Interface:
        """The start mark and letters in, what may come next out."""
        letters = ("a", "b", "c")
        return Interface(
            inputs=TokenInputs(symbols=(*letters, "<start>"), level="word"),
            answer=Answer(kind="bits", names=(*letters, "<end>")),
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Binary cross-entropy over the positions of the strings, in nats an output."""
        inside = _inside(batch)
        return nn.functional.binary_cross_entropy_with_logits(
            prediction[inside], batch.y[inside].to(prediction.dtype)
        )

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Share of wrong positions, share of strings without one."""
        (batch,) = self.batches(split, 0)
        with heads.evaluation(model):
            prediction, _ = model(batch.x, None, batch.lengths)
        wrong = ((prediction > 0) != (batch.y > 0.5)).any(-1) & _inside(batch)
        positions = int(_inside(batch).sum())
        return float(wrong.sum()) / positions, 1.0 - float(wrong.any(0).double().mean())


def _inside(batch: Batch) -> torch.Tensor:
    assert batch.lengths is not None
    return torch.arange(len(batch.x)).unsqueeze(1) < batch.lengths


def _strings(n: NDArray[Any]) -> Batch:
    """One string for each n: ``x [T, B]`` start mark and letters, ``y [T, B, 4]`` which of a, b, c,
    end may come next.
    """
    lengths = 3 * n + 1
    t = np.arange(lengths.max())[:, None]
    letter = np.clip((t - 1) // n, 0, LETTERS - 1)
    x = np.where(t == 0, START, letter)
    follows = np.clip(t // n, 0, END)
    y = np.zeros((*x.shape, LETTERS + 1), dtype=np.float32)
    np.put_along_axis(y, follows[:, :, None], 1.0, axis=2)
    # While there are only a's, another one may come; after the last one that n allows for, too:
    # nobody knows n yet.
    y[..., 0] = np.where(t <= n, 1.0, y[..., 0])
    y[..., 1] = np.where((t >= 1) & (t <= n), 1.0, y[..., 1])
    return Batch(
        torch.from_numpy(x.astype(np.int64)),
        torch.from_numpy(y),
        torch.from_numpy(lengths.astype(np.int64)),
    )
