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

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cellsearch.errors import ConfigError

__all__ = [
    "OR_INFINITY",
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

T = TypeVar("T")

MAX_TEXT = 1_048_576
MAX_DEPTH = 64
_NOUNS = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
}
_WORD = 2**63  # whole numbers of TOML and of the store have 64 bits
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


# -- what a field allows ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """Which numbers a field allows; of a list: how many items."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    """``low`` itself is not allowed."""
    open_high: bool = False
    """``high`` itself is not allowed."""

    def holds(self, number: float) -> bool:
        """Whether the number is allowed."""
        return (
            self.low <= number <= self.high
            and not (self.open_low and number == self.low)
            and not (self.open_high and number == self.high)
        )

    def __str__(self) -> str:
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.open_low else 'at least'} {self.low}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.open_high else 'at most'} {self.high}")
        return " and ".join(parts)


def at_least(low: float) -> Range:
    """``low`` and more."""
    return Range(low)


def above(low: float) -> Range:
    """More than ``low``."""
    return Range(low, open_low=True)


def between(low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> Range:
    """``low`` to ``high``, without the ends that are open."""
    return Range(low, high, open_low, open_high)


OR_INFINITY = "inf"
"""In the annotation of a bound: infinity, which bounds nothing, is allowed too."""


@dataclass(frozen=True, slots=True)
class Key:
    """In the annotation of a field: its name in tables, where that is not the field's own."""

    name: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands, and what is allowed there, both for errors."""

    where: str
    allowed: str = ""

    def below(self, part: str, allowed: str = "") -> _Place:
        """The place of a part: ``"x.toml: "`` then ``training`` then ``training.steps``."""
        dot = "" if not self.where or self.where.endswith(": ") or part.startswith("[") else "."
        return _Place(f"{self.where}{dot}{part}", allowed or self.allowed)

    def error(self, message: str, hint: str = "") -> ConfigError:
        return ConfigError(message, where=self.where.removesuffix(": "), hint=hint or self.allowed)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key of a table: the field that it sets, and what the field allows, as a type and in
    words.
    """

    name: str
    hint: Any
    allowed: str
    default: Any
    """``MISSING`` for a key that a table must hold."""


@cache
def _entries(kind: Any) -> Mapping[str, _Entry]:
    hints = get_type_hints(kind, include_extras=True)
    found: dict[str, _Entry] = {}
    for field in fields(kind):
        hint, default = hints[field.name], field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        names = [rule.name for rule in get_args(hint)[1:] if isinstance(rule, Key)]
        allowed = f"allowed: {_describe(hint)}"
        if isinstance(default, bool | int | float | str | tuple):
            allowed += f"; the default is {toml_value(default)}"
        found[names[0] if names else field.name] = _Entry(field.name, hint, allowed, default)
    return found


@dataclass(frozen=True, slots=True)
class Option:
    """An option as its annotation declares it, in words for people."""

    key: str
    """Its name in a table."""
    field: str
    """The field that it sets."""
    type: str
    default: Any
    """As plain values; ``None`` for none."""
    required: bool
    """A table must hold it."""
    allowed: str


def declared_options(kind: Any) -> tuple[Option, ...]:
    """The options of a dataclass, in its order."""
    found = []
    for key, entry in _entries(kind).items():
        hint = entry.hint
        while get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        what = "one of several" if get_origin(hint) is Literal else _describe(hint)
        required = entry.default is MISSING
        default = None if required else _plain(entry.default)
        found.append(Option(key, entry.name, what, default, required, _describe(entry.hint)))
    return tuple(found)


def keys(kind: Any) -> tuple[str, ...]:
    """The keys of a table that is read into this dataclass."""
    return tuple(_entries(kind))


def marked(kind: Any, marker: type[T]) -> dict[str, T]:
    """The keys of a table whose annotations hold something of this type, each with it."""

    def rules(hint: Any) -> list[Any]:
        parts = get_args(hint)
        return [*parts, *(rule for part in parts for rule in rules(part))]

    return {
        key: rule
        for key, entry in _entries(kind).items()
        for rule in rules(entry.hint)
        if isinstance(rule, marker)
    }


def _describe(hint: Any, *, many: bool = False) -> str:
    """What a type allows, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        plain = _describe(args[0], many=many)
        words = [rule for rule in args[1:] if isinstance(rule, str) and rule != OR_INFINITY]
        rules = [str(rule) for rule in args[1:] if isinstance(rule, Range)]
        rules += ["or inf"] if OR_INFINITY in args[1:] else []
        if get_origin(args[0]) is tuple:
            return words[0] if words else "; ".join([plain, *(f"{rule} of them" for rule in rules)])
        return words[0] if words else ", ".join([plain, *rules])
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin is tuple and args[1:] == (...,):
        return f"a list of {_describe(args[0], many=True)}"
    if origin is Mapping and args[0] is str:
        return "a table" if args[1] is Any else f"a table of {_describe(args[1], many=True)}"
    if origin in (Union, UnionType):
        return " or ".join(_describe(arg, many=many) for arg in args if arg is not NoneType)
    if is_dataclass(hint):
        return f"a table with {', '.join(keys(hint))}"
    if hint not in _NOUNS:
        raise TypeError(f"options cannot have the type {hint}; see cellsearch.options for those")
    return _NOUNS[hint][many]


def _noun(hint: Any) -> str:
    kind = get_origin(hint) or hint
    return _NOUNS[kind][0] if kind in _NOUNS else "a list" if kind is tuple else "a table"


# -- reading ---------------------------------------------------------------------------------------


def read_options(kind: type[T], table: object, *, source: str = "", path: str = "") -> T:
    """The dataclass ``kind`` with the values of a table.

    kind: a dataclass whose annotations say what is allowed; fields without default are required.
    table: plain values, for example decoded TOML; lists and tuples are the same.
    source: the file, for errors.
    path: dotted key of the table in it, for errors.

    Raises :class:`ConfigError`; what ``kind`` itself refuses in ``__post_init__`` gets source and
    path in front of its ``where``.
    """
    place = _Place(f"{source}: " if source else "")
    made: T = _read(kind, table, place.below(path) if path else place)
    return made


def check_options(part: Any) -> None:
    """Raise :class:`ConfigError` for a field of a dataclass that :func:`read_options` would refuse.

    For ``__post_init__``, so that what is made in Python is as sound as what is read.
    """
    kind: Any = type(part)
    for key, entry in _entries(kind).items():
        _read_value(entry.hint, getattr(part, entry.name), _Place(key, entry.allowed))


def _read(kind: Any, table: Any, place: _Place) -> Any:
    if not _fits(Mapping, table):
        raise place.error(f"{_shown(table)} is not a table", f"allowed: {_describe(kind)}")
    entries = _entries(kind)
    for key in table:
        if key not in entries:
            raise unknown("key", key, entries, where=place.below(key).where)
    values = {}
    for key, entry in entries.items():
        if key in table:
            values[entry.name] = _read_value(
                entry.hint, table[key], place.below(key, entry.allowed)
            )
        elif entry.default is MISSING:
            raise place.error(f"the key {key} is missing", f"add {key} = ...; {entry.allowed}")
    try:
        return kind(**values)
    except ConfigError as error:
        where = place.below(error.where).where if error.where else place.where
        raise type(error)(error.message, where=where, hint=error.hint) from None


def _read_value(hint: Any, value: Any, place: _Place) -> Any:
    """The value as its field holds it: lists become tuples, tables dataclasses."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if OR_INFINITY in args[1:] and value == math.inf:
            return value
        made = _read_value(args[0], value, place)
        number = len(made) if isinstance(made, tuple) else made
        for rule in args[1:]:
            if isinstance(rule, Range) and not rule.holds(number):
                raise place.error(f"{_shown(value)} is out of range")
        return made
    if origin in (Union, UnionType):
        fitting = [arg for arg in args if _fits(arg, value)]
        if not fitting:
            raise place.error(f"{_shown(value)} is not {_describe(hint)}")
        return _read_value(fitting[0], value, place)
    if origin is Literal:
        if value not in args:
            hint = _guess(value, map(str, args)) + place.allowed
            raise place.error(f"unknown value {_shown(value)}", hint)
        return value
    if not _fits(hint, value):
        raise place.error(f"{_shown(value)} is not {_noun(hint)}")
    if origin is tuple:
        places = [
            place.below(f"[{k}]") if is_dataclass(args[0]) else place for k in range(len(value))
        ]
        return tuple(map(partial(_read_value, args[0]), value, places))
    if origin is Mapping:
        return {
            key: item if args[1] is Any else _read_value(args[1], item, place.below(key))
            for key, item in value.items()
        }
    if is_dataclass(hint):
        return value if type(value) is hint else _read(hint, value, place)
    return _number(hint, value, place) if hint in (int, float) else value


def _fits(hint: Any, value: Any) -> bool:
    """Whether the value is of the kind of the type, whatever is in it."""
    kind = get_origin(hint) or hint
    if kind is Annotated:
        return _fits(get_args(hint)[0], value)
    if kind is Literal:
        return value in get_args(hint)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    if kind is tuple:
        return isinstance(value, list | tuple)
    if kind is Mapping or (is_dataclass(kind) and type(value) is not kind):
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    return isinstance(value, kind)


def _number(kind: type, value: Any, place: _Place) -> Any:
    if isinstance(value, int) and not -_WORD <= value < _WORD:
        most = f"the largest whole number is {_WORD - 1}"
        raise place.error(
            f"{_shown(value)} is too large", "; ".join(filter(None, (most, place.allowed)))
        )
    if not math.isfinite(value):
        raise place.error(f"{value} is not a finite number")
    return kind(value)


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    try:
        return f"{value!r:.60}"
    except ValueError:  # numbers of more digits than Python writes, somewhere inside
        return f"a {type(value).__name__} with a number of thousands of digits"


def table_of(part: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain values that :func:`read_options` reads back.

    A field that is ``None`` is left out. A part that is not a dataclass has no options.
    """
    kind: Any = type(part)
    entries = _entries(kind) if is_dataclass(part) else {}
    table = {key: _plain(getattr(part, entry.name)) for key, entry in entries.items()}
    return {key: value for key, value in table.items() if value is not None}


def default_table(kind: Any) -> dict[str, Any]:
    """The defaults of a dataclass as plain values; fields without default are left out."""
    found = {key: _plain(entry.default) for key, entry in _entries(kind).items()}
    return {key: value for key, value in found.items() if value not in (MISSING, None)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return table_of(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def unknown(what: str, name: object, allowed: Iterable[str], *, where: str = "") -> ConfigError:
    """The error for a name that does not exist: it lists what is allowed and guesses what was
    meant.
    """
    names = sorted(allowed)
    hint = f"{_guess(name, names)}allowed: {', '.join(names) or '(none)'}"
    return ConfigError(f"unknown {what} {_shown(name)}", where=where, hint=hint)


def _guess(name: object, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name if isinstance(name, str) else "", list(names), 1, 0.5)
    return f"did you mean {close[0]}? " if close else ""


# -- TOML ------------------------------------------------------------------------------------------


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
    _check_values(document, _Place(f"{source}: "), 0, source)
    return document


def _check_values(value: Any, place: _Place, depth: int, source: str) -> None:
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
        _number(int, value, place)


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
