"""Sizes of values as symbols, and the numbers that they stand for.

A symbol (:data:`Width`) is the text of a size: ``I`` (the input of a layer), ``H`` (its hidden
size), ``1`` (one number for all units), a name of one's own such as ``P``, a whole number, or a
fraction of one of the first, ``H/2``, ``2*H``, ``3*P/4``, in lowest terms. Cells are written,
compared and compiled in symbols. :class:`Sizes` binds them, in one place, when a layer is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from cellsearch.errors import ConfigError

__all__ = [
    "Sizes",
    "Width",
    "base_of",
    "canonical_size",
    "check_named",
    "divided",
    "divisors_near",
    "multiplied",
    "ratio",
]

Width = str
"""The symbol of a size; see the module."""

_SYMBOL = re.compile(r"(?:([1-9]\d{0,3})\*)?([A-Z][A-Za-z0-9_]{0,31})(?:/([1-9]\d{0,3}))?")
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,31}")
SIZE_HINT = (
    "a size is a name that starts with a capital (P), bound by sizes={'P': 32}, or a fraction of "
    "H: H/2, 2*H, 3*H/4"
)


class _Symbol(NamedTuple):
    factor: Fraction
    base: str
    """``""`` for a whole number."""

    def text(self) -> Width:
        n, d = self.factor.numerator, self.factor.denominator
        if not self.base:
            return str(n)
        return (f"{n}*" if n != 1 else "") + self.base + (f"/{d}" if d != 1 else "")


@lru_cache(maxsize=4096)
def _symbol(width: Width) -> _Symbol:
    """Raises :class:`ValueError` for what is no symbol."""
    found = _SYMBOL.fullmatch(width)
    if found:
        return _Symbol(Fraction(int(found[1] or 1), int(found[3] or 1)), found[2])
    if _NUMBER.fullmatch(width):
        return _Symbol(Fraction(int(width)), "")
    raise ValueError(f"{width!r:.60} is not a size")


@lru_cache(maxsize=4096)
def canonical_size(text: str) -> Width:
    """The symbol of what somebody wrote as a size: ``2 * H / 4`` is ``H/2``. Raises
    :class:`ValueError`, with what is allowed, for anything but a name or a fraction of H or of a
    name.
    """
    found = _SYMBOL.fullmatch(re.sub(r"\s", "", text))
    if found is None or found[2] == "I":
        raise ValueError(SIZE_HINT)
    return _symbol(found[0]).text()


def base_of(width: Width) -> str:
    """What a size is a fraction of: ``H`` of ``H/2``, ``""`` of a number."""
    return _symbol(width).base


@lru_cache(maxsize=4096)
def divided(width: Width, parts: int) -> Width:
    """The size of one of so many equal parts. Raises :class:`ValueError` for a number that they do
    not divide.
    """
    symbol = _symbol(width)
    factor = symbol.factor / parts
    if not symbol.base and factor.denominator != 1:
        raise ValueError(f"{parts} does not divide {width}")
    return _Symbol(factor, symbol.base).text()


@lru_cache(maxsize=4096)
def multiplied(width: Width, parts: Width) -> Width:
    """The size of so many parts (the text of a number) of this size."""
    symbol = _symbol(width)
    return _Symbol(symbol.factor * int(parts), symbol.base).text()


def ratio(one: Width, other: Width) -> Fraction | None:
    """How many times ``other`` a size is, whatever the names stand for; ``None`` where that depends
    on them.
    """
    first, second = _symbol(one), _symbol(other)
    return first.factor / second.factor if first.base == second.base else None


def divisors_near(number: int, parts: int) -> list[int]:
    """The divisors of a number next to ``parts``, from below and above."""
    divisors = [k for k in range(1, number + 1) if number % k == 0]
    below = [k for k in divisors if k <= parts][-1:]
    return below + [k for k in divisors if k > parts][:1]


def check_named(named: Mapping[str, int | str]) -> None:
    """Raise :class:`ConfigError` for a name that cannot be one, and for a size that is neither a
    number from 1 on nor a fraction of H, whatever H is.
    """
    for name, size in named.items():
        hidden = 1
        if isinstance(size, str):
            try:
                hidden = _symbol(canonical_size(size)).factor.denominator
            except ValueError:
                hidden = 1  # Sizes says what is wrong with it
        Sizes(1, hidden, {name: size})


class Sizes(dict[Width, int]):
    """The numbers of one layer: ``sizes["H/2"]``; a fraction is worked out when it is first asked
    for.

    Raises :class:`ConfigError` for a name that is not bound, and for a fraction that is not whole.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        named: Mapping[str, int | str] | None = None,
    ) -> None:
        """``named``: for each name of a cell's own its number, or a fraction of H (``"H/2"``)."""
        super().__init__({"I": input_size, "H": hidden_size, "1": 1})
        for name, size in (named or {}).items():
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name in ("I", "H"):
                raise ConfigError(
                    f"{name!r:.60} cannot name a size",
                    where="sizes",
                    hint="a capital letter first, then letters, digits and _; I and H are taken",
                )
            self[name] = self._bound(name, size)

    def _bound(self, name: str, size: object) -> int:
        if isinstance(size, int) and not isinstance(size, bool) and size >= 1:
            return size
        if isinstance(size, str):
            try:
                symbol = canonical_size(size)
            except ValueError:
                symbol = ""
            if symbol and base_of(symbol) == "H":
                return self[symbol]
        raise ConfigError(
            f"the size {name} is {size!r:.60}",
            where="sizes",
            hint="a whole number from 1 on, or a fraction of H such as 'H/2'",
        )

    def __missing__(self, width: Width) -> int:
        symbol = _symbol(width)
        base = self.get(symbol.base, 0) if symbol.base else 1
        if not base:
            raise ConfigError(
                f"the cell has the size {symbol.base}, which is not bound",
                hint=f"say how large it is: sizes={{'{symbol.base}': 32}}, or a fraction of H: "
                f"sizes={{'{symbol.base}': 'H/2'}} (--size {symbol.base}=H/2); of an experiment "
                f'[training] sizes = {{{symbol.base} = "H/2"}}, or --set '
                f"training.sizes.{symbol.base}=H/2",
            )
        number = base * symbol.factor
        if number.denominator != 1:
            step = symbol.factor.denominator
            near = sorted({max(step, base - base % step), base - base % step + step})
            raise ConfigError(
                f"the cell has the size {width}, and {symbol.base} = {base} gives no whole number",
                hint=f"nearest {symbol.base} that do: " + ", ".join(map(str, near)),
            )
        self[width] = int(number)
        return self[width]

    def of(self, shape: tuple[Width, ...]) -> tuple[int, ...]:
        """A shape in numbers."""
        return tuple([self[width] for width in shape])

    def with_input(self, input_size: int) -> Sizes:
        """The same with another I."""
        new = Sizes(input_size, self["H"])
        new.update({w: n for w, n in self.items() if base_of(w) not in ("I", "")})
        return new
