"""The reader of options: a table becomes a frozen dataclass, or the complaint says where, what is
allowed, and what was meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from cellsearch.errors import ConfigError
from cellsearch.options import (
    Key,
    above,
    at_least,
    between,
    check_options,
    default_table,
    keys,
    read_options,
    table_of,
    unknown,
)


@dataclass(frozen=True, slots=True)
class Inner:
    share: Annotated[float, between(0, 1, open_high=True)] = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    steps: Annotated[int, at_least(1)] = 300
    rate: Annotated[float, above(0)] = 1e-3
    on: bool = False
    mode: Literal["min", "mean"] = "min"
    seeds: Annotated[tuple[Annotated[int, at_least(0)], ...], at_least(1)] = (1, 2)
    marks: tuple[Literal["gate", "saliency"], ...] = ("gate",)
    weights: Mapping[str, float] = field(default_factory=dict)
    anything: Mapping[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    rows: tuple[Inner, ...] = ()
    kind: Annotated[Literal["a", "b"], Key("class")] = "a"
    cells: Annotated[tuple[str, ...] | Mapping[str, str], "names or texts"] = ()
    maybe: Inner | None = None

    def __post_init__(self) -> None:
        check_options(self)
        if self.steps > 1000 and self.on:
            raise ConfigError("too many", where="steps", hint="switch it off")
        if self.name == "nobody":
            raise ConfigError("there must be somebody")


def read(**values: Any) -> Outer:
    return read_options(Outer, {"name": "x", **values}, source="x.toml", path="part")


def test_what_is_read_has_the_types_of_the_fields() -> None:
    made = read(
        rate=3,
        seeds=[4, 5],
        weights={"a": 1},
        inner={"share": 0},
        rows=[{"share": 0.25}, {}],
        cells={"lstm": "text"},
        maybe={},
        **{"class": "b"},
    )
    assert made == Outer(
        "x",
        rate=3.0,
        seeds=(4, 5),
        weights={"a": 1.0},
        inner=Inner(0.0),
        rows=(Inner(0.25), Inner()),
        kind="b",
        cells={"lstm": "text"},
        maybe=Inner(),
    )
    assert [type(value) for value in (made.rate, made.weights["a"], made.inner.share)] == [
        float
    ] * 3
    assert read(cells=["lstm"]).cells == ("lstm",)
    assert read(maybe=None) == read()


def test_what_is_written_is_read_back() -> None:
    made = read(rows=[{"share": 0.25}], maybe={}, seeds=[4], **{"class": "b"})
    table = table_of(made)
    assert table["seeds"] == [4]
    assert table["class"] == "b"
    assert table["rows"] == [{"share": 0.25}]
    assert read_options(Outer, table) == made
    assert "maybe" not in table_of(read())
    assert table_of(object()) == {}


def test_keys_and_defaults() -> None:
    assert keys(Outer)[:3] == ("name", "steps", "rate")
    assert "class" in keys(Outer)
    defaults = default_table(Outer)
    assert defaults["seeds"] == [1, 2]
    assert defaults["inner"] == {"share": 0.5}
    assert "name" not in defaults
    assert "maybe" not in defaults


STEPS = "allowed: a whole number, at least 1; the default is 300"
RATE = "allowed: a number, above 0; the default is 0.001"
SEEDS = "allowed: a list of whole numbers, at least 0; at least 1 of them; the default is [1, 2]"


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"steps": "3"}, "steps: '3' is not a whole number", STEPS),
        ({"steps": True}, "steps: True is not a whole number", STEPS),
        ({"steps": 2.0}, "steps: 2.0 is not a whole number", STEPS),
        ({"steps": None}, "steps: None is not a whole number", STEPS),
        ({"steps": 0}, "steps: 0 is out of range", STEPS),
        ({"rate": 0}, "rate: 0 is out of range", RATE),
        ({"rate": math.nan}, "rate: nan is not a finite number", RATE),
        ({"rate": math.inf}, "rate: inf is not a finite number", RATE),
        ({"rate": False}, "rate: False is not a number", RATE),
        (
            {"steps": 2**63},
            "steps: 9223372036854775808 is too large",
            f"the largest whole number is 9223372036854775807; {STEPS}",
        ),
        (
            {"rate": 10**5000},
            "rate: a number of 16610 bits is too large",
            f"the largest whole number is 9223372036854775807; {RATE}",
        ),
        (
            {"name": [10**5000]},
            "name: a list with a number of thousands of digits is not text",
            "allowed: text",
        ),
        ({"on": 1}, "on: 1 is not true or false", "allowed: true or false; the default is false"),
        (
            {"mode": "men"},
            "mode: unknown value 'men'",
            'did you mean mean? allowed: min, mean; the default is "min"',
        ),
        ({"mode": 3}, "mode: unknown value 3", 'allowed: min, mean; the default is "min"'),
        ({"seeds": 3}, "seeds: 3 is not a list", SEEDS),
        ({"seeds": "3"}, "seeds: '3' is not a list", SEEDS),
        ({"seeds": []}, "seeds: [] is out of range", SEEDS),
        ({"seeds": [1, -1]}, "seeds: -1 is out of range", SEEDS),
        ({"seeds": [1, True]}, "seeds: True is not a whole number", SEEDS),
        (
            {"marks": ["gates"]},
            "marks: unknown value 'gates'",
            'did you mean gate? allowed: a list of gate, saliency; the default is ["gate"]',
        ),
        ({"weights": {"a": "b"}}, "weights.a: 'b' is not a number", "allowed: a table of numbers"),
        ({"weights": {1: 2}}, "weights: {1: 2} is not a table", "allowed: a table of numbers"),
        ({"anything": 3}, "anything: 3 is not a table", "allowed: a table"),
        ({"inner": 3}, "inner: 3 is not a table", "allowed: a table with share"),
        (
            {"inner": {"shares": 3}},
            "inner.shares: unknown key 'shares'",
            "did you mean share? allowed: share",
        ),
        (
            {"rows": [{}, {"share": 1}]},
            "rows[1].share: 1 is out of range",
            "allowed: a number, at least 0 and below 1; the default is 0.5",
        ),
        (
            {"kind": "a"},
            "kind: unknown key 'kind'",
            "allowed: " + ", ".join(sorted(keys(Outer))),
        ),
        (
            {"cells": 3},
            "cells: 3 is not a list of texts or a table of texts",
            "allowed: names or texts; the default is []",
        ),
        ({"steps": 2000, "on": True}, "steps: too many", "switch it off"),
    ],
)
def test_a_complaint_says_where_what_and_what_is_allowed(
    values: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**values)
    assert str(caught.value) == f"x.toml: part.{message}"
    assert caught.value.hint == hint


def test_a_complaint_about_the_table_itself() -> None:
    with pytest.raises(ConfigError) as caught:
        read_options(Outer, {}, source="x.toml")
    assert str(caught.value) == "x.toml: the key name is missing"
    assert caught.value.hint == "add name = ...; allowed: text"
    with pytest.raises(ConfigError) as caught:
        read_options(Inner, [], source="x.toml")
    assert str(caught.value) == "x.toml: [] is not a table"
    with pytest.raises(ConfigError, match=r"^x\.toml: part: there must be somebody$"):
        read(name="nobody")


def test_what_is_made_in_python_is_checked_too() -> None:
    with pytest.raises(ConfigError) as caught:
        Outer("x", steps=0)
    assert str(caught.value) == "steps: 0 is out of range"
    assert caught.value.hint == STEPS


def test_an_unknown_name_lists_what_is_allowed_and_the_nearest() -> None:
    error = unknown("key", "trails", ["trials", "seed"], where="x.toml")
    assert str(error) == "x.toml: unknown key 'trails'"
    assert error.hint == "did you mean trials? allowed: seed, trials"


@dataclass(frozen=True)
class OfAnotherType:
    pair: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Listed:
    items: Annotated[list[int], "numbers"] = field(default_factory=list)


@pytest.mark.parametrize("kind", [OfAnotherType, Listed])
def test_a_type_that_the_reader_cannot_check_is_an_error_of_the_programmer(kind: type) -> None:
    with pytest.raises(TypeError, match="options cannot have the type "):
        read_options(kind, {})
