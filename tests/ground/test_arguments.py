"""Every public function and method refuses an argument of a wrong type, and names it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cellsearch as cs
from cellsearch.errors import ArgumentTypeError, ConfigError, checked_arguments

ROOMS = (
    *("cellsearch", "cellsearch.compiler", "cellsearch.diagnostics", "cellsearch.executors"),
    *("cellsearch.experiment", "cellsearch.export", "cellsearch.finals", "cellsearch.runs"),
    *("cellsearch.search", "cellsearch.streaming", "cellsearch.tasks", "cellsearch.zoo"),
    *("cellsearch.experiment.catalog", "cellsearch.export.write", "cellsearch.runs.finals"),
    *("cellsearch.schedules.registry", "cellsearch.strategies.registry", "cellsearch.tasks.arrays"),
)
LEFT_OUT = {
    "Genome.from_text": "what is not text is a CellSyntaxError, as damaged text is",
    "Genome.from_json": "what is not text is a CellSyntaxError, as damaged text is",
    "Genome.found_simple": "told of each candidate of a proposal",
    "Genome.is_input": "asked for each value of a graph, in every proposal",
    "Genome.is_state": "asked for each value of a graph, in every proposal",
    "Genome.node": "asked for each value of a graph, in every proposal",
    "InProcess.events": "asked by the search after each job",
    "Ray.events": "asked by the search after each job",
    "SearchSpace.contains": "asked of each candidate of a proposal",
    "Trial.is_repeat": "asked of each rung in every proposal",
    "Trial.score_at": "asked of each trial in every proposal",
    "Trial.scores_of": "asked of each trial in every proposal",
    "Prequential.add": "called at each position of a stream",
}
GENOME = cs.Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
RIGHT: dict[str, Any] = {
    "bool": True,
    "bytes": b"a",
    "float": 0.5,
    "int": 1,
    "str": "a",
    "None": None,
    "Path": Path("a"),
    "Genome": GENOME,
    "nn.Module": nn.Linear(1, 1),
    "np.random.Generator": np.random.default_rng(0),
    "torch.device": torch.device("cpu"),
    "torch.dtype": torch.float32,
    "Task": cs.tasks.get("parity").create({}, cs.tasks.get("parity").load({})),
    "TaskData": cs.tasks.from_arrays([[[0.0]], [[1.0]]] * 10, [0.0, 1.0] * 10, kind="regression"),
    "Form": "source",
    "Kind": "regression",
    "Precision": "float32",
}
WRONG = ("text", b"bytes", 1, 0.5, True, None, [], {}, object(), 1j, Path("x"), GENOME, nn.Tanh())


def fits(value: object, annotation: str) -> bool:
    """Whether the annotation allows the value; written anew, so that it can disagree."""
    for part in re.split(r"\|(?![^\[]*\])", annotation):
        match part.strip():
            case "float":
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    return True
            case "int":
                if isinstance(value, int) and not isinstance(value, bool):
                    return True
            case "Path":
                if isinstance(value, Path):
                    return True
            case name if name in RIGHT:
                if isinstance(value, type(RIGHT[name])) or (
                    name == "nn.Module" and isinstance(value, nn.Module)
                ):
                    return True
            case name if name.startswith("Sequence["):
                if isinstance(value, list):
                    return True
            case name if name.startswith("Mapping["):
                if isinstance(value, dict):
                    return True
    return False


def is_plain(annotation: str) -> bool:
    """Whether the annotation is of a kind that every entry has to check."""
    return all(
        part.strip() in RIGHT
        for part in re.split(r"\|(?![^\[]*\])", re.sub(r"Sequence\[(\w+)\]", r"\1", annotation))
    )


def entries() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public functions, and the public methods of public classes that are not tables of options."""
    seen: set[object] = set()
    for room in ROOMS:
        module = import_module(room)
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, type):
                if issubclass(thing, Exception) or not thing.__module__.startswith("cellsearch"):
                    continue
                found = [
                    (f"{name}.{key}", inspect.unwrap(one.__func__) and getattr(thing, key))
                    if isinstance(one, classmethod)
                    else (f"{name}.{key}", one)
                    for key, one in vars(thing).items()
                    if isinstance(one, classmethod)
                    or (inspect.isfunction(one) and (key == "__init__" or key[0] != "_"))
                    if not (key == "__init__" and is_dataclass(thing))  # options and records
                ]
            else:
                found = [(name, thing)] if inspect.isfunction(thing) else []
            for label, function in found:
                if label in LEFT_OUT or label.startswith(("Task.", "ArraysTask.")):
                    continue  # tasks are written by users, and called by us
                if function not in seen and "<locals>" not in function.__qualname__:
                    seen.add(function)
                    yield f"{room.removeprefix('cellsearch.')}:{label}", function


