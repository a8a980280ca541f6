"""Pen digits: which digit was written, from eight points of a pen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import registry
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.sequences import SequenceTask, carve, pack

__all__ = ["PenDigits"]


class PenDigits(SequenceTask):
    """Which digit was written: 8 points (x, y) along the stroke of a pen.

    Source: Alpaydin & Alimoglu 1998; UCI data set 81. Split: 3,498 test (official, other writers);
    of the official 7,494 for training one in six (1,249) is validation, so validation knows the
    writers and is easier than the test. Metric: accuracy; score: error rate. Reference: LSTM of
    width 32 reaches .977 to .979 on the test after 20 epochs, GRU .976, tanh RNN .968 to .974.
    """

    name: ClassVar[str] = "pen_digits"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "which digit was written with a pen (8 points)"
    source: ClassVar[str] = "UCI 81, Alpaydin & Alimoglu 1998"
    dataset: ClassVar[str] = "pendigits"
    bidirectional: ClassVar[bool] = True
    classes = 10

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Standardised points, labels, split."""
        parse_options(cls.Options, options, cls.name)
        stored = registry.read_arrays(cls.dataset)
        x = stored["x"].transpose(2, 0, 1).astype(np.float32)
        train = int(stored["n_train"])
        return pack(list(x), stored["y"].astype(np.int64), carve(train, len(x) - train, 6))
