"""Strict TOML: what is written reads back; what is wrong is named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellsearch.errors import ConfigError
from cellsearch.options import parse_toml, render_toml

keys = st.text(min_size=1, max_size=8)
scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8), values, max_size=5
    )
)
def test_what_is_written_reads_back(document: dict[str, object]) -> None:
    assert parse_toml(render_toml(document), "test") == document


def test_a_number_that_is_none_is_written() -> None:
    assert math.isnan(parse_toml(render_toml({"a": math.nan}), "test")["a"])


def test_what_toml_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be written as TOML"):
        render_toml({"a": None})


def test_a_syntax_error_names_file_and_line() -> None:
    with pytest.raises(ConfigError, match=r"a\.toml: not valid TOML: .*line 2"):
        parse_toml("a = 1\nb = \n", "a.toml")


@pytest.mark.parametrize("text", ["a = " + "[" * 20000, "a = 1" + "0" * 5000, "a" * 2_000_000])
def test_hostile_text_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_toml(text, "a.toml")


@pytest.mark.parametrize("depth", [70, 1000, 20_000])
def test_tables_that_lie_too_deep(depth: int) -> None:
    with pytest.raises(ConfigError, match="more than 64 deep"):
        parse_toml(f"[{'.'.join(['a'] * depth)}]", "deep.toml")
