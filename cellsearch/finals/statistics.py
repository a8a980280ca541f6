"""Is it better, or is it noise? Small-sample statistics for scores of a few seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

__all__ = ["holm", "mean_and_deviation", "permutation_test", "rank_test", "smallest_p"]

EXACT_LIMIT = 200_000
RESAMPLES = 100_000


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (``n - 1``); the deviation of fewer than two values is
    NaN.
    """
    mean = float(np.mean(values)) if len(values) else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def permutation_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p-value of the hypothesis that both samples come from one distribution.

    Exact permutation test of the difference of means (Fisher 1935; Good 2005, ch. 3): the share of
    all ways to split the pooled values that differ at least as much. No assumption of normality,
    which a handful of seeds could not support. Above 200,000 splits a fixed random sample of
    100,000 of them stands for all.
    """
    if not a or not b:
        raise ValueError("both samples need at least one value")
    pooled = np.asarray([*a, *b], dtype=np.float64)
    n, total = len(a), len(a) + len(b)
    observed = abs(float(np.mean(a)) - float(np.mean(b)))
    if math.comb(total, n) <= EXACT_LIMIT:
        chosen = np.zeros((math.comb(total, n), total), dtype=bool)
        for row, members in zip(chosen, combinations(range(total), n), strict=True):
            row[list(members)] = True
    else:
        order = np.random.default_rng(0).random((RESAMPLES, total)).argsort(axis=1)
        chosen = order < n
        chosen[0] = np.arange(total) < n  # the observed split is one of them
    first = chosen @ pooled
    difference = np.abs(first / n - (pooled.sum() - first) / (total - n))
    return float(np.mean(difference >= observed * (1 - 1e-12)))


def rank_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p-value of the same hypothesis by ranks: :func:`permutation_test` of the mid-ranks
    of the pooled values, which is the exact test of Wilcoxon (1945) and Mann & Whitney (1947).

    Infinities, trainings that failed, are the largest values and tie with one another, so a test
    can be made where a mean cannot.
    """
    pooled = np.asarray([*a, *b], dtype=np.float64)
    _, where, counts = np.unique(pooled, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[where]
    return permutation_test(ranks[: len(a)].tolist(), ranks[len(a) :].tolist())


def smallest_p(n: int, m: int) -> float:
    """The smallest p-value that :func:`permutation_test` can give for samples of these sizes
    (two-sided).
    """
    splits = math.comb(n + m, n)
    return min(1.0, (2 if n == m else 1) / splits)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for several tests (Holm 1979): adjusted p-values in the given
    order.
    """
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, k in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = running
    return adjusted
