"""What a table is, and which task it makes: a forecast, or labels of whole sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cellsearch.errors import ConfigError
from cellsearch.files import open_plain
from cellsearch.tasks.tables.labelled import is_labelled, label_arrays
from cellsearch.tasks.tables.options import TableOptions
from cellsearch.tasks.tables.read import TextTable, Written, read_table
from cellsearch.tasks.tables.windows import forecast_arrays

__all__ = ["Understood", "table_of_options", "understand"]


@dataclass(frozen=True, slots=True)
class Understood:
    """What was understood of a table."""

    task: str
    """Name of the task that it makes."""
    predicts: tuple[str, ...]
    """The columns that are predicted."""
    facts: tuple[tuple[str, str], ...]
    """What it is, in words, by what they are about."""
    notes: tuple[str, ...]
    """What was done that may surprise, in sentences."""
    chosen: Mapping[str, Any]
    """Options that were found, to be written down."""


def table_of_options(options: TableOptions) -> TextTable:
    """The table that the options name. Raises :class:`ConfigError` without a path, and as
    :func:`cellsearch.tasks.tables.read.read_table` does.
    """
    if not options.path:
        raise ConfigError(
            "no table is named",
            where="task_options.path",
            hint="cellsearch search --csv data.csv --predict COLUMN",
        )
    path = Path(options.path)
    if not path.is_file():
        return read_table(path)  # says so
    with open_plain(path) as file:
        file.seek(0, 2)
        size = file.tell()
    stamp = (size, path.stat().st_mtime_ns)
    return _read(str(path.absolute()), stamp, options.written, options.named)


@lru_cache(maxsize=1)
def _read(path: str, stamp: tuple[int, int], written: Written, named: tuple[str, ...]) -> TextTable:
    """What was read last is kept: it is looked at before it is searched on."""
    return read_table(Path(path), written, named)


def understand(options: TableOptions) -> Understood:
    """Read the table and say what it is. Raises what the task would raise."""
    table = table_of_options(options)
    labelled = is_labelled(table, options)
    made = label_arrays(table, options) if labelled else forecast_arrays(table, options)
    task = "table_labels" if labelled else "table"
    return Understood(task, made.predicts, made.facts, made.notes, made.chosen)
