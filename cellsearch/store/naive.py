"""What is reached without a cell, in a file beside the store: it belongs to the data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cellsearch.errors import InputFileError
from cellsearch.files import read_plain, write_atomically
from cellsearch.job import Naive

__all__ = ["NAIVE", "read_naive", "write_naive"]

NAIVE = "naive.json"


def write_naive(run: Path, found: Sequence[Naive]) -> None:
    """Keep it; nothing is written of nothing."""
    if found:
        write_atomically(run / NAIVE, json.dumps([asdict(one) for one in found]))


def read_naive(run: Path) -> tuple[Naive, ...]:
    """What was kept, best first; nothing for a task without. Raises :class:`InputFileError` for a
    damaged file.
    """
    path = run / NAIVE
    if not path.is_file():
        return ()
    try:
        rows = json.loads(read_plain(path))
        found = [
            Naive(
                str(row["name"]),
                float(row["score"]),
                float(row["metric"]),
                {str(name): float(number) for name, number in row["errors"].items()},
            )
            for row in rows
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputFileError(
            f"this does not say what is reached without a cell ({error})",
            where=str(path),
            hint="delete it; the next search in the run writes it again",
        ) from error
    return tuple(sorted(found, key=lambda one: one.score))
