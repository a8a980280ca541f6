"""Forecasts from a table: parts in time, windows that lie in one part each, and their arrays.

A window is ``window`` rows that are read and ``horizon`` rows that are predicted. All of them lie
in one part and one segment, so windows of two parts never share a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, amount
from cellsearch.tasks.tables.features import (
    Chosen,
    Scaled,
    choose,
    scaled,
    suspicious,
)
from cellsearch.tasks.tables.options import TableOptions
from cellsearch.tasks.tables.read import TextTable
from cellsearch.tasks.tables.rows import Ordered, ordered, time_column, words_of_time

__all__ = ["PARTS", "Prepared", "forecast_arrays", "parts"]

PARTS = ("train", "valid", "test")
WINDOW = 24
LEAST_WINDOWS, FEW = 16, 4
"""A part has so many windows at least, where the window may be chosen; few for a whole period."""
MOST_VALID = 4096
"""Windows that are validated on, at most; the test reads all."""
PEAK, NEAR, SURE = 0.1, 0.9, 4.0
LONGEST_PERIOD = 2000


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of a table: arrays for a task, and sentences for people."""

    arrays: dict[str, NDArray[Any]]
    facts: tuple[tuple[str, str], ...]
    """What was understood, by what it is about."""
    notes: tuple[str, ...]
    """What was done that may surprise."""
    predicts: tuple[str, ...] = ()
    """The columns that are predicted."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Options that were found."""


def parts(order: Ordered, valid: float, test: float) -> NDArray[np.uint8]:
    """Of each row, whether it trains (0), validates (1) or is kept for the test (2): by time, at
    the same moment for all series; without times by the order of the rows of each series.
    """
    shares = (1 - valid - test, 1 - test)
    if order.moment is not None:
        ends = np.quantile(order.moment, shares, method="higher")
        return np.searchsorted(ends, order.moment, side="right").astype(np.uint8)
    found = np.zeros(len(order.rows), dtype=np.uint8)
    for group in np.unique(order.group):
        rows = np.flatnonzero(order.group == group)
        place = (np.arange(len(rows)) + 0.5) / len(rows)
        found[rows] = np.searchsorted(shares, place, side="right")
    return found


def forecast_arrays(table: TextTable, options: TableOptions) -> Prepared:
    """Windows and targets of a table. Raises :class:`ConfigError` for what cannot be forecast."""
    group = table.column(options.group, "task_options.group") if options.group else None
    taken = (*options.predict, *options.inputs, options.group)
    time = time_column(table, options.time, taken)
    other = [column.name for column in (time, group) if column is not None]
    chosen = choose(table, options, other, numbers=True)
    order = ordered(table, time, group, options.window or WINDOW)
    part = parts(order, options.valid, options.test)
    made = scaled(chosen.inputs, order, part == 0, len(chosen.targets))
    count = len(chosen.targets)
    target = made.values[:, :count].copy()
    target[made.missing[:, :count]] = np.nan
    run = np.cumsum(np.append(True, (np.diff(order.segment) != 0) | (np.diff(part) != 0)))
    period = options.period or found_period(made.values[:, 0], run, part)
    window = options.window or _window(run, part, period, options.horizon)
    places = {
        name: _places(run, part == k, window, options.horizon, target, name)
        for k, name in enumerate(PARTS)
    }
    relative = _relative(options, target, made.values[:, :count], places["train"], part)
    notes = [*table.notes, *order.notes, *chosen.notes, *made.notes]
    notes += suspicious(chosen.targets, chosen.inputs, order, options.horizon)
    some = places["valid"]
    if len(some) > MOST_VALID:
        places["valid"] = some[np.linspace(0, len(some) - 1, MOST_VALID).astype(np.int64)]
        notes.append(f"{MOST_VALID:,} of the {len(some):,} windows of the validation are read")
    arrays: dict[str, NDArray[Any]] = {
        "values": made.values,
        "target": target,
        **places,
        "names": np.array(made.names),
        "mean": made.mean,
        "scale": made.scale,
        "window": np.array(window),
        "period": np.array(period),
        "relative": np.array(relative),
    }
    facts = _facts(table, options, chosen, made, order, arrays, time.name if time else "")
    found = {"window": window, "period": period, "time": time.name if time else ""}
    predicts = tuple(column.name for column in chosen.targets)
    return Prepared(arrays, facts, tuple(notes), predicts, found)


