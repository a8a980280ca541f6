"""Classification of stored sequences: signals, pen strokes, speech."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import registry
from cellsearch.tasks.interface import Answer
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.sequences import SequenceTask, carve, pack

__all__ = ["JapaneseVowels", "Mnist1D", "PenDigits", "SpokenDigits", "StoredSequences"]

Labelled = tuple[Sequence[NDArray[Any]], NDArray[Any], NDArray[Any]]
"""Sequences ``[T, I]``, labels ``[N]`` and split numbers ``[N]`` (0 train, 1 valid, 2 test)."""


class StoredSequences(SequenceTask):
    """Classes of sequences that one file of arrays holds. Metric: accuracy; score: error rate."""

    metric: ClassVar[str] = "accuracy"
    bidirectional: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def labelled(cls, stored: Mapping[str, NDArray[Any]]) -> Labelled:
        """Sequences, labels and splits from the arrays of the file."""

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Standardised sequences, labels, split."""
        parse_options(cls.Options, options)
        sequences, labels, split = cls.labelled(registry.read_arrays(cls.dataset))
        return pack(sequences, labels.astype(np.int64), split)


class Mnist1D(StoredSequences):
    """Which of ten templates, moved, scaled, sheared and noisy, is in a signal of 40 values.

    Source: Greydanus & Kobak 2024, made here by their recipe. Split: 1,000 test (official); of the
    official 4,000 for training one in eight (500) is validation. Metric: accuracy; score: error
    rate. Reference: GRU and LSTM of width 64 reach .98 on the test after 60 epochs, a tanh RNN .64.
    """

    name: ClassVar[str] = "mnist1d"
    summary: ClassVar[str] = "which of ten templates hides in a noisy signal (40 values)"
    source: ClassVar[str] = "Greydanus & Kobak 2024, arXiv 2011.14439"
    dataset: ClassVar[str] = "mnist1d"
    columns = ("value",)
    classes = 10

    @classmethod
    def labelled(cls, stored: Mapping[str, NDArray[Any]]) -> Labelled:
        """See :meth:`StoredSequences.labelled`."""
        # Eight bits between the smallest and the largest value; standardising makes the scale
        # irrelevant.
        x = stored["x"].astype(np.float32)[:, :, None] / 255.0
        train = int(stored["n_train"])
        return list(x), stored["y"], carve(train, len(x) - train, 8)


class PenDigits(StoredSequences):
    """Which digit was written: 8 points (x, y) along the stroke of a pen.

    Source: Alpaydin & Alimoglu 1998; UCI data set 81. Split: 3,498 test (official, other writers);
    of the official 7,494 for training one in six (1,249) is validation, so validation knows the
    writers and is easier than the test. Metric: accuracy; score: error rate. Reference: LSTM of
    width 32 reaches .977 to .979 on the test after 20 epochs, GRU .976, tanh RNN .968 to .974.
    """

    name: ClassVar[str] = "pen_digits"
    summary: ClassVar[str] = "which digit was written with a pen (8 points)"
    source: ClassVar[str] = "UCI 81, Alpaydin & Alimoglu 1998"
    dataset: ClassVar[str] = "pendigits"
    columns = ("x", "y")
    classes = 10

    @classmethod
    def labelled(cls, stored: Mapping[str, NDArray[Any]]) -> Labelled:
        """See :meth:`StoredSequences.labelled`."""
        x = stored["x"].transpose(2, 0, 1).astype(np.float32)
        train = int(stored["n_train"])
        return list(x), stored["y"], carve(train, len(x) - train, 6)


class SpokenDigits(StoredSequences):
    """Which digit is said: six speakers, 13 MFCC a frame, 12 to 226 frames (mean 42).

    Source: Free Spoken Digit Dataset (Jackson et al. 2018). Split by recording number: 0 to 4 test
    (300, official), 5 to 9 validation (300), 10 to 49 training (2,400). Metric: accuracy; score:
    error rate. Reference: GRU and LSTM of width 64 reach 1.00 and .99 on the test after 15 epochs,
    a tanh RNN .83. What is downloaded is release 1.0.9, five of the speakers (250, 250, 2,000) with
    coefficients by :func:`cellsearch.tasks.data.speech.mfcc`: figures are not those above, and a
    warning says so.
    """

    name: ClassVar[str] = "spoken_digits"
    summary: ClassVar[str] = "which digit is spoken (13 MFCC, 12-226 frames, six speakers)"
    source: ClassVar[str] = "Free Spoken Digit Dataset, Jackson et al. 2018"
    dataset: ClassVar[str] = "fsdd"
    columns = tuple(f"mfcc{k}" for k in range(13))
    classes = 10

    @classmethod
    def labelled(cls, stored: Mapping[str, NDArray[Any]]) -> Labelled:
        """See :meth:`StoredSequences.labelled`."""
        ends = np.cumsum(stored["lens"].astype(np.int64))[:-1]
        split = np.select([stored["index"] < 5, stored["index"] < 10], [2, 1], 0)
        return np.split(stored["feat"].astype(np.float32), ends), stored["digit"], split


class JapaneseVowels(StoredSequences):
    """Which of nine men says /ae/: 12 cepstrum coefficients a frame, 7 to 29 frames.

    Source: Kudo, Toyama & Shimbo 1999; UCI data set 128. Split: 370 utterances test (official); of
    the official 270 for training one in five (54) is validation. Metric: accuracy; score: error
    rate. Reference: LSTM and GRU of width 32 reach .965 to .981 on the test after 60 epochs, a tanh
    RNN .960 to .973. Validation has 54 utterances only: good for checking a cell, too noisy to
    search on.
    """

    name: ClassVar[str] = "japanese_vowels"
    summary: ClassVar[str] = (
        "which of nine speakers says a vowel (12 cepstrum coefficients, 7-29 frames)"
    )
    source: ClassVar[str] = "UCI 128, Kudo et al. 1999, Pattern Recognition Letters 20"
    dataset: ClassVar[str] = "japanese_vowels"
    columns = tuple(f"cepstrum{k}" for k in range(1, 13))
    classes = 9

    @classmethod
    def labelled(cls, stored: Mapping[str, NDArray[Any]]) -> Labelled:
        """See :meth:`StoredSequences.labelled`."""
        frames = stored["x"].T.astype(np.float32) * stored["scale"]
        sequences = np.split(frames, np.cumsum(stored["length"].astype(np.int64))[:-1])
        train = int(stored["n_train"])
        return sequences, stored["y"], carve(train, len(sequences) - train, 5)

    def answer(self) -> Answer:
        """The speakers by number, from 1 on."""
        names = tuple(f"speaker {k}" for k in range(1, self.classes + 1))
        return Answer(kind="classes", names=names)
