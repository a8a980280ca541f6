"""Sunspots: the number of the next month."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.data import registry
from cellsearch.tasks.forecast import ForecastTask

__all__ = ["Sunspots"]


class Sunspots(ForecastTask):
    """Predict the sunspot number of the next month from those of four years.

    Source: SILSO, Royal Observatory of Belgium: 3,126 monthly numbers, 1749 to 2009. Split: last
    726 months test, the 300 before validation, 2,100 training. Metric and score: mean squared error
    of the standardised numbers. Persistence (the same number again) gives 0.262 on the test (0.248
    if mean and deviation are those of the first 2,400 months). Reference: GRU, tanh RNN and LSTM of
    width 16 reach .232, .246 and .255 (.220, .233, .242 in that other unit).
    """

    name: ClassVar[str] = "sunspots"
    summary: ClassVar[str] = "predict next month's sunspot number (univariate, one step ahead)"
    source: ClassVar[str] = "SILSO, Royal Observatory of Belgium"
    dataset: ClassVar[str] = "sunspots"

    @classmethod
    def series(cls) -> tuple[NDArray[Any], tuple[int, int, int]]:
        """``[3126, 1]``."""
        stored = registry.read_arrays(cls.dataset)
        values = stored["x"].astype(np.float64)[:, None] * float(stored["scale"])
        return values, (len(values) - 1026, len(values) - 726, len(values))
