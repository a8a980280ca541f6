"""Columns of numbers as what a model reads: chosen, filled from the past, scaled, with marks where
values were missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, amount
from cellsearch.tasks.tables.options import TableOptions
from cellsearch.tasks.tables.read import Column, TextTable
from cellsearch.tasks.tables.rows import Ordered

__all__ = ["MARK", "Chosen", "Scaled", "choose", "filled", "scaled", "suspicious"]

MARK = " missing"
"""Behind the name of a column: 1 where it has no value, else 0."""
COPY = 0.99
"""Of so large a share of rows two columns are equal, and one says what the other will be."""
FEWEST = 20
"""Rows in which both columns have a value, at least, to say that."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which columns are read and predicted."""

    targets: tuple[Column, ...]
    inputs: tuple[Column, ...]
    """With the targets first, where they are numbers that are predicted."""
    notes: list[str] = field(default_factory=list)


def choose(
    table: TextTable, options: TableOptions, other: Sequence[str], *, numbers: bool
) -> Chosen:
    """The columns that the options name, or all of numbers.

    other: the names of the columns of time and group.
    numbers: whether numbers are predicted, which are read as well.

    Raises :class:`ConfigError` for a name that the table lacks, or a column of the wrong kind.
    """
    targets = tuple(table.column(name, "task_options.predict") for name in options.predict)
    if not targets:
        raise ConfigError(
            "nothing is named that is to be predicted",
            where="task_options.predict",
            hint=f"name one column or more of {', '.join(table.names)}",
        )
    notes: list[str] = []
    if options.inputs:
        named = [table.column(name, "task_options.inputs") for name in options.inputs]
        for column in named:
            _require_numbers(column, "task_options.inputs", "a model reads numbers only")
    else:
        named = [c for c in table.columns if c.name not in other and _is_read(c, targets, notes)]
    names = {column.name for column in targets}
    rest = [c for c in named if c.name not in names]
    if numbers:
        for column in targets:
            _require_numbers(
                column,
                "task_options.predict",
                "labels are predicted from whole sequences: say with --group which rows are one",
            )
    return Chosen(targets, (*targets, *rest) if numbers else tuple(rest), notes)


def _is_read(column: Column, targets: Sequence[Column], notes: list[str]) -> bool:
    if any(column.name == target.name for target in targets):
        return False
    if column.kind == "number":
        count = np.arange(len(column.values))
        if len(count) > 2 and np.array_equal(column.values - column.values[0], count):
            notes.append(f"{column.name} counts the rows: not read")
            return False
        return True
    kind = {"text": "text", "time": "a second column of times", "empty": "empty"}[column.kind]
    notes.append(f"{column.name} is {kind}: not read")
    return False


def _require_numbers(column: Column, where: str, otherwise: str) -> None:
    if column.kind == "number":
        return
    shown = ", ".join(repr(text)[:40] for text in column.texts[:3])
    what = {"text": f"text ({shown})", "time": "times", "empty": "empty"}[column.kind]
    message = f"the column {column.name} is {what}, not numbers"
    raise ConfigError(message, where=where, hint=otherwise)


@dataclass(frozen=True, slots=True)
class Scaled:
    """Features of rows in order, and how they came about."""

    names: tuple[str, ...]
    values: NDArray[np.float32]
    """``[n, I]``, without gaps."""
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    missing: NDArray[np.bool_]
    """``[n, columns]``: where the columns had no value; the marks are no columns."""
    notes: list[str]


def raw_values(columns: Sequence[Column], order: Ordered) -> NDArray[np.float64]:
    """``[n, columns]`` in order, NaN for what is missing."""
    raw = np.stack([column.values for column in columns], axis=1)[order.rows]
    raw[order.rows < 0] = np.nan
    return raw


