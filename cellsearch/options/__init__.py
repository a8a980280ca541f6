"""Options: tables of plain values, as TOML holds them, read into frozen dataclasses and back.

One reader for experiments, strategies, schedules, tasks, search spaces and suites. Types come from
annotations: ``int``, ``float``, ``bool``, ``str``, ``Literal``, ``tuple[X, ...]``,
``Mapping[str, X]``, ``X | Y``, ``X | None`` and dataclasses. What else a field allows stands in its
annotation too: ``Annotated[int, at_least(1)]``, ``Annotated[float, between(0, 1)]``, or in words,
``Annotated[str, "a zoo cell"]``. A complaint names file and dotted key, what is allowed, and the
nearest name.

Why no library (tried in 2026): msgspec's ``convert`` takes unknown keys, infinities and whole
numbers of any size in dataclasses, and names neither choices nor defaults; cattrs turns ``"3"`` and
``true`` into numbers and knows no ranges; pydantic does it with ``Strict`` at every number and a
translation of all its errors, for 10 MB more to install and 0.1 s of import. tomli-w would save 30
lines, but writes each list over as many lines as it has items.
"""

from __future__ import annotations

from cellsearch.options.fields import (
    OR_INFINITY,
    UNSAID,
    Key,
    Option,
    Range,
    above,
    at_least,
    between,
    declared_options,
    default_table,
    keys,
    marked,
    table_of,
)
from cellsearch.options.places import unknown
from cellsearch.options.reading import check_options, read_options
from cellsearch.options.toml import parse_toml, render_toml, toml_value

__all__ = [
    "OR_INFINITY",
    "UNSAID",
    "Key",
    "Option",
    "Range",
    "above",
    "at_least",
    "between",
    "check_options",
    "declared_options",
    "default_table",
    "keys",
    "marked",
    "parse_toml",
    "read_options",
    "render_toml",
    "table_of",
    "toml_value",
    "unknown",
]
