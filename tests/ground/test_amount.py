"""Numbers of things are written in the right form, and an experiment over other data loses the
question that it does not ask any more.
"""

from __future__ import annotations

import pytest

from cellsearch.errors import amount
from cellsearch.experiment import load_experiment


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("edit",), "0 edits"),
        (1, ("edit",), "1 edit"),
        (2, ("edit",), "2 edits"),
        (12345, ("cell weight",), "12,345 cell weights"),
        (1, ("matrix", "matrices"), "1 matrix"),
        (3, ("matrix", "matrices"), "3 matrices"),
    ],
)
def test_an_amount_has_its_noun_in_the_right_form(
    number: int, words: tuple[str, ...], text: str
) -> None:
    assert amount(number, *words) == text


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, True),
        ({"trials": 3}, True),
        ({"task": "char_lm"}, True),
        ({"task": "parity"}, False),
        ({"task_options.text": "novel.txt"}, False),
        ({"task": "arrays", "task_options.path": "s.npz"}, False),
        ({"task": "parity", "question": "Which?"}, True),
    ],
)
def test_a_question_goes_with_the_data_that_it_asks_about(
    given: dict[str, object], asked: bool
) -> None:
    assert bool(load_experiment("quickstart", given).question) == asked
