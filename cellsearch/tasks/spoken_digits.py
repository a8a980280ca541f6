"""Spoken digits: which of ten digits is said, from MFCC frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import registry
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.sequences import SequenceTask, pack

__all__ = ["SpokenDigits"]


class SpokenDigits(SequenceTask):
    """Which digit is said: six speakers, 13 MFCC a frame, 12 to 226 frames (mean 42).

    Source: Free Spoken Digit Dataset (Jackson et al. 2018). Split by recording number: 0 to 4 test
    (300, official), 5 to 9 validation (300), 10 to 49 training (2,400). Metric: accuracy; score:
    error rate. Reference: GRU and LSTM of width 64 reach 1.00 and .99 on the test after 15 epochs,
    a tanh RNN .83.
    """

    name: ClassVar[str] = "spoken_digits"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "which digit is spoken (13 MFCC, 12-226 frames, six speakers)"
    source: ClassVar[str] = "Free Spoken Digit Dataset, Jackson et al. 2018"
    dataset: ClassVar[str] = "fsdd"
    bidirectional: ClassVar[bool] = True
    classes = 10

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Standardised frames, labels, split."""
        parse_options(cls.Options, options, cls.name)
        stored = registry.read_arrays(cls.dataset)
        sequences = np.split(
            stored["feat"].astype(np.float32), np.cumsum(stored["lens"].astype(np.int64))[:-1]
        )
        split = np.select([stored["index"] < 5, stored["index"] < 10], [2, 1], 0)
        return pack(sequences, stored["digit"].astype(np.int64), split)
