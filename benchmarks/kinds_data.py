"""Writes the data of ``benchmarks/kinds.toml``, a suite for searching: five kinds of sequences made
of the shipped text and of random numbers, which no benchmark judges cells on. Where that is easy,
what validates is of another source than what trains.

Usage: python benchmarks/kinds_data.py [FOLDER]        (runs/kinds; the same files at every call)

- ``verses.npz``: the words of a verse, and whether it tells (gospels, Acts) or teaches (letters);
  trained on Matthew to Luke and Paul's letters, validated on Acts and the other letters;
- ``letters.txt``: the shipped text, whose validation part is from the letters and whose test part
  is from the Revelation, while training has the gospels and Acts;
- ``reviews.npz``: invented sentences of rare and frequent words, some good, some bad, some turning
  what follows into its contrary; the label is the sum, and one in twenty is wrong;
- ``pairs.txt``: clauses of the shipped text, of up to six tokens, with a translation into an
  invented language, in which some neighbours change places, a form depends on the word before, some
  words have two translations, become two words, or vanish; parts as for the verses;
- ``voices.npz``: ten words of six speakers, 12 values a frame, 16 to 60 frames: the way through
  three of six sounds at an uneven speed, with noise that changes slowly; other speakers validate.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.arrays import from_arrays, save
from cellsearch.tasks.data import shipped_text

FOLDER = Path("runs/kinds")
_CLAUSE = re.compile(r"[a-z \n]+[.,:;?!]")
_WORD = re.compile(r"[a-z]+|[.,:;?!]")
TELLS = {"train": (0, 2900), "valid": (3779, 4786), "test": (2900, 3779)}
"""Verses of the shipped text: Matthew to Luke, Acts, John."""
TEACHES = {"train": (4786, 6819), "valid": (6819, 7419), "test": (7419, 7553)}
"""Romans to Philemon, then Hebrews to Jude."""
REVELATION = 7553
VERSES = {"train": 1200, "valid": 600, "test": 130}
"""Of each of the two."""
COUNTS = {"train": 2000, "valid": 1000, "test": 300}
"""Reviews and voices."""
FLAVOURED, PLAIN, TURNING = 200, 400, 4
PAIRS = {"train": 1750, "valid": 200, "test": 100}
"""Clauses of each of the two kinds of books."""
SOUNDS, SPEAKERS, CHANNELS = 6, 6, 12
Labelled = tuple[list[NDArray[Any]], NDArray[np.int64]]


def verses() -> dict[str, Labelled]:
    """Word numbers and kind of the verses of each split; 0 is a word that training holds once."""
    lines = [_WORD.findall(line.lower()) for line in shipped_text().splitlines()]
    rng = np.random.default_rng(7)
    members = {
        split: [rng.permutation(np.arange(*of[split]))[:count] for of in (TELLS, TEACHES)]
        for split, count in VERSES.items()
    }
    counts = Counter(word for part in members["train"] for k in part for word in lines[k])
    known = {word: n for n, word in enumerate(sorted(w for w in counts if counts[w] > 1), start=1)}
    found = {}
    for split, (tells, teaches) in members.items():
        numbers = np.concatenate([tells, teaches])
        order = rng.permutation(len(numbers))
        x = [np.array([known.get(w, 0) for w in lines[k]]) for k in numbers[order]]
        found[split] = (x, (order >= len(tells)).astype(np.int64))
    return found


def letters() -> str:
    """Gospels and Acts, 90 % of it, then 5 % from the letters and 5 % from the Revelation."""
    lines = shipped_text().splitlines()
    told = "\n".join(lines[: TEACHES["train"][0]]) + "\n"
    part = len(told) // 18
    taught = "\n".join(lines[TEACHES["train"][0] : REVELATION])
    return told + taught[:part] + "\n".join(lines[REVELATION:])[:part]


def reviews() -> dict[str, Labelled]:
    """Word numbers ``[T]`` of 4 to 20 words, and whether they are good in sum."""
    rng = np.random.default_rng(11)
    words = TURNING + FLAVOURED + PLAIN
    worth = np.zeros(words)
    worth[TURNING : TURNING + FLAVOURED] = rng.choice([-1, 1], FLAVOURED)
    often = rng.permutation(1 / (np.arange(words - TURNING) + 4.0))
    often[:FLAVOURED] *= 2
    often /= often.sum()
    found = {}
    for split, count in COUNTS.items():
        x = []
        y = np.zeros(count, np.int64)
        for k in range(count):
            said = TURNING + rng.choice(words - TURNING, int(rng.integers(4, 21)), p=often)
            said = np.where(rng.random(len(said)) < 0.06, rng.integers(0, TURNING, len(said)), said)
            total, sign = 0.0, 1.0
            for since, word in enumerate(said):
                if word < TURNING:
                    sign, until = -1.0, since + 3
                elif sign < 0 and since > until:
                    sign = 1.0
                total += sign * worth[word]
            y[k] = (total + 0.5 * rng.normal() > 0) != (rng.random() < 1 / 20)
            x.append(said)
        found[split] = (x, y)
    return found


def pairs() -> str:
    """A source, a tab, its translation, a tab and the part a line."""
    rng = np.random.default_rng(8)
    verses = shipped_text().lower().splitlines()
    made: list[str] = []
    known: set[str] = set()
    for split, count in PAIRS.items():
        for of in (TELLS, TEACHES):
            text = "\n".join(verses[slice(*of[split])])
            clauses = (_WORD.findall(clause) for clause in _CLAUSE.findall(text))
            fit = list(dict.fromkeys(" ".join(c) for c in clauses if 2 <= len(c) <= 6))
            fresh = [clause for clause in fit if clause not in known]
            for clause in rng.permutation(fresh)[:count]:
                known.add(str(clause))
                for _ in range(1 + int(rng.random() < 0.3)):
                    said = " ".join(_translated(rng, str(clause).split()))
                    made.append(f"{clause}\t{said}\t{split}\n")
    return "".join(made)


def _translated(rng: np.random.Generator, words: list[str]) -> list[str]:
    """What becomes of a word follows from a checksum of it, so it is the same at every call."""
    order = list(words)
    for k in range(len(order) - 2):
        if crc32(order[k].encode()) % 3 == 0 and crc32(order[k + 1].encode()) % 3 == 1:
            order[k], order[k + 1] = order[k + 1], order[k]
    said: list[str] = []
    before = 0
    for word in order:
        sort = crc32(word.encode()) >> 4
        if sort % 11 == 0 and word.isalpha() and len(order) > 2:
            before = sort
            continue
        form = before % 2 if sort % 3 == 0 else 0
        other = sort % 4 == 1 and rng.random() < 0.35
        said.append(f"{word}{form}{int(other)}" if word.isalpha() else word)
        if sort % 13 == 1:
            said.append(f"ne{before % 3}")
        before = sort
    return said


def voices() -> dict[str, Labelled]:
    """Frames ``[T, 12]`` and the word of each split."""
    rng = np.random.default_rng(9)
    sound = rng.normal(size=(SOUNDS, CHANNELS))
    said = np.array([rng.permutation(SOUNDS)[:3] for _ in range(10)])
    found = {}
    for split, count in COUNTS.items():
        speaker = 0.5 * rng.normal(size=(SPEAKERS, CHANNELS))
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
    """Write the five files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in (("verses", verses()), ("reviews", reviews()), ("voices", voices())):
        data = from_arrays(*parts["train"], valid=parts["valid"], test=parts["test"])
        save(data, folder / f"{name}.npz")
    for name, text in (("letters", letters()), ("pairs", pairs())):
        (folder / f"{name}.txt").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
