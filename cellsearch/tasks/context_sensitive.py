"""The context-sensitive tasks of the hierarchy of formal languages: a tape solves them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.formal import END, FormalLanguage, FormalOptions
from cellsearch.tasks.regular import DIGITS, MODULUS
from cellsearch.tasks.synthetic import Example, seeded

__all__ = [
    "BinaryAddition",
    "BinaryMultiplication",
    "BucketSort",
    "ComputeSqrt",
    "DuplicateString",
    "MissingDuplicate",
    "OddsFirst",
]


def bits(number: int, width: int) -> str:
    """The number in binary, its highest bit first, with zeros before it up to ``width``."""
    return f"{number:b}".zfill(width)


def columns(texts: Iterable[str]) -> NDArray[np.int64]:
    """``[T, B]``: the digits of texts of one length."""
    return np.array([list(map(int, text)) for text in texts], dtype=np.int64).T.copy()


class DuplicateString(FormalLanguage):
    """A string of bits, to be repeated twice.

    Definition: Deletang et al. 2023 (context-sensitive): fair bits; the answer is the string two
    times. Trained on 1 to 40 bits, tested on 41 to 500. Score: error rate over the answer, mean
    over the lengths. Metric: accuracy; chance is 0.5. Further numbers: the error rate at each
    length.
    """

    name: ClassVar[str] = "duplicate_string"
    summary: ClassVar[str] = "repeat a string of bits twice, 1-40 bits, tested to 500"
    symbols = ("0", "1", "_")
    answers = ("0", "1")
    single = False

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [3 T, B]`` and ``y [2 T, B]``."""
        x = rng.integers(0, 2, (length, count))
        return cls.with_blanks(x, 2 * length), np.concatenate([x, x])


class MissingDuplicate(FormalLanguage):
    """A string of bits, twice, with one bit hidden: which is it?

    Definition: Deletang et al. 2023 (context-sensitive): T // 2 fair bits, repeated, one of all
    positions replaced by ``?``; an odd T gets an empty symbol ``.`` at its end. The answer is the
    hidden bit. Trained on 2 to 40 positions (the authors fill length 1 with ones; here it does not
    occur), tested on 41 to 500. Score: error rate, mean over the lengths. Metric: accuracy; chance
    is 0.5. Further numbers: the error rate at each length.
    """

    name: ClassVar[str] = "missing_duplicate"
    summary: ClassVar[str] = "find the hidden bit of a string that stands twice, tested to 500"
    symbols = ("0", "1", "?", ".", "_")
    answers = ("0", "1")
    shortest = 2

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [T + 1, B]`` and ``y [B]``."""
        half = rng.integers(0, 2, (length // 2, count))
        place, column = rng.integers(0, 2 * len(half), count), np.arange(count)
        x = np.concatenate([half, half, np.full((length % 2, count), 3)])
        y = x[place, column]
        x[place, column] = 2
        return cls.with_blanks(x), y


class OddsFirst(FormalLanguage):
    """A string of bits; its first, third, fifth ... bit, then its second, fourth ...

    Definition: Deletang et al. 2023 (context-sensitive): fair bits. (The text of the paper puts the
    odd places first, counted from 1; the published code counts from 0.) Trained on 1 to 40 bits,
    tested on 41 to 500. Score: error rate over the answer, mean over the lengths. Metric: accuracy;
    chance is 0.5. Further numbers: the error rate at each length.
    """

    name: ClassVar[str] = "odds_first"
    summary: ClassVar[str] = "bits at odd places, then those at even ones, 1-40, tested to 500"
    symbols = ("0", "1", "_")
    answers = ("0", "1")
    single = False

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [2 T, B]`` and ``y [T, B]``."""
        x = rng.integers(0, 2, (length, count))
        return cls.with_blanks(x, length), np.concatenate([x[::2], x[1::2]])


