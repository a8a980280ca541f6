"""Tables for other programs: what they read back is what was there, and hostile text stays text."""

from __future__ import annotations

import csv
import io
import re

import pytest

from cellsearch.reporting.tables import FORMS, written

HEADERS = ("name", "weights", "score")
ROWS = [
    ("lstm_ln, 50 % & more", "1,234", "0.5000"),
    ('a "quoted" | pipe', "12", "–"),
    ("=1+cmd|' /C calc'!A0", "-3", "-0.25"),
]
EVIL = "![x](http://h/)<img src=x>\x1b[31m\n| a | \\input{/etc/passwd} $x^2_1$ ~#"


def test_csv_is_read_back_with_numbers_as_numbers() -> None:
    read = list(csv.reader(io.StringIO(written("csv", HEADERS, ROWS, right=(1, 2)))))
    assert read[0] == list(HEADERS)
    assert [row[1:] for row in read[1:]] == [["1234", "0.5000"], ["12", ""], ["-3", "-0.25"]]
    assert [row[0] for row in read[1:3]] == [ROWS[0][0], ROWS[1][0]]


@pytest.mark.parametrize("text", ["=SUM(A1)", "@x", "+cmd", "-cmd"])
def test_csv_holds_nothing_that_a_spreadsheet_would_compute(text: str) -> None:
    assert written("csv", (), [(text,)]) == f"'{text}\n"
    assert written("csv", (), [("-1.5",), ("+0.3 to +0.4",)]) == "-1.5\n+0.3 to +0.4\n"


def test_latex_is_a_tabular_with_every_mark_escaped() -> None:
    lines = written("latex", HEADERS, ROWS, right=(1, 2)).splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}"
    assert lines[-1] == r"\end{tabular}"
    assert lines[4] == r"lstm\_ln, 50 \% \& more & 1,234 & 0.5000 \\"
    assert r"\textbackslash{}input\{/etc/passwd\}" in written("latex", (), [(EVIL,)])
    assert written("latex", (), [("[2cm]",)]).splitlines()[2] == r"{}[2cm] \\"


def test_markdown_has_a_row_a_line_and_no_links() -> None:
    lines = written("markdown", HEADERS, ROWS, right=(1, 2)).splitlines()
    assert lines[1] == "|---|---:|---:|"
    assert len(lines) == 2 + len(ROWS)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in lines)
    evil = written("markdown", ("a",), [(EVIL,)])
    assert len(evil.splitlines()) == 3
    assert not re.search(r"(?<!\\)[\[\]<>!]", evil)


@pytest.mark.parametrize("form", FORMS)
def test_control_characters_are_made_visible(form: str) -> None:
    text = written(form, ("a",), [(EVIL,)])
    assert "\x1b" not in text
    assert len(written(form, (), [])) < 80
