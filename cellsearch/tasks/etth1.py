"""ETTh1: loads and oil temperature of a transformer, a day ahead."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import InputFileError
from cellsearch.tasks.data import registry
from cellsearch.tasks.forecast import ForecastOptions, ForecastTask

__all__ = ["ETTh1", "ETTh1Options"]

TRAIN, VALID, TEST = 8640, 2880, 2880


@dataclass(frozen=True, slots=True)
class ETTh1Options(ForecastOptions):
    """See :class:`ForecastOptions`."""

    history: int = 96
    horizon: int = 24


class ETTh1(ForecastTask):
    """Predict seven hourly measurements of a transformer 24 hours ahead from 96 hours.

    Source: Zhou et al. 2021 (Informer), 17,420 hours of which 14,400 are used. Split (official): 12
    months training (8,640), 4 validation (2,880), 4 test (2,880). Metric and score: mean squared
    error of the standardised values over all seven channels. On the test, repeating the last value
    gives 1.222, the same hour of the day before 0.424. Reference: GRU and LSTM of width 48 reach
    .393 and .401.
    """

    name: ClassVar[str] = "etth1"
    summary: ClassVar[str] = (
        "predict seven measurements of a transformer 24 hours ahead (multivariate)"
    )
    source: ClassVar[str] = "Zhou et al. 2021, arXiv 2012.07436"
    dataset: ClassVar[str] = "etth1"
    Options: ClassVar[type[ETTh1Options]] = ETTh1Options

    @classmethod
    def series(cls) -> tuple[NDArray[Any], tuple[int, int, int]]:
        """``[14400, 7]``."""
        rows = list(csv.reader(io.StringIO(registry.read_text(cls.dataset))))
        if (
            rows[0] != ["date", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
            or len(rows) < TRAIN + VALID + TEST + 1
        ):
            raise InputFileError(
                f"a table with columns {rows[0]} and {len(rows)} rows", where=cls.dataset
            )
        values = np.array(
            [[float(field) for field in row[1:]] for row in rows[1 : TRAIN + VALID + TEST + 1]]
        )
        return values, (TRAIN, TRAIN + VALID, TRAIN + VALID + TEST)
