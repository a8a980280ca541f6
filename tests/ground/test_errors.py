"""What an error says to who meets it in Python: the message, and the hint as a note."""

from __future__ import annotations

import pickle
import traceback

import pytest

from cellsearch.errors import CellsearchError, ConfigError


def test_the_hint_is_a_note_and_the_text_is_the_message() -> None:
    error = ConfigError("3 is too small", where="a.toml", hint="use 4")
    assert str(error) == "a.toml: 3 is too small"
    assert error.__notes__ == ["hint: use 4"]
    assert "hint: use 4" in "".join(traceback.format_exception(error))


def test_another_hint_takes_the_place_of_the_first_and_none_leaves_no_note() -> None:
    error = ConfigError("wrong", hint="first")
    error.add_note("of somebody else")
    error.hint = "second"
    assert error.__notes__ == ["of somebody else", "hint: second"]
    error.hint = ""
    assert error.__notes__ == ["of somebody else"]


@pytest.mark.parametrize("hint", ["", "use 4"])
def test_it_crosses_a_process_border_with_its_hint(hint: str) -> None:
    error: CellsearchError = pickle.loads(pickle.dumps(ConfigError("wrong", where="x", hint=hint)))
    assert (error.message, error.where, error.hint) == ("wrong", "x", hint)
    assert getattr(error, "__notes__", []) == ([f"hint: {hint}"] if hint else [])
