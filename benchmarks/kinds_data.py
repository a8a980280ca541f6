"""Writes the data of ``benchmarks/kinds.toml``, a suite for searching: four kinds of sequences made
of the shipped text and of random numbers, which no benchmark judges cells on.

Usage: python benchmarks/kinds_data.py [FOLDER]        (runs/kinds; the same files at every call)

- ``verses.npz``: the words of a verse, and whether it is from the gospels and Acts, which tell, or
  from the letters, which teach (sentences with few examples and many words);
- ``words.txt``: the shipped text by words, a character each, the 500 most frequent ones;
- ``phrases.txt``: sentences of an invented language with their translations into another one, in
  which adjectives follow their nouns, articles and adjectives agree with the noun, and what a verb
  becomes depends on its subject; a word is a character, a pair is a line;
- ``voices.npz``: ten words of six speakers, 12 values a frame, 16 to 60 frames: the way through
  three of six sounds at an uneven speed, with noise that changes slowly.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.arrays import from_arrays, save
from cellsearch.tasks.data import shipped_text

FOLDER = Path("runs/kinds")
LETTERS = 0x4E00
"""The character that stands for the first word; those after it follow."""
_WORD = re.compile(r"[a-z]+|[.,:;?!]")
# The first verse of a part, of 7,957; the third, the Revelation, is not used.
PARTS = (0, 4786, 7553)
TRAIN, VALID, TEST = 1200, 700, 300
"""Verses of each part."""
WORDS = 500
NOUNS, VERBS, ADJECTIVES = 24, 12, 10
SOUNDS, SPEAKERS, CHANNELS, SAID = 6, 6, 12, (1500, 600, 300)
Labelled = tuple[list[NDArray[Any]], NDArray[np.int64]]


def verses() -> dict[str, Labelled]:
    """Word numbers and part of the verses of each split; 0 is a word that training holds once."""
    lines = [_WORD.findall(line.lower()) for line in shipped_text().splitlines()]
    part = np.searchsorted(PARTS, np.arange(len(lines)), side="right") - 1
    rng = np.random.default_rng(7)
    chosen = np.array([
        rng.permutation(np.flatnonzero(part == k))[: TRAIN + VALID + TEST]
        for k in range(2)
    ])  # fmt: skip
    members = dict(
        zip(
            ("train", "valid", "test"),
            (rng.permutation(c.ravel()) for c in np.split(chosen, [TRAIN, TRAIN + VALID], axis=1)),
            strict=True,
        )
    )
    counts = Counter(word for k in members["train"] for word in lines[k])
    known = {word: n for n, word in enumerate(sorted(w for w in counts if counts[w] > 1), start=1)}
    return {
        split: ([np.array([known.get(w, 0) for w in lines[k]]) for k in numbers], part[numbers])
        for split, numbers in members.items()
    }


def words() -> str:
    """The shipped text, a character a word; the last character is every rarer word."""
    read = _WORD.findall(shipped_text().lower())
    known = {word: n for n, (word, _) in enumerate(Counter(read).most_common(WORDS))}
    return "".join(chr(LETTERS + known.get(word, WORDS)) for word in read)


def phrases(pairs: int = 16_000) -> str:
    """Pairs of sentences: article, maybe an adjective, noun, verb, and perhaps an object."""
    rng = np.random.default_rng(8)
    numbers: dict[tuple[Any, ...], int] = {}

    def word(*of: Any) -> str:
        return chr(LETTERS + numbers.setdefault(of, len(numbers)))

    gender, idiom = rng.integers(0, 3, NOUNS), rng.random((NOUNS, VERBS)) < 0.2
    often = 1 / np.arange(1, NOUNS + 1)

    def group() -> tuple[str, str, int, int]:
        noun, many = int(rng.choice(NOUNS, p=often / often.sum())), int(rng.integers(2))
        of = int(gender[noun])
        ours, theirs = word("the", many), word("le", many, of)
        said = word("noun", noun)
        if rng.random() < 0.5:
            adjective = int(rng.integers(ADJECTIVES))
            return (
                ours + word("adjective", adjective) + said,
                theirs + word("nom", noun) + word("adjectif", adjective, of),
                noun,
                many,
            )
        return ours + said, theirs + word("nom", noun), noun, many

    lines = []
    for _ in range(pairs):
        ours, theirs, noun, many = group()
        verb = int(rng.integers(VERBS))
        ours += word("verb", verb)
        theirs += word("verbe", verb, many, bool(idiom[noun, verb]))
        if rng.random() < 0.5:
            more = group()
            ours, theirs = ours + more[0], theirs + more[1]
        lines.append(f"{ours}|{theirs}\n")
    return "".join(lines)


def voices() -> dict[str, Labelled]:
    """Frames ``[T, 12]`` and the word of each split."""
    rng = np.random.default_rng(9)
    sound = rng.normal(size=(SOUNDS, CHANNELS))
    said = np.array([rng.permutation(SOUNDS)[:3] for _ in range(10)])
    speaker = 0.5 * rng.normal(size=(SPEAKERS, CHANNELS))
    found = {}
    for split, count in zip(("train", "valid", "test"), SAID, strict=True):
        labels = rng.integers(0, 10, count)
        found[split] = ([_said(rng, sound[said[k]], speaker) for k in labels], labels)
    return found


def _said(
    rng: np.random.Generator, sounds: NDArray[Any], speaker: NDArray[Any]
) -> NDArray[np.float32]:
    """One word: the way through its sounds at a speed of its own."""
    length = int(rng.integers(16, 61))
    speed = rng.random(length) ** 2 + 0.05
    place = np.cumsum(speed) / speed.sum() * (len(sounds) - 1)
    at = [np.interp(place, range(len(sounds)), sounds[:, k]) for k in range(CHANNELS)]
    noise = rng.normal(size=(length, CHANNELS))
    for t in range(1, length):
        noise[t] = 0.7 * noise[t - 1] + 0.7 * noise[t]
    frames = np.stack(at, 1) + speaker[rng.integers(SPEAKERS)] + 1.2 * noise
    return frames.astype(np.float32)


def main() -> None:
    """Write the four files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in (("verses", verses()), ("voices", voices())):
        data = from_arrays(*parts["train"], valid=parts["valid"], test=parts["test"])
        save(data, folder / f"{name}.npz")
    for name, text in (("words", words()), ("phrases", phrases())):
        (folder / f"{name}.txt").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
