"""The data that cells are searched on before they are judged elsewhere."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cellsearch.experiment import catalog
from cellsearch.tasks.char_lm import text_arrays
from cellsearch.tasks.data import shipped_text

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("only in a checkout", allow_module_level=True)


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("kinds_data")


def test_the_books_begin_where_they_do(kinds: ModuleType) -> None:
    lines = shipped_text().splitlines()
    firsts = {
        "The book of the generation of Jesus": kinds.TELLS["train"][0],
        "In the beginning was the Word": kinds.TELLS["test"][0],
        "The former treatise have I made": kinds.TELLS["valid"][0],
        "Paul, a servant of Jesus Christ": kinds.TEACHES["train"][0],
        "God, who at sundry times": kinds.TEACHES["valid"][0],
        "The Revelation of Jesus Christ": kinds.REVELATION,
    }
    for words, number in firsts.items():
        assert lines[number].startswith(words)


def test_verses_of_both_kinds_are_alike_in_number(kinds: ModuleType) -> None:
    found = kinds.verses()
    assert {split: len(y) for split, (_, y) in found.items()} == {
        "train": 2400, "valid": 1200, "test": 260,
    }  # fmt: skip
    assert all(y.mean() == 0.5 for _, y in found.values())
    counts = np.bincount(np.concatenate(found["train"][0]))
    assert counts[1:].min() >= 2


def test_letters_are_validated_on_other_books(kinds: ModuleType) -> None:
    arrays = text_arrays(kinds.letters(), 512)
    symbols = arrays["symbols"]
    heads = {split: "".join(map(chr, symbols[arrays[split][:300]])) for split in ("valid", "test")}
    assert "Paul, a servant of Jesus Christ" in heads["valid"]
    assert "The Revelation of Jesus Christ" in heads["test"]


def test_half_of_the_reviews_are_good(kinds: ModuleType) -> None:
    found = kinds.reviews()
    for split, (x, y) in found.items():
        assert len(x) == len(y) == kinds.COUNTS[split]
        assert 0.4 < y.mean() < 0.6
        assert {len(words) for words in x} == set(range(4, 21))


def test_clauses_are_in_one_part_only_and_what_is_said_follows_from_them(
    kinds: ModuleType,
) -> None:
    text = kinds.pairs()
    assert text == kinds.pairs()
    parts: dict[str, set[str]] = {}
    for line in text.splitlines():
        ours, theirs, split = line.split("\t")
        parts.setdefault(split, set()).add(ours)
        spoken = {word.rstrip("0123456789") for word in theirs.split()} - {"ne"}
        assert spoken <= set(ours.split())
    assert {split: len(of) for split, of in parts.items()} == {
        split: 2 * count for split, count in kinds.PAIRS.items()
    }
    assert not parts["train"] & parts["valid"]


def test_a_voice_passes_near_its_sounds(kinds: ModuleType) -> None:
    found = kinds.voices()
    x, y = found["train"]
    assert len(x) == len(y) == kinds.COUNTS["train"]
    assert {one.shape[1] for one in x} == {12}
    first = np.array([np.mean([s[0] for s, k in zip(x, y, strict=True) if k == c], 0)
                      for c in range(10)])  # fmt: skip
    again = np.array([np.mean([s[0] for s, k in zip(*found["valid"], strict=True) if k == c], 0)
                      for c in range(10)])  # fmt: skip
    assert np.corrcoef(first.ravel(), again.ravel())[0, 1] > 0.8


def test_the_suite_and_the_search_can_be_read() -> None:
    suite = catalog.load_suite(BENCHMARKS / "kinds.toml")
    assert suite.equal == "lstm"
    assert len(suite.members) == 6
