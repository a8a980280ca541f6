"""MNIST-1D: which digit-like template hides in a short signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import registry
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.sequences import SequenceTask, carve, pack

__all__ = ["Mnist1D"]


class Mnist1D(SequenceTask):
    """Which of ten templates, moved, scaled, sheared and noisy, is in a signal of 40 values.

    Source: Greydanus & Kobak 2024. Split: 1,000 test (official); of the official 4,000 for training
    one in eight (500) is validation. Metric: accuracy; score: error rate. Reference: GRU and LSTM
    of width 64 reach .98 on the test after 60 epochs, a tanh RNN .64.
    """

    name: ClassVar[str] = "mnist1d"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "which of ten templates hides in a noisy signal (40 values)"
    source: ClassVar[str] = "Greydanus & Kobak 2024, arXiv 2011.14439"
    dataset: ClassVar[str] = "mnist1d"
    bidirectional: ClassVar[bool] = True
    classes = 10

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Standardised signals, labels, split."""
        parse_options(cls.Options, options, cls.name)
        stored = registry.read_arrays(cls.dataset)
        # Eight bits between the smallest and the largest value; standardising makes the scale
        # irrelevant.
        x = stored["x"].astype(np.float32)[:, :, None] / 255.0
        train = int(stored["n_train"])
        return pack(list(x), stored["y"].astype(np.int64), carve(train, len(x) - train, 8))
