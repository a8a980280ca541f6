"""Reading and writing TOML strictly: every complaint names the file, the key, what is allowed, and
the nearest match.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from cellsearch.errors import ConfigError

__all__ = ["check_keys", "nearest", "parse", "parse_setting", "render", "unknown"]

MAX_TEXT = 1_048_576
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_WORD = re.compile(r"[A-Za-z_./][A-Za-z0-9_./:-]*")


def parse(text: str, source: str) -> dict[str, Any]:
    """The document as plain values. Raises :class:`ConfigError` that names ``source`` and the
    line.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError(f"{len(text)} characters; at most {MAX_TEXT} are read", where=source)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        message = str(error) or type(error).__name__
        raise ConfigError(
            f"not valid TOML: {message}", where=source, hint="see https://toml.io for the format"
        ) from None


def parse_setting(text: str) -> tuple[str, Any]:
    """``"training.steps=100"`` as ``("training.steps", 100)``; the value is TOML, a bare word is
    taken as a string.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not all(_BARE_KEY.fullmatch(part) for part in key.split(".")):
        raise ConfigError(
            f"{text!r} is no setting",
            where="--set",
            hint="write key=value, for example --set training.steps=100",
        )
    try:
        document = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        document = {"value": value} if _BARE_WORD.fullmatch(value) else {}
    if set(document) != {"value"}:  # no TOML, or more than one line of it
        hint = f'put text in quotes: --set \'{key}="..."\'; lists are written ["a", "b"]'
        raise ConfigError(
            f"the value {value!r:.200} of {key} is not valid TOML", where="--set", hint=hint
        )
    return key, document["value"]


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The allowed name that looks most like ``name``; ``""`` if none does."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return close[0] if close else ""


def unknown(what: str, name: str, allowed: Iterable[str], *, where: str = "") -> ConfigError:
    """The error for a name that does not exist: it lists what is allowed and guesses what was
    meant.
    """
    names = sorted(allowed)
    guess = nearest(name, names)
    listed = ", ".join(names) or "(none)"
    hint = f"did you mean {guess}? allowed: {listed}" if guess else f"allowed: {listed}"
    return ConfigError(f"unknown {what} {name!r}", where=where, hint=hint)


def check_keys(
    table: Mapping[str, Any], allowed: Iterable[str], *, where: str, what: str = "key"
) -> None:
    """Raise :class:`ConfigError` for the first key that is not allowed."""
    names = list(allowed)
    for key in table:
        if key not in names:
            raise unknown(what, key, names, where=where)


def render(document: Mapping[str, Any]) -> str:
    """TOML text of plain values: scalars first, then tables; :func:`parse` reads the same values
    back.
    """
    lines: list[str] = []
    _render_table(document, (), lines)
    return "\n".join(lines).strip("\n") + "\n"


def _render_table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if path and (len(tables) < len(table) or not table):
        lines += ["", f"[{'.'.join(_key(part) for part in path)}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in tables]
    for key, value in tables.items():
        _render_table(value, (*path, key), lines)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # TOML's basic strings are JSON's, but for DEL, which JSON leaves alone.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return (
            repr(value)
            if math.isfinite(value)
            else ("nan" if math.isnan(value) else "inf" if value > 0 else "-inf")
        )
    if isinstance(value, str):
        return _multiline(value) if "\n" in value else _string(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    raise ConfigError(
        f"{value!r:.60} cannot be written as TOML",
        hint="allowed: text, numbers, true, false, lists and tables of them",
    )


def _multiline(text: str) -> str:
    """A string over several lines, so that a cell in a file stays readable."""
    escaped = [_string(line)[1:-1] for line in text.split("\n")]
    return '"""\n' + "\n".join(escaped) + '"""'
