"""How the text of a table is written: encoding, separator, quotes, escapes.

A way of reading is judged by what it makes of the first rows: rows of one width, cells that are
numbers, moments or plain words.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cellsearch.errors import ConfigError, InputFileError
from cellsearch.files import open_plain
from cellsearch.tasks.tables.cells import is_missing, number_style, time_style

__all__ = ["NAMES", "Dialect", "find_dialect", "find_encoding", "head_of"]

NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", "": "one column"}
"""The separators, in words."""
HEAD = 1 << 16
"""Characters that are looked at."""
ROWS = 200
TITLES = 10
"""So many lines may stand above a table of three or more columns."""
PLAIN = 0.5
"""The sense of a word; that of a number is 1."""
NEVER = "\x1f"
"""Separates the columns of a table that has one."""
_BINARY = (
    (b"PK", "a spreadsheet or a zip archive", "save the sheet as CSV, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV"),
    (b"\x1f\x8b", "packed by gzip", "unpack it with gunzip"),
    (b"\xfd7zXZ", "packed by xz", "unpack it with xz -d"),
    (b"BZh", "packed by bzip2", "unpack it with bunzip2"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "unpack it with zstd -d"),
    (b"\x89HDF", "an HDF5 file", "write the table as CSV, for example with pandas"),
    (b"\x93NUMPY", "one array (.npy)", "write it as CSV, for example with numpy.savetxt"),
    (b"\x80", "a pickle", "write the table as CSV, with the program that wrote it"),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How rows are cut into cells."""

    separator: str = ","
    """Between cells; ``""``: there is one column."""
    quote: str = '"'
    """Around cells that hold separators, quotes or ends of lines."""
    escape: str = ""
    """Before such a character; ``""``: quotes are doubled instead."""

    def reader(self, lines: Iterable[str]) -> Any:
        """A reader of the standard library."""
        return csv.reader(
            lines,
            delimiter=self.separator or NEVER,
            quotechar=self.quote,
            escapechar=self.escape or None,
            strict=True,  # else a quote that is never closed takes in the rest of the file
        )

    def rows(self, lines: Iterable[str], where: str = "") -> Iterator[tuple[int, list[str]]]:
        """Rows that are not blank, with the number of the line in which each begins. Raises
        :class:`InputFileError` for what cannot be cut.
        """
        reader = self.reader(lines)
        begin = 1
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise InputFileError(
                    f"this row cannot be read: {error}",
                    where=f"{where}:{begin}",
                    hint=f"a quote ({self.quote}) that is never closed is one cause",
                ) from None
            if row is None:
                return
            if row:
                yield begin, row
            begin = reader.line_num + 1


def find_encoding(path: Path) -> str:
    """What the bytes at the head of a file say of its encoding: UTF-8 unless a mark says another.
    Raises :class:`ConfigError` for a missing file, :class:`InputFileError` for an empty one, or one
    that is no text.
    """
    if not path.is_file():
        raise ConfigError(
            f"there is no file {path}", where="task_options.path", hint="give the path of a table"
        )
    with open_plain(path) as file:
        head = file.read(4096)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for magic, kind, hint in _BINARY:
        if head.startswith(magic):
            raise InputFileError(f"the file is {kind}, not a table", where=str(path), hint=hint)
    if b"\0" in head:
        raise InputFileError(
            "the file is not text", where=str(path), hint="a table is a CSV file in UTF-8"
        )
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise InputFileError(
            "the file is empty",
            where=str(path),
            hint="a table has a row of names, and below it a row for each moment",
        )
    return "utf-8-sig"


def find_dialect(head: str, *, whole: bool, separator: str = "") -> Dialect:
    """The way of reading that makes most sense of the beginning of a text.

    whole: whether this is all of the text, so that its last row is whole.
    separator: what the user says that it is.
    """
    lines = list(io.StringIO(head, newline=""))  # as a file is cut, not as splitlines does
    separators = [separator] if separator else [s for s in NAMES if not s or s in head]
    best: tuple[float, float, int] = (-1.0, 0.0, 0)
    chosen = Dialect(separator)
    for quote in ('"', "'"):
        if quote != '"' and not re.search(r"(?:^|[,;\t|])'|'(?:[,;\t|\r\n]|$)", head, re.M):
            continue
        for escape in ("", "\\") if re.search(r"\\[\"',;\t|\\\r\n]", head) else ("",):
            for one in separators:
                dialect = Dialect(one, quote, escape)
                judged = _judged(dialect, lines, whole=whole)
                if judged > best:
                    best, chosen = judged, dialect
    return chosen


def _judged(dialect: Dialect, lines: list[str], *, whole: bool) -> tuple[float, float, int]:
    """How much sense the rows make, how many cells are plain, and how many columns there are."""
    rows: list[list[str]] = []
    try:
        rows += (row for _, row in islice(dialect.rows(lines), ROWS))
    except InputFileError:
        if whole:
            return (-1.0, 0.0, 0)
    if not whole and len(rows) < ROWS:
        del rows[-1:]
    if not rows:
        return (-1.0, 0.0, 0)
    width, alike = Counter(map(len, rows)).most_common(1)[0]
    if dialect.separator and width == 1:
        return (-1.0, 0.0, 0)
    if dialect.separator and len(rows[0]) == 1 and width == 2:
        return (-1.0, 0.0, 0)  # one name, and a sign within the cells
    titles, cut = 0, False
    while dialect.separator and len(rows) > 1 and len(rows[0]) == 1:
        titles += 1
        cut |= any(sign in rows[0][0] for sign in ";\t|")  # names of columns rather than a title
        del rows[0]
    cut |= width == 1 and _sense(rows[0][0], dialect) < PLAIN
    odd = cut or titles > TITLES or len(rows[0]) != width
    share = min(1.0, alike / len(rows)) * (0.5 if odd else 1.0)
    cells = [cell for row in rows for cell in row]
    sense = sum(_sense(cell, dialect) for cell in cells) / len(cells)
    return (round(share * sense, 6), -sum(map(len, cells)), width)


def _sense(cell: str, dialect: Dialect) -> float:
    """1 for a number, a moment or nothing, less for text, 0 for what seems to be cut wrongly."""
    text = cell.strip()
    if is_missing(text) or number_style([text]) is not None or time_style([text]) is not None:
        return 1.0
    if text.startswith(('"', "'")) or text.endswith(('"', "'", "\\")):
        return 0.0
    if any(sign in text for sign in ",;\t|\n"):
        return 0.3
    return PLAIN if "\\" not in text else 0.4


def head_of(path: Path, encoding: str) -> tuple[str, bool]:
    """The beginning of a text, and whether that is all of it."""
    with io.TextIOWrapper(open_plain(path), encoding=encoding, newline="") as file:
        head = file.read(HEAD)
        return head, not file.read(1)
