"""The tests of significance, against counts made by hand and against their own definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cellsearch.finals.statistics import holm, mean_and_deviation, permutation_test, smallest_p


def test_mean_and_deviation() -> None:
    assert mean_and_deviation([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert math.isnan(mean_and_deviation([1.0])[1])


def test_separated_samples_give_the_smallest_p() -> None:
    assert permutation_test([1.0, 2.0, 3.0], [11.0, 12.0, 13.0]) == pytest.approx(2 / 20)
    assert smallest_p(3, 3) == pytest.approx(2 / 20)
    assert permutation_test([1.0, 2.0], [10.0, 11.0, 12.0]) == pytest.approx(1 / 10)
    assert smallest_p(2, 3) == pytest.approx(1 / 10)


def test_equal_samples_are_no_evidence() -> None:
    assert permutation_test([1.0, 2.0, 3.0], [3.0, 1.0, 2.0]) == 1.0


def test_is_symmetric_in_its_samples() -> None:
    a, b = [1.0, 1.4, 0.7, 1.9], [1.2, 2.2, 2.4]
    assert permutation_test(a, b) == permutation_test(b, a)


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(3)
    alarms = [
        permutation_test(list(rng.normal(size=5)), list(rng.normal(size=5))) <= 0.05
        for _ in range(400)
    ]
    assert 0.01 <= np.mean(alarms) <= 0.08


def test_sampled_splits_agree_with_exact_ones() -> None:
    rng = np.random.default_rng(4)
    a, b = (
        list(rng.normal(0.0, 1.0, 12)),
        list(rng.normal(0.8, 1.0, 12)),
    )  # 2.7 million splits: sampled
    t = (np.mean(b) - np.mean(a)) / math.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 12)
    normal = math.erfc(t / math.sqrt(2))
    assert permutation_test(a, b) == pytest.approx(normal, abs=0.03)


def test_needs_values() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        permutation_test([], [1.0])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
