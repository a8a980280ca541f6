"""The deterministic context-free tasks of the hierarchy of formal languages: a stack solves
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.formal import END, FormalLanguage, FormalOptions
from cellsearch.tasks.regular import DIGITS, MODULUS
from cellsearch.tasks.synthetic import Example, seeded

__all__ = [
    "BracketOptions",
    "ModularArithmeticBrackets",
    "ReverseString",
    "SolveEquation",
    "StackManipulation",
]

_NODE = 3
"""Symbols that an inner expression needs besides its two parts: two brackets and an operator."""
_LEAVES = {1: "{}", 2: "-{}", 3: "({})", 4: "(-{})"}
"""Expressions too short for two parts, by their length."""


@dataclass(frozen=True, slots=True)
class BracketOptions(FormalOptions):
    """Options of :class:`ModularArithmeticBrackets`."""

    multiply: bool = False
    """Whether ``*`` stands beside ``+`` and ``-``, as with Beck et al. 2024."""


def expression(length: int, operators: str, random: Random) -> tuple[str, int]:
    """A random expression of that many symbols, and its value modulo 5.

    One of less than five symbols is ``d``, ``-d``, ``(d)`` or ``(-d)``; a longer one is
    ``(left operator right)``, whose left part has a uniform length.
    """
    if length in _LEAVES:
        digit = random.randrange(MODULUS)
        return _LEAVES[length].format(digit), (digit if length % 2 else -digit) % MODULUS
    left = random.randrange(1, length - _NODE)
    a, a_value = expression(left, operators, random)
    b, b_value = expression(length - _NODE - left, operators, random)
    operator = random.choice(operators)
    value = {"+": a_value + b_value, "-": a_value - b_value, "*": a_value * b_value}[operator]
    return f"({a}{operator}{b})", value % MODULUS


def _numbers(strings: list[str], symbols: tuple[str, ...]) -> NDArray[np.int64]:
    """Token numbers ``[T, B]`` of strings of one length."""
    table = np.zeros(128, dtype=np.int64)
    table[[ord(symbol) for symbol in symbols]] = np.arange(len(symbols))
    codes = np.frombuffer("".join(strings).encode("ascii"), dtype=np.uint8)
    return np.ascontiguousarray(table[codes].reshape(len(strings), -1).T)


class ModularArithmeticBrackets(FormalLanguage):
    """The value modulo 5 of a bracketed expression.

    Definition: Deletang et al. 2023 (deterministic context-free): up to four symbols ``d``, ``-d``,
    ``(d)``, ``(-d)``; else ``(left+right)`` or ``(left-right)``, each part an expression, the
    length of the left one uniform. With ``multiply`` also ``*``, as with Beck et al. 2024 and
    Grazzi et al. 2025, who train on 3 to 40 and test on 40 to 256. Trained on 1 to 40 symbols,
    tested on 41 to 500. Score: error rate, mean over the lengths. Metric: accuracy; chance is 0.2,
    with ``multiply`` about 0.3 (a product is 0 more often). Further numbers: the error rate at
    each length.
    """

    name: ClassVar[str] = "modular_arithmetic_brackets"
    summary: ClassVar[str] = "value of a bracketed expression modulo 5, 1-40, tested to 500"
    Options: ClassVar[type[BracketOptions]] = BracketOptions
    options: BracketOptions
    symbols = (*DIGITS, "+", "-", "*", "(", ")", "_")
    answers = DIGITS
    group = 8

    @classmethod
    def chance(cls, options: BracketOptions) -> float:
        """See :meth:`FormalLanguage.chance`."""
        return 0.3 if options.multiply else 0.2

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: BracketOptions, count: int, length: int
    ) -> Example:
        """``x [T + 1, B]`` and ``y [B]``."""
        random, operators = seeded(rng), "+-*" if options.multiply else "+-"
        made = [expression(length, operators, random) for _ in range(count)]
        x = _numbers([text for text, _ in made], cls.symbols)
        return cls.with_blanks(x), np.array([value for _, value in made])


class SolveEquation(FormalLanguage):
    """Which digit stands for ``x`` in a bracketed equation modulo 5.

    Definition: Deletang et al. 2023 (deterministic context-free): an expression as in
    ``modular_arithmetic_brackets`` (``+`` and ``-``), one of whose digits is replaced by ``x`` (the
    first at or behind a uniform position, cyclically), then ``=`` and its value; the answer is the
    digit. Trained on 3 to 40 symbols (the authors fill lengths 1 and 2 with zeros; here they do not
    occur), tested on 41 to 500. Score: error rate, mean over the lengths. Metric: accuracy; chance
    is 0.2. Further numbers: the error rate at each length.
    """

    name: ClassVar[str] = "solve_equation"
    summary: ClassVar[str] = "solve a bracketed equation modulo 5 for x, 3-40, tested to 500"
    symbols = (*DIGITS, "+", "-", "(", ")", "x", "=", "_")
    answers = DIGITS
    shortest = 3
    group = 8

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [T + 1, B]`` and ``y [B]``."""
        random = seeded(rng)
        strings, solutions = [], []
        for _ in range(count):
            text, value = expression(length - 2, "+-", random)
            place = random.randrange(len(text))
            while text[place] not in DIGITS:
                place = (place + 1) % len(text)
            strings.append(f"{text[:place]}x{text[place + 1 :]}={value}")
            solutions.append(int(text[place]))
        x = _numbers(strings, cls.symbols)
        return cls.with_blanks(x), np.array(solutions)


