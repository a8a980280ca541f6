"""The finals in a report say what their columns are."""

from __future__ import annotations

import re

import pytest

from cellsearch.finals import FinalRow, FinalTable
from cellsearch.finals.table import judge
from cellsearch.job import Naive
from cellsearch.reporting.finals import finals_section


def made(found: list[float], gru: list[float], *, accuracy: bool) -> FinalTable:
    rows = [
        FinalRow(
            name,
            name == "gru",
            8,
            1000,
            0.01,
            tuple(scores),
            tuple(1 - s for s in scores) if accuracy else tuple(scores),
            1.0,
            0,
        )
        for name, scores in (("found", found), ("gru", gru))
    ]
    return judge(rows)


def cells(section: str) -> list[list[str]]:
    """The texts of the table, row by row, headers first."""
    rows = re.findall(r"<tr.*?</tr>", section, re.DOTALL)
    return [
        [re.sub("<[^>]*>", "", one) for one in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]


def test_an_accuracy_has_a_column_beside_the_errors_that_are_judged() -> None:
    table = made([0.125, 0.125], [0.5, 0.25], accuracy=True)
    table = table.beside([Naive("most frequent", 0.75, 0.25)])
    header, *rows = cells(finals_section(table.to_document(), "accuracy"))
    assert header[:4] == ["cell", "test score", "deviation", "accuracy"]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("found", "0.1250", "0.8750"),
        ("gru", "0.3750", "0.6250"),
        ("most frequent", "0.7500", "0.2500"),
    ]
    assert {len(row) for row in rows} == {len(header)}


def test_an_error_that_is_the_score_stands_there_once() -> None:
    table = made([0.125, 0.125], [0.5, 0.25], accuracy=False)
    header, *rows = cells(finals_section(table.to_document(), "squared error"))
    assert header[:4] == ["cell", "test squared error", "deviation", "trainings"]
    assert {len(row) for row in rows} == {len(header)}


@pytest.mark.parametrize(("seeds", "narrow"), [(2, True), (5, False)])
def test_intervals_of_few_seeds_are_said_to_be_too_narrow(seeds: int, narrow: bool) -> None:
    near = [0.5 + 0.001 * k for k in range(seeds)]
    table = made(near, [value + 0.0005 for value in near], accuracy=False)
    assert ("intervals are too narrow" in table.sentence) == narrow
