"""The table of benchmarks/precision.py, of scores that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.scripts import benchmark

precision = benchmark("precision")


def rows(scores: dict[tuple[str, int], list[float]], names: list[str]) -> dict[Any, Any]:
    return {
        precision.Asked("char_lm", name, *arm): {"score": score}
        for arm, column in scores.items()
        for name, score in zip(names, column, strict=True)
    }


def test_ranks_that_agree_and_ranks_that_do_not() -> None:
    a = np.arange(1.0, 13.0)
    for statistic in (precision.spearman, precision.kendall):
        assert statistic(a, a**2) == pytest.approx(1)
        assert statistic(a, -a) == pytest.approx(-1)
        assert statistic(a, np.ones(12)) == 0
    swapped = a.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert precision.kendall(a, swapped) == pytest.approx(1 - 2 / 66)
    assert precision.changes(a, a) == 0
    assert precision.changes(a, -a) == 1
    assert 0.5 < precision.changes(a, swapped) < 0.8  # where both are drawn: 10/12 * 9/11
    low, high = precision.interval(precision.spearman, a, swapped)
    assert low < precision.spearman(a, swapped) < high <= 1


def test_a_failed_training_is_the_worst_and_is_counted() -> None:
    names = [f"cell {k}" for k in range(12)]
    whole = [float(k) for k in range(1, 13)]
    found = rows(dict.fromkeys(precision.ARMS, whole), names)
    del found[precision.Asked("char_lm", names[0], "bf16", 1)]["score"]
    lines = precision.table(found, ["char_lm"]).splitlines()
    assert "0 and 1" in lines[2]
    assert "0 and 0" in lines[3]
    assert " 1.000 (1.00 to 1.00)" in lines[3]
    assert " 1.000 " not in lines[2]
    few = rows(dict.fromkeys(precision.ARMS, whole[:3]), names[:3])
    assert "at least 10" in precision.table(few, ["char_lm"])


def test_the_cells_are_mixed_and_the_same_every_time() -> None:
    names = list(precision.cells())
    assert len(names) == 60
    assert names[:20] == list(precision.cells(20))
    assert sum(name in precision.zoo.names() for name in names[:20]) == 10