class StackManipulation(FormalLanguage):
    """A stack of bits, then actions on it; the stack that remains, from its top, is the answer.

    Definition: Deletang et al. 2023 (deterministic context-free): a stack of uniform height 1 to
    T - 1, from its bottom, then for the rest of the T positions uniform actions: pop (``p``,
    ignored on an empty stack), push 0 (``o``) or push 1 (``i``). T + 1 blanks: the stack from its
    top, the class "end", then zeros that do not count. Trained on 1 to 40 positions (a single one
    is a stack without actions), tested on 41 to 500. Score: error rate up to and with the end, mean
    over the lengths. Metric: accuracy; chance is about 0.5. Further numbers: the error rate at each
    length.
    """

    name: ClassVar[str] = "stack_manipulation"
    summary: ClassVar[str] = "carry out pushes and pops on a stack of bits, 1-40, tested to 500"
    symbols = ("0", "1", "p", "o", "i", "_")
    answers = ("0", "1", "end")
    single = False
    ends = True

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [2 T + 1, B]`` and ``y [T + 1, B]``."""
        columns = np.arange(count)
        height = rng.integers(1, max(length, 2), count)
        given = np.arange(length)[:, None] < height
        x = np.where(
            given, rng.integers(0, 2, (length, count)), rng.integers(2, 5, (length, count))
        )
        stack = np.zeros((length + 1, count), dtype=np.int64)
        depth = np.zeros(count, dtype=np.int64)
        for symbol in x:
            # A pushed bit goes above the top; a pop writes there too, where nobody reads it before
            # it is written again.
            stack[depth, columns] = np.where(symbol < 2, symbol, symbol - 3)
            depth = np.maximum(depth + np.where(symbol == 2, -1, 1), 0)
        place = depth - 1 - np.arange(length + 1)[:, None]
        y = np.where(place >= 0, stack[np.maximum(place, 0), columns], 0)
        y[depth, columns] = END
        return cls.with_blanks(x, length + 1), y


class ReverseString(FormalLanguage):
    """A string of bits, to be repeated from its end.

    Definition: Deletang et al. 2023 (deterministic context-free): fair bits. Trained on 1 to 40,
    tested on 41 to 500. Score: error rate over the answer, mean over the lengths. Metric: accuracy;
    chance is 0.5. Further numbers: the error rate at each length.
    """

    name: ClassVar[str] = "reverse_string"
    summary: ClassVar[str] = "repeat a string of bits backwards, 1-40 bits, tested to 500"
    symbols = ("0", "1", "_")
    answers = ("0", "1")
    single = False

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [2 T, B]`` and ``y [T, B]``."""
        x = rng.integers(0, 2, (length, count))
        return cls.with_blanks(x, length), x[::-1].copy()
