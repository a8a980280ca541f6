"""Tables of numbers as plain data, and what is said of a file with one that is damaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cellsearch.errors import InputFileError

__all__ = ["DAMAGE", "plain", "read_as"]

DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, StopIteration)
"""What a document raises that is not what it should be."""


def plain(value: Any) -> Any:
    """The same as JSON has it: ``None`` for numbers that do not exist, lists for tuples, texts for
    keys.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@contextmanager
def read_as(what: str, path: Path, hint: str) -> Iterator[None]:
    """Raise :class:`InputFileError` where the block cannot read the file as what it should be."""
    try:
        yield
    except (OSError, *DAMAGE) as error:
        raise InputFileError(
            f"this is not a {what} ({error})", where=str(path), hint=hint
        ) from error
