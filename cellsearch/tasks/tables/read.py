"""Reads a table: columns of numbers, moments and text, with what was understood of it in words.

The file is read in blocks, so that a million rows take the memory of their numbers. The first rows
say what each column is; a column that turns out to be something else is read again.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cellsearch.errors import InputFileError, amount, visible
from cellsearch.files import open_plain
from cellsearch.options import unknown
from cellsearch.tasks.tables.cells import (
    NumberStyle,
    TimeStyle,
    is_missing,
    number_style,
)
from cellsearch.tasks.tables.columns import Column, ColumnReading, Written, style_of
from cellsearch.tasks.tables.dialect import NAMES, find_dialect, find_encoding, head_of
from cellsearch.tasks.tables.parquet import is_parquet, read_parquet

__all__ = ["Column", "TextTable", "Written", "read_table"]

SAMPLE, BLOCK, ROWS_FOR_HEADER = 2000, 2_000, 200
FOUND_OUT = Written()


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table that was read."""

    columns: tuple[Column, ...]
    rows: int
    written: str
    """How the file is written, in words."""
    notes: tuple[str, ...] = ()
    """What was read in one way and could have been meant in another, in sentences."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str, where: str) -> Column:
        """The column of this name, or of this number from 1 on. Raises :class:`ConfigError`."""
        for column in self.columns:
            if column.name == name:
                return column
        if name.isdecimal() and 1 <= int(name) <= len(self.columns):
            return self.columns[int(name) - 1]
        raise unknown("column", name, self.names, where=where)


def read_table(path: Path, written: Written = FOUND_OUT, named: Sequence[str] = ()) -> TextTable:
    """Read a CSV or Parquet file.

    written: what the user says of it.
    named: columns that the user names, so that a row that holds them is a header.

    Raises :class:`ConfigError` for a missing file, :class:`InputFileError` for one that is not a
    table, or whose rows differ in width.
    """
    if path.is_file() and is_parquet(path):
        names, columns = read_parquet(path)
        made = [_of_cells(name, cells, written) for name, cells in zip(names, columns, strict=True)]
        rows = len(made[0].values) if made else 0
        return TextTable(tuple(made), rows, "Parquet")
    encoding = find_encoding(path)
    try:
        return _Reader(path, encoding, written, named).table()
    except UnicodeDecodeError:
        table = _Reader(path, "cp1252", written, named).table()
        note = "the file is not UTF-8, and read as Windows-1252 (Western European)"
        return replace(table, notes=(note, *table.notes))


def _of_cells(name: str, cells: Any, written: Written) -> Column:
    """A column of Parquet: numbers or moments as they are, anything else as text."""
    if isinstance(cells, np.ndarray):
        return Column(name, "number", cells)
    reading = ColumnReading(name)
    reading.add(cells)
    return reading.column(written, [])


class _Reader:
    """Reads one file in one encoding."""

    def __init__(self, path: Path, encoding: str, written: Written, named: Sequence[str]) -> None:
        self.path, self.encoding, self.named = path, encoding, named
        head, whole = head_of(path, encoding)
        self.skipped, said = _preamble(head)
        self.comment = _last_line(head, self.skipped)
        rest = "".join(list(io.StringIO(head, newline=""))[self.skipped :])
        self.dialect = find_dialect(rest, whole=whole, separator=written.separator or said)
        self.written = written
        self.notes: list[str] = []

    def table(self) -> TextTable:
        """All of it."""
        with self._open() as file:
            sample = list(islice(self._rows(file), SAMPLE))
        if not sample:
            raise InputFileError(
                "the file holds no rows", where=str(self.path), hint="write a table into it"
            )
        width = Counter(len(row) for _, row in sample[1:] or sample).most_common(1)[0][0]
        while len(sample) > 1 and len(sample[0][1]) == 1 and width > 2:
            self.notes.append(f"the line {sample[0][1][0]!r:.60} stands before the table")
            self.skipped = sample[1][0] - 1
            del sample[0]
        body, names = self._named(sample, width)
        if not body:
            raise InputFileError(
                "there are no rows below the names of the columns",
                where=str(self.path),
                hint="a table has a row of names, and below it a row for each moment",
            )
        self.decimal = self.written.decimal or self._decimal(body, width)
        readings = [
            ColumnReading(name, k, self._hypothesis([row[k] for _, row in body if k < len(row)]))
            for k, name in enumerate(names)
        ]
        header = len(body) < len(sample)
        count = self._fill(readings, header, width)
        if any(reading.failed for reading in readings):
            readings = [ColumnReading(r.name, r.place) if r.failed else r for r in readings]
            self._fill([r for r in readings if not r.parts], header, width)
        written = replace(self.written, decimal=self.decimal)
        columns = [reading.column(written, self.notes) for reading in readings]
        kept = tuple(c for c in columns if not (c.kind == "empty" and c.name == ""))
        return TextTable(_all_named(kept, self.notes), count, self._described(), tuple(self.notes))

    def _open(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(open_plain(self.path), encoding=self.encoding, newline="")

    def _rows(self, file: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
        """Rows with the numbers of their lines."""
        lines = islice(file, self.skipped, None)
        for number, row in self.dialect.rows(lines, str(self.path)):
            yield number + self.skipped, row

    def _blocks(self, header: bool, width: int) -> Iterator[list[list[str]]]:
        """The rows below the names, all of one width, many at a time."""
        with self._open() as file:
            reader = self.dialect.reader(islice(file, self.skipped, None))
            begin = header
            try:
                while block := list(islice(reader, BLOCK)):
                    block = [row for row in block if row][begin:]
                    begin = False
                    if any(len(row) != width for row in block):
                        block = [self._fitting(0, row, width) for row in block]
                    yield block
            except (csv.Error, InputFileError):
                with self._open() as again:
                    for number, row in islice(self._rows(again), int(header), None):
                        self._fitting(number, row, width)
                raise

    def _fill(self, readings: Sequence[ColumnReading], header: bool, width: int) -> int:
        """Read the columns; how many rows there are."""
        count = 0
        for block in self._blocks(header, width):
            columns = list(zip(*block, strict=True))
            for reading in readings:
                reading.add(columns[reading.place])
            count += len(block)
        return count

    def _fitting(self, number: int, row: list[str], width: int) -> list[str]:
        if len(row) == width:
            return row
        if len(row) > width and not any(cell.strip() for cell in row[width:]):
            return row[:width]
        raise InputFileError(
            f"this row has {amount(len(row), 'cell')}, the others {width}, read with "
            f"{NAMES.get(self.dialect.separator, repr(self.dialect.separator))} between the cells",
            where=f"{self.path}:{number}",
            hint="mend or delete the row (a file that is still written ends in half a row); if the "
            'separator is another one, say so: --set task_options.separator=";"',
        )

    def _named(
        self, sample: list[tuple[int, list[str]]], width: int
    ) -> tuple[list[tuple[int, list[str]]], list[str]]:
        """The rows below the names, and the names; an empty one for a column without."""
        first = sample[0][1]
        while len(first) > width and not first[-1].strip():
            first = first[:-1]
        if len(first) == width - 1 and len(sample) > 1:  # as R writes the names of rows
            return sample[1:], ["row", *(name.strip() for name in first)]
        if len(first) == width and self._is_header(first, [row for _, row in sample[1:]]):
            return sample[1:], [name.strip() for name in first]
        commented = (
            []
            if self.comment is None
            else next((row for _, row in self.dialect.rows([self.comment])), [])
        )
        if len(commented) == width:
            return sample, [name.strip() for name in commented]
        self.notes.append("there is no row of names: columns are called by their number")
        return sample, [f"column {k + 1}" for k in range(width)]

    def _is_header(self, first: list[str], rows: list[list[str]]) -> bool:
        if any(name in (cell.strip() for cell in first) for name in self.named):
            return True
        typed = False
        for k, cell in enumerate(first):
            below = [row[k] for row in rows if k < len(row)]
            style, _ = style_of(below[:ROWS_FOR_HEADER], self.written, "")
            if style is not None:
                typed = True
                if not is_missing(cell) and style.read([cell.strip()]) is None:
                    return True
        if typed:
            return False
        return len({c.strip() for c in first}) == len(first) and not any(
            cell in {row[k] for row in rows if k < len(row)} for k, cell in enumerate(first)
        )

    def _decimal(self, body: list[tuple[int, list[str]]], width: int) -> str:
        """The decimal sign of the columns that have a clear one; else what goes with the
        separator.
        """
        for k in range(width):
            found = number_style([row[k] for _, row in body[:ROWS_FOR_HEADER] if k < len(row)])
            if found is not None and found[0].decimal == "," and not found[1]:
                return ","
        return "." if self.dialect.separator == "," else ""

    def _hypothesis(self, cells: Sequence[str]) -> NumberStyle | TimeStyle | None:
        """What a column seems to be; ``None`` for text, and where it is in doubt."""
        style, doubt = style_of(cells, self.written, self.decimal)
        if isinstance(style, TimeStyle) and style.order in ("day first", "month first"):
            return None  # all of the column decides
        return None if doubt else style

    def _described(self) -> str:
        separator = NAMES.get(self.dialect.separator, repr(self.dialect.separator))
        parts = ["CSV", separator if not self.dialect.separator else f"{separator} between cells"]
        parts += ["decimal comma"] if self.decimal == "," else []
        parts += [self.encoding.upper()] if not self.encoding.startswith("utf-8") else []
        return ", ".join(parts)


def _preamble(head: str) -> tuple[int, str]:
    """How many lines come before the table, and the separator that they state."""
    skipped, said = 0, ""
    for line in io.StringIO(head, newline=""):
        text = line.strip()
        if not skipped and text.lower().startswith("sep=") and len(text) <= 5:
            said = "\t" if len(text) == 4 else text[4]
        elif text and not text.startswith("#"):
            break
        skipped += 1
    return skipped, said


def _last_line(head: str, count: int) -> str | None:
    """The last line of the preamble, where it is a comment that may hold the names."""
    lines = [line for line in islice(io.StringIO(head, newline=""), count) if line.strip()]
    return lines[-1].strip().lstrip("# ") if lines and lines[-1].startswith("#") else None


def _all_named(columns: Sequence[Column], notes: list[str]) -> tuple[Column, ...]:
    """The columns with names, each once."""
    seen: dict[str, int] = {}
    made = []
    for k, column in enumerate(columns):
        name = visible(column.name, newlines=True) or f"column {k + 1}"
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            notes.append(f"two columns are called {name}: the later one is {name} ({seen[name]})")
            name = f"{name} ({seen[name]})"
        made.append(replace(column, name=name))
    return tuple(made)