def filled(
    raw: NDArray[np.float64], segment: NDArray[np.int64], otherwise: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The values ``[n, C]`` with the last known one of its segment in place of each that is
    missing, and ``otherwise`` ``[C]`` where there is none yet.
    """
    rows = np.arange(len(raw))[:, None]
    first = np.append(True, np.diff(segment) != 0)
    start = np.maximum.accumulate(np.where(first, np.arange(len(raw)), 0))[:, None]
    last = np.maximum(np.maximum.accumulate(np.where(np.isnan(raw), -1, rows), axis=0), start)
    found = np.take_along_axis(raw, last, axis=0)
    result: NDArray[np.float64] = np.where(np.isnan(found), otherwise, found)
    return result


def scaled(
    columns: Sequence[Column], order: Ordered, in_train: NDArray[np.bool_], needed: int
) -> Scaled:
    """The columns with mean 0 and deviation 1 of the training rows, filled, and a mark for each
    that lacks values there.

    needed: how many of the first columns are predicted, and must not be constant.

    Raises :class:`ConfigError` if one of these is, or nothing is left.
    """
    notes: list[str] = []
    raw = raw_values(columns, order)
    kept: list[int] = []
    for k, column in enumerate(columns):
        known = raw[in_train, k]
        known = known[~np.isnan(known)]
        if len(known) and known.min() < known.max():
            kept.append(k)
            continue
        what = f"one value ({known[0]:g})" if len(known) else "no value"
        if k < needed:
            raise ConfigError(
                f"the column {column.name} has {what} in all of the training part, so there is "
                "nothing to learn",
                where="task_options.predict",
                hint="predict another column, or give more rows",
            )
        notes.append(f"{column.name} has {what} in all of the training part: not read")
    if not kept:
        raise ConfigError("there is no column of numbers to predict from", where="task_options")
    raw = raw[:, kept]
    mean, scale = np.nanmean(raw[in_train], axis=0), np.nanstd(raw[in_train], axis=0)
    if not (np.isfinite(mean) & np.isfinite(scale) & (scale > 0)).all():
        raise ConfigError(
            "the numbers are too large or too small to be standardised",
            where="task_options.path",
            hint="give them in another unit",
        )
    missing = np.isnan(raw)
    names = [columns[k].name for k in kept]
    marked = [k for k in range(len(kept)) if missing[in_train, k].any()]
    values = (filled(raw, order.segment, mean) - mean) / scale
    marks = missing[:, marked].astype(np.float64)
    _say_missing(names, missing, len(marked), notes)
    return Scaled(
        (*names, *(names[k] + MARK for k in marked)),
        np.concatenate([values, marks], axis=1).astype(np.float32),
        np.append(mean, np.zeros(len(marked))),
        np.append(scale, np.ones(len(marked))),
        missing,
        notes,
    )


def _say_missing(
    names: Sequence[str], missing: NDArray[np.bool_], marks: int, notes: list[str]
) -> None:
    lacking = [f"{n}: {c:,}" for n, c in zip(names, missing.sum(0).tolist(), strict=True) if c]
    if not lacking:
        return
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    notes.append(
        f"missing values ({', '.join(lacking[:5])}{more}) repeat the last known one"
        + (f"; {amount(marks, 'input')} mark where" if marks else "")
        + "; what is missing is neither trained for nor scored"
    )


def suspicious(
    targets: Sequence[Column], others: Sequence[Column], order: Ordered, horizon: int
) -> list[str]:
    """A sentence for each column that says now what a target will be, or is the same."""
    found = []
    for target in targets:
        now = raw_values([target], order)[:, 0]
        for column in others:
            if column.name == target.name or column.kind != "number":
                continue
            there = raw_values([column], order)[:, 0]
            for ahead in range(horizon + 1):
                a, b = there[: len(there) - ahead], now[ahead:]
                if _equal(a, b):
                    found.append(_sentence(column.name, target.name, ahead))
                    break
    return found


def _equal(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether one is the other but for unit and offset, wherever the other changes."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < FEWEST:
        return False
    a, b = a[known], b[known]
    if a.std() == 0 or b.std() == 0:
        return False
    slope, offset = np.polyfit(a, b, 1)
    close = np.abs(slope * a + offset - b) <= 1e-6 * b.std()
    return float(close.mean()) >= COPY


def _sentence(column: str, target: str, ahead: int) -> str:
    if not ahead:
        return (
            f"{column} says the same as {target} in every row: only its past is read, so it adds "
            "nothing; leave it out with inputs"
        )
    rows = amount(ahead, "row")
    return (
        f"WARNING: {column} says what {target} will be {rows} later. If that is not known then, "
        "the errors below are far too good: leave it out with inputs"
    )
