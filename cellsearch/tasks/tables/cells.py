"""What the cells of a table mean: numbers, moments, nothing, or text.

A style is found from texts of a column and holds for all of it: ``number`` styles are a decimal
sign and a sign between thousands, ``time`` styles an order of day, month and year.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

__all__ = ["MISSING", "NumberStyle", "TimeStyle", "is_missing", "number_style", "time_style"]

MISSING = frozenset(
    {"", "nan", "na", "n/a", "#n/a", "#na", "null", "none", "nil", "-", "--", "?", "nat", "missing"}
    | {
        "#value!",
        "#div/0!",
        "#num!",
        "#ref!",
        "<na>",
        "inf",
        "+inf",
        "-inf",
        "-nan",
        "infinity",
        "+infinity",
        "-infinity",
    }
)
"""What stands for no value, in small letters; infinity is none that can be learned from."""
_AS_WRITTEN = MISSING | {"NaN", "NA", "N/A", "NULL", "Null", "None", "Inf", "-Inf", "NaT", "nil"}
_SIGN, _EXPONENT = r"[+-]?", r"(?:[eE][+-]?\d+)?"
_GROUPS = {",": ",", ".": r"\.", " ": "[ \xa0\u2009\u202f]", "'": "['\u2019]"}
_SPACES = str.maketrans("", "", " \xa0\u2009\u202f")
_TURN = 69
"""Years of two digits from here on are of the last century."""


def is_missing(cell: str) -> bool:
    """Whether the cell holds no value."""
    return cell in _AS_WRITTEN or cell.strip().lower() in MISSING


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How the numbers of a column are written."""

    decimal: str = "."
    """Sign before the decimals: a point or a comma."""
    thousands: str = ""
    """Sign between groups of three digits; ``""``: none."""

    def read(self, cells: Sequence[str]) -> NDArray[np.float64] | None:
        """The numbers, NaN for what is missing; ``None`` if a cell is something else."""
        for values in self._attempts(cells):
            try:
                found = np.fromiter(values, np.float64, len(cells))
            except ValueError:
                continue
            break
        else:
            return None
        # 1_000 is a number for Python, and a name for people.
        if "_" in "".join(cells):
            return None
        found[~np.isfinite(found)] = math.nan
        return found

    def _attempts(self, cells: Sequence[str]) -> Iterator[Iterator[float]]:
        """Ways to read the cells, the fastest first."""
        if self == NumberStyle():
            yield map(float, cells)
        nothing, plain = math.nan, self._plain
        yield (nothing if c in _AS_WRITTEN else float(plain(c)) for c in cells)
        yield (nothing if is_missing(c) else float(plain(c)) for c in cells)

    def _plain(self, cell: str) -> str:
        if self.thousands == " ":
            cell = cell.translate(_SPACES)
        elif self.thousands:
            cell = cell.replace(self.thousands, "").replace("\u2019", "")
        if self.decimal == ",":
            if "." in cell:
                raise ValueError(cell)
            cell = cell.replace(",", ".")
        return cell

    def matches(self, cell: str) -> bool:
        """Whether a cell without spaces around it is a number in this style."""
        decimal = re.escape(self.decimal)
        whole = r"\d+"
        if self.thousands:
            whole = rf"(?:\d{{1,3}}(?:{_GROUPS[self.thousands]}\d{{3}})+|\d+)"
        pattern = rf"{_SIGN}(?:{whole}(?:{decimal}\d*)?|{decimal}\d+){_EXPONENT}"
        return re.fullmatch(pattern, cell) is not None


_STYLES = (
    NumberStyle(),
    NumberStyle(","),
    NumberStyle(".", ","),
    NumberStyle(",", "."),
    NumberStyle(".", " "),
    NumberStyle(",", " "),
    NumberStyle(".", "'"),
)


def number_style(texts: Iterable[str], decimal: str = "") -> tuple[NumberStyle, str] | None:
    """The style in which all texts are numbers, and the text that could be read in two ways (``""``
    for none); ``None`` if there is no style, or nothing but missing values.

    decimal: the sign that the rest of the table has, which decides about 1,234 and 1.234.
    """
    found = [cell for text in texts if not is_missing(cell := text.strip())]
    fitting = [s for s in _STYLES if found and all(s.matches(cell) for cell in found)]
    if not fitting:
        return None
    doubtful = next((c for c in found if re.fullmatch(r"[+-]?\d{1,3}[.,]\d{3}", c)), "")
    clear = len({s.decimal for s in fitting}) == 1 or not doubtful
    if clear or not decimal:
        return fitting[0], "" if clear or fitting[0].decimal == "." else doubtful
    return next((s for s in fitting if s.decimal == decimal), fitting[0]), doubtful