def cases() -> list[Any]:
    return [
        pytest.param(function, one.name, id=f"{label}-{one.name}")
        for label, function in entries()
        for one in inspect.signature(function).parameters.values()
        if isinstance(one.annotation, str)
        and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        and is_plain(one.annotation)
    ]


def test_there_are_entries_to_look_at() -> None:
    assert len(cases()) > 180


@pytest.mark.parametrize(("function", "name"), cases())
def test_wrong_types_are_refused_by_name(function: Callable[..., Any], name: str) -> None:
    parameters = inspect.signature(function).parameters
    for value in WRONG:
        if fits(value, parameters[name].annotation):
            continue
        arguments = {
            one.name: right(one.annotation)
            for one in parameters.values()
            if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        }
        with pytest.raises((ArgumentTypeError, ConfigError)) as caught:
            function(**{**arguments, name: value})
        assert name in str(caught.value), value
        assert isinstance(caught.value, TypeError), value
        assert caught.value.hint


def right(annotation: object) -> object:
    """A value that the annotation allows; any, where it is not a plain one."""
    first = str(annotation).split("|")[0].strip()
    if first.startswith("Mapping["):
        return {}
    return [] if first.startswith("Sequence[") else RIGHT.get(first, object())


@checked_arguments
def sample(
    count: int,
    share: float | None = None,
    names: Sequence[str] = (),
    table: Mapping[str, Any] | None = None,
    anything: complex = 0j,
) -> tuple[object, ...]:
    """One of each kind."""
    return count, share, names, table, anything


def test_numbers_of_numpy_become_those_of_python() -> None:
    found = sample(np.int64(3), np.float32(0.5), ["a"], {"b": 1}, 2j)
    assert found == (3, 0.5, ("a",), {"b": 1}, 2j)
    assert [type(one) for one in found[:2]] == [int, float]
    assert type(sample(1, 2)[1]) is float


VALUES = (1, True, 1.5, np.int64(1), np.float32(1.5), "a", b"a", ("a",), ("a", 1), [], {}, None)


@pytest.mark.parametrize("name", ["count", "share", "names", "table"])
def test_what_was_called_before_changes_nothing(name: str) -> None:
    def answer(value: object) -> object:
        try:
            found = sample(**{"count": 1, name: value})  # type: ignore[arg-type]
        except ArgumentTypeError as error:
            return str(error)
        return [(type(one), one) for one in found]

    first = [answer(value) for value in VALUES]
    for _ in range(2):
        assert [answer(value) for value in reversed(VALUES)] == first[::-1]
    assert any(isinstance(one, str) for one in first)
    by_place = [sample(value) for value in VALUES[:1]]
    assert by_place == [sample(count=1)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": 1.0}, "sample: count is 1.0, of type float"),
        ({"count": True}, "sample: count is True, of type bool"),
        ({"count": 1, "share": "a"}, "sample: share is 'a', of type str"),
        ({"count": 1, "share": torch.tensor(1.0)}, "sample: share is tensor(1.), of type Tensor"),
        ({"count": 1, "names": "lstm"}, "sample: names is 'lstm', of type str"),
        ({"count": 1, "names": ["a", 1]}, "sample: names is ['a', 1], of type list"),
        ({"count": 1, "table": [1]}, "sample: table is [1], of type list"),
    ],
)
def test_what_is_said(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        sample(**arguments)
    assert str(caught.value) == said
    assert caught.value.hint


def test_a_repr_that_raises_is_no_second_fault() -> None:
    class Sick:
        def __repr__(self) -> str:
            raise ValueError("no")

    with pytest.raises(ArgumentTypeError, match="Sick whose repr raises ValueError"):
        sample(Sick())  # type: ignore[arg-type]


def test_a_missing_argument_is_the_usual_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'count'"):
        sample()  # type: ignore[call-arg]
