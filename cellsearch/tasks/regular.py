"""The regular tasks of the hierarchy of formal languages: a finite memory solves them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cellsearch.tasks.formal import FormalLanguage, FormalOptions
from cellsearch.tasks.synthetic import Example

__all__ = ["CycleNavigation", "EvenPairs", "ModularArithmetic", "ParityCheck"]

MODULUS = 5
DIGITS = tuple(map(str, range(MODULUS)))
TIMES = 2
"""The operator * among + - *."""


class EvenPairs(FormalLanguage):
    """Whether the number of ``01`` and ``10`` in a string of bits is odd.

    Definition: Deletang et al. 2023 (regular): fair bits, class 1 for an odd number of places where
    neighbours differ, which is whether the first and the last bit differ. Trained on 1 to 40 bits,
    tested on 41 to 500. Score: error rate, mean over the lengths. Metric: accuracy; chance is 0.5.
    Further numbers: the error rate at each length.
    """

    name: ClassVar[str] = "even_pairs"
    summary: ClassVar[str] = "is the number of 01 and 10 in a string even, 1-40 bits, tested to 500"
    symbols = ("0", "1", "_")
    answers = ("even", "odd")

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [T + 1, B]`` and ``y [B]``."""
        x = rng.integers(0, 2, (length, count))
        return cls.with_blanks(x), x[0] ^ x[-1]


class ParityCheck(FormalLanguage):
    """Whether a string of bits holds an odd number of ones, with the protocol of the hierarchy.

    Definition: Deletang et al. 2023 (regular): as the task ``parity``, but trained on 1 to 40 bits,
    tested on 41 to 500, and asked at a blank behind the string. Score: error rate, mean over the
    lengths. Metric: accuracy; chance is 0.5. Further numbers: the error rate at each length.
    """

    name: ClassVar[str] = "parity_check"
    summary: ClassVar[str] = "parity of bit strings as in the hierarchy, 1-40 bits, tested to 500"
    symbols = ("0", "1", "_")
    answers = ("even", "odd")

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [T + 1, B]`` and ``y [B]``."""
        x = rng.integers(0, 2, (length, count))
        return cls.with_blanks(x), x.sum(0) % 2


class CycleNavigation(FormalLanguage):
    """Where on a circle of five places one ends that starts at 0 and steps left, right or stays.

    Definition: Deletang et al. 2023 (regular): actions -1, 0, +1 (written ``<``, ``.``, ``>``),
    uniform; the answer is their sum modulo 5. Trained on 1 to 40 actions, tested on 41 to 500.
    Score: error rate, mean over the lengths. Metric: accuracy; chance is 0.2. Further numbers: the
    error rate at each length.
    """

    name: ClassVar[str] = "cycle_navigation"
    summary: ClassVar[str] = "walk on a circle of five places, 1-40 steps, tested to 500"
    symbols = ("<", ".", ">", "_")
    answers = DIGITS

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [T + 1, B]`` and ``y [B]``."""
        x = rng.integers(0, 3, (length, count))
        return cls.with_blanks(x), (x - 1).sum(0) % MODULUS


class ModularArithmetic(FormalLanguage):
    """The value modulo 5 of digits joined by ``+``, ``-`` and ``*``.

    Definition: Deletang et al. 2023 (regular): digits 0 to 4 and operators, independent and
    uniform, multiplication before the rest; strings have an odd length, an even one is taken for
    one less. Beck et al. 2024 and Grazzi et al. 2025 train on 3 to 40 and test on 40 to 256
    (``min_length``, ``test_lengths``). Score: error rate, mean over the lengths. Metric: accuracy;
    chance is 0.2. Further numbers: the error rate at each length.
    """

    name: ClassVar[str] = "modular_arithmetic"
    summary: ClassVar[str] = "value of + - * modulo 5, 1-40 symbols, tested to 500"
    symbols = (*DIGITS, "+", "-", "*", "_")
    answers = DIGITS

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [T + 1, B]``, T odd, and ``y [B]``."""
        terms = (length + 1) // 2
        digits = rng.integers(0, MODULUS, (terms, count))
        operators = rng.integers(0, 3, (terms - 1, count))
        x = np.empty((2 * terms - 1, count), dtype=np.int64)
        x[::2], x[1::2] = digits, MODULUS + operators
        total, product = np.zeros(count, dtype=np.int64), digits[0]
        for digit, operator in zip(digits[1:], operators, strict=True):
            times = operator == TIMES
            total = (total + np.where(times, 0, product)) % MODULUS
            signed = np.where(operator == 1, -digit, digit)
            product = np.where(times, product * digit, signed) % MODULUS
        return cls.with_blanks(x), (total + product) % MODULUS
