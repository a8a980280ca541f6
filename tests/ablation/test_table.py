"""What an ablation says of its trainings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cellsearch.ablation import AblationRow, AblationTable
from cellsearch.ablation.interval import difference_interval, student_quantile
from cellsearch.errors import InputFileError
from cellsearch.reporting.ablation import ablation_grid, ablations_section


def row(name: str, *scores: float, failures: tuple[str, ...] = ()) -> AblationRow:
    return AblationRow(name, "gate", "the gate is 1", "h[t] = ...\n", scores, failures)


def made(*removed: AblationRow, whole: AblationRow | None = None) -> AblationTable:
    kept = row("the whole cell", 1.0, 1.1, 0.9) if whole is None else whole
    return AblationTable("mine", "parity", "errors", 10, 8, 3, kept, removed)


# Two-sided 95 %, from the table in Student's own words: Abramowitz & Stegun 1964, table 26.10.
@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)]
)
def test_the_quantiles_are_those_of_the_tables(freedom: int, t: float) -> None:
    assert student_quantile(freedom, 0.95) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize(("n", "m", "spread"), [(3, 3, 1.0), (5, 5, 1.0), (3, 8, 4.0)])
def test_an_interval_of_95_percent_holds_the_difference_that_often(
    n: int, m: int, spread: float
) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(2, spread, (1500, n)), rng.normal(1, 1, (1500, m))
    held = sum(
        low <= 1 <= high
        for _, low, high in (
            difference_interval(a.tolist(), b.tolist()) for a, b in zip(first, second, strict=True)
        )
    )
    assert 0.93 <= held / 1500 <= 0.99


def test_what_costs_most_comes_first_and_failures_before_all() -> None:
    table = made(
        row("cheap", 1.2, 1.1, 1.0),
        row("dear", 5.0, 5.1, 4.9),
        row("broken", failures=("nan", "nan", "nan")),
        row("shaky", 0.1, 0.1, failures=("time",)),
        row("harmful", 0.5, 0.5, 0.5),
    )
    assert [one.name for one, _ in table.rows] == ["broken", "shaky", "dear", "cheap", "harmful"]
    assert [cost.said for _, cost in table.rows] == ["fails", "fails", "costs", "unclear", "pays"]
    assert "Without broken (the gate is 1) 3 of 3 trainings failed." in table.sentence
    assert "2 fail, 1 cost something, 1 make it better, of 1 it cannot be told" in table.sentence
    dear = table.rows[2][1]
    assert (dear.difference, dear.percent) == pytest.approx((4.0, 400.0))
    assert dear.low < 4 < dear.high


def test_nothing_is_said_where_the_whole_cell_fails() -> None:
    table = made(row("f", 1.0, 2.0, 3.0), whole=row("the whole cell", 1.0, failures=("nan",) * 2))
    assert [cost.said for _, cost in table.rows] == ["unclear"]
    assert math.isnan(table.rows[0][1].difference)
    assert table.sentence.startswith("2 of 3 trainings of the whole cell failed")


def test_one_training_has_no_interval() -> None:
    table = made(row("f", 2.0), whole=row("the whole cell", 1.0))
    cost = table.rows[0][1]
    assert (cost.difference, cost.said) == (1.0, "unclear")
    assert math.isnan(cost.low)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = made(row("f", 2.0, 2.5, failures=("nan",)), row("g", 1.0, 1.25, 1.5))
    path = tmp_path / "trial-1.json"
    assert "<table" in table._repr_html_()  # in a notebook
    path.write_text(table.to_json())
    again = AblationTable.read(path)
    assert again.to_document() == table.to_document()
    assert again.removed == tuple(one for one, _ in table.rows)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "cell": "a"}', "[" * 100000, "\x00"]
)
def test_a_damaged_table_is_an_error_with_a_hint(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trial-1.json"
    path.write_text(text)
    with pytest.raises(InputFileError) as caught:
        AblationTable.read(path)
    assert caught.value.hint


def test_the_section_of_a_report_escapes_and_bounds_what_it_shows() -> None:
    evil = "<script>alert(1)</script>"
    rows = [row(f"{evil}{k}", 1.0 + k / 100, 1.1 + k / 100, 1.2) for k in range(200)]
    documents = {k: made(*rows).to_document() for k in range(9)}
    section = ablations_section(documents, 7)
    assert evil not in section
    assert section.index("Trial 7") < section.index("Trial 0")
    assert "6 more ablations are not shown" in section
    assert "140 removals that cost less are not shown" in section
    assert len(section) < 100_000
    assert ablations_section({}, None) == ""


def test_a_document_is_json_without_numbers_that_json_does_not_know() -> None:
    document = made(row("f", failures=("nan",) * 3), row("g", 1.0, 1.1, 1.2)).to_document()
    json.dumps(document, allow_nan=False)
    grid = ablation_grid(document)
    assert [line[0] for line in grid] == ["–", "f", "g"]
    assert grid[1][-2] == "3 of 3 failed (nan)"
