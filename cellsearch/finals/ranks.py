"""Is it better over several tasks? Ranks, the tests of Friedman and Wilcoxon, and the critical
difference, after Demsar 2006 (JMLR 7, "Statistical comparisons of classifiers over multiple data
sets").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "critical_difference",
    "friedman_test",
    "mid_ranks",
    "signed_rank_test",
    "smallest_signed_rank_p",
]

MOST_SIGNS = 16
"""Of so many differences all signs are tried; of more, a sample."""
SAMPLES = 50_000


def mid_ranks(values: Sequence[Any]) -> list[float]:
    """Ranks from 1, the lowest value first; equal values share the mean of their ranks."""
    ordered = sorted(values)
    first = {value: ordered.index(value) for value in values}
    return [first[value] + (ordered.count(value) + 1) / 2 for value in values]


def friedman_test(ranks: Sequence[Sequence[float]]) -> float:
    """p-value of the hypothesis that all cells are alike over the tasks: of Friedman's statistic
    (1937; Demsar 2006, section 3.2.1), the variance of the mean ranks, by 50,000 random orders of
    the ranks within each task, always the same ones. His approximations by chi-square or F are for
    more than ten tasks.

    ranks: ``[tasks, cells]``.
    """
    table = np.asarray(ranks, dtype=np.float64)
    order = np.random.default_rng(0).random((SAMPLES, *table.shape)).argsort(axis=2)
    means = np.take_along_axis(np.broadcast_to(table, order.shape), order, 2).mean(axis=1)
    observed = float(np.var(table.mean(axis=0)))
    return float((1 + np.sum(means.var(axis=1) >= observed - 1e-12)) / (SAMPLES + 1))


def critical_difference(cells: int, tasks: int, alpha: float = 0.05) -> float:
    """By how much two mean ranks must differ for the difference to be significant, with all pairs
    of cells compared: ``q * sqrt(k (k + 1) / (6 N))`` for k cells on N tasks, q being the quantile
    of the Studentized range with infinitely many degrees of freedom, divided by the root of 2
    (Nemenyi 1963; Demsar 2006, equation in section 3.2.2, table 5a).
    """
    if cells < 2 or tasks < 1:
        return math.nan
    q = _range_quantile(cells, 1 - alpha) / math.sqrt(2)
    return q * math.sqrt(cells * (cells + 1) / (6 * tasks))


@lru_cache(maxsize=64)
def _range_quantile(cells: int, share: float) -> float:
    """Below which the range of so many standard normal values lies with this probability, which is
    the integral of ``k * phi(z) * (Phi(z) - Phi(z - range)) ** (k - 1)``.
    """
    z = np.linspace(-9.0, 9.0, 3601)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

    def probability(width: float) -> float:
        inner = _normal(z) - _normal(z - width)
        return float(cells * np.sum(density * inner ** (cells - 1)) * (z[1] - z[0]))

    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < share else (low, middle)
    return high


def _normal(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])


def signed_rank_test(differences: Sequence[float]) -> float:
    """Two-sided p-value of the hypothesis that differences are as often and as far above 0 as
    below: Wilcoxon's signed-rank test (1945; Demsar 2006, section 3.1.3), which he recommends for
    two cells over several tasks. Exact, by all signs, for up to 16 tasks.

    Ranks of differences of 0 are split evenly, as there; infinities are the largest and tie.
    """
    values = np.asarray(differences, dtype=np.float64)
    ranks = np.array(mid_ranks(np.abs(values).tolist()))[values != 0]
    signs = np.sign(values[values != 0])
    if not len(ranks):
        return 1.0
    if len(ranks) <= MOST_SIGNS:
        flips = np.array(list(product((-1.0, 1.0), repeat=len(ranks))))
    else:
        drawn = np.random.default_rng(0).integers(0, 2, (SAMPLES, len(ranks)))
        flips = np.vstack([signs, 2.0 * drawn - 1])
    return float(np.mean(np.abs(flips @ ranks) >= abs(float(signs @ ranks)) - 1e-9))


def smallest_signed_rank_p(tasks: int) -> float:
    """The smallest p-value that :func:`signed_rank_test` can give for so many tasks."""
    return min(1.0, 2.0 / 2.0**tasks)
