"""How much two means differ, with an interval for a handful of trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean, stdev

__all__ = ["difference_interval", "mean_and_deviation", "student_quantile"]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and sample standard deviation; NaN for what too few values do not have."""
    mean = fmean(values) if values else math.nan
    return mean, stdev(values) if len(values) > 1 else math.nan


def difference_interval(
    first: Sequence[float], second: Sequence[float], level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of ``first`` minus that of ``second``, and the ends of its interval after Welch (1947),
    with the whole number of degrees of freedom below his, which makes it a little wider.

    Returns NaN for ends that fewer than two values in a sample cannot give, and for all three where
    a value is infinite.
    """
    if not first or not second or not all(map(math.isfinite, (*first, *second))):
        return math.nan, math.nan, math.nan
    (mean, deviation), (other, spread) = mean_and_deviation(first), mean_and_deviation(second)
    difference = mean - other
    if min(len(first), len(second)) < 2:
        return difference, math.nan, math.nan
    a, b = deviation**2 / len(first), spread**2 / len(second)
    if a + b == 0.0:
        return difference, difference, difference
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    half = student_quantile(max(1, math.floor(freedom + 1e-9)), level) * math.sqrt(a + b)
    return difference, difference - half, difference + half


@lru_cache(maxsize=256)
def student_quantile(freedom: int, level: float) -> float:
    """The t within which, either way of 0, a share ``level`` of Student's distribution with so many
    degrees of freedom lies.
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """The share between -t and t (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if odd:
        return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
    return sine * total
