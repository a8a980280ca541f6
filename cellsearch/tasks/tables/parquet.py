"""Parquet tables, where pyarrow is installed (``pip install "cellsearch[parquet]"``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cellsearch.errors import EnvironmentFailure, InputFileError
from cellsearch.files import open_plain

__all__ = ["is_parquet", "read_parquet"]


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does."""
    with open_plain(path) as file:
        return file.read(4) == b"PAR1"


def read_parquet(path: Path) -> tuple[list[str], list[Any]]:
    """Names and columns: float64 with NaN for numbers, lists of text for everything else. Raises
    :class:`EnvironmentFailure` without pyarrow, :class:`InputFileError` for a damaged file.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise EnvironmentFailure(
            "Parquet needs pyarrow, which is not installed",
            where=str(path),
            hint='pip install "cellsearch[parquet]", or write the table as CSV',
        ) from None
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputFileError(f"the file is not whole Parquet: {error}", where=str(path)) from error
    types = pyarrow.types
    columns: list[Any] = []
    for column in table.columns:
        kind = column.type
        if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
            values = column.cast(pyarrow.float64(), safe=False).to_numpy().astype(np.float64)
            values[~np.isfinite(values)] = np.nan
            columns.append(values)
        else:
            columns.append(["" if v is None else str(v) for v in column.to_pylist()])
    return list(table.column_names), columns
