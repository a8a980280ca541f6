"""Cells that searches of this program found: what a card must say, and that those in the zoo have
one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cellsearch.zoo
from cellsearch import zoo
from cellsearch.errors import ConfigError
from cellsearch.options import render_toml
from cellsearch.zoo.found_card import read_card

FOLDER = Path(cellsearch.zoo.__file__).parent / "found"
JUDGED: dict[str, Any] = {
    "task": "jsb", "seeds": 5, "score": 8.1, "lstm": 8.4, "gru": 8.3, "p": 0.01,
    "verdict": "better",
}  # fmt: skip
CARD: dict[str, Any] = {
    "search": "experiment made_up, seed 1",
    "trial": 7,
    "commit": "0123abc",
    "date": "2026-11-29",
    "tried": 40,
    "core_hours": 0.5,
    "weights": "equal weights",
    "failed": 0,
    "trained": 10,
    "like": "a GRU without a reset",
    "good": "music",
    "bad": "text",
    "judged": [JUDGED],
}


def read(**changes: Any) -> zoo.FoundCard:
    return read_card(render_toml({**CARD, **changes}), source="made_up.toml")


def test_a_card_is_read_and_shown() -> None:
    card = read()
    assert card.judgments[0].task == "jsb"
    shown = "\n".join(card.lines())
    for part in ("made_up", "trial 7 of 40", "0123abc", "jsb: 8.1", "a GRU without", "bad: text"):
        assert part in shown


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"failed": 1}, "failed: 1 is out of range"),
        ({"judged": [{**JUDGED, "verdict": "equal within noise"}]}, "nowhere better"),
        ({"judged": []}, "out of range"),
        ({"judged": [{**JUDGED, "seeds": 1}]}, "seeds: 1 is out of range"),
        ({"bad": 3}, "bad: 3 is not text"),
    ],
)
def test_a_cell_that_failed_or_wins_nowhere_does_not_get_in(
    changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(**changes)
    without = {key: value for key, value in CARD.items() if key != "bad"}
    with pytest.raises(ConfigError, match="the key bad is missing"):
        read_card(render_toml(without), source="made_up.toml")


def test_each_found_cell_has_its_card() -> None:
    cells = {path.stem for path in FOLDER.glob("*.cell")}
    assert cells
    assert cells == {path.stem for path in FOLDER.glob("*.toml")} == set(zoo.found())
    for name in zoo.found():
        assert zoo.entry(name).family == "found"
        assert zoo.card(name).lines()
    assert {e.name for e in zoo.entries() if e.family == "found"} == set(zoo.found())


def test_others_have_none() -> None:
    with pytest.raises(ConfigError, match="lstm was not found by a search"):
        zoo.card("lstm")
