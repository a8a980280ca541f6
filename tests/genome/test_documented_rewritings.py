"""docs/design.md says which ways of writing a cell are recognised as one; here it is held to it."""

import re
from pathlib import Path

import pytest

from cellsearch import Genome
from cellsearch.genome.identity import search_key

PAGE = Path(__file__).parents[2] / "docs" / "design.md"
SECTION = PAGE.read_text(encoding="utf-8").split("## When two cells are the same")[1]
SECTION = SECTION.split("\n## ")[0]
ROW = re.compile(r"^\| `(.+?)` \| `(.+?)`", re.M)
SAME, OTHER = (ROW.findall(part) for part in SECTION.split("Not recognised"))


def key(expression: str) -> str:
    return search_key(
        Genome.from_text(
            "a = tanh(linear(x[t], h[t-1]))\nb = relu(linear(x[t]))\nc = sin(linear(x[t]))\n"
            f"h[t] = tanh({expression}) + cos(a) * b * c"
        )
    )


def test_both_tables_are_there() -> None:
    assert len(SAME) > 12
    assert len(OTHER) > 6


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_said_to_be_recognised_is(one: str, other: str) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_is_said_not_to_be_recognised_is_not(one: str, other: str) -> None:
    assert key(one) != key(other)
