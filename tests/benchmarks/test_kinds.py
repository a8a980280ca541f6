"""The data that cells are searched on before they are judged elsewhere."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cellsearch.experiment import catalog
from cellsearch.tasks.data import shipped_text

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("only in a checkout", allow_module_level=True)


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("kinds_data")


def test_verses_are_from_both_parts_alike_and_in_one_split_only(kinds: ModuleType) -> None:
    lines = shipped_text().splitlines()
    assert lines[kinds.PARTS[1]].startswith("Paul, a servant of Jesus Christ")
    assert lines[kinds.PARTS[2]].startswith("The Revelation of Jesus Christ")
    found = kinds.verses()
    assert {split: len(y) for split, (_, y) in found.items()} == {
        "train": 2400, "valid": 1400, "test": 600,
    }  # fmt: skip
    assert all(y.mean() == 0.5 for _, y in found.values())
    counts = np.bincount(np.concatenate(found["train"][0]))
    assert counts[1:].min() >= 2


def test_a_pair_of_phrases_has_as_many_words_on_both_sides(kinds: ModuleType) -> None:
    text = kinds.phrases(300)
    assert text == kinds.phrases(300)
    for line in text.splitlines():
        ours, theirs = line.split("|")
        assert len(ours) == len(theirs) >= 3
        assert not set(ours) & set(theirs)


def test_words_are_the_text_with_rare_ones_as_one(kinds: ModuleType) -> None:
    assert len(set(kinds.words())) == kinds.WORDS + 1


def test_a_voice_passes_near_its_sounds(kinds: ModuleType) -> None:
    found = kinds.voices()
    x, y = found["train"]
    assert len(x) == len(y) == 1500
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
