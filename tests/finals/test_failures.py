"""A training that failed is the worst result: it never helps a cell, and nobody leads with one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cellsearch.finals import FinalRow, FinalTable
from cellsearch.finals.statistics import rank_test
from cellsearch.finals.table import judge


def row(name: str, scores: list[float], failures: int = 0, *, baseline: bool = False) -> FinalRow:
    kept = tuple(scores)
    return FinalRow(name, baseline, 10, 1000, 0.01, kept, kept, 1.0, failures)


@pytest.mark.parametrize("field", ["step_ms", "p", "scores", "metrics"])
def test_a_number_that_is_none_is_equal_to_itself(field: str) -> None:
    """As two readings of one file are, on every version of Python."""

    def with_value(value: float) -> FinalRow:
        changed = (0.5, value) if field in ("scores", "metrics") else value
        return replace(row("a", [1.0, 1.1]), **{field: changed})  # type: ignore[arg-type]

    assert with_value(float("nan")) == with_value(float("nan"))
    assert hash(with_value(float("nan"))) == hash(with_value(float("nan")))
    assert with_value(float("nan")) != with_value(0.5)
    assert with_value(0.25) == with_value(0.25) != with_value(0.5)
    assert with_value(0.25) != "a"


def random_rows(rng: np.random.Generator) -> list[FinalRow]:
    seeds = int(rng.integers(2, 7))
    rows = []
    for name in ("a", "b", "c", "lstm", "gru"):
        failures = int(rng.integers(0, seeds + 1)) if rng.random() < 0.4 else 0
        scores = rng.normal(rng.normal(scale=2.0), 1.0, seeds - failures).round(1)
        rows.append(row(name, scores.tolist(), failures, baseline=name in ("lstm", "gru")))
    return rows


def place(table: FinalTable, name: str) -> int:
    return [r.name for r in table.rows].index(name)


@pytest.mark.parametrize("seed", range(20))
def test_a_further_failure_never_improves_the_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng)
    before = judge(rows)
    for k, one in enumerate(rows):
        worse = [replace(one, failures=one.failures + 1)]  # a seed more
        worse += [  # or one of the seeds, whichever
            replace(one, scores=(*one.scores[:i], *one.scores[i + 1 :]), failures=one.failures + 1)
            for i in range(len(one.scores))
        ]
        for changed in worse:
            after = judge([*rows[:k], changed, *rows[k + 1 :]])
            assert place(after, one.name) >= place(before, one.name)
            assert f"{one.name} is better" not in after.sentence


@pytest.mark.parametrize("seed", range(60))
def test_a_cell_with_a_failure_stands_below_all_without_and_has_no_mean(seed: int) -> None:
    table = judge(random_rows(np.random.default_rng(seed)))
    failing = [r.failures > 0 for r in table.rows]
    assert failing == sorted(failing)
    for r, stored in zip(table.rows, json.loads(table.to_json())["rows"], strict=True):
        assert (stored["mean"] is None) == (r.failures > 0)
        assert math.isnan(r.mean) == (r.failures > 0)


def test_four_failures_of_five_do_not_lead() -> None:
    table = judge([row("found", [0.1], 4), row("lstm", [1.0, 1.1, 1.2, 1.3, 1.4], baseline=True)])
    assert [r.name for r in table.rows] == ["lstm", "found"]
    assert "found is not better than lstm: 4 of 5 trainings of found failed" in table.sentence


def test_a_baseline_that_fails_is_not_what_cells_are_compared_with() -> None:
    steady, lucky = row("gru", [2.0] * 5, baseline=True), row("lstm", [1.0], 4, baseline=True)
    sentence = judge([row("found", [1.5, 1.6, 1.5, 1.4, 1.5]), steady, lucky]).sentence
    assert "found is better than gru" in sentence
    alone = judge([row("found", [1.5, 1.6, 1.7, 1.4, 1.3]), lucky]).sentence
    assert "4 of 5 trainings of lstm failed" in alone


def test_failures_tie_at_the_end_of_the_ranks() -> None:
    lost = math.inf
    assert rank_test([1.0, 2.0, 3.0], [lost, lost, lost]) == pytest.approx(2 / 20)
    assert rank_test([lost, lost], [lost, lost]) == 1.0
    assert rank_test([1.0, 2.0, 3.0], [11.0, 12.0, 13.0]) == rank_test(
        [1.0, 2.0, 3.0], [4.0, 5.0, lost]
    )


def test_a_table_of_before_is_judged_anew_where_trainings_failed(tmp_path: Path) -> None:
    old = FinalTable(
        (row("found", [0.1], 4), row("lstm", [1.0, 1.1, 1.2, 1.3, 1.4], baseline=True)),
        "found is better than lstm",
    )
    path = tmp_path / "finals.json"
    path.write_text(old.to_json(), "utf-8")
    read = FinalTable.read(path)
    assert [r.name for r in read.rows] == ["lstm", "found"]
    assert "is not better" in read.sentence
    clean = judge([row("found", [0.1, 0.2]), row("lstm", [1.0, 1.1], baseline=True)])
    path.write_text(clean.to_json(), "utf-8")
    assert FinalTable.read(path).sentence == clean.sentence
