"""Bringing numbers of any size to float32: centred and scaled in float64 before they are rounded.

float32 has 24 bits: of times in seconds since 1970, 128 are one number. What is lost nevertheless,
and what has nothing to scale, is said by a :class:`DataWarning`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, DataWarning

__all__ = ["narrowed", "standardised"]

_EPS = float(np.finfo(np.float64).eps)
ROUNDING = 8 * _EPS
"""Differences of this share of the largest number are those of a calculation, not of the data."""
COARSE = 0.1
"""Numbers that were given so coarsely, in units of their deviation, have lost what they said."""
LOST = 0.01
"""So large a share of neighbours that differ may become equal."""
LEAST_SCALE = 1e-150
"""The squares of smaller deviations are nothing in float64."""
SHOWN = 5


def standardised(
    values: NDArray[Any], known: NDArray[np.bool_], what: str
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """``(values - mean) / scale`` as float32, mean and scale ``[C]``: mean and standard deviation
    of the ``known`` values of each column.

    values: finite numbers ``[n]`` or ``[n, C]`` of any type.
    known: ``[n]``, the training part.
    what: what a column is called in messages, for example ``"x: feature"``.

    A column of one value gets scale 1. Raises :class:`ConfigError` for numbers that are not finite,
    or too large or small to be squared; a :class:`DataWarning` says which columns are constant, or
    hold differences that float32, or the type in which they were given, cannot hold.
    """
    offset: NDArray[Any] = np.zeros((), dtype=np.int64)
    if values.dtype.kind in "iu" and _largest(values).max(initial=0) > 2**53:
        # Differences of whole numbers are exact, the numbers in float64 are not.
        offset = values.min(0)
        values = values.astype(np.uint64) - offset.astype(np.uint64)
    part = values[known]
    if not len(part):
        raise ConfigError("there are no training data to take mean and deviation from")
    low, high = (np.atleast_1d(end).astype(np.float64) for end in (part.min(0), part.max(0)))
    largest = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.atleast_1d(part.mean(0, dtype=np.float64))
        scale = np.atleast_1d(part.std(0, dtype=np.float64))
        constant = high - low <= ROUNDING * largest
    wrong = ~np.isfinite(largest) | ~(constant | (np.isfinite(scale) & (scale > LEAST_SCALE)))
    if wrong.any():
        column = int(np.flatnonzero(wrong)[0])
        raise ConfigError(
            f"{what} {column} reaches from {low[column]:g} to {high[column]:g}: too large or too "
            "small to be standardised, or not finite",
            hint="give it in another unit",
        )
    mean, scale = np.where(constant, low, mean), np.where(constant, 1.0, scale)
    if constant.any():
        _say(what, constant, "one value in all training data: centred, and scaled by 1")
    if values.dtype in (np.float16, np.float32):
        steps = np.spacing(largest.astype(values.dtype)).astype(np.float64)
        coarse = ~constant & (steps > COARSE * scale)
        if coarse.any():
            _say(
                what,
                coarse,
                f"so large that {values.dtype} has no numbers between steps of up to "
                f"{steps[coarse].max():g}, where the deviation is {scale[coarse].min():g}: give "
                "float64, or subtract something first",
            )
    return _rounded(values, mean, scale, what), mean + offset.astype(np.float64), scale


def narrowed(values: NDArray[Any], what: str) -> NDArray[np.float32]:
    """The numbers ``[n, C]`` as float32, unscaled; raises and warns as :func:`standardised`."""
    columns = int(np.prod(values.shape[1:]))
    return _rounded(values, np.zeros(columns), np.ones(columns), what)


def _largest(values: NDArray[Any]) -> NDArray[np.float64]:
    ends = (values.min(0, initial=0), values.max(0, initial=0))
    return np.maximum(*(np.abs(np.atleast_1d(end).astype(np.float64)) for end in ends))


def _rounded(
    values: NDArray[Any], mean: NDArray[np.float64], scale: NDArray[np.float64], what: str
) -> NDArray[np.float32]:
    """``(values - mean) / scale``, column by column, which keeps float64 copies small."""
    table = values.reshape(len(values), -1)
    made = np.empty(table.shape, dtype=np.float32)
    lost = np.zeros(table.shape[1], dtype=bool)
    for column in range(table.shape[1]):
        exact = (table[:, column] - mean[column]) / scale[column]
        with np.errstate(over="ignore"):
            made[:, column] = exact
        if not np.isfinite(made[:, column]).all():
            raise ConfigError(
                f"{what} {column} reaches {np.abs(exact).max():g}, in units of the training data: "
                "more than float32 can hold",
                hint="give it in another unit, or take its logarithm",
            )
        lost[column] = _merged(exact, made[:, column], float(abs(mean[column]) / scale[column]))
    if lost.any():
        _say(
            what,
            lost,
            "different where the numbers that float32 makes of them are equal: numbers of very "
            "different sizes, or far from 0; standardise, take the logarithm, or give differences",
        )
    return made.reshape(values.shape)


def _merged(exact: NDArray[Any], made: NDArray[np.float32], offset: float) -> bool:
    """Whether neighbours that differ, by more than a calculation's rounding, often became equal."""
    size = offset + float(np.abs(exact).max(initial=0))
    differ = np.abs(np.diff(exact)) > ROUNDING * size
    equal = differ & (made[1:] == made[:-1])
    return int(equal.sum()) > LOST * int(differ.sum())


def _say(what: str, columns: NDArray[np.bool_], says: str) -> None:
    numbers: Sequence[int] = np.flatnonzero(columns).tolist()
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    listed = ", ".join(map(str, numbers[:SHOWN])) + more
    warnings.warn(f"{what} {listed}: {says}", DataWarning, stacklevel=3)
