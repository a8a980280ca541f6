"""New data for a trained model: the sequences that a table, an array file or a text holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, InputFileError, amount
from cellsearch.files import open_plain
from cellsearch.tasks.array_faults import BESIDE
from cellsearch.tasks.data.npz import read_npz
from cellsearch.tasks.interface import FeatureInputs, Interface, TokenInputs
from cellsearch.tasks.own_sequences import DESCRIPTION, NAMES
from cellsearch.tasks.prediction import prepare
from cellsearch.tasks.tables.features import MARK
from cellsearch.tasks.tables.read import Column, TextTable, Written, read_table

__all__ = ["AS_FOUND", "MARK", "Given", "is_mark", "sequences_of", "window_of", "windows_of"]

AS_FOUND = Written()
"""How a table is written is found out."""
LARGEST_TEXT = 1 << 30
_OURS = re.compile(r"x\d+")
"""Names of columns that had none of their own."""


@dataclass(frozen=True, slots=True)
class Given:
    """The sequences of a file."""

    sequences: list[Any]
    """Token numbers ``[T]``, or raw values ``[T, I]``."""
    names: list[str]
    """What each is called; empty for one that is the whole file."""
    times: list[NDArray[Any]] | None = None
    """When each position of each was, ``[T]``."""
    resets: list[NDArray[Any]] | None = None
    """Where states start afresh before a position, ``[T]``."""


def sequences_of(
    interface: Interface,
    path: Path,
    *,
    group: str = "",
    times: str = "",
    resets: str = "",
    written: Written = AS_FOUND,
) -> Given:
    """The sequences of a file, checked.

    path: ``.npz``, or a table (CSV, Parquet) for a model of columns, a text for one of symbols.
    group: the column that says which rows of a table are one sequence; ``""``: all.
    times, resets: the columns of a table that say when each row was, numbers or moments (in
        seconds), and where states start afresh; an array file holds ``times`` and ``resets``.
    written: how the table is written; left out, that is found out.

    Raises :class:`ConfigError` for a file that is not there or columns that do not fit,
    :class:`InputFileError` for a damaged or empty one and for values that are missing.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", hint="name a file with data, or - for stdin")
    with open_plain(path) as file:
        zipped = file.read(4) == b"PK\x03\x04"
    beside: dict[str, Any] = {}
    if zipped or path.suffix == ".npz":
        data, names, beside = _arrays(path)
    elif isinstance(interface.inputs, TokenInputs):
        data, names = _texts(interface, path)
    else:
        named = (
            interface.inputs.names if not all(map(_OURS.fullmatch, interface.inputs.names)) else ()
        )
        more = [name for name in (group, times, resets) if name]
        table = read_table(path, written, (*named, *more))
        data, names, beside = _grouped(interface.inputs, table, group, str(path), times, resets)
    for option, given in (("--group", group), ("--times", times), ("--resets", resets)):
        if given and (zipped or isinstance(interface.inputs, TokenInputs)):
            raise ConfigError("only a table has columns", where=option, hint="leave it out")
    sequences, alone = prepare(interface, data, str(path))
    beside = {name: [rows] if alone else list(rows) for name, rows in beside.items()}
    names = [] if alone else names or [str(k) for k in range(len(sequences))]
    return Given(sequences, names, **beside)


def _texts(interface: Interface, path: Path) -> tuple[Any, list[str]]:
    """The whole text where the next symbol is asked for, else a sequence a line."""
    if path.stat().st_size > LARGEST_TEXT:
        raise InputFileError(f"larger than {LARGEST_TEXT >> 20} MiB", where=str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"the file is not UTF-8 text: {error}", where=str(path), hint="convert it with iconv"
        ) from error
    if not text.strip():
        raise InputFileError("the file is empty", where=str(path), hint="write a text into it")
    if interface.answer.kind == "tokens":
        return text, []
    lines = text.splitlines()
    numbers = [k for k, line in enumerate(lines, start=1) if line.strip()]
    return [lines[k - 1].strip() for k in numbers], [f"line {k}" for k in numbers]


