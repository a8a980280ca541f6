"""TOML text to plain values and back."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from cellsearch.errors import ConfigError
from cellsearch.options.places import KeyPlace, finite_number

__all__ = ["parse_toml", "render_toml", "toml_value"]

MAX_TEXT = 1_048_576
MAX_DEPTH = 64
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The document as plain values. Raises :class:`ConfigError` that names ``source`` and the
    line; as TOML asks, also for a whole number of more than 64 bits. A byte order mark at the head
    is skipped.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError(f"{len(text)} characters; at most {MAX_TEXT} are read", where=source)
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        message = str(error) or type(error).__name__
        raise ConfigError(
            f"not valid TOML: {message}", where=source, hint="see https://toml.io for the format"
        ) from None
    _check_values(document, KeyPlace(f"{source}: "), 0, source)
    return document


def _check_values(value: Any, place: KeyPlace, depth: int, source: str) -> None:
    """Refuse whole numbers of more than 64 bits at any depth, and more depth than is read."""
    if depth > MAX_DEPTH:
        raise ConfigError(
            f"tables or lists lie more than {MAX_DEPTH} deep within one another", where=source
        )
    if isinstance(value, dict):
        for key, item in value.items():
            _check_values(item, place.below(key), depth + 1, source)
    elif isinstance(value, list):
        for k, item in enumerate(value):
            _check_values(item, place.below(f"[{k}]"), depth + 1, source)
    elif isinstance(value, int):
        finite_number(int, value, place)


def render_toml(document: Mapping[str, Any]) -> str:
    """TOML text of plain values, scalars before tables; :func:`parse_toml` reads them back."""
    lines: list[str] = []
    _render_table(document, (), lines)
    return "\n".join(lines).strip("\n") + "\n"


def _render_table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if path and (len(tables) < len(table) or not table):
        lines += ["", f"[{'.'.join(_key(part) for part in path)}]"]
    lines += [f"{_key(key)} = {toml_value(table[key])}" for key in table if key not in tables]
    for key, value in tables.items():
        _render_table(value, (*path, key), lines)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # TOML's basic strings are JSON's, but for DEL, which JSON leaves alone.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_value(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float.__repr__(value)  # numpy's numbers have another
    if isinstance(value, str):
        return _multiline(value) if "\n" in value else _string(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{_key(key)} = {toml_value(item)}" for key, item in value.items())
            + "}"
        )
    raise ConfigError(
        f"{value!r:.60} cannot be written as TOML",
        hint="allowed: text, numbers, true, false, lists and tables of them",
    )


def _multiline(text: str) -> str:
    """A string over several lines, so that a cell in a file stays readable."""
    escaped = [_string(line)[1:-1] for line in text.split("\n")]
    return '"""\n' + "\n".join(escaped) + '"""'