def _places(
    run: NDArray[np.int64],
    inside: NDArray[np.bool_],
    window: int,
    horizon: int,
    target: NDArray[np.float32],
    name: str,
) -> NDArray[np.int64]:
    """The rows of a part at which the targets of a window begin."""
    rows = np.arange(len(run))
    first = np.maximum.accumulate(np.where(np.append(True, np.diff(run) != 0), rows, 0))
    last = (
        len(run)
        - 1
        - np.maximum.accumulate(np.where(np.append(True, np.diff(run[::-1]) != 0), rows, 0))[::-1]
    )
    fits = inside & (rows - window >= first) & (rows + horizon - 1 <= last)
    known = np.append(0, np.cumsum(np.isfinite(target).any(1)))
    end = np.minimum(rows + horizon, len(run))
    found = np.flatnonzero(fits & (known[end] > known[rows]))
    if not len(found):
        longest = int(np.bincount(run[inside]).max()) if inside.any() else 0
        raise ConfigError(
            f"no window of {window} + {horizon} rows lies in the {name} part, whose longest piece "
            f"without a gap has {amount(longest, 'row')}",
            where="task_options.window",
            hint="use a shorter --window or --horizon, larger shares (task_options.valid, "
            "task_options.test), or more rows",
        )
    return found


def _window(run: NDArray[np.int64], part: NDArray[np.uint8], period: int, horizon: int) -> int:
    """Two periods, or what still leaves some windows in every part."""
    longest = min(
        int(np.bincount(run[part == k]).max()) if (part == k).any() else 0 for k in range(3)
    )
    room = longest - horizon + 1
    for wanted in (2 * period, period) if period else (WINDOW,):
        if room - wanted >= LEAST_WINDOWS or (wanted == period and room - wanted >= FEW):
            return wanted
    return max(1, min(room - LEAST_WINDOWS, longest // 2))


def found_period(
    values: NDArray[np.float32], run: NDArray[np.int64], part: NDArray[np.uint8]
) -> int:
    """After how many rows the differences of a series repeat themselves best, in its longest piece
    for training; 0 where they do not.
    """
    counts = np.bincount(run[part == 0])
    piece = np.diff(values[(run == int(counts.argmax())) & (part == 0)].astype(np.float64))
    longest = min(len(piece) // 3, LONGEST_PERIOD)
    if longest < 3 or not piece.any():
        return 0
    piece = piece[-(1 << 16) :] - piece[-(1 << 16) :].mean()
    spectrum = np.abs(np.fft.rfft(piece, 2 * len(piece))) ** 2
    likeness = np.fft.irfft(spectrum)[: longest + 1]
    likeness = likeness / likeness[0] * (len(piece) / (len(piece) - np.arange(longest + 1)))
    inner = likeness[1:-1]
    least = max(PEAK, SURE / len(piece) ** 0.5)
    peaks = 1 + np.flatnonzero((inner > likeness[:-2]) & (inner >= likeness[2:]) & (inner > least))
    peaks = peaks[peaks >= 2]
    if not len(peaks):
        return 0
    return int(peaks[likeness[peaks] >= NEAR * likeness[peaks].max()][0])


def _relative(
    options: TableOptions,
    target: NDArray[np.float32],
    known: NDArray[np.float32],
    places: NDArray[np.int64],
    part: NDArray[np.uint8],
) -> bool:
    """Whether the last value says more of the first step than the mean, in the training part."""
    if options.relative != "auto":
        return options.relative == "yes"
    wanted = target[places]
    by_last = float(np.nanmean(np.square(wanted - known[places - 1])))
    return by_last < float(np.nanmean(np.square(wanted)))


def _facts(
    table: TextTable,
    options: TableOptions,
    chosen: Chosen,
    made: Scaled,
    order: Ordered,
    arrays: dict[str, NDArray[Any]],
    time: str,
) -> tuple[tuple[str, str], ...]:
    targets = ", ".join(column.name for column in chosen.targets)
    others = [name for name in made.names if name not in {c.name for c in chosen.targets}]
    dated = bool(time) and order.step > 0
    window, period = int(arrays["window"]), int(arrays["period"])
    windows = ", ".join(f"{name} {len(arrays[name]):,}" for name in PARTS)
    shares = f"{100 * (1 - options.valid - options.test):.0f} / {100 * options.valid:.0f} / "
    repeats = f"repeats itself after {period} rows" if period else "no period found"
    step = words_of_time(order.step) if dated else "not known" if time else "one row"
    series = len(np.unique(order.group))
    size = f"{amount(table.rows, 'row')}, {amount(len(table.columns), 'column')}"
    read = f"{amount(window, 'row')} of {', '.join([targets, *others])}"
    relative = "; relative to the last row of the window" if arrays["relative"] else ""
    return (
        ("table", f"{size}; {table.written}"),
        ("time", f"{time or 'the order of the rows'}; step: {step}"),
        *((("series", f"{series:,}, by {options.group}"),) if options.group else ()),
        ("predicts", f"{targets}, {amount(options.horizon, 'row')} ahead; {repeats}"),
        ("reads", read),
        ("parts", f"{shares}{100 * options.test:.0f} % in time; windows: {windows}"),
        ("scaled", f"mean 0, deviation 1 of the training part{relative}"),
    )
