"""What the fields of a dataclass allow, as their annotations say it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cellsearch.options.toml import toml_value

__all__ = [
    "OR_INFINITY",
    "UNSAID",
    "FieldEntry",
    "Key",
    "Option",
    "Range",
    "above",
    "at_least",
    "between",
    "declared_options",
    "default_table",
    "describe",
    "entries_of",
    "keys",
    "marked",
    "noun",
    "table_of",
]

T = TypeVar("T")

_NOUNS = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
}


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

UNSAID = "unsaid"
"""In the annotation of a field that is younger than the tables that are kept: it is left out of a
table where it has its default, so that tables, and what is computed of them, stay as they were."""
_MARKS = (OR_INFINITY, UNSAID)
"""Texts in annotations that are no words for people."""


@dataclass(frozen=True, slots=True)
class Key:
    """In the annotation of a field: its name in tables, where that is not the field's own."""

    name: str


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """A key of a table: the field that it sets, and what the field allows, as a type and in
    words.
    """

    name: str
    hint: Any
    allowed: str
    default: Any
    """``MISSING`` for a key that a table must hold."""


@cache
def entries_of(kind: Any) -> Mapping[str, FieldEntry]:
    """The entries of a dataclass by key, in its order."""
    hints = get_type_hints(kind, include_extras=True)
    found: dict[str, FieldEntry] = {}
    for field in fields(kind):
        hint, default = hints[field.name], field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        names = [rule.name for rule in get_args(hint)[1:] if isinstance(rule, Key)]
        allowed = f"allowed: {describe(hint)}"
        if isinstance(default, bool | int | float | str | tuple):
            allowed += f"; the default is {toml_value(default)}"
        found[names[0] if names else field.name] = FieldEntry(field.name, hint, allowed, default)
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
    for key, entry in entries_of(kind).items():
        hint = entry.hint
        while get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        what = "one of several" if get_origin(hint) is Literal else describe(hint)
        required = entry.default is MISSING
        default = None if required else _plain(entry.default)
        found.append(Option(key, entry.name, what, default, required, describe(entry.hint)))
    return tuple(found)


def keys(kind: Any) -> tuple[str, ...]:
    """The keys of a table that is read into this dataclass."""
    return tuple(entries_of(kind))


def marked(kind: Any, marker: type[T]) -> dict[str, T]:
    """The keys of a table whose annotations hold something of this type, each with it."""

    def rules(hint: Any) -> list[Any]:
        parts = get_args(hint)
        return [*parts, *(rule for part in parts for rule in rules(part))]

    return {
        key: rule
        for key, entry in entries_of(kind).items()
        for rule in rules(entry.hint)
        if isinstance(rule, marker)
    }


def describe(hint: Any, *, many: bool = False) -> str:
    """What a type allows, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        plain = describe(args[0], many=many)
        words = [rule for rule in args[1:] if isinstance(rule, str) and rule not in _MARKS]
        rules = [str(rule) for rule in args[1:] if isinstance(rule, Range)]
        rules += ["or inf"] if OR_INFINITY in args[1:] else []
        if get_origin(args[0]) is tuple:
            return words[0] if words else "; ".join([plain, *(f"{rule} of them" for rule in rules)])
        return words[0] if words else ", ".join([plain, *rules])
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin is tuple and args[1:] == (...,):
        return f"a list of {describe(args[0], many=True)}"
    if origin is Mapping and args[0] is str:
        return "a table" if args[1] is Any else f"a table of {describe(args[1], many=True)}"
    if origin in (Union, UnionType):
        return " or ".join(describe(arg, many=many) for arg in args if arg is not NoneType)
    if is_dataclass(hint):
        return f"a table with {', '.join(keys(hint))}"
    if hint not in _NOUNS:
        raise TypeError(f"options cannot have the type {hint}; see cellsearch.options for those")
    return _NOUNS[hint][many]


def noun(hint: Any) -> str:
    """What a value of this type is called: "a number", "a list"."""
    kind = get_origin(hint) or hint
    return _NOUNS[kind][0] if kind in _NOUNS else "a list" if kind is tuple else "a table"


def table_of(part: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain values that :func:`read_options` reads back.

    A field that is ``None`` is left out, and one marked :data:`UNSAID` that has its default. A part
    that is not a dataclass has no options.
    """
    kind: Any = type(part)
    known = entries_of(kind) if is_dataclass(part) else {}
    table = {key: _plain(getattr(part, entry.name)) for key, entry in known.items()}
    unsaid = {k: _plain(e.default) for k, e in known.items() if UNSAID in get_args(e.hint)[1:]}
    return {
        key: value
        for key, value in table.items()
        if value is not None and not (key in unsaid and value == unsaid[key])
    }


def default_table(kind: Any) -> dict[str, Any]:
    """The defaults of a dataclass as plain values; fields without default are left out."""
    found = {key: _plain(entry.default) for key, entry in entries_of(kind).items()}
    return {key: value for key, value in found.items() if value not in (MISSING, None)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return table_of(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
