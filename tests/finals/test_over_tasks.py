"""Cells over several tasks: tests against published tables and counts by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from cellsearch.errors import InputFileError
from cellsearch.finals import FinalRow, FinalTables, TaskTable
from cellsearch.finals.ranks import (
    critical_difference,
    friedman_test,
    mid_ranks,
    signed_rank_test,
    smallest_signed_rank_p,
)
from cellsearch.finals.table import judge


def test_mid_ranks_by_hand() -> None:
    assert mid_ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]
    assert mid_ranks([(0.2, 0.0), (0.0, 5.0), (0.2, 0.0)]) == [2.5, 1.0, 2.5]


@pytest.mark.parametrize(
    ("cells", "q"),
    [
        *((2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850)),
        *((7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)),
    ],
)
def test_the_critical_values_are_those_of_demsar_table_5a(cells: int, q: float) -> None:
    found = critical_difference(cells, 14) / math.sqrt(cells * (cells + 1) / (6 * 14))
    assert found == pytest.approx(q, abs=0.0011)


def test_the_critical_difference_of_demsars_example() -> None:
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, alpha=0.1) == pytest.approx(1.12, abs=0.005)


def test_signed_ranks_by_hand() -> None:
    assert signed_rank_test([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 32)
    assert signed_rank_test([-1.0, 2.0, 3.0]) == pytest.approx(4 / 8)
    assert signed_rank_test([1.0, 2.0, -3.0]) == 1.0
    assert signed_rank_test([0.0, 0.0]) == 1.0
    assert signed_rank_test([math.inf] * 6) == signed_rank_test([-math.inf] * 6) == 2 / 64
    assert smallest_signed_rank_p(6) == pytest.approx(2 / 64)


def test_signed_ranks_of_demsars_example() -> None:
    """Table 2: 14 data sets, two of them without a difference; R+ 93, R- 12, p about .01."""
    differences = [5, -8, 17, 33, 6, -5, 7, 0, 63, 0, 22, 47, 9, 21]
    p = signed_rank_test([float(d) for d in differences])
    z = (12 - 14 * 15 / 4) / math.sqrt(14 * 15 * 29 / 24)
    assert p == pytest.approx(math.erfc(-z / math.sqrt(2)), abs=0.004)
    many = [float(d) for d in differences] + [1000.0, 2000.0, 3000.0, 4000.0, 5000.0]
    z = (12 - 19 * 20 / 4) / math.sqrt(19 * 20 * 39 / 24)  # sampled
    assert signed_rank_test(many) == pytest.approx(math.erfc(-z / math.sqrt(2)), abs=0.002)


def test_friedman_by_hand() -> None:
    same = [[1.0, 2.0]] * 4
    assert friedman_test(same) == pytest.approx(2 / 16, abs=0.005)
    assert friedman_test([[1.0, 2.0], [2.0, 1.0]]) == 1.0
    assert friedman_test([[1.0, 2.0, 3.0]] * 3) == pytest.approx(6 / 216, abs=0.003)
    assert friedman_test([[2.0, 2.0, 2.0]] * 3) == 1.0


def row(name: str, scores: list[float], failures: int = 0) -> FinalRow:
    kept = tuple(scores)
    return FinalRow(
        name, name in ("gru", "lstm"), 8, 1000, 0.01, kept, kept, 1.0, failures, rate_inside=True
    )


def around(mean: float, seeds: int = 5) -> list[float]:
    return [mean + 0.001 * k for k in range(seeds)]


def tables(**tasks: dict[str, FinalRow]) -> FinalTables:
    """Tables of tasks, each with its rows by name."""
    return FinalTables(
        "some",
        tuple(
            TaskTable(name, "adding", "error", judge(list(rows.values())))
            for name, rows in tasks.items()
        ),
    )


def three(found: float, gru: float, lstm: float, failures: int = 0) -> dict[str, FinalRow]:
    mine = row("found", around(found, 5 - failures), failures)
    return {"found": mine, "gru": row("gru", around(gru)), "lstm": row("lstm", around(lstm))}


def test_ranks_wins_and_significant_tasks_by_hand() -> None:
    several = tables(
        a=three(1.0, 2.0, 3.0), b=three(2.0, 1.0, 3.0), c=three(1.0, 1.0, 3.0), d=three(1, 2, 3)
    )
    standing = {one.name: one for one in several.standings}
    assert standing["found"].mean_rank == pytest.approx((1 + 2 + 1.5 + 1) / 4)
    assert standing["gru"].mean_rank == pytest.approx((2 + 1 + 1.5 + 2) / 4)
    assert standing["lstm"].mean_rank == 3.0
    assert standing["found"].won == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert sum(one.won for one in several.standings) == pytest.approx(1.0)
    against = {one.against: one for one in several.comparisons}
    assert (against["gru"].better, against["gru"].worse) == (2, 1)
    assert (against["lstm"].better, against["lstm"].worse) == (4, 0)
    sentence = several.sentence
    assert "found is better than gru on 2 of 4 tasks, worse on 1, mean rank 1.38" in sentence
    assert "is not significant" in sentence
    assert "With 4 tasks no difference over the tasks could have been significant" in sentence


def test_a_difference_over_many_tasks_is_significant() -> None:
    many = tables(**{f"t{k}": three(1.0 + k, 1.5 + k, 2.0 + k) for k in range(8)})
    assert [one.p for one in many.comparisons] == pytest.approx([2 * 2 / 256] * 2)
    assert "over the tasks it is better (signed ranks p = 0.016" in many.sentence
    assert "(signed ranks p = 0.016 after correction; more than the critical" in many.sentence
    turned = tables(**{f"t{k}": three(3.0 + k, 1.5 + k, 2.0 + k) for k in range(8)})
    assert "over the tasks it is worse" in turned.sentence


@pytest.mark.parametrize("failures", [1, 4])
def test_a_failure_is_the_worst_rank_and_nothing_is_better_with_one(failures: int) -> None:
    failing = {f"t{k}": three(1.0, 2.0, 3.0, failures) for k in range(8)}
    several = tables(**failing)
    standing = {one.name: one for one in several.standings}
    assert standing["found"].mean_rank == 3.0
    assert standing["found"].failures == 8 * failures
    assert all(one.better == 0 for one in several.comparisons)
    assert f"{8 * failures} of 40 trainings of found failed" in several.sentence
    assert "it is better" not in several.sentence
    once = tables(**{f"t{k}": three(1.0, 2.0, 3.0, int(k == 0)) for k in range(14)})
    assert once.comparisons[0].p <= 0.05
    assert "over the tasks it is not better, with failures" in once.sentence


def test_it_is_read_back_and_other_files_are_refused(tmp_path: Path) -> None:
    several = tables(a=three(1.0, 2.0, 3.0), b=three(2.0, 1.0, 3.0, 2))
    path = tmp_path / "finals-some.json"
    path.write_text(several.to_json(), "utf-8")
    read = FinalTables.read(path)
    assert read.to_document() == several.to_document()
    assert json.loads(path.read_text("utf-8"))["critical_difference"] == pytest.approx(
        several.critical_difference
    )
    for text in ("[", "{}", '{"name": "a", "tasks": []}', '{"name": 1, "tasks": [{"table": 3}]}'):
        path.write_text(text, "utf-8")
        with pytest.raises(InputFileError, match="not a table of finals on several"):
            FinalTables.read(path)


def test_one_task_says_what_its_table_says() -> None:
    one = tables(a=three(1.0, 2.0, 3.0))
    assert one.sentence == one.tasks[0].table.sentence
    assert "standings" not in one.to_document()
    assert replace(one, name="x").tasks == one.tasks
