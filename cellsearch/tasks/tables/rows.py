"""Rows of a table in the order of time, series by series: gaps are filled or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, amount
from cellsearch.tasks.tables.read import Column, TextTable

__all__ = ["Ordered", "ordered", "time_column", "words_of_time"]

EVEN, ODD = 0.2, 0.05
"""A step may differ by so large a share of the usual one; above so many that do, or that are gaps,
the times count as irregular."""
REPEATED = 0.2
"""Above so large a share of repeated times the table seems to hold several series."""
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e8, 1.0))
"""Numbers from here on are seconds since 1970 times so much."""
NOTHING: NDArray[np.float64] = np.zeros(0)
_PLAIN = ("time", "timestamp", "datetime", "date", "ts", "unix", "epoch", "zeit", "datum", "t")
"""Names that say nothing but when."""
_NAMES = ("time", "date", "stamp", "zeit", "datum", "when", "unix", "epoch", "month", "year", "day")


@dataclass(frozen=True, slots=True)
class Ordered:
    """Rows in the order of time."""

    rows: NDArray[np.int64]
    """Which row of the table each is; -1 for one that was put into a gap."""
    segment: NDArray[np.int64]
    """Rows of one number follow one another without a gap."""
    moment: NDArray[np.float64] | None
    """When each is, in seconds or in the unit of the column; ``None`` without a column of time."""
    group: NDArray[np.int64]
    """Which series each belongs to."""
    step: float = 0.0
    """The usual time between two rows; 0: unknown, or irregular."""
    notes: list[str] = field(default_factory=list)
    """What was done, in sentences."""


def time_column(table: TextTable, name: str, taken: Sequence[str]) -> Column | None:
    """The column that says when, as seconds since 1970 where it holds moments.

    name: what the user says; ``""``: the first column of moments, or one of numbers whose name
        speaks of time.
    taken: columns that are something else.

    Raises :class:`ConfigError` for a column that says no times.
    """
    if name:
        column = table.column(name, "task_options.time")
        if column.kind not in ("time", "number"):
            shown = ", ".join(repr(text) for text in column.texts[:3])
            raise ConfigError(
                f"the column {column.name} holds no times that can be read: {shown}",
                where="task_options.time",
                hint="dates like 2024-12-31, 31.12.2024, 12/31/2024, with 10:30:00 behind them, "
                "seconds since 1970, or any rising number",
            )
        return _in_seconds(column)
    free = [column for column in table.columns if column.name not in taken]
    for column in free:
        if column.kind == "time":
            return column
    for column in free:
        known = column.values[np.isfinite(column.values)] if column.kind == "number" else NOTHING
        name = column.name.lower()
        rising = len(known) > 1 and bool((np.diff(known) >= 0).all()) and known[0] < known[-1]
        if len(known) and (name in _PLAIN or (rising and any(word in name for word in _NAMES))):
            return _in_seconds(column)
    return None


def _in_seconds(column: Column) -> Column:
    """Numbers that count from 1970 as seconds, and those like 20241231 as days."""
    known = column.values[np.isfinite(column.values)]
    if column.kind != "number" or not len(known):
        return column
    low, high = float(known.min()), float(known.max())
    if low >= 19000101 and high <= 21001231 and (known == np.floor(known)).all():
        years, months, days = known // 10000, known // 100 % 100, known % 100
        if months.min() >= 1 and months.max() <= 12 and days.min() >= 1 and days.max() <= 31:
            passed = (years - 1970).astype("datetime64[Y]").astype("datetime64[M]")
            moments = (passed + (months - 1).astype("timedelta64[M]")).astype("datetime64[D]")
            values = np.full(len(column.values), np.nan)
            seconds = (moments + (days - 1).astype("timedelta64[D]")).astype("datetime64[s]")
            values[np.isfinite(column.values)] = seconds.astype(np.int64)
            return Column(column.name, "time", values)
    factor = next((by for least, by in _UNITS if low >= least), 0.0)
    return Column(column.name, "time", column.values / factor) if factor else column


def ordered(table: TextTable, time: Column | None, group: Column | None, longest: int) -> Ordered:
    """The rows, sorted by series and time.

    longest: gaps of so many rows at most are filled with rows without values, longer ones are cut.

    Raises :class:`ConfigError` where times are repeated as only several series do.
    """
    notes: list[str] = []
    rows = np.arange(table.rows)
    codes = np.zeros(table.rows, dtype=np.int64) if group is None else group.labels[0]
    moment = None if time is None else time.values
    known = codes >= 0 if moment is None else (codes >= 0) & np.isfinite(moment)
    if not known.all():
        notes.append(f"{amount(int((~known).sum()), 'row')} without a time or a group left out")
        rows = rows[known]
    if not len(rows):
        raise ConfigError("no row has a time and a group", where="task_options.time")
    rows = rows[np.lexsort((rows,) if moment is None else (rows, moment[rows]))]
    rows = rows[np.argsort(codes[rows], kind="stable")]
    before = np.flatnonzero(known)
    if group is None and not np.array_equal(rows, before):
        moved = int((rows != before).sum())
        notes.append(f"the rows were not in the order of time: {amount(moved, 'row')} moved")
    if moment is None:
        start = np.diff(codes[rows], prepend=codes[rows[0]] - 1) != 0
        return Ordered(rows, np.cumsum(start), None, codes[rows], 0.0, notes)
    assert time is not None
    rows = _once(table, rows, codes, moment, group, notes)
    return _stepped(rows, codes[rows], moment[rows], longest, time.kind == "time", notes)


def _once(
    table: TextTable,
    rows: NDArray[np.int64],
    codes: NDArray[np.int64],
    moment: NDArray[np.float64],
    group: Column | None,
    notes: list[str],
) -> NDArray[np.int64]:
    """Of the rows of one time the last."""
    same = (np.diff(moment[rows]) == 0) & (np.diff(codes[rows]) == 0)
    if not same.any():
        return rows
    if same.mean() > REPEATED:
        times = len(same) + 1
        different = times - int(same.sum())
        hint = "say with --group which column tells them apart"
        candidates = [
            c.name
            for c in table.columns
            if c.kind in ("text", "number")
            and 1 < len(np.unique(c.values)) <= 2 * times / different
        ]
        more = f", perhaps {' or '.join(candidates[:3])}" if candidates else ""
        raise ConfigError(
            f"the {times:,} rows have {different:,} different times, so the table seems to hold "
            "several series",
            where="task_options.time" if group is not None else "task_options.group",
            hint=hint + more,
        )
    notes.append(f"{amount(int(same.sum()), 'row')} of a time that comes again left out")
    kept: NDArray[np.int64] = rows[np.append(~same, True)]
    return kept


def _stepped(
    rows: NDArray[np.int64],
    codes: NDArray[np.int64],
    moment: NDArray[np.float64],
    longest: int,
    dated: bool,
    notes: list[str],
) -> Ordered:
    """Find the step; fill short gaps, cut at long ones."""
    inside = np.diff(codes) == 0
    steps = np.diff(moment)
    if not inside.any():
        return Ordered(rows, np.arange(len(rows)), moment, codes, 0.0, notes)
    step = float(np.median(steps[inside]))
    ratio = np.where(inside, steps / step, 1.0)
    whole = np.rint(ratio)
    uneven = np.abs(ratio - np.maximum(whole, 1)) > EVEN * np.maximum(1, whole)
    gaps = whole >= 2
    if (uneven | gaps)[inside].mean() > ODD:
        low, high = steps[inside].min(), steps[inside].max()
        words = (words_of_time(low), words_of_time(high)) if dated else (f"{low:g}", f"{high:g}")
        notes.append(
            f"the times are irregular (steps from {words[0]} to {words[1]}): a window counts rows, "
            "not time"
        )
        start = np.append(True, ~inside)
        return Ordered(rows, np.cumsum(start), moment, codes, 0.0, notes)
    cut = ~inside | (gaps & (whole - 1 > longest))
    added = np.where(gaps & ~cut, whole - 1, 0).astype(np.int64)
    if added.any():
        filled = int((added > 0).sum())
        notes.append(
            f"{amount(filled, 'gap')} in time filled with {amount(int(added.sum()), 'row')} "
            "without values"
        )
    if (cut & inside).any():
        count = int((cut & inside).sum())
        notes.append(f"cut at {amount(count, 'gap')} of more than {longest} rows")
    # Each row, and behind it those that fill the gap.
    places = np.arange(len(rows)) + np.append(0, np.cumsum(added))
    total = int(places[-1]) + 1
    made = np.full(total, -1, dtype=np.int64)
    made[places] = rows
    origin = np.maximum.accumulate(np.where(made >= 0, np.arange(total), 0))
    owner = np.searchsorted(places, origin)
    segment = np.cumsum(np.append(True, cut))[owner]
    when = moment[owner] + (np.arange(total) - origin) * step
    return Ordered(made, segment, when, codes[owner], step, notes)


def words_of_time(seconds: float) -> str:
    """A duration for people: ``1 hour``, ``15 minutes``, ``30.4 days``."""
    if 28 <= seconds / 86400 <= 31:
        return "1 month"
    if 365 <= seconds / 86400 <= 366:
        return "1 year"
    units = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))
    name, size = next(((n, s) for n, s in units if abs(seconds) >= s), ("second", 1.0))
    count = f"{seconds / size:.4g}"
    return f"{count} {name}{'' if count == '1' else 's'}"
