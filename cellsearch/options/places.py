"""Where a value stands in a document, and the errors that say so."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cellsearch.errors import ConfigError

__all__ = ["KeyPlace", "finite_number", "guess", "shown", "unknown"]

_WORD = 2**63  # whole numbers of TOML and of the store have 64 bits


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a value stands, and what is allowed there, both for errors."""

    where: str
    allowed: str = ""

    def below(self, part: str, allowed: str = "") -> KeyPlace:
        """The place of a part: ``"x.toml: "`` then ``training`` then ``training.steps``."""
        dot = "" if not self.where or self.where.endswith(": ") or part.startswith("[") else "."
        return KeyPlace(f"{self.where}{dot}{part}", allowed or self.allowed)

    def error(self, message: str, hint: str = "") -> ConfigError:
        """The error at this place; ``hint``: what is allowed, if nothing else is said."""
        return ConfigError(message, where=self.where.removesuffix(": "), hint=hint or self.allowed)


def finite_number(kind: type, value: Any, place: KeyPlace) -> Any:
    """The number as this kind. Raises :class:`ConfigError` beyond 64 bits, for infinity and NaN."""
    if isinstance(value, int) and not -_WORD <= value < _WORD:
        most = f"the largest whole number is {_WORD - 1}"
        raise place.error(
            f"{shown(value)} is too large", "; ".join(filter(None, (most, place.allowed)))
        )
    if not math.isfinite(value):
        raise place.error(f"{value} is not a finite number")
    return kind(value)


def shown(value: object) -> str:
    """The value as an error shows it: at most 60 characters."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    try:
        return f"{value!r:.60}"
    except ValueError:  # numbers of more digits than Python writes, somewhere inside
        return f"a {type(value).__name__} with a number of thousands of digits"


def unknown(what: str, name: object, allowed: Iterable[str], *, where: str = "") -> ConfigError:
    """The error for a name that does not exist: it lists what is allowed and guesses what was
    meant.
    """
    names = sorted(allowed)
    hint = f"{guess(name, names)}allowed: {', '.join(names) or '(none)'}"
    return ConfigError(f"unknown {what} {shown(name)}", where=where, hint=hint)


def guess(name: object, names: Iterable[str]) -> str:
    """The beginning of a hint: which of the names was meant; empty if none is near."""
    close = difflib.get_close_matches(name if isinstance(name, str) else "", list(names), 1, 0.5)
    return f"did you mean {close[0]}? " if close else ""
