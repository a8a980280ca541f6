"""What may stand in a C file: identifiers, comments and numbers, of any name, text and value."""

from __future__ import annotations

import numpy as np

from cellsearch.errors import ConfigError

__all__ = ["Identifiers", "comment", "identifier", "literal", "number_table"]

_WIDTH = 96


def identifier(name: str) -> str:
    """A part of an identifier: ASCII letters, digits and ``_``; all else as its code point."""
    return "".join(
        c if c.isascii() and (c.isalnum() or c == "_") else f"u{ord(c):04x}" for c in name
    )


class Identifiers:
    """Gives each thing an identifier that nothing else has. The prefix of its kind, which ends with
    ``_``, keeps it apart from words of C and C++ and from names and macros of libraries.
    """

    def __init__(self) -> None:
        self._given: dict[tuple[str, object], str] = {}
        self._taken: set[str] = set()

    def of(self, prefix: str, key: object, name: str) -> str:
        """The identifier of ``key`` (called ``name``): the same at each call."""
        found = self._given.get((prefix, key))
        if found is None:
            found = wanted = f"{prefix}_{identifier(name)}"
            n = 1
            while found in self._taken:
                n += 1
                found = f"{wanted}_{n}"
            self._taken.add(found)
            self._given[prefix, key] = found
        return found


def comment(text: str) -> str:
    """Text that ends neither the comment that it stands in nor, by a backslash, its line."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    plain = plain.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *")
    return plain.replace("??", "? ?").rstrip()


def literal(value: float, what: str) -> str:
    """A constant of type float. Raises :class:`ConfigError` for one that float32 does not hold."""
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if not np.isfinite(single):
        raise ConfigError(
            f"{what} is {value:g}, which is not a number of float32",
            hint="C is written in float32: use a cell and weights that are finite in it",
        )
    text = f"{single:.9g}"
    return f"{text}{'' if '.' in text or 'e' in text else '.0'}f"


def number_table(texts: list[str]) -> list[str]:
    """Numbers separated by commas, in lines."""
    lines, line = [], "   "
    for text in texts:
        if len(line) + len(text) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return [*lines, line]