def _arrays(path: Path) -> tuple[Any, list[str], dict[str, Any]]:
    """``x`` of an array file, and its ``times`` and ``resets`` if there are any: ``[T, ...]``,
    ``[N, T, ...]`` with ``lengths`` or without, or what :func:`cellsearch.tasks.arrays.save` wrote,
    scaled back.
    """
    hint = "write numpy.savez(file, x=x) with x [T, I] or [N, T, I], and lengths [N] if they differ"
    arrays = read_npz(path, hint=hint)
    x, lengths = arrays.get("x"), arrays.get("lengths")
    if x is None:
        held = ", ".join(sorted(arrays)) or "no arrays"
        raise InputFileError(f"the file holds {held}, and no x", where=str(path), hint=hint)
    saved = set(arrays) - set(DESCRIPTION) - set(BESIDE) == set(NAMES)
    beside: dict[str, Any] = {k: arrays[k] for k in ("times", "resets") if k in arrays}
    wanted = (
        x.shape[:1] if saved or x.ndim < 2 or (lengths is None and x.ndim == 2) else x.shape[:2]
    )
    for name, rows in beside.items():
        if rows.shape not in (x.shape[:1], wanted, x.shape[:2]):
            raise InputFileError(f"{name} does not fit x", where=str(path), hint=hint)
    if saved and x.ndim == 2 and "x_mean" not in arrays:
        raise InputFileError(
            "the file holds scaled values, and does not say how they were scaled",
            where=str(path),
            hint=hint,
        )
    if not x.size:
        raise InputFileError("x is empty", where=str(path), hint=hint)
    if lengths is None:
        return x, [], beside
    fits = lengths.ndim == 1 and lengths.dtype.kind in "iu" and len(lengths) and lengths.min() > 0
    most = int(lengths.sum() if saved else lengths.max()) if fits else 0
    if not fits or (most != len(x) if saved else len(lengths) != len(x) or most > x.shape[1]):
        raise InputFileError("lengths do not fit x", where=str(path), hint=hint)
    if saved:
        if x.ndim == 2:
            x = x.astype(np.float64) * arrays["x_scale"] + arrays["x_mean"]
            x = np.where(arrays["mask"] > 0, x, np.nan) if "mask" in arrays else x
        cuts = np.cumsum(lengths)[:-1]
        if "dt" in arrays:  # the first of a sequence is 1, which no time says
            unit = float(arrays.get("time_unit", np.array(1.0)))
            beside["times"] = np.cumsum(arrays["dt"].astype(np.float64)) * unit
        return np.split(x, cuts), [], {name: np.split(v, cuts) for name, v in beside.items()}

    def cut(rows: NDArray[Any]) -> list[NDArray[Any]]:
        return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]

    return cut(x), [], {name: cut(rows) for name, rows in beside.items()}


def _grouped(
    inputs: FeatureInputs, table: TextTable, group: str, where: str, times: str, resets: str
) -> tuple[Any, list[str], dict[str, Any]]:
    columns = _columns(inputs, table, group, where)
    values = np.stack([column.values for column in columns.values()], axis=1)
    beside = {}
    if times:
        beside["times"] = _numbers(table.column(times, "--times"), ("number", "time"), where)
    if resets:
        beside["resets"] = _numbers(table.column(resets, "--resets"), ("number",), where) != 0
    if not group:
        return _filled(inputs, list(columns), values, where), [], beside
    codes, texts = table.column(group, "--group").labels
    if not (codes >= 0).any():
        raise InputFileError(f"the column {group} is empty", where=where)
    order = [code for code in dict.fromkeys(codes.tolist()) if code >= 0]
    parts = [
        _filled(inputs, list(columns), values[codes == code], f"{where}, {texts[code]}")
        for code in order
    ]
    cut = {name: [rows[codes == code] for code in order] for name, rows in beside.items()}
    return parts, [texts[code] for code in order], cut


def _numbers(column: Column, kinds: tuple[str, ...], where: str) -> NDArray[np.float64]:
    """The numbers of a column without gaps."""
    if column.kind not in kinds or not np.isfinite(column.values).all():
        raise InputFileError(
            f"the column {column.name} does not hold a {' or '.join(kinds)} in every row",
            where=where,
            hint="fill it in, or leave out the rows",
        )
    return column.values


