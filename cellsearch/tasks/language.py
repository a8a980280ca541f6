"""Language modelling over one long stream of tokens: what character and word tasks have in common.

The model reads B contiguous pieces of the text side by side and carries its state from one segment
to the next (truncated backpropagation through time, Williams & Peng 1990; the carried state is
detached between segments).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, amount
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task, writable
from cellsearch.tasks.interface import Answer, Interface, TokenInputs
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions

__all__ = ["LanguageModel", "LanguageOptions"]

EVALUATION_STREAMS = 32
UNKNOWN = "\ufffd"
"""Stands for every character that is not a symbol."""


@dataclass(frozen=True, slots=True)
class LanguageOptions(TaskOptions):
    """Options of every language model."""

    tbptt: Annotated[int, at_least(1)] = 64
    """Positions T of a training segment."""
    valid_tokens: Annotated[int, at_least(0)] = 32_768
    """Validation reads this many tokens from the front (0: all)."""


class LanguageModel(Task):
    """Predicts the next token. ``arrays`` holds the token numbers of ``train``, ``valid`` and
    ``test``, and ``symbols``.

    Validation and test read the split as 32 contiguous streams side by side, each from a zero state
    that is carried on; every prediction counts (what is left over when the split does not divide by
    32 is not read).
    """

    Options: ClassVar[type[LanguageOptions]] = LanguageOptions
    options: LanguageOptions
    evaluation_segment: ClassVar[int] = 128
    """Positions of an evaluation batch; smaller for large vocabularies, to save memory."""
    tied: ClassVar[bool] = False

    def __init__(self, options: LanguageOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self.vocabulary = len(arrays["symbols"])
        self._train = torch.from_numpy(writable(arrays["train"])).long()
        needed = {
            "train": options.batch_size + 1,
            "valid": EVALUATION_STREAMS * 2,
            "test": EVALUATION_STREAMS * 2,
        }
        for split, least in needed.items():
            if len(arrays[split]) < least:
                raise ConfigError(
                    f"the {split} split has {amount(len(arrays[split]), 'token')}, "
                    f"but {least} are needed",
                    where=f"task {self.name}",
                    hint="use a longer text, or a smaller batch_size",
                )
        self._evaluation = {split: list(self._segments(split)) for split in ("valid", "test")}

    def tokens(self, split: Split) -> NDArray[Any]:
        """The token numbers that a split reads; validation only its documented prefix."""
        tokens = self.arrays[split]
        return tokens[: self.options.valid_tokens or None] if split == "valid" else tokens

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`. Training reads the text as a ring, so that no stream ever ends;
        ``seed`` turns the ring.
        """
        if split != "train":
            yield from self._evaluation[split]
            return
        n, streams, length = len(self._train), self.options.batch_size, self.options.tbptt
        offset = int(np.random.default_rng(seed).integers(n))
        begin = (torch.arange(streams) * (n // streams) + offset).unsqueeze(0)
        position = torch.arange(length + 1).unsqueeze(1) + begin
        number = start
        while True:
            segment = self._train[(position + number * length) % n]
            yield Batch(segment[:-1], segment[1:], first=number == 0)
            number += 1

    def _segments(self, split: Split) -> Iterator[Batch]:
        tokens = torch.from_numpy(np.array(self.tokens(split))).long()
        length = (len(tokens) - 1) // EVALUATION_STREAMS
        used = length * EVALUATION_STREAMS
        x = tokens[:used].view(EVALUATION_STREAMS, length).t().contiguous()
        y = tokens[1 : used + 1].view(EVALUATION_STREAMS, length).t().contiguous()
        segment = self.evaluation_segment
        for k in range(0, length, segment):
            yield Batch(x[k : k + segment], y[k : k + segment], first=k == 0)

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding of width H, the cell, a linear decoder."""
        return heads.SequenceModel(
            cell_factory, tokens=self.vocabulary, outputs=self.vocabulary, tied=self.tied
        )

    def interface(self) -> Interface:
        """The symbols of the text in, the next one out."""
        return Interface(inputs=self.token_inputs(), answer=Answer(kind="tokens"))

    def token_inputs(self) -> TokenInputs:
        """How a text becomes the tokens that the model knows: here characters."""
        symbols = tuple(map(chr, self.arrays["symbols"].tolist()))
        unknown = symbols.index(UNKNOWN) if UNKNOWN in symbols else None
        return TokenInputs(symbols=symbols, level="character", unknown=unknown)

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the next token, in nats."""
        return nn.functional.cross_entropy(prediction.flatten(0, 1), batch.y.flatten())

    def training_loss(
        self, model: nn.Module, batch: Batch, state: Any = None
    ) -> tuple[torch.Tensor, Any]:
        """See :meth:`Task.training_loss`; readout and loss in one where the model can."""
        if isinstance(model, heads.SequenceModel):
            return model.cross_entropy(batch.x, batch.y, state)
        return super().training_loss(model, batch, state)

    def cross_entropy(self, model: nn.Module, split: Split) -> float:
        """Mean cross-entropy over a split, in nats a token."""
        total, count, state = 0.0, 0, None
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                loss, state = self.evaluation_loss(model, batch, None if batch.first else state)
                total += float(loss) * batch.y.numel()
                count += batch.y.numel()
        return total / count

    def evaluation_loss(
        self, model: nn.Module, batch: Batch, state: Any
    ) -> tuple[torch.Tensor, Any]:
        """Mean cross-entropy of a batch in nats a token, and the state after it."""
        prediction, state = model(batch.x, state)
        return self.loss(prediction, batch), state

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Bits a token, for both."""
        bits = self.cross_entropy(model, split) / math.log(2)
        return bits, bits
