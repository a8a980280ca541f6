"""Values of the wrong kind or size anywhere in a file or in the options of a part: our own
error and no other.
"""

from __future__ import annotations

import copy
import datetime
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from cellsearch import schedules, strategies, tasks
from cellsearch.errors import CellsearchError, ConfigError
from cellsearch.experiment import catalog
from cellsearch.experiment.experiment import parse_experiment
from cellsearch.experiment.overrides import parse_setting
from cellsearch.options import keys, parse_toml, read_options, render_toml
from cellsearch.space import SearchSpace
from cellsearch.tasks.suite import Suite

HUGE = 10**400
UNPRINTABLE = 16**20_000 - 1
"""More digits than Python turns into text."""
ODD = (
    *(HUGE, -HUGE, UNPRINTABLE, 2**63, 2**62, -(2**63), -1, 0, 0.5, math.inf, -math.inf, math.nan),
    *(True, "", "\ufeff", "\x00", "x" * 5000, datetime.date(2020, 1, 1)),
    *([], {}, [[]], [{}], {"": 1}, [HUGE], {"a": UNPRINTABLE}, [UNPRINTABLE]),
)
READERS: dict[str, Callable[[dict[str, Any]], object]] = {
    catalog.SUITES: partial(Suite.parse, source="a.toml"),
    catalog.SPACES: partial(SearchSpace.from_table, source="a.toml"),
    catalog.EXPERIMENTS: partial(parse_experiment, source="a.toml"),
}
NAMED = {
    catalog.SUITES: ("long_memory",),
    catalog.SPACES: ("lstm_gru",),
    catalog.EXPERIMENTS: ("quickstart",),
}


def places(table: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands, at any depth."""
    items = table.items() if isinstance(table, dict) else enumerate(table)
    for key, value in items:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))


def replaced(table: dict[str, Any], at: tuple[Any, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(table)
    inner: Any = changed
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return changed


def refuses_well(read: Callable[[], object]) -> None:
    """Either it can be read, or the error is ours."""
    with suppress(CellsearchError):
        read()


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, many in NAMED.items() for n in many])
def test_odd_values_in_files(kind: str, name: str) -> None:
    table = catalog.find(kind, name).document()
    for at in places(table):
        for value in ODD:
            document = replaced(table, at, value)
            refuses_well(lambda document=document: READERS[kind](document))  # type: ignore[misc]


@pytest.mark.parametrize("name", tasks.names())
def test_odd_options_of_tasks(name: str) -> None:
    options = tasks.get(name).Options
    for key in keys(options):
        for value in ODD:
            refuses_well(lambda key=key, value=value: read_options(options, {key: value}))  # type: ignore[misc]


@pytest.mark.parametrize("part", [strategies, schedules])
def test_odd_options_of_strategies_and_schedules(part: Any) -> None:
    for name in part.names():
        for key in keys(part.get(name)):
            for value in ODD:
                refuses_well(
                    lambda name=name, key=key, value=value: part.create(  # type: ignore[misc]
                        name, {key: value}, source="a.toml"
                    )
                )


@pytest.mark.parametrize("number", [str(2**63), str(-(2**63) - 1), str(HUGE), hex(UNPRINTABLE)])
@pytest.mark.parametrize("text", ["a = {}", "[a]\nb = [1, {}]", "a = {{b = [[{}]]}}"])
def test_whole_numbers_have_64_bits_as_toml_asks(number: str, text: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.toml: a.*too large"):
        parse_toml(text.format(number), "a.toml")


def test_the_largest_numbers_are_read() -> None:
    document = {"a": [2**63 - 1, -(2**63)]}
    assert parse_toml(render_toml(document), "a.toml") == document
    with pytest.raises(ConfigError, match=r"--set trials: .* too large"):
        parse_setting(f"trials={HUGE}")
