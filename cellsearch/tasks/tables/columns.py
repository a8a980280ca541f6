"""The columns of a table: numbers, moments or text, found out while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import amount, visible
from cellsearch.tasks.tables.cells import (
    NumberStyle,
    TimeStyle,
    is_missing,
    number_style,
    time_style,
)

__all__ = ["Column", "ColumnReading", "Written", "style_of"]

STRAY, STRAYS = 0.01, 20
"""So large a share of a column of numbers may be words, and so many different ones, which are then
missing values.
"""
Kind = Literal["number", "time", "text", "empty"]


@dataclass(frozen=True, slots=True)
class Written:
    """What the user says of how a table is written; ``""``: that is found out."""

    separator: str = ""
    decimal: str = ""
    dates: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of a table."""

    name: str
    kind: Kind
    values: NDArray[Any]
    """Numbers, or seconds since 1970, as float64 with NaN for what is missing; of text the place in
    ``texts`` as int64, -1 for what is missing."""
    texts: tuple[str, ...] = ()
    """The different texts, in the order in which they come."""

    @property
    def missing(self) -> int:
        """How many cells hold no value."""
        gone = self.values < 0 if self.kind == "text" else np.isnan(self.values)
        return int(gone.sum())

    @property
    def labels(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """The values as places in a list of texts, -1 for what is missing."""
        if self.kind == "text":
            return self.values, self.texts
        known = ~np.isnan(self.values)
        found, places = np.unique(self.values[known], return_inverse=True)
        codes = np.full(len(self.values), -1, dtype=np.int64)
        codes[known] = places
        return codes, tuple(f"{value:.15g}" for value in found)


class _Places(dict[str, int]):
    """Numbers texts in the order in which they come."""

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self)
        return number


@dataclass
class ColumnReading:
    """A column while it is read."""

    name: str
    place: int = 0
    """Which column it is, from 0 on."""
    style: NumberStyle | TimeStyle | None = None
    parts: list[NDArray[Any]] = field(default_factory=list)
    places: _Places = field(default_factory=_Places)
    failed: bool = False

    def add(self, cells: Sequence[str]) -> None:
        """The next cells; a cell that does not fit makes the column fail."""
        if self.failed:
            return
        if self.style is not None:
            values = self.style.read(cells)
            self.failed = values is None
            self.parts = [] if values is None else [*self.parts, values]
            return
        places = map(self.places.__getitem__, cells)
        self.parts.append(np.fromiter(places, np.int64, len(cells)))

    def column(self, written: Written, notes: list[str]) -> Column:
        """What came of it; a note is added for what is in doubt."""
        values = np.concatenate(self.parts) if self.parts else np.zeros(0)
        if isinstance(self.style, NumberStyle):
            return Column(self.name, "empty" if np.isnan(values).all() else "number", values)
        if isinstance(self.style, TimeStyle):
            return Column(self.name, "time", values)
        texts = list(self.places)
        if all(map(is_missing, texts)):
            return Column(self.name, "empty", np.full(len(values), np.nan))
        style, doubt = style_of(texts, written, written.decimal)
        if style is not None:
            _doubt(self.name, style, doubt, notes)
            known = style.read(texts)
            assert known is not None
            kind: Kind = "number" if isinstance(style, NumberStyle) else "time"
            return Column(self.name, kind, known[values])
        return self._mostly_numbers(values, texts, written, notes) or self._text(values, texts)

    def _mostly_numbers(
        self, values: NDArray[Any], texts: list[str], written: Written, notes: list[str]
    ) -> Column | None:
        """A column of numbers with a few words in it, which are missing values."""
        strays = [t for t in texts if not is_missing(t) and number_style([t]) is None]
        if not strays or len(strays) > STRAYS or len(strays) == len(texts):
            return None
        style, _ = style_of([t for t in texts if t not in strays], written, written.decimal)
        is_stray = np.isin(values, [self.places[t] for t in strays])
        if not isinstance(style, NumberStyle) or is_stray.mean() > STRAY:
            return None
        known = style.read(["" if t in strays else t for t in texts])
        assert known is not None
        shown = ", ".join(repr(visible(t))[:40] for t in strays[:3])
        notes.append(
            f"{self.name}: {amount(int(is_stray.sum()), 'cell')} of words among numbers ({shown}) "
            "count as missing"
        )
        return Column(self.name, "number", known[values])

    def _text(self, values: NDArray[Any], texts: list[str]) -> Column:
        stripped: dict[str, int] = {}
        known = [
            -1 if is_missing(t) else stripped.setdefault(t.strip(), len(stripped)) for t in texts
        ]
        return Column(self.name, "text", np.array(known, dtype=np.int64)[values], tuple(stripped))


def style_of(
    texts: Sequence[str], written: Written, decimal: str
) -> tuple[NumberStyle | TimeStyle | None, str]:
    """How these cells are written, if all of them are, and the one that can be read in two ways;
    ``None`` for text.
    """
    return number_style(texts, decimal) or time_style(texts, written.dates) or (None, "")


def _doubt(name: str, style: NumberStyle | TimeStyle, text: str, notes: list[str]) -> None:
    if not text:
        return
    if isinstance(style, TimeStyle):
        other = "day first" if style.order == "month first" else "month first"
        notes.append(
            f"{name}: {text} is read with the {style.order}; if that is wrong, set "
            f'task_options.dates="{other}"'
        )
    else:
        values = style.read([text])
        other = "," if style.decimal == "." else "."
        notes.append(
            f"{name}: {text} is read as {values[0] if values is not None else text:g}; if that is "
            f'wrong, set task_options.decimal="{other}"'
        )
