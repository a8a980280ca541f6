"""Forecasts that no cell makes, which a cell has to beat: the last value, the value a period ago,
and a linear function of the window (autoregression by least squares).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.base import Arrays

__all__ = ["channel_errors", "forecasters", "predictions", "windows"]

FITTED = 20_000
"""Windows that the linear forecast is fitted to, at most."""
WIDEST = 1_000
"""Numbers of a window that it reads, at most: then only the columns that are predicted, and of
these the last rows."""
RIDGE = 1e-4
BLOCK = 2048
Forecaster = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Places of the first targets ``[m]`` -> values ``[m, horizon, C]``, scaled as the targets are."""


def windows(
    values: NDArray[np.float32], places: NDArray[np.int64], before: int, after: int
) -> NDArray[np.float32]:
    """``[m, before + after, columns]``: the rows around each place."""
    found: NDArray[np.float32] = values[places[:, None] + np.arange(-before, after)]
    return found


def forecasters(arrays: Arrays, horizon: int) -> Mapping[str, Forecaster]:
    """The forecasts by name; the linear one is fitted to the windows for training."""
    values, count = arrays["values"], arrays["target"].shape[1]
    window, period = int(arrays["window"]), int(arrays["period"])
    steps = np.arange(horizon)

    def last(places: NDArray[np.int64]) -> NDArray[np.float64]:
        now = values[places - 1, :count].astype(np.float64)
        return np.repeat(now[:, None], horizon, axis=1)

    def seasonal(places: NDArray[np.int64]) -> NDArray[np.float64]:
        back = period * (steps // period + 1) - steps
        return values[places[:, None] - back, :count].astype(np.float64)

    made: dict[str, Forecaster] = {"last value": last}
    if 1 < period <= window:
        made[f"value {period} rows before"] = seasonal
    made["linear"] = _linear(arrays, horizon)
    return made


def _linear(arrays: Arrays, horizon: int) -> Forecaster:
    values, target, window = arrays["values"], arrays["target"], int(arrays["window"])
    count = target.shape[1]
    columns, rows = values.shape[1], window
    if columns * rows > WIDEST:
        columns, rows = count, max(1, min(window, WIDEST // count))

    def read(places: NDArray[np.int64]) -> NDArray[np.float64]:
        found = windows(values[:, :columns], places, rows, 0).astype(np.float64)
        flat = found.reshape(len(places), -1)
        return np.concatenate([flat, np.ones((len(places), 1))], axis=1)

    places = arrays["train"]
    if len(places) > FITTED:
        places = places[np.linspace(0, len(places) - 1, FITTED).astype(np.int64)]
    width = columns * rows + 1
    square, mixed = np.zeros((width, width)), np.zeros((width, horizon * count))
    for k in range(0, len(places), BLOCK):
        some = places[k : k + BLOCK]
        wanted = windows(target, some, 0, horizon).reshape(len(some), -1)
        whole = np.isfinite(wanted).all(1)
        x = read(some[whole])
        square += x.T @ x
        mixed += x.T @ wanted[whole].astype(np.float64)
    ridge = RIDGE * max(1.0, float(np.trace(square)) / width) * np.eye(width)
    weights: NDArray[np.float64] = np.linalg.lstsq(square + ridge, mixed, rcond=None)[0]

    def linear(places: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = read(places) @ weights
        return found.reshape(len(places), horizon, count)

    return linear


def predictions(
    forecaster: Forecaster, places: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Places and forecasts, some at a time."""
    for k in range(0, len(places), BLOCK):
        some = places[k : k + BLOCK]
        yield some, forecaster(some)


def channel_errors(differences: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Of differences ``[m, horizon, C]`` with NaN where there is no target: how many there are, the
    sum of their squares and of their sizes, each ``[C]``.
    """
    known = np.isfinite(differences)
    plain = np.where(known, differences, 0.0)
    return known.sum((0, 1)), np.square(plain).sum((0, 1)), np.abs(plain).sum((0, 1))
