"""Answers of a trained model for files and streams, as rows of a table, and these as CSV, JSON,
arrays or text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cellsearch.errors import InputFileError, checked_arguments
from cellsearch.runs.new_data import AS_FOUND, sequences_of, window_of, windows_of
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.interface import Interface, TokenInputs
from cellsearch.tasks.prediction import Predicted
from cellsearch.tasks.tables.read import Written

__all__ = ["answers", "rows_of", "said", "stream_answers"]


@checked_arguments
def answers(
    model: SequenceModel,
    path: Path,
    *,
    probabilities: bool = False,
    group: str = "",
    rolling: bool = False,
    window: int = 0,
    written: Written = AS_FOUND,
) -> list[dict[str, Any]]:
    """The answers for a file of new data, as rows of a table.

    path: a table (CSV, Parquet), a text, or an ``.npz`` file.
    probabilities: those of classes, bits and next symbols, too.
    group: the column whose values say which rows of a table are one sequence.
    rolling: an answer at every row that ends a window.
    window: how many rows are read at once; 0: as in training, or all.
    written: how a table is written; left out, that is found out.

    Raises :class:`ConfigError` and :class:`InputFileError` for data that the model cannot read.
    """
    interface = model.interface
    given = sequences_of(interface, path, group=group, written=written)
    made: list[dict[str, Any]] = []
    if rolling:
        windows = windows_of(interface, given, window)
        found = model.predicted([window for _, _, window in windows])
        for (name, end, _), predicted in zip(windows, found, strict=True):
            for row in rows_of(interface, name, predicted, probabilities=probabilities):
                place = {"sequence": row.pop("sequence")} if name else {}
                made.append({**place, "position": end, **row})
        return made
    sequences = given.sequences
    if window:
        sequences = [sequence[-window_of(interface, window) :] for sequence in sequences]
    found = model.predicted(sequences)
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
    written: Written = AS_FOUND,
) -> Iterator[dict[str, Any]]:
    """Answers for lines as they come: text, or rows of numbers, of which the first may name the
    columns. Raises as :func:`answers` does, and :class:`ConfigError` for a model that needs whole
    sequences.
    """
    interface, stream = model.interface, model.stream()
    number = 0
    for number, position in enumerate(_positions(interface, lines, written), start=1):
        found = stream.predicted(position)
        if found is None:
            continue
        for row in rows_of(interface, "", found, first=number, probabilities=probabilities):
            yield row if "position" in row else {"position": number, **row}
    if not number:
        raise InputFileError("nothing came", where="stdin", hint="write rows of a table into it")


def _positions(interface: Interface, lines: Iterable[str], written: Written) -> Iterator[Any]:
    """Symbols of a text, or rows of numbers."""
    inputs, separator = interface.inputs, written.separator
    if isinstance(inputs, TokenInputs):
        for line in lines:
            yield from inputs.encode(line, where="stdin").tolist()
        return
    places: list[int] | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not separator:
            separator = next((mark for mark in "\t;," if mark in line), ",")
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
        if places is None:
            places = _places(inputs.names, cells)
            if places is not None:
                continue
            places = list(range(len(inputs.names)))
            if len(cells) != len(places):
                raise InputFileError(
                    f"{len(cells)} cells, and the model reads {', '.join(inputs.names)}",
                    where=f"stdin, line {number}",
                    hint="write the names of the columns first, or these columns alone",
                )
        yield [_number(cells, place, written.decimal, number) for place in places]


def _places(names: tuple[str, ...], cells: list[str]) -> list[int] | None:
    """Where the columns lie in a line of names; ``None`` for a line of numbers."""
    if all(name in cells for name in names):
        return [cells.index(name) for name in names]
    try:
        for cell in cells:
            float(cell.replace(",", "."))
    except ValueError:
        lacking = [name for name in names if name not in cells]
        raise InputFileError(
            f"there is no column {', '.join(lacking)}, only {', '.join(cells)}",
            where="stdin, line 1",
            hint=f"the model reads {', '.join(names)}",
        ) from None
    return None


def _number(cells: list[str], place: int, decimal: str, line: int) -> float:
    cell = cells[place] if place < len(cells) else ""
    try:
        return float(cell.replace(decimal or ",", "."))
    except ValueError:
        raise InputFileError(
            f"{cell!r} is not a number" if cell else f"cell {place + 1} is missing",
            where=f"stdin, line {line}",
            hint="each line holds a number for each column",
        ) from None