def _columns(inputs: FeatureInputs, table: TextTable, group: str, where: str) -> dict[str, Column]:
    """The columns that the model reads, by their names in it, marks of missing values left out."""
    wanted = [n for n in inputs.names if n in table.names or not is_mark(inputs, n)]
    known = {column.name: column for column in table.columns if column.name != group}
    if all(name in known for name in wanted):
        found = {name: known[name] for name in wanted}
    else:
        numbers = [column for column in known.values() if column.kind in ("number", "empty")]
        nameless = all(re.fullmatch(r"column \d+", name) for name in known)
        if not (nameless or all(map(_OURS.fullmatch, wanted))) or len(numbers) != len(wanted):
            lacking = [name for name in wanted if name not in known]
            raise InputFileError(
                f"the model reads {', '.join(wanted[:9])}; the file has no column "
                f"{', '.join(lacking[:9])}, it has {', '.join(table.names[:20])}",
                where=where,
                hint="name the columns as in training, in any order; further ones are not read",
            )
        found = dict(zip(wanted, numbers, strict=True))
    for name, column in found.items():
        if column.kind not in ("number", "empty"):
            shown = ", ".join(repr(text)[:40] for text in column.texts[:3])
            raise InputFileError(
                f"the column {name} is {column.kind}, not numbers"
                + (f": {shown}" if shown else ""),
                where=where,
            )
    return found


def is_mark(inputs: FeatureInputs, name: str) -> bool:
    """Whether an input says where another one has no value."""
    return name.endswith(MARK) and name.removesuffix(MARK) in inputs.names


def _filled(
    inputs: FeatureInputs, names: Sequence[str], values: NDArray[np.float64], where: str
) -> NDArray[np.float64]:
    """All inputs ``[T, I]``: where the model knows marks, a missing value repeats the last one."""
    made = []
    for name in inputs.names:
        if name not in names:
            column = values[:, names.index(name.removesuffix(MARK))]
            made.append(np.isnan(column).astype(np.float64))
            continue
        column = values[:, names.index(name)].copy()
        missing = np.isnan(column)
        if inputs.missing:
            made.append(column)
            continue
        if missing.any() and name + MARK not in inputs.names:
            raise InputFileError(
                f"{amount(int(missing.sum()), 'value')} of {name} missing, the first of them in "
                f"row {int(np.flatnonzero(missing)[0]) + 1}",
                where=where,
                hint="fill them in as the training data were, or leave out the rows",
            )
        last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(column))))
        before = inputs.mean[inputs.names.index(name)]
        made.append(np.where(last < 0, before, column[last]))
    return np.stack(made, axis=1)


def window_of(interface: Interface, window: int) -> int:
    """How many rows the model reads at once: as in training, or as the caller says (0: nothing).
    Raises :class:`ConfigError` for another number than in training, and for a model that does not
    answer once a sequence of columns.
    """
    inputs = interface.inputs
    if interface.streams or not isinstance(inputs, FeatureInputs):
        raise ConfigError(
            "only a model that answers once a sequence of rows reads windows",
            where="--window",
            hint="leave --window and --rolling out",
        )
    if window and inputs.history not in (None, window):
        raise ConfigError(
            f"the model was trained on windows of {inputs.history} rows",
            where="--window",
            hint="leave it out",
        )
    return window or inputs.history or 0


def windows_of(interface: Interface, given: Given, window: int = 0) -> list[tuple[str, int, Any]]:
    """Every window of each sequence with its name and the number of its last row, for an answer at
    each row. Raises :class:`ConfigError` where nobody knows how long a window is, or all sequences
    are shorter.
    """
    history = window_of(interface, window)
    if not history:
        raise ConfigError(
            "the model does not say how many rows a window has",
            where="--rolling",
            hint="say it with --window N, as many rows as each sequence of the training had",
        )
    names = given.names or [""]
    found = [
        (name, end, sequence[end - history : end])
        for name, sequence in zip(names, given.sequences, strict=True)
        for end in range(history, len(sequence) + 1)
    ]
    if not found:
        raise ConfigError(f"no sequence has the {history} rows of a window", where="--rolling")
    return found
