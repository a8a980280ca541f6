"""Rows as frames of pandas or polars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from cellsearch.errors import ConfigError, EnvironmentFailure

__all__ = ["as_frame"]

FRAMES = ("pandas", "polars")
"""The libraries of which a history can be made a frame."""


def as_frame(rows: Sequence[Mapping[str, Any]], library: str = "") -> Any:
    """Rows as a frame, see :meth:`History.to_frame`."""
    if library and library not in FRAMES:
        raise ConfigError(f"{library!r} makes no frames", hint=f"allowed: {', '.join(FRAMES)}")
    for name in (library,) if library else FRAMES:
        if find_spec(name) is not None:
            # polars looks at the first 100 rows only, unless it is told to look at all
            how: dict[str, Any] = {"infer_schema_length": None} if name == "polars" else {}
            return import_module(name).DataFrame([dict(row) for row in rows], **how)
    raise EnvironmentFailure(
        f"{library or ' and '.join(FRAMES)} cannot be imported",
        hint=f"pip install {library or FRAMES[0]}, or take the rows as they are: to_rows()",
    )
