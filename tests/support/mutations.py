"""Damage for files that a reader has to survive. For tests."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

__all__ = ["damaged"]

_PIECES = (
    *"()[]{}=+-*/,.:;'\"\\#@!&|^~<>?%$ \t\n\r\x00\ufeff\u00e9\u2028",
    "[t]",
    "[t-1]",
    "[0]",
    "x[t]",
    "h[t-1]",
    "linear(",
    "tanh(",
    "blend(",
    "bias=False",
    "bias=2",
    "lambda",
    "import",
    "None",
    "True",
    "1e999",
    "-0.0",
    "9" * 50,
    "0x1f",
    "1j",
    "1_0",
    "**",
    "//",
    "->",
    '"""',
    "'''",
    "é",
    "if",
    "yield",
    "await",
    "...",
    '"op"',
    '"linear"',
    '"inputs"',
    '"attrs"',
    "null",
    "true",
    "NaN",
    "Infinity",
    "-1",
    "1e400",
    "[]",
    "{}",
    '""',
    "[[[[[[[[[[",
    "\\u0000",
)


def damaged(text: str, rng: np.random.Generator, other: str) -> str:
    """The text after 1 to 4 changes: characters, words or lines deleted, inserted, doubled, moved,
    or taken from ``other``.
    """
    for _ in range(int(rng.integers(1, 5))):
        change = _DAMAGE[int(rng.integers(len(_DAMAGE)))]
        text = change(text, rng, other)
    return text


def _place(text: str, rng: np.random.Generator) -> int:
    return int(rng.integers(0, len(text) + 1))


def _span(text: str, rng: np.random.Generator) -> tuple[int, int]:
    start = _place(text, rng)
    return start, min(len(text), start + int(rng.geometric(0.15)))


def _insert(text: str, rng: np.random.Generator, other: str) -> str:
    place = _place(text, rng)
    return text[:place] + str(rng.choice(_PIECES)) + text[place:]


def _delete(text: str, rng: np.random.Generator, other: str) -> str:
    start, end = _span(text, rng)
    return text[:start] + text[end:]


def _double(text: str, rng: np.random.Generator, other: str) -> str:
    start, end = _span(text, rng)
    return text[:end] + text[start:end] + text[end:]


def _flip(text: str, rng: np.random.Generator, other: str) -> str:
    if not text:
        return text
    place = int(rng.integers(len(text)))
    return text[:place] + chr(ord(text[place]) ^ (1 << int(rng.integers(7)))) + text[place + 1 :]


def _swap_words(text: str, rng: np.random.Generator, other: str) -> str:
    """Two words or numbers change places, so that much of it stays well formed."""
    words = list(re.finditer(r"\w+", text))
    if len(words) < 2:
        return text
    first, second = sorted(rng.choice(len(words), 2, replace=False))
    a, b = words[first], words[second]
    return f"{text[: a.start()]}{b.group()}{text[a.end() : b.start()]}{a.group()}{text[b.end() :]}"


def _other_word(text: str, rng: np.random.Generator, other: str) -> str:
    words, more = list(re.finditer(r"\w+", text)), re.findall(r"\w+", other)
    if not words or not more:
        return text
    word = words[int(rng.integers(len(words)))]
    return text[: word.start()] + str(more[int(rng.integers(len(more)))]) + text[word.end() :]


def _move_line(text: str, rng: np.random.Generator, other: str) -> str:
    lines = text.split("\n")
    line = lines.pop(int(rng.integers(len(lines))))
    if rng.random() < 0.7:
        lines.insert(int(rng.integers(len(lines) + 1)), line)
    return "\n".join(lines)


def _splice(text: str, rng: np.random.Generator, other: str) -> str:
    return text[: _place(text, rng)] + other[_place(other, rng) :]


_DAMAGE: tuple[Callable[[str, np.random.Generator, str], str], ...] = (
    _insert,
    _delete,
    _double,
    _flip,
    _swap_words,
    _other_word,
    _other_word,
    _move_line,
    _splice,
)
