"""Answers of a trained model for files and streams, as rows of a table, and these as CSV, JSON,
arrays or text.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cellsearch.errors import InputFileError, checked_arguments
from cellsearch.runs.new_data import AS_FOUND, MARK, is_mark, sequences_of, window_of, windows_of
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.interface import FeatureInputs, Interface, TokenInputs
from cellsearch.tasks.prediction import Predicted, beside_of
from cellsearch.tasks.tables.cells import is_missing
from cellsearch.tasks.tables.read import Written

__all__ = ["answers", "rows_of", "said", "stream_answers"]


@checked_arguments
def answers(
    model: SequenceModel,
    path: Path,
    *,
    probabilities: bool = False,
    group: str = "",
    times: str = "",
    resets: str = "",
    rolling: bool = False,
    window: int = 0,
    written: Written = AS_FOUND,
) -> list[dict[str, Any]]:
    """The answers for a file of new data, as rows of a table.

    path: a table (CSV, Parquet), a text, or an ``.npz`` file.
    probabilities: those of classes, bits and next symbols, too.
    group: the column whose values say which rows of a table are one sequence.
    times, resets: the columns that say when each row was, and where states start afresh.
    rolling: an answer at every row that ends a window.
    window: how many rows are read at once; 0: as in training, or all.
    written: how a table is written; left out, that is found out.

    Raises :class:`ConfigError` and :class:`InputFileError` for data that the model cannot read.
    """
    interface = model.interface
    columns = {"group": group, "times": times, "resets": resets}
    given = sequences_of(interface, path, **columns, written=written)
    beside = beside_of(model, interface, given.sequences, given.times, given.resets)
    made: list[dict[str, Any]] = []
    if rolling:
        windows = windows_of(interface, given, window)
        numbers = {name: k for k, name in enumerate(given.names or [""])}
        cut = [
            {k: v[end - len(rows) : end] for k, v in beside[numbers[name]].items()}
            for name, end, rows in windows
        ]
        found = model.predicted([window for _, _, window in windows], cut)
        for (name, end, _), predicted in zip(windows, found, strict=True):
            for row in rows_of(interface, name, predicted, probabilities=probabilities):
                place = {"sequence": row.pop("sequence")} if name else {}
                made.append({**place, "position": end, **row})
        return made
    sequences = given.sequences
    if window:
        size = window_of(interface, window)
        sequences = [sequence[-size:] for sequence in sequences]
        beside = [{k: v[-size:] for k, v in rows.items()} for rows in beside]
    found = model.predicted(sequences, beside)
    for name, predicted in zip(given.names or [""], found, strict=True):
        made += rows_of(interface, name, predicted, probabilities=probabilities)
    return made


def rows_of(
    interface: Interface, name: str, predicted: Predicted, *, first: int = 1, probabilities: bool
) -> Iterator[dict[str, Any]]:
    """The answers of one sequence as rows of a table.

    name: of the sequence, ``""`` for none.
    first: the number of its first position.
    """
    answer = interface.answer
    head: dict[str, Any] = {"sequence": name} if name else {}
    for k, (found, scores) in enumerate(zip(predicted.rows, predicted.scores, strict=True)):
        row = {**head, **({"position": first + k} if interface.streams else {})}
        if answer.kind == "values":
            steps = np.asarray(found).reshape(answer.horizon, len(answer.names))
            for step, numbers in enumerate(steps.tolist(), start=1):
                at = {"step": step} if answer.horizon > 1 else {}
                yield {**row, **at, **dict(zip(answer.names, numbers, strict=True))}
        elif answer.kind == "bits":
            told = scores.tolist() if probabilities else [int(bit) for bit in found]
            yield {**row, **dict(zip(answer.names, told, strict=True))}
        elif answer.kind == "tokens":
            more = {"probability": float(scores.max())} if probabilities else {}
            yield {**row, "next": found, **more}
        else:
            each = zip(answer.names, scores.tolist(), strict=True) if probabilities else ()
            yield {**row, "answer": found, **{f"p({label})": p for label, p in each}}


def said(interface: Interface, rows: Iterable[dict[str, Any]], suffix: str) -> bytes:
    """Rows as the content of a file: ``.csv``, ``.json`` (with units), ``.npz`` (an array a
    column), or ``.txt`` (the answers, a line each; symbols one after another).
    """
    table = list(rows)
    columns = {name: [row[name] for row in table] for name in (table[0] if table else ())}
    if suffix == ".npz":
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: np.array(column) for name, column in columns.items()}
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()
    if suffix == ".json":
        answer = interface.answer
        units = dict(zip(answer.names, answer.units, strict=True)) if answer.units else {}
        return (json.dumps({"units": units, "rows": table}, indent=1) + "\n").encode()
    if suffix == ".txt":
        return _as_text(interface, table).encode()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()


def _as_text(interface: Interface, table: Sequence[dict[str, Any]]) -> str:
    if interface.answer.kind == "tokens":
        assert isinstance(interface.inputs, TokenInputs)
        between = "" if interface.inputs.level == "character" else " "
        return between.join(str(row["next"]) for row in table) + "\n"
    place = {"sequence", "position", "step"}
    lines = [
        " ".join(str(value) for name, value in row.items() if name not in place) for row in table
    ]
    return "\n".join(lines) + "\n"


def stream_answers(
    model: SequenceModel,
    lines: Iterable[str],
    *,
    probabilities: bool = False,
    times: str = "",
    written: Written = AS_FOUND,
) -> Iterator[dict[str, Any]]:
    """Answers for lines as they come: text, or rows of numbers, of which the first may name the
    columns. Raises as :func:`answers` does, and :class:`ConfigError` for a model that needs whole
    sequences.
    """
    interface, stream = model.interface, model.stream()
    number, before = 0, math.nan
    for number, (position, when) in enumerate(
        _positions(interface, lines, written, times), start=1
    ):
        gap = when - before if times and not math.isnan(before) else None
        found, before = stream.predicted(position, dt=gap), when
        if found is None:
            continue
        for row in rows_of(interface, "", found, first=number, probabilities=probabilities):
            yield row if "position" in row else {"position": number, **row}
    if not number:
        raise InputFileError("nothing came", where="stdin", hint="write rows of a table into it")


def _positions(
    interface: Interface, lines: Iterable[str], written: Written, times: str
) -> Iterator[tuple[Any, float]]:
    """Symbols of a text, or rows of numbers, and when each was."""
    inputs, separator = interface.inputs, written.separator
    if isinstance(inputs, TokenInputs):
        for line in lines:
            yield from ((token, math.nan) for token in inputs.encode(line, where="stdin").tolist())
        return
    row = _Row(inputs, times)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not separator:
            separator = next((mark for mark in "\t;," if mark in line), ",")
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
        if row.places or not row.is_header(cells, number):
            yield row.read(cells, written.decimal, number), row.when


class _Row:
    """Reads rows of a stream: a missing value repeats the last one where the model knows a mark."""

    def __init__(self, inputs: FeatureInputs, times: str = "") -> None:
        self.inputs, self.times = inputs, times
        self.when = math.nan
        """The time of the row that was read last, where there are times."""
        self.places: dict[str, int] = {}
        """Where each column lies; marks that the rows do not hold are not among them."""
        self.last = dict(zip(inputs.names, inputs.mean, strict=True))

    def is_header(self, cells: Sequence[str], line: int) -> bool:
        """Whether the first line names the columns; it says where each lies in either case."""
        names = (*self.inputs.names, *([self.times] if self.times else []))
        wanted = [n for n in names if n in cells or not is_mark(self.inputs, n)]
        if all(name in cells for name in wanted):
            self.places = {name: cells.index(name) for name in wanted}
            return True
        lacking = ", ".join(name for name in wanted if name not in cells)
        if not all(map(_is_number, cells)) or len(cells) not in (len(wanted), len(names)):
            raise InputFileError(
                f"there is no column {lacking}, only {', '.join(cells)}",
                where=f"stdin, line {line}",
                hint=f"write the names of the columns first; the model reads {', '.join(wanted)}",
            )
        wanted = list(names) if len(cells) == len(names) else wanted
        self.places = {name: place for place, name in enumerate(wanted)}
        return False

    def read(self, cells: Sequence[str], decimal: str, line: int) -> list[float]:
        """The inputs of a row, in the order of the model."""
        made = []
        for name in self.inputs.names:
            mark = name not in self.places
            if self.inputs.missing and _is_missing_at(cells, self.places[name]):
                made.append(math.nan)
                continue
            place = self.places[name.removesuffix(MARK) if mark else name]
            gone = place >= len(cells) or is_missing(cells[place])
            if mark:
                made.append(float(gone))
                continue
            if not gone or name + MARK not in self.inputs.names:
                self.last[name] = _number(cells, place, decimal, line)
            made.append(self.last[name])
        if self.times:
            self.when = _number(cells, self.places[self.times], decimal, line)
        return made


def _is_missing_at(cells: Sequence[str], place: int) -> bool:
    """Whether a row has no value there."""
    return place >= len(cells) or is_missing(cells[place])


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return is_missing(cell)
    return True


def _number(cells: Sequence[str], place: int, decimal: str, line: int) -> float:
    cell = cells[place] if place < len(cells) else ""
    try:
        return float(cell.replace(decimal or ",", "."))
    except ValueError:
        raise InputFileError(
            f"{cell!r} is not a number" if cell else f"cell {place + 1} is missing",
            where=f"stdin, line {line}",
            hint="each line holds a number for each column",
        ) from None