_MONTHS = {
    name: number + 1
    for number, names in enumerate(
        (
            ("jan", "january", "januar"),
            ("feb", "february", "februar"),
            ("mar", "march"),
            ("apr", "april"),
            ("may", "mai"),
            ("jun", "june", "juni"),
            ("jul", "july", "juli"),
            ("aug", "august"),
            ("sep", "september", "sept"),
            ("oct", "october", "okt", "oktober"),
            ("nov", "november"),
            ("dec", "december", "dez", "dezember"),
        )
    )
    for name in names
}
_CLOCK = (
    r"(?:[T ,]\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?"
)
_DAY, _MONTH, _YEAR = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})", r"(?P<year>\d{4}|\d{2})"
_SIGNED = r"(?P<sign>[-/. ])"
_DATES = {
    "year first": rf"(?P<year>\d{{4}})(?P<sign>[-/.]){_MONTH}(?:(?P=sign){_DAY})?",
    "day first": rf"{_DAY}{_SIGNED}{_MONTH}(?P=sign){_YEAR}",
    "month first": rf"{_MONTH}{_SIGNED}{_DAY}(?P=sign){_YEAR}",
    "day and name": rf"{_DAY}[-/. ]+(?P<month>[^\W\d]+)[-/. ,]+{_YEAR}",
    "name and day": rf"(?P<month>[^\W\d]+)[-/. ]+{_DAY}[-/ ,]+(?P<year>\d{{4}})",
    "month and year": r"(?P<month>[^\W\d]+|\d{1,2})[-/. ]+(?P<year>\d{4})(?P<day>(?!))?",
}
_PATTERNS = {name: re.compile(date + _CLOCK) for name, date in _DATES.items()}
_AMBIGUOUS = ("day first", "month first")


@dataclass(frozen=True, slots=True)
class TimeStyle:
    """How the moments of a column are written: ``order`` is ``"iso"`` or one of day, month and
    year.
    """

    order: str

    def read(self, cells: Sequence[str]) -> NDArray[np.float64] | None:
        """Seconds since 1970 (UTC, or the clock of the table), NaN for what is missing; ``None`` if
        a cell is something else.
        """
        found: list[datetime | None] = []
        if self.order == "iso":
            with suppress(ValueError):
                found = list(map(datetime.fromisoformat, cells))
        try:
            found = found or [None if is_missing(c) else self._moment(c.strip()) for c in cells]
        except (ValueError, OverflowError, KeyError):
            return None
        if any(moment is not None and moment.tzinfo is not None for moment in found):
            found = [m if m is None or m.tzinfo is None else _in_utc(m) for m in found]
        microseconds = np.array(found, dtype="datetime64[us]")
        values = microseconds.astype(np.int64) / 1e6
        values[np.isnat(microseconds)] = math.nan
        return values

    def _moment(self, cell: str) -> datetime:
        if self.order == "iso":
            return datetime.fromisoformat(cell)
        found = _PATTERNS[self.order].fullmatch(cell)
        if found is None:
            raise ValueError(cell)
        part = found.groupdict()
        year = int(part["year"])
        if len(part["year"]) == 2:
            year += 1900 if year >= _TURN else 2000
        month = int(part["month"]) if part["month"].isdigit() else _MONTHS[part["month"].lower()]
        hour = int(part["hour"] or 0)
        half = (part["half"] or "").lower()[:1]
        if half:
            if not 1 <= hour <= 12:
                raise ValueError(cell)
            hour = hour % 12 + (12 if half == "p" else 0)
        fraction = int((part["part"] or "0").ljust(6, "0")[:6])
        return datetime(
            year,
            month,
            int(part["day"] or 1),
            hour,
            int(part["minute"] or 0),
            int(part["second"] or 0),
            fraction,
            _zone(part["zone"]),
        )


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    if text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def time_style(texts: Sequence[str], order: str = "") -> tuple[TimeStyle, str] | None:
    """The style in which all texts are moments, and the text that could be read in two ways (``""``
    for none); ``None`` if there is no style, or nothing but missing values.

    order: ``"day first"`` or ``"month first"`` where the user says so.
    """
    found = [cell for text in texts if not is_missing(cell := text.strip())]
    if not found or not any(character.isdigit() for character in found[0]):
        return None
    iso = all(len(cell) > 8 and cell[4:5] == "-" for cell in found)
    if iso and TimeStyle("iso").read(found) is not None:
        return TimeStyle("iso"), ""
    known = [name for name in _DATES if _PATTERNS[name].fullmatch(found[0])]
    fitting = [name for name in known if TimeStyle(name).read(found) is not None]
    if not set(_AMBIGUOUS) <= set(fitting):
        return (TimeStyle(fitting[0]), "") if fitting else None
    if order in _AMBIGUOUS:
        return TimeStyle(order), ""
    if all(re.match(r"\d+\.", cell) for cell in found):
        return TimeStyle("day first"), ""
    return TimeStyle(_more_regular(found)), found[0]


def _more_regular(texts: Sequence[str]) -> str:
    """Which of the two orders lets the moments rise, as those of a table mostly do; where both do,
    or neither, the one whose steps are of one size.
    """

    def disorder(name: str) -> tuple[float, float]:
        values = TimeStyle(name).read(texts)
        assert values is not None
        steps = np.diff(values[np.isfinite(values)])
        if not len(steps):
            return 0.0, 0.0
        falling = float(min((steps < 0).mean(), (steps > 0).mean()))
        return falling, float((np.abs(steps - np.median(steps)) > 1).mean())

    return min(("month first", "day first"), key=disorder)
