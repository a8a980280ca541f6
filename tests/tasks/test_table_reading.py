"""Tables as people have them are read right, or refused with a sentence that helps."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cellsearch.errors import CellsearchError, ConfigError, InputFileError
from cellsearch.tasks.tables.dialect import find_dialect
from cellsearch.tasks.tables.read import TextTable, Written, read_table

NAN = math.nan
DAY = 86400.0
NEW_YEAR = 1704067200.0
"""1 January 2024, in seconds since 1970."""


def read(tmp_path: Path, text: str | bytes, **written: str) -> TextTable:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, Written(**written))


def values(table: TextTable) -> dict[str, list[Any]]:
    return {
        c.name: [c.texts[v] if v >= 0 else None for v in c.values]
        if c.kind == "text"
        else c.values.tolist()
        for c in table.columns
    }


def same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(
        x == y
        or (isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y))
        for x, y in zip(a, b, strict=True)
    )


NUMBERS = {"a": [1.5, 2.5, -0.5], "b": [2.0, NAN, 3.0]}
READ: dict[str, tuple[str | bytes, dict[str, list[Any]]]] = {
    "commas": ("a,b\n1.5,2\n2.5,\n-0.5,3\n", NUMBERS),
    "semicolons and decimal commas": ("a;b\n1,5;2\n2,5;NA\n-0,5;3\n", NUMBERS),
    "tabs": ("a\tb\n1.5\t2\n2.5\t?\n-0.5\t3\n", NUMBERS),
    "vertical bars": ("a|b\n1.5|2\n2.5|null\n-0.5|3\n", NUMBERS),
    "Excel says the separator": ("sep=;\r\na;b\r\n1,5;2\r\n2,5;-\r\n-0,5;3\r\n", NUMBERS),
    "mark of UTF-8": ("\ufeffa,b\n1.5,2\n2.5,n/a\n-0.5,3\n", NUMBERS),
    "UTF-16": ("a,b\n1.5,2\n2.5,NaN\n-0.5,3\n".encode("utf-16"), NUMBERS),
    "all quoted": ('"a","b"\n"1.5","2"\n"2.5",""\n"-0.5","3"\n', NUMBERS),
    "quoted decimal commas": ('a,b\n"1,5",2\n"2,5",\n"-0,5",3\n', NUMBERS),
    "thousands": ('a,b\n"1,234.5",x\n"2,000,000",y\n', {"a": [1234.5, 2e6], "b": ["x", "y"]}),
    "points between thousands": (
        "a;b\n1.234,5;1\n2.000,25;2\n",
        {"a": [1234.5, 2000.25], "b": [1.0, 2.0]},
    ),
    "spaces between thousands": (
        "a;b\n1 234,5;1\n2\xa0000,25;2\n",
        {"a": [1234.5, 2000.25], "b": [1.0, 2.0]},
    ),
    "no names": ("1,2\n3,4\n", {"column 1": [1.0, 3.0], "column 2": [2.0, 4.0]}),
    "one column": ("v\n1.5\n2.5\n", {"v": [1.5, 2.5]}),
    "one column of decimal commas": ("v\n1,5\n2,5\n", {"v": [1.5, 2.5]}),
    "comments": ("# made today\n# a,b\n1,2\n3,4\n", {"a": [1.0, 3.0], "b": [2.0, 4.0]}),
    "titles": (
        "Station 5\nmade today\n\na;b;c\n1;2;3\n4;5;6\n",
        {"a": [1.0, 4.0], "b": [2.0, 5.0], "c": [3.0, 6.0]},
    ),
    "names of rows, as R writes them": (
        '"a"\t"b"\n"1"\t5\t6\n"2"\t7\t8\n',
        {"row": [1.0, 2.0], "a": [5.0, 7.0], "b": [6.0, 8.0]},
    ),
    "blank lines and separators at the end": (
        "a,b,\n\n1,2,\n3,4,\n\n",
        {"a": [1.0, 3.0], "b": [2.0, 4.0]},
    ),
    "text with separators and line ends": (
        'a,b\n1,"x, y"\n2,"p\nq"\n',
        {"a": [1.0, 2.0], "b": ["x, y", "p\nq"]},
    ),
    "two columns of one name": ("a,a\n1,2\n3,4\n", {"a": [1.0, 3.0], "a (2)": [2.0, 4.0]}),
    "infinite": (
        "a,b\n1,inf\n2,-Infinity\n3,1e400\n4,5\n",
        {"a": [1.0, 2.0, 3.0, 4.0], "b": [NAN, NAN, NAN, 5.0]},
    ),
    "names with underscores are no numbers": (
        "a,b\n1,1_000\n2,2_000\n",
        {"a": [1.0, 2.0], "b": ["1_000", "2_000"]},
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_odd_tables_are_read_right(kind: str, tmp_path: Path) -> None:
    text, expected = READ[kind]
    found = values(read(tmp_path, text))
    assert list(found) == list(expected)
    assert all(same(found[name], expected[name]) for name in expected), found


MOMENTS = {
    "ISO": ["2024-01-01 00:00:00", "2024-01-01T12:00:00", "2024-01-02"],
    "a zone": ["2024-01-01T00:00:00Z", "2024-01-01T13:00:00+01:00", "2024-01-01 19:00:00-05:00"],
    "day, month, year": ["01.01.2024 00:00", "01.01.2024 12:00", "02.01.2024"],
    "short years": ["31.12.23 24:00".replace("24", "23"), "31.12.23 23:30", "31.12.23 23:45"],
    "month, day, year": ["1/1/2024 12:00 AM", "1/1/2024 12:00 PM", "1/2/2024 12:00 AM"],
    "names of months": ["1 Jan 2024", "1 January 2024 12:00", "2-Jan-2024"],
    "month names first": ["Jan 1, 2024", "January 1, 2024 12:00", "Jan 2, 2024"],
    "slashes": ["2024/01/01", "2024/01/01 12:00", "2024/01/02"],
}
"""Midnight, noon and midnight of the first of January 2024, but for short years."""


@pytest.mark.parametrize("kind", MOMENTS)
def test_moments_are_read_in_all_their_forms(kind: str, tmp_path: Path) -> None:
    cells = "".join(f'"{cell}";1\n' for cell in MOMENTS[kind])
    # A day that can be nothing else says which number is the day.
    clear = {"day": "31.12.2023;0\n", "month": "12/31/2023;0\n"}.get(kind.partition(",")[0], "")
    column = read(tmp_path, f"t;v\n{clear}{cells}").columns[0]
    expected = [NEW_YEAR, NEW_YEAR + DAY / 2, NEW_YEAR + DAY]
    if kind == "short years":
        expected = [NEW_YEAR - 3600, NEW_YEAR - 1800, NEW_YEAR - 900]
    assert column.kind == "time"
    assert column.values[bool(clear) :].tolist() == expected


def test_days_and_months_in_doubt_are_said_and_can_be_set(tmp_path: Path) -> None:
    daily = "t,v\n01/02/2024,1\n02/02/2024,2\n03/02/2024,3\n"
    table = read(tmp_path, daily)
    assert np.diff(table.columns[0].values).tolist() == [DAY, DAY]
    assert any("01/02/2024" in note and "month first" in note for note in table.notes)
    other = read(tmp_path, daily, dates="month first")
    assert np.diff(other.columns[0].values).min() > 20 * DAY
    assert not other.notes
    # A later day that can be nothing else decides for the whole column.
    late = "t,v\n" + "01/02/2024,1\n" * 3000 + "01/13/2024,1\n"
    assert read(tmp_path, late).columns[0].values[0] == NEW_YEAR + DAY


def test_what_the_first_rows_do_not_show_is_seen_later(tmp_path: Path) -> None:
    rows = [f"{k},{k}" for k in range(5000)]
    text = read(tmp_path, "\n".join(["a,b", *rows, *["1,x"] * 500]))
    assert [c.kind for c in text.columns] == ["number", "text"]
    assert text.columns[1].texts[4999] == "4999"
    stray = read(tmp_path, "\n".join(["a,b", *rows, "1,x"]))
    assert stray.columns[1].missing == 1
    assert "'x'" in stray.notes[0]
    decimal = read(tmp_path, "\n".join(["a;b", *["1;7"] * 3000, "1;0,5"]))
    assert decimal.columns[1].values[-1] == 0.5


REFUSED: dict[str, tuple[str | bytes, str, str]] = {
    "empty": ("", "empty", "row of names"),
    "blank": ("\n \n", "empty", "row of names"),
    "names alone": ("a,b\n", "no rows below", "row of names"),
    "half a row at the end": (
        "a,b\n1,2\n3,4\n5\n",
        "this row has 1 cell, the others 2",
        "half a row",
    ),
    "a row too long": ("a,b\n1,2\n3,4,5\n6,7\n8,9\n", "this row has 3 cells", "separator"),
    "a quote that is open": (
        "a,b\n" + "1,2\n" * 200 + '3,"4\n' + "5,6\n" * 300,
        "cannot be read",
        "never closed",
    ),
    "a workbook": (b"PK\x03\x04" + b"\0" * 50, "spreadsheet", "save the sheet as CSV"),
    "packed": (b"\x1f\x8b\x08" + b"\0" * 50, "gzip", "gunzip"),
    "binary": (b"\x01\x00\x02\x00" * 50, "not text", "CSV"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_is_refused_with_what_helps(kind: str, tmp_path: Path) -> None:
    text, message, hint = REFUSED[kind]
    with pytest.raises(InputFileError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_the_line_of_a_wrong_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError) as caught:
        read(tmp_path, "a,b\n" + '"x\ny",2\n' * 4000 + "3\n" + "4,5\n" * 10)
    assert caught.value.where.endswith(":8002")


def test_other_encodings_are_read_and_said(tmp_path: Path) -> None:
    table = read(tmp_path, "ort,grad\nMünchen,1\nKöln,2\n".encode("cp1252"))
    assert table.columns[0].texts == ("München", "Köln")
    assert "not UTF-8" in table.notes[0]


def test_columns_are_named_or_numbered(tmp_path: Path) -> None:
    table = read(tmp_path, "alpha,beta\n1,2\n")
    assert table.column("2", "--predict").name == "beta"
    with pytest.raises(ConfigError, match="alpa") as caught:
        table.column("alpa", "--predict")
    assert "alpha" in caught.value.hint
    with pytest.raises(CellsearchError):
        read_table(tmp_path / "nowhere.csv")


WORDS = st.sampled_from(
    ["a", "sensor 1", "Doe, John", "x;y", 'say "hi"', "it's", "", "tab\there", "1|2", "p\nq", "é"]
)
NUMBER = st.floats(-1e6, 1e6).map(lambda x: f"{x:.4g}")
COMMA = st.floats(-1e3, 1e3).map(lambda x: f"{x:.2f}".replace(".", ","))
MOMENT = st.datetimes().map(lambda t: t.replace(microsecond=0).isoformat(" "))


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    kinds = draw(st.lists(st.sampled_from([WORDS, NUMBER, COMMA, MOMENT]), min_size=1, max_size=5))
    rows = draw(st.lists(st.tuples(*kinds), min_size=3, max_size=20))
    return [[f"col {k}" for k in range(len(kinds))], *map(list, rows)]


@example(  # as many commas in every row, and none in the head
    table=[[f"col {n}" for n in range(5)], *[["0,00", "a", "a", "a", "0,00"]] * 3],
    separator=";",
    quote='"',
    quoting=csv.QUOTE_MINIMAL,
    doubled=False,
    end="\n",
)
@settings(max_examples=150, deadline=None)
@given(
    table=tables(),
    separator=st.sampled_from(",;\t|"),
    quote=st.sampled_from("\"'"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    doubled=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_csv_writes_comes_back_equal(
    table: list[list[str]], separator: str, quote: str, quoting: Any, doubled: bool, end: str
) -> None:
    written = io.StringIO(newline="")
    csv.writer(
        written,
        delimiter=separator,
        quotechar=quote,
        quoting=quoting,
        doublequote=doubled,
        escapechar=None if doubled else "\\",
        lineterminator=end,
    ).writerows(table)
    text = written.getvalue()
    dialect = find_dialect(text, whole=True)
    assert [row for _, row in dialect.rows(io.StringIO(text, newline=""))] == table


def test_parquet_is_read_where_pyarrow_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "table.parquet"
    table = {"t": ["2024-01-01", "2024-01-02"], "v": [1.5, None], "s": ["x", "y"]}
    parquet.write_table(pyarrow.table(table), path)
    found = read_table(path)
    assert [c.kind for c in found.columns] == ["time", "number", "text"]
    assert same(found.columns[1].values.tolist(), [1.5, NAN])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputFileError, match="not whole Parquet"):
        read_table(path)
