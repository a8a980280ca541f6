"""Japanese vowels: who is speaking, from twelve numbers a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import registry
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.sequences import SequenceTask, carve, pack

__all__ = ["JapaneseVowels"]


class JapaneseVowels(SequenceTask):
    """Which of nine men says /ae/: 12 cepstrum coefficients a frame, 7 to 29 frames.

    Source: Kudo, Toyama & Shimbo 1999; UCI data set 128. Split: 370 utterances test (official); of
    the official 270 for training one in five (54) is validation. Metric: accuracy; score: error
    rate. Reference: LSTM and GRU of width 32 reach .965 to .981 on the test after 60 epochs, a tanh
    RNN .960 to .973. Validation has 54 utterances only: good for checking a cell, too noisy to
    search on.
    """

    name: ClassVar[str] = "japanese_vowels"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = (
        "which of nine speakers says a vowel (12 cepstrum coefficients, 7-29 frames)"
    )
    source: ClassVar[str] = "UCI 128, Kudo et al. 1999, Pattern Recognition Letters 20"
    dataset: ClassVar[str] = "japanese_vowels"
    bidirectional: ClassVar[bool] = True
    classes = 9

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Standardised frames, labels, split."""
        parse_options(cls.Options, options, cls.name)
        stored = registry.read_arrays(cls.dataset)
        frames = stored["x"].T.astype(np.float32) * stored["scale"]
        sequences = np.split(frames, np.cumsum(stored["length"].astype(np.int64))[:-1])
        train = int(stored["n_train"])
        return pack(
            sequences, stored["y"].astype(np.int64), carve(train, len(sequences) - train, 5)
        )
