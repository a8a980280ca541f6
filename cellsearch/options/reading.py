"""Tables of plain values read into dataclasses, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, is_dataclass
from functools import partial
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from cellsearch.errors import ConfigError
from cellsearch.options.fields import OR_INFINITY, Range, describe, entries_of, noun
from cellsearch.options.places import KeyPlace, finite_number, guess, shown, unknown

__all__ = ["check_options", "read_options"]

T = TypeVar("T")


def read_options(kind: type[T], table: object, *, source: str = "", path: str = "") -> T:
    """The dataclass ``kind`` with the values of a table.

    kind: a dataclass whose annotations say what is allowed; fields without default are required.
    table: plain values, for example decoded TOML; lists and tuples are the same.
    source: the file, for errors.
    path: dotted key of the table in it, for errors.

    Raises :class:`ConfigError`; what ``kind`` itself refuses in ``__post_init__`` gets source and
    path in front of its ``where``.
    """
    place = KeyPlace(f"{source}: " if source else "")
    made: T = _read(kind, table, place.below(path) if path else place)
    return made


def check_options(part: Any) -> None:
    """Raise :class:`ConfigError` for a field of a dataclass that :func:`read_options` would refuse.

    For ``__post_init__``, so that what is made in Python is as sound as what is read.
    """
    kind: Any = type(part)
    for key, entry in entries_of(kind).items():
        _read_value(entry.hint, getattr(part, entry.name), KeyPlace(key, entry.allowed))


def _read(kind: Any, table: Any, place: KeyPlace) -> Any:
    if not _fits(Mapping, table):
        raise place.error(f"{shown(table)} is not a table", f"allowed: {describe(kind)}")
    known = entries_of(kind)
    for key in table:
        if key not in known:
            raise unknown("key", key, known, where=place.below(key).where)
    values = {}
    for key, entry in known.items():
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


def _read_value(hint: Any, value: Any, place: KeyPlace) -> Any:
    """The value as its field holds it: lists become tuples, tables dataclasses."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if OR_INFINITY in args[1:] and value == math.inf:
            return value
        made = _read_value(args[0], value, place)
        number = len(made) if isinstance(made, tuple) else made
        for rule in args[1:]:
            if isinstance(rule, Range) and not rule.holds(number):
                raise place.error(f"{shown(value)} is out of range")
        return made
    if origin in (Union, UnionType):
        fitting = [arg for arg in args if _fits(arg, value)]
        if not fitting:
            raise place.error(f"{shown(value)} is not {describe(hint)}")
        return _read_value(fitting[0], value, place)
    if origin is Literal:
        if value not in args:
            hint = guess(value, map(str, args)) + place.allowed
            raise place.error(f"unknown value {shown(value)}", hint)
        return value
    if not _fits(hint, value):
        raise place.error(f"{shown(value)} is not {noun(hint)}")
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
    return finite_number(hint, value, place) if hint in (int, float) else value


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