class BinaryAddition(FormalLanguage):
    """The sum of two binary numbers, lowest bits first.

    Definition: Deletang et al. 2023 (context-sensitive): ``a+b`` of T symbols, the width of a
    uniform in 1 to T - 2, both numbers uniform from 1 to the largest of their width. T + 1 blanks:
    the sum, the class "end", then zeros that do not count. Trained on 3 to 40 symbols (the authors
    fill lengths 1 and 2 with a single number; here they do not occur), tested on 41 to 500. Score:
    error rate up to and with the end, mean over the lengths. Metric: accuracy; chance is about 0.5.
    Further numbers: the error rate at each length.
    """

    name: ClassVar[str] = "binary_addition"
    summary: ClassVar[str] = "add two binary numbers, 3-40 symbols, tested to 500"
    symbols = ("0", "1", "+", "_")
    answers = ("0", "1", "end")
    single = False
    ends = True
    shortest = 3
    group = 8
    blanks: ClassVar[int] = 1
    """How many blanks the answer has more than the string has symbols."""

    @staticmethod
    def result(a: int, b: int) -> int:
        """What is asked of the two numbers."""
        return a + b

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [2 T + blanks, B]`` and ``y [T + blanks, B]``."""
        random = seeded(rng)
        asked, strings, answers = length + cls.blanks, [], []
        for _ in range(count):
            width = random.randrange(1, length - 1)
            a, b = (random.randrange(1, 2**w) for w in (width, length - 1 - width))
            strings.append(bits(a, width)[::-1] + "2" + bits(b, length - 1 - width)[::-1])
            answers.append((bits(cls.result(a, b), 1)[::-1] + str(END)).ljust(asked, "0"))
        return cls.with_blanks(columns(strings), asked), columns(answers)


class BinaryMultiplication(BinaryAddition):
    """The product of two binary numbers, lowest bits first.

    Definition: Deletang et al. 2023 (context-sensitive): as ``binary_addition``, with ``*`` and T
    blanks. Trained on 3 to 40 symbols, tested on 41 to 500. Score: error rate up to and with the
    end, mean over the lengths. Metric: accuracy; chance is about 0.5. Further numbers: the error
    rate at each length.
    """

    name: ClassVar[str] = "binary_multiplication"
    summary: ClassVar[str] = "multiply two binary numbers, 3-40 symbols, tested to 500"
    symbols = ("0", "1", "*", "_")
    blanks: ClassVar[int] = 0

    @staticmethod
    def result(a: int, b: int) -> int:
        """What is asked of the two numbers."""
        return a * b


class ComputeSqrt(FormalLanguage):
    """The integer square root of a binary number, highest bits first.

    Definition: Deletang et al. 2023 (context-sensitive): a number uniform from 1 to 2^T - 1; the
    answer has ceil(T / 2) bits. Trained on 1 to 40 bits, tested on 41 to 500. Score: error rate
    over the answer, mean over the lengths. Metric: accuracy; chance is about 0.5. Further numbers:
    the error rate at each length.
    """

    name: ClassVar[str] = "compute_sqrt"
    summary: ClassVar[str] = "integer square root of a binary number, 1-40 bits, tested to 500"
    symbols = ("0", "1", "_")
    answers = ("0", "1")
    single = False

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [T + ceil(T / 2), B]`` and ``y [ceil(T / 2), B]``."""
        random, width = seeded(rng), (length + 1) // 2
        numbers = [random.randrange(1, 2**length) for _ in range(count)]
        x = columns(bits(number, length) for number in numbers)
        y = columns(bits(math.isqrt(number), width) for number in numbers)
        return cls.with_blanks(x, width), y


class BucketSort(FormalLanguage):
    """A string of digits 0 to 4, to be sorted.

    Definition: Deletang et al. 2023 (context-sensitive): independent and uniform digits; a counter
    for each solves it. Trained on 1 to 40 digits, tested on 41 to 500. Score: error rate over the
    answer, mean over the lengths. Metric: accuracy; chance is 0.2. Further numbers: the error rate
    at each length.
    """

    name: ClassVar[str] = "bucket_sort"
    summary: ClassVar[str] = "sort a string of digits 0-4, 1-40 digits, tested to 500"
    symbols = (*DIGITS, "_")
    answers = DIGITS
    single = False

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: FormalOptions, count: int, length: int
    ) -> Example:
        """``x [2 T, B]`` and ``y [T, B]``."""
        x = rng.integers(0, MODULUS, (length, count))
        return cls.with_blanks(x, length), np.sort(x, axis=0)
