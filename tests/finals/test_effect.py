"""Effect sizes and their intervals, against values counted by hand and all draws enumerated."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from cellsearch.finals import Effect, FinalRow, FinalTable
from cellsearch.finals.statistics import bootstrap_interval, percent_difference, superiority
from cellsearch.finals.table import judge

LOST = math.inf


def test_superiority_by_hand() -> None:
    assert superiority([1.0, 2.0], [3.0, 4.0]) == 1.0
    assert superiority([1.0, 3.0], [2.0, 4.0]) == 3 / 4
    assert superiority([1.0, 2.0], [1.0, 2.0]) == 0.5
    assert superiority([2.0], [1.0, 2.0, 3.0]) == pytest.approx((0 + 0.5 + 1) / 3)


def test_failures_are_worst_and_tie_with_one_another() -> None:
    assert superiority([LOST], [5.0, 1e300]) == 0.0
    assert superiority([LOST, 1.0], [LOST, 2.0]) == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    assert superiority([LOST], [LOST]) == 0.5
    assert math.isnan(percent_difference([LOST, 1.0], [1.0, 2.0]))


def test_percent_difference_by_hand() -> None:
    assert percent_difference([1.0, 2.0], [2.0, 4.0]) == pytest.approx(-50.0)
    assert percent_difference([-3.0], [-2.0]) == pytest.approx(-50.0)
    assert math.isnan(percent_difference([1.0], [0.0]))


def all_draws(statistic, a: list[float], b: list[float]) -> np.ndarray:
    """The statistic of every draw with replacement, all equally probable."""
    return np.array(
        [
            float(statistic(list(x), list(y)))
            for x in product(a, repeat=len(a))
            for y in product(b, repeat=len(b))
        ]
    )


@pytest.mark.parametrize("statistic", [percent_difference, superiority])
def test_the_interval_is_that_of_all_draws(statistic) -> None:
    a, b = [1.0, 1.3, 2.0], [1.2, 2.2, 2.4]
    low, high = bootstrap_interval(statistic, a, b, level=0.8)
    every = np.sort(all_draws(statistic, a, b))
    for end, share in ((low, 0.1), (high, 0.9)):
        assert np.mean(every < end - 1e-9) <= share + 0.03
        assert np.mean(every <= end + 1e-9) >= share - 0.03
    assert (low, high) == bootstrap_interval(statistic, a, b, level=0.8)


def test_an_interval_that_does_not_exist_is_none() -> None:
    assert all(map(math.isnan, bootstrap_interval(percent_difference, [1.0, LOST], [2.0, 3.0])))
    assert bootstrap_interval(superiority, [1.0, 2.0], [LOST, LOST]) == (1.0, 1.0)


def row(name: str, scores: list[float], failures: int = 0, *, baseline: bool = False) -> FinalRow:
    kept = tuple(scores)
    return FinalRow(name, baseline, 10, 1000, 0.01, kept, kept, 1.0, failures, rate_inside=True)


def test_it_stands_in_table_sentence_and_file(tmp_path: Path) -> None:
    base = row("gru", [2.0, 2.1, 2.2, 2.0, 2.1], baseline=True)
    table = judge([row("found", [1.5, 1.6, 1.5, 1.4, 1.5]), base])
    effect = table.rows[0].effect
    assert effect is not None
    assert effect.against == "gru"
    assert effect.percent == pytest.approx(100 * (1.5 / 2.08 - 1))
    assert effect.percent_low < effect.percent < effect.percent_high < 0
    assert effect.superiority == effect.superiority_low == 1.0
    assert "a training of found beats one of gru is 1.00 (1.00 to 1.00)" in table.sentence
    assert table.rows[1].effect is None
    path = tmp_path / "finals.json"
    path.write_text(table.to_json(), "utf-8")
    assert FinalTable.read(path) == table
    lost = judge([row("found", [1.5], 1), base]).rows[-1].effect
    assert lost is not None
    assert math.isnan(lost.percent)
    assert lost.superiority == 0.5
    plain = json.loads(judge([row("found", [1.5], 1), base]).to_json())["rows"][-1]["effect"]
    assert plain["percent"] is None
    assert repr(Effect.read(plain)) == repr(lost)


def test_a_table_of_before_has_no_effect_and_opens(tmp_path: Path) -> None:
    table = judge([row("found", [0.1, 0.2]), row("lstm", [1.0, 1.1], baseline=True)])
    document = table.to_document()
    for one in document["rows"]:
        for key in ("effect", "sweep", "rate_inside"):
            one.pop(key, None)
    path = tmp_path / "finals.json"
    path.write_text(json.dumps(document), "utf-8")
    read = FinalTable.read(path)
    assert read.sentence == table.sentence
    assert read.rows[0].effect is read.rows[0].rate_inside is None
