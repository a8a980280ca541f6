"""The six tasks of MAD (Poli et al. 2024): small questions whose answers say how a layer will do in
a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks import mad_data
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task
from cellsearch.tasks.interface import Answer, Interface, TokenInputs
from cellsearch.tasks.later import heads, mad_model, nn, torch
from cellsearch.tasks.mad_options import (
    MadCompressionOptions,
    MadCopyOptions,
    MadFuzzyOptions,
    MadMemoryOptions,
    MadNoisyOptions,
    MadOptions,
)
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.synthetic import NOTHING

__all__ = [
    "MadCompression",
    "MadFuzzyRecall",
    "MadInContextRecall",
    "MadMemorization",
    "MadNoisyRecall",
    "MadSelectiveCopying",
    "MadTask",
]

_SPLITS: tuple[Split, ...] = ("train", "valid", "test")
_EVALUATED = 256
"""Sequences of one evaluation batch."""


class MadTask(Task):
    """Token sequences of a fixed set, trained with over and over; at some positions a token is
    asked.

    Score: error rate where something is asked in evaluation. Metric: accuracy there. The authors
    train for 200 epochs with AdamW, batch 128, a cosine schedule, learning rates 1e-4, 5e-4, 1e-3
    and weight decay 0 or 0.1, at width 128, and compare at equal weights and equal state. Their
    files are not read; sequences are drawn anew by their definition.
    """

    metric: ClassVar[str] = "accuracy"
    source: ClassVar[str] = "Poli et al. 2024, arXiv 2403.17844 (MAD)"
    Options: ClassVar[type[MadOptions]] = MadOptions
    options: MadOptions

    @classmethod
    def generator(cls, options: Any) -> Callable[..., tuple[NDArray[Any], NDArray[Any]]]:
        """One of :mod:`cellsearch.tasks.mad_data`."""
        raise NotImplementedError

    @classmethod
    def chance(cls, options: Any) -> float:
        """About the accuracy of the best answer that is always the same."""
        raise NotImplementedError

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Generate ``train_x [N, T]``, ``train_y``, ``valid_x``, ... as 16-bit numbers."""
        parsed = parse_options(cls.Options, options)
        arrays: dict[str, NDArray[Any]] = {}
        for number, split in enumerate(_SPLITS):
            rng = np.random.default_rng([parsed.data_seed, number])
            count = parsed.examples if split == "train" else parsed.evaluation_size
            x, y = cls.generator(parsed)(rng, parsed.shape, count, training=split == "train")
            arrays[f"{split}_x"], arrays[f"{split}_y"] = (p.astype(np.int16) for p in (x, y))
        return arrays

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`; each pass over the training set has an order of its own."""
        if split != "train":
            count = self.options.evaluation_size
            for first in range(0, count, _EVALUATED):
                yield self._batch(split, np.arange(first, min(first + _EVALUATED, count)))
            return
        size = min(self.options.batch_size, self.options.examples)
        per_epoch = self.options.examples // size
        epoch, first = divmod(start, per_epoch)
        while True:
            order = np.random.default_rng([seed, epoch]).permutation(self.options.examples)
            for k in range(first, per_epoch):
                yield self._batch("train", order[k * size : (k + 1) * size])
            epoch, first = epoch + 1, 0

    def _batch(self, split: Split, rows: NDArray[Any]) -> Batch:
        x, y = (self.arrays[f"{split}_{part}"][rows].astype(np.int64).T for part in ("x", "y"))
        return Batch(
            torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.ascontiguousarray(y))
        )

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding, the cell, a linear readout at every position."""
        size = self.options.vocabulary
        return heads.SequenceModel(cell_factory, tokens=size, outputs=size)

    def interface(self) -> Interface:
        """Tokens in, tokens out."""
        names = tuple(map(str, range(self.options.vocabulary)))
        return Interface(
            inputs=TokenInputs(count=len(names), level="number"),
            answer=Answer(kind="classes", names=names, label_type="int"),
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy where something is asked, in nats."""
        return nn.functional.cross_entropy(
            prediction.flatten(0, 1), batch.y.flatten(), ignore_index=NOTHING
        )

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Error rate and accuracy where something is asked."""
        right = asked = 0
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                meant = batch.y != NOTHING
                given = model(batch.x)[0].argmax(-1)
                right += int((given == batch.y)[meant].sum())
                asked += int(meant.sum())
        return 1.0 - right / asked, right / asked


class MadInContextRecall(MadTask):
    """Pairs of key and value, 64 in a sequence; the value of every key that was there before.

    Definition: Poli et al. 2024, in-context recall with many queries: V / 2 keys, V / 2 values; in
    each sequence every key has a value of its own, drawn anew. In training each next token is
    asked, in evaluation the values of repeated keys. Score: error rate. Metric: accuracy; the best
    constant has 2 / V, 1/8.
    """

    name: ClassVar[str] = "mad_in_context_recall"
    summary: ClassVar[str] = "MAD: value of a key that was seen before in the sequence (N 128)"

    @classmethod
    def generator(cls, options: MadOptions) -> Callable[..., tuple[NDArray[Any], NDArray[Any]]]:
        """See :class:`MadTask`."""
        return mad_data.in_context_recall

    @classmethod
    def chance(cls, options: MadOptions) -> float:
        """See :class:`MadTask`."""
        return 2 / (options.vocabulary - options.shape.noise_vocabulary)


class MadNoisyRecall(MadInContextRecall):
    """As ``mad_in_context_recall``, with pairs of tokens in between that mean nothing.

    Definition: Poli et al. 2024: 16 of 32 tokens are noise, and a fifth of the pairs are two of
    them. Score: error rate. Metric: accuracy; the best constant has 1/8.
    """

    name: ClassVar[str] = "mad_noisy_recall"
    summary: ClassVar[str] = "MAD: value of a key that was seen before, among noise (N 128)"
    Options: ClassVar[type[MadOptions]] = MadNoisyOptions


class MadFuzzyRecall(MadTask):
    """As ``mad_in_context_recall``, with keys and values of one to three tokens.

    Definition: Poli et al. 2024: a key is one to three different tokens of the first half, a value
    of the second; in evaluation all keys have three. The last token fills the front. Score: error
    rate over all tokens of values of repeated keys. Metric: accuracy; the best constant has about
    2 / V, 1/8.
    """

    name: ClassVar[str] = "mad_fuzzy_recall"
    summary: ClassVar[str] = "MAD: recall with keys and values of one to three tokens (N 128)"
    Options: ClassVar[type[MadOptions]] = MadFuzzyOptions

    @classmethod
    def generator(cls, options: MadOptions) -> Callable[..., tuple[NDArray[Any], NDArray[Any]]]:
        """See :class:`MadTask`."""
        return mad_data.fuzzy_recall

    @classmethod
    def chance(cls, options: MadOptions) -> float:
        """See :class:`MadTask`."""
        return 1 / (options.vocabulary - 1 - (options.vocabulary - 1) // 2)


class MadMemorization(MadTask):
    """Keys whose values never change: what the weights remember.

    Definition: Poli et al. 2024: V 256, a fixed value for each of 127 keys, 256 sequences of 16
    keys to train with; behind each key stands the last token, where its value is asked. Score:
    error rate. Metric: accuracy; the best constant has 1/127.
    """

    name: ClassVar[str] = "mad_memorization"
    summary: ClassVar[str] = "MAD: fixed values of 127 keys, learned from 256 sequences"
    Options: ClassVar[type[MadOptions]] = MadMemoryOptions

    @classmethod
    def generator(cls, options: MadOptions) -> Callable[..., tuple[NDArray[Any], NDArray[Any]]]:
        """See :class:`MadTask`."""
        return mad_data.memorization(options.data_seed)

    @classmethod
    def chance(cls, options: MadOptions) -> float:
        """See :class:`MadTask`."""
        return 1 / ((options.vocabulary - 1) // 2)


class MadSelectiveCopying(MadTask):
    """Sixteen tokens among blanks, to be repeated in their order.

    Definition: Poli et al. 2024: N 256, 14 tokens, a blank and a mark; the blanks stand before
    tokens chosen at random (the authors draw them from a generator without seed). Score: error
    rate behind the mark. Metric: accuracy; the best constant has 1 / (V - 2), 1/14.
    """

    name: ClassVar[str] = "mad_selective_copying"
    summary: ClassVar[str] = "MAD: repeat 16 tokens that stand among blanks (N 256)"
    Options: ClassVar[type[MadOptions]] = MadCopyOptions

    @classmethod
    def generator(cls, options: MadOptions) -> Callable[..., tuple[NDArray[Any], NDArray[Any]]]:
        """See :class:`MadTask`."""
        return mad_data.selective_copying

    @classmethod
    def chance(cls, options: MadOptions) -> float:
        """See :class:`MadTask`."""
        return 1 / (options.vocabulary - 2)


class MadCompression(MadTask):
    """A random sequence, to be told from the last output of the cell alone.

    Definition: Poli et al. 2024: 31 random tokens and a mark; a perceptron of two layers reads the
    cell's last output plus the code of a position (sines and cosines) and says which token stood
    there. Score: error rate over all positions. Metric: accuracy; the best constant has about 1/15.
    """

    name: ClassVar[str] = "mad_compression"
    summary: ClassVar[str] = "MAD: tell 32 tokens from the cell's last output"
    Options: ClassVar[type[MadOptions]] = MadCompressionOptions

    @classmethod
    def generator(cls, options: MadOptions) -> Callable[..., tuple[NDArray[Any], NDArray[Any]]]:
        """See :class:`MadTask`."""
        return mad_data.compression

    @classmethod
    def chance(cls, options: MadOptions) -> float:
        """See :class:`MadTask`."""
        return 1 / (options.vocabulary - 1)

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """See the class."""
        return mad_model.Autoencoder(cell_factory, self.options.vocabulary)

    def interface(self) -> Interface:
        """A model that answers all positions at once has none."""
        return Task.interface(self)
