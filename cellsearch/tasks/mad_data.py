"""Generators of the six tasks of MAD: sequences and what is asked at each position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from random import Random

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.synthetic import NOTHING, seeded

__all__ = [
    "MadShape",
    "compression",
    "fuzzy_recall",
    "in_context_recall",
    "memorization",
    "selective_copying",
]

Integers = NDArray[np.int64]
Made = tuple[Integers, Integers]
"""``x [N, T]`` and ``y [N, T]``."""


@dataclass(frozen=True, slots=True)
class MadShape:
    """What a generator needs to know."""

    vocabulary: int
    length: int
    noise_vocabulary: int = 0
    """Tokens that mean nothing, the last ones of the vocabulary."""
    noise: float = 0.0
    """Share of pairs that are noise."""
    copied: int = 0
    """Tokens to copy."""
    motif: int = 1
    """The longest key and value."""


def in_context_recall(
    rng: np.random.Generator, shape: MadShape, count: int, *, training: bool
) -> Made:
    """Pairs of key and value; each sequence has its own value for each key.

    T = length - 1. In training each next token is asked, else the value wherever its key has been
    before; the last pair always repeats one.
    """
    pairs, half = shape.length // 2, (shape.vocabulary - shape.noise_vocabulary) // 2
    rows = np.arange(count)
    keys = rng.integers(0, half, (count, pairs))
    noisy = rng.random((count, pairs)) < shape.noise
    noisy[rows, rng.integers(0, pairs - 1, count)] = False  # at least one is none
    noisy[:, -1] = False
    shown = np.zeros((count, half), dtype=bool)
    row, column = np.nonzero(~noisy[:, :-1])
    shown[row, keys[row, column]] = True
    keys[:, -1] = np.where(shown, rng.random(shown.shape), -1.0).argmax(1)
    value_of = rng.integers(half, 2 * half, (count, half))
    sequence = np.stack([keys, value_of[rows[:, None], keys]], axis=2)
    junk = rng.integers(2 * half, 2 * half + max(shape.noise_vocabulary, 1), sequence.shape)
    sequence = np.where(noisy[:, :, None], junk, sequence).reshape(count, -1)
    if training:
        return sequence[:, :-1], sequence[:, 1:]
    y = np.full_like(sequence, NOTHING)
    known = np.zeros((count, half), dtype=bool)
    for pair in range(pairs):
        meant = ~noisy[:, pair]
        again = meant & known[rows, keys[:, pair]]
        y[again, 2 * pair] = sequence[again, 2 * pair + 1]
        known[rows[meant], keys[meant, pair]] = True
    return sequence[:, :-1], y[:, :-1]


def fuzzy_recall(rng: np.random.Generator, shape: MadShape, count: int, *, training: bool) -> Made:
    """As :func:`in_context_recall`, with keys and values of one to ``motif`` different tokens; the
    last token of the vocabulary fills the front.

    Outside training all keys have the full length.
    """
    random = seeded(rng)
    half, end = (shape.vocabulary - 1) // 2, shape.vocabulary - 1
    motifs = tuple(
        [list(permutations(range(*ends), size)) for size in range(1, shape.motif + 1)]
        for ends in ((0, half), (half, end))
    )
    made = [_fuzzy(random, shape, motifs, training) for _ in range(count)]
    sequence, y = (np.array(part, dtype=np.int64) for part in zip(*made, strict=True))
    return sequence[:, :-1], sequence[:, 1:] if training else y[:, 1:]


def _fuzzy(
    random: Random,
    shape: MadShape,
    motifs: tuple[list[list[tuple[int, ...]]], ...],
    training: bool,
) -> tuple[list[int], list[int]]:
    """``length + 1`` tokens, and where a value is asked, that token, each at its own place.

    motifs: keys and values, by their number of tokens.
    """
    keys, values = motifs
    end, choice = shape.vocabulary - 1, random.choice

    def key() -> tuple[int, ...]:
        return choice(choice(keys) if training else keys[-1])

    def value() -> tuple[int, ...]:
        return choice(choice(values))

    probe = key()
    value_of = {probe: value()}
    width = len(probe) + len(value_of[probe])
    known: set[tuple[int, ...]] = set()
    sequence: list[int] = []
    y: list[int] = []

    def add(k: tuple[int, ...]) -> None:
        if k not in value_of:
            value_of[k] = value()
        v = value_of[k]
        sequence.extend((*k, *v))
        y.extend([NOTHING] * len(k))
        y.extend(v if k in known else [NOTHING] * len(v))
        known.add(k)

    # Late enough to matter, early enough that the pair is there before the room is used up.
    room = shape.length - width - 2 * shape.motif
    place = random.randrange(max(room - 2 * shape.motif, 1))
    while len(sequence) < room:
        add(probe if len(sequence) >= place and probe not in known else key())
    add(probe)
    missing = shape.length + 1 - len(sequence)
    return [end] * missing + sequence, [NOTHING] * missing + y


def memorization(map_seed: int) -> Callable[..., Made]:
    """Keys, each followed by the last token of the vocabulary, where its value is asked; the values
    of all keys follow from ``map_seed`` and never change.
    """

    def generate(rng: np.random.Generator, shape: MadShape, count: int, *, training: bool) -> Made:
        end = shape.vocabulary - 1
        half = end // 2
        values = np.random.default_rng(map_seed).permutation(np.arange(half, end))[:half]
        keys = rng.integers(0, half, (count, shape.length // 2))
        x = np.stack([keys, np.full_like(keys, end)], axis=2).reshape(count, -1)
        y = np.stack([np.full_like(keys, NOTHING), values[keys]], axis=2).reshape(count, -1)
        return x, y

    return generate


def compression(rng: np.random.Generator, shape: MadShape, count: int, *, training: bool) -> Made:
    """Random tokens, then the last token of the vocabulary; all of them are asked."""
    x = rng.integers(0, shape.vocabulary - 1, (count, shape.length))
    x[:, -1] = shape.vocabulary - 1
    return x, x.copy()


def selective_copying(
    rng: np.random.Generator, shape: MadShape, count: int, *, training: bool
) -> Made:
    """Tokens among blanks, a mark, then blanks at which the tokens are asked in their order.

    Each blank stands before one of the tokens, which one is uniform, so that the last token is the
    last before the mark.
    """
    blank, mark = shape.vocabulary - 2, shape.vocabulary - 1
    copied, rows = shape.copied, np.arange(count)[:, None]
    gaps = rng.integers(0, copied, (count, shape.length - 2 * copied - 1))
    order = np.arange(copied)
    place = order + (gaps[:, :, None] <= order).sum(1)
    tokens = rng.integers(0, blank, (count, copied))
    x = np.full((count, shape.length), blank, dtype=np.int64)
    x[rows, place] = tokens
    x[:, -copied - 1] = mark
    y = np.full_like(x, NOTHING)
    y[:, -copied:] = tokens
    return x, y
