"""Every option that a user may write, of every part: a wrong value is refused with its place and
what is allowed, and all doors use the same words.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellsearch import SearchSpace, schedules, strategies, tasks
from cellsearch.errors import ConfigError
from cellsearch.experiment.experiment import Experiment, load_experiment, parse_experiment
from cellsearch.job import Allowance, Limits, Prefilter, Training
from cellsearch.options import OR_INFINITY, Range, default_table, keys, read_options, table_of
from cellsearch.space.declaration import Constraints, FullCell, SizeLimits
from cellsearch.tasks.suite import Suite

PARTS: dict[str, type] = {
    **{f"strategy {name}": strategies.get(name) for name in strategies.names()},
    **{f"schedule {name}": schedules.get(name) for name in schedules.names()},
    **{kind.__name__: kind for kind in (tasks.get(name).Options for name in tasks.names())},
    **{kind.__name__: kind for kind in (Training, Limits, Prefilter, Allowance)},
    **{f"space {kind.__name__}": kind for kind in (SizeLimits, Constraints, FullCell)},
}
SPACE = {"name": "small", "states": ["h"], "ops": {"linear": 1, "tanh": 1}}
EXPERIMENT = {"name": "mine", "space": SPACE, "strategy": "random", "task": "parity"}
SUITE = {"name": "two", "tasks": [{"task": "parity", "steps": 3, "chance": 0.5}]}
DOORS: dict[str, tuple[Callable[[Mapping[str, Any]], object], Mapping[str, Any], set[str]]] = {
    "experiment": (
        lambda table: parse_experiment(table, source="x.toml"),
        EXPERIMENT,
        {"name", "space", "strategy", "task", "schedule", "question", "trials", "seed", "workers"}
        | {"deterministic", "lookahead", "baselines"},
    ),
    "space": (
        lambda table: SearchSpace.from_table(table, source="x.toml"),
        SPACE,
        {"name", "description", "states", "constants", "initial", "ops", "limits", "constraints"}
        | {"full_cell", "frozen", "seeds"},
    ),
    "suite": (
        lambda table: Suite.parse(table, "x.toml"),
        SUITE,
        {"name", "description", "aggregation", "reference", "stop_below", "seeds", "training"}
        | {"tasks"},
    ),
}

texts = st.text(string.ascii_letters, max_size=8)
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | texts


def outside(rule: Range, kind: type) -> st.SearchStrategy[Any]:
    """Numbers that the range does not hold."""
    ends = [end for end in (rule.low, rule.high) if math.isfinite(end)]
    near: list[float] = [end + step for end in ends for step in (-1, -1e-9, 0, 1e-9, 1)]
    far = [-(2.0**62), 2.0**62]
    numbers = [kind(number) for number in near + far]
    return st.sampled_from([number for number in numbers if not rule.holds(number)])


def wrong(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a field of this type does not allow."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ranges = [rule for rule in args[1:] if isinstance(rule, Range)]
        if not ranges:
            return wrong(args[0])
        if get_origin(args[0]) is tuple:
            return wrong(args[0]) | st.just([])
        numbers = wrong(args[0]) | outside(ranges[0], args[0])
        return numbers.filter(lambda v: v != math.inf) if OR_INFINITY in args[1:] else numbers
    if origin is Literal:
        return (scalars | st.lists(texts, max_size=2)).filter(lambda value: value not in args)
    if origin is tuple:
        return scalars | st.lists(wrong(args[0]), min_size=1, max_size=3)
    if origin is Mapping:
        values = st.nothing() if args[1] is Any else wrong(args[1])
        return scalars | st.lists(texts, max_size=2) | st.dictionaries(texts, values, min_size=1)
    if origin in (Union, UnionType):
        kinds = tuple(kind_of(arg) for arg in args)
        return (scalars | st.lists(st.nothing())).filter(lambda value: not isinstance(value, kinds))
    if is_dataclass(hint):
        return scalars | st.lists(texts, max_size=2) | st.just({"no such key": 1})
    lists = st.lists(scalars, max_size=2) | st.dictionaries(texts, scalars, max_size=2)
    if hint is float:
        return (
            lists
            | st.none()
            | st.booleans()
            | texts
            | st.sampled_from([math.nan, math.inf, -math.inf, 2**63, -(2**63) - 1, 10**400])
        )
    if hint is int:
        return lists | st.none() | st.booleans() | texts | st.floats() | st.just(2**63)
    return (lists | scalars).filter(lambda value: not isinstance(value, hint))


def kind_of(hint: Any) -> Any:
    kind = get_origin(hint) or hint
    if kind is Annotated:
        return kind_of(get_args(hint)[0])
    return (list, tuple) if kind is tuple else Mapping if is_dataclass(kind) else kind


def fields_of(kind: type) -> dict[str, Any]:
    """Key -> type of the field. Only ``recurrence`` has another key than its name."""
    hints = get_type_hints(kind, include_extras=True)
    return {key: hints["recurrence" if key == "class" else key] for key in keys(kind)}


ALL = [(part, key) for part, kind in PARTS.items() for key in keys(kind)]


@pytest.mark.parametrize(("part", "key"), ALL, ids=[f"{part}.{key}" for part, key in ALL])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_wrong_value_is_refused_with_its_place_and_what_is_allowed(
    part: str, key: str, data: st.DataObject
) -> None:
    kind = PARTS[part]
    value = data.draw(wrong(fields_of(kind)[key]))
    with pytest.raises(ConfigError) as caught:
        read_options(kind, {key: value}, source="x.toml", path="part")
    assert caught.value.where.startswith(f"x.toml: part.{key}")
    assert "allowed: " in caught.value.hint
    assert caught.value.message


@pytest.mark.parametrize("part", PARTS)
def test_defaults_are_allowed_and_read_back(part: str) -> None:
    made = read_options(PARTS[part], default_table(PARTS[part]))
    assert made == PARTS[part]()
    defaults, table = default_table(PARTS[part]), table_of(made)
    assert set(defaults) - set(table) == ({"precision"} if part == "Training" else set())
    assert table == {key: defaults[key] for key in table}


def types_of(door: str) -> dict[str, Any]:
    """The types of what stands at the top of a file, as this test understands the documents."""
    if door == "suite":
        hints = get_type_hints(Suite, include_extras=True)
        return {key: hints["members" if key == "tasks" else key] for key in DOORS[door][2]}
    if door == "space":
        hints = dict.fromkeys(("states",), tuple[str, ...])
        hints |= dict.fromkeys(("constants", "initial"), tuple[float, ...])
        hints |= {"name": str, "description": str, "ops": Mapping[str, float]}
        hints |= {"limits": SizeLimits, "constraints": Constraints, "full_cell": FullCell}
        return {**hints, "frozen": Limits, "seeds": tuple[str, ...] | Mapping[str, str] | None}
    hints = get_type_hints(Experiment, include_extras=True)
    hints |= {"space": str | Mapping[str, Any], "strategy": str, "schedule": str}
    return {key: hints[key] for key in DOORS[door][2]}


TOPS = [(door, key) for door, (_, _, names) in DOORS.items() for key in sorted(names)]


@pytest.mark.parametrize(("door", "key"), TOPS, ids=[f"{door}.{key}" for door, key in TOPS])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_so_is_one_at_the_top_of_a_file(door: str, key: str, data: st.DataObject) -> None:
    open_door, base, _ = DOORS[door]
    value = data.draw(wrong(types_of(door)[key]))
    if key == "frozen" and value is None:
        return  # nothing is frozen
    with pytest.raises(ConfigError) as caught:
        open_door({**base, key: value})
    assert caught.value.where.startswith(f"x.toml: {key}")
    assert "allowed: " in caught.value.hint


@pytest.mark.parametrize("door", DOORS)
def test_the_documents_have_these_keys(door: str) -> None:
    open_door, base, names = DOORS[door]
    with pytest.raises(ConfigError) as caught:
        open_door({**base, "no such key": 1})
    allowed = set(caught.value.hint.partition("allowed: ")[2].split(", "))
    assert allowed >= names


READERS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "experiment": lambda table: parse_experiment({**EXPERIMENT, **table}, source="x.toml"),
    "training": lambda table: parse_experiment({**EXPERIMENT, "training": table}, source="x.toml"),
    "strategy": lambda table: strategies.create("genetic", table, source="x.toml"),
    "schedule": lambda table: schedules.create("halving", table, source="x.toml"),
    "task": lambda table: tasks.get("parity").create(table, {}),
    "space": lambda table: SearchSpace.from_table({**SPACE, **table}, source="x.toml"),
    "limits": lambda table: SearchSpace.from_table({**SPACE, "limits": table}, source="x.toml"),
    "constrain": lambda table: SearchSpace.from_table(SPACE).constrained(table, source="x.toml"),
    "suite": lambda table: Suite.parse({**SUITE, **table}, "x.toml"),
    "member": lambda table: Suite.parse({**SUITE, "tasks": [{**SUITE["tasks"][0], **table}]}),  # type: ignore[index]
}
WHOLE = {
    "experiment": "trials",
    "training": "steps",
    "strategy": "population",
    "schedule": "eta",
    "task": "batch_size",
    "limits": "max_nodes",
    "constrain": "max_nodes",
    "member": "steps",
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_says_the_same_of_an_unknown_key(reader: str) -> None:
    with pytest.raises(ConfigError) as caught:
        READERS[reader]({"no_such_key": 1})
    assert caught.value.message == "unknown key 'no_such_key'"
    assert caught.value.where.endswith("no_such_key")
    assert "allowed: " in caught.value.hint


@pytest.mark.parametrize("reader", WHOLE)
def test_every_reader_says_the_same_of_a_wrong_number(reader: str) -> None:
    key = WHOLE[reader]
    for value, message in (
        ("many", "'many' is not a whole number"),
        (True, "True is not a whole number"),
        (2.5, "2.5 is not a whole number"),
        (-1, "-1 is out of range"),
        (2**63, f"{2**63} is too large"),
    ):
        with pytest.raises(ConfigError) as caught:
            READERS[reader]({key: value})
        assert caught.value.message == message
        assert caught.value.where.endswith(key)
        assert "allowed: a whole number, at least " in caught.value.hint


def test_the_nearest_name_is_guessed() -> None:
    for reader, key in WHOLE.items():
        with pytest.raises(ConfigError) as caught:
            READERS[reader]({f"{key}s": 1})
        assert caught.value.hint.startswith(f"did you mean {key}? "), reader


@pytest.mark.parametrize(
    "table",
    [
        "prefilter.gradient_max",
        "prefilter.growth_max",
        "limits.seconds",
        "allowance.hours",
        "training.clip_norm",
    ],
)
def test_a_bound_may_be_infinite_as_it_could_in_version_0_1(table: str) -> None:
    experiment = load_experiment("quickstart", {table: math.inf})
    part, key = table.split(".")
    assert getattr(getattr(experiment, part), key) == math.inf
    assert f"{key} = inf" in experiment.to_toml()
    with pytest.raises(ConfigError, match=rf"{key}"):
        load_experiment("quickstart", {table: -math.inf})
