"""Suites: several tasks that a cell must all be good at. How one is declared, and its data;
:mod:`cellsearch.training.suite` trains and scores it. A suite itself is not a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from cellsearch import options as tomltext
from cellsearch import tasks
from cellsearch.errors import ConfigError
from cellsearch.settings import Training
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.options import parse_options

__all__ = [
    "AGGREGATIONS",
    "REFERENCES",
    "SUITE",
    "Member",
    "Suite",
    "load_suite_data",
    "metric_of",
    "part",
]

SUITE = "suite"
"""What the task of an experiment with a suite is called; ``suite:NAME`` in an experiment file names
the suite.
"""
AGGREGATIONS = ("min", "mean", "pareto")
REFERENCES = ("lstm", "gru", "best")
_KEYS = (
    "name",
    "description",
    "aggregation",
    "reference",
    "stop_below",
    "seeds",
    "training",
    "tasks",
)
_MEMBER_KEYS = ("name", "task", "steps", "chance", "options", "training")
_WORDS = {str: "text", float: "a number", int: "a whole number", list: "a list", dict: "a table"}


@dataclass(frozen=True)
class Member:
    """One task of a suite."""

    name: str
    """What it is called in the suite."""
    task: str
    """Name of the task itself."""
    steps: int
    """Optimizer steps."""
    chance: float
    """The score of who has learned nothing: the best answer that does not look at the input."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the task."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the suite's training."""


@dataclass(frozen=True)
class Suite:
    """Several tasks, and how their scores become one."""

    name: str
    """What the suite is called."""
    members: tuple[Member, ...]
    """Its tasks in the order in which they are trained, cheap ones first."""
    description: str = ""
    """What it asks, for people."""
    aggregation: str = "min"
    """``min``: as good as at the task that a cell is worst at (Jozefowicz et al. 2015); ``mean``;
    ``pareto``: one objective a task, ranked by the mean.
    """
    reference: str = "lstm"
    """The score that counts as 1: that of ``lstm``, ``gru``, or the ``best`` of both."""
    stop_below: float = 0.0
    """With ``min``, the tasks after one with a smaller share of the reference are not trained (0:
    all are).
    """
    seeds: tuple[int, ...] = (1, 2, 3)
    """The reference is the mean over them; candidates of a search are trained with the first."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Of all tasks."""

    @property
    def steps(self) -> int:
        """Optimizer steps of all tasks."""
        return sum(member.steps for member in self.members)

    @classmethod
    def parse(cls, document: Mapping[str, Any], source: str = "suite") -> Suite:
        """The suite that a decoded TOML document declares. Raises :class:`ConfigError` for anything
        that it does not say properly.
        """
        tomltext.check_keys(document, _KEYS, where=source)
        members = _get(document, "tasks", list, source)
        suite = cls(
            name=_get(document, "name", str, source),
            members=tuple(
                _member(table, f"{source}, task {k + 1}") for k, table in enumerate(members)
            ),
            description=_get(document, "description", str, source, ""),
            aggregation=_one_of(
                _get(document, "aggregation", str, source, "min"),
                AGGREGATIONS,
                f"{source}, key aggregation",
            ),
            reference=_one_of(
                _get(document, "reference", str, source, "lstm"),
                REFERENCES,
                f"{source}, key reference",
            ),
            stop_below=float(_get(document, "stop_below", float, source, 0.0)),
            seeds=tuple(_get(document, "seeds", list, source, [1, 2, 3])),
            training=_training(
                _get(document, "training", dict, source, {}), f"{source}, [training]"
            ),
        )
        _check(suite, source)
        return suite

    def to_document(self) -> dict[str, Any]:
        """Plain data that :meth:`parse` reads back."""
        rows = [
            {
                "name": m.name,
                "task": m.task,
                "steps": m.steps,
                "chance": m.chance,
                "options": dict(m.options),
                "training": dict(m.training),
            }
            for m in self.members
        ]
        return {
            "name": self.name,
            "description": self.description,
            "aggregation": self.aggregation,
            "reference": self.reference,
            "stop_below": self.stop_below,
            "seeds": list(self.seeds),
            "training": dict(self.training),
            "tasks": rows,
        }


def load_suite_data(suite: Suite) -> Arrays:
    """The arrays of every task, as ``<number>/<name>``; :func:`part` takes those of one out
    again.
    """
    return {
        f"{k}/{name}": array
        for k, member in enumerate(suite.members)
        for name, array in tasks.get(member.task).load(member.options).items()
    }


def metric_of(task: str) -> str:
    """What the number of a task is called, or of a suite."""
    return "share of the reference" if task == SUITE else tasks.get(task).metric


def part(arrays: Arrays, number: int) -> Arrays:
    """The arrays of one task out of those of the suite."""
    prefix = f"{number}/"
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _member(table: object, where: str) -> Member:
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"{table!r:.60} is no table",
            where=where,
            hint="write [[tasks]] and the keys of the task below",
        )
    tomltext.check_keys(table, _MEMBER_KEYS, where=where)
    task = _get(table, "task", str, where)
    member = Member(
        name=_get(table, "name", str, where, task),
        task=task,
        steps=_get(table, "steps", int, where),
        chance=float(_get(table, "chance", float, where)),
        options=dict(_get(table, "options", dict, where, {})),
        training=_training(_get(table, "training", dict, where, {}), f"{where}, training"),
    )
    if task == SUITE:
        raise ConfigError("a suite cannot hold a suite", where=where)
    if member.steps < 1:
        raise ConfigError(f"{member.steps} steps", where=where, hint="use 1 or more")
    parse_options(tasks.get(task).Options, member.options, task)
    return member


def _check(suite: Suite, source: str) -> None:
    names = [member.name for member in suite.members]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            "the tasks of a suite need names of their own",
            where=source,
            hint='add name = "..." to each of [[tasks]]',
        )
    seeds = suite.seeds
    if (
        not seeds
        or any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds)
        or len(set(seeds)) < len(seeds)
    ):
        raise ConfigError(
            f"{list(seeds)} are no seeds",
            where=f"{source}, key seeds",
            hint="for example [1, 2, 3]",
        )
    if not 0 <= suite.stop_below < 1:
        raise ConfigError(
            f"{suite.stop_below} is no share",
            where=f"{source}, key stop_below",
            hint="use 0 to less than 1",
        )
    if suite.stop_below and suite.aggregation != "min":
        raise ConfigError(
            f"a {suite.aggregation} needs all tasks",
            where=f"{source}, key stop_below",
            hint='only for aggregation = "min"',
        )


def _get(table: Mapping[str, Any], key: str, kind: type, where: str, default: Any = None) -> Any:
    if key not in table and default is not None:
        return default
    if key not in table:
        raise ConfigError(f"the key {key} is missing", where=where)
    value = table[key]
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or isinstance(value, bool):
        raise ConfigError(f"{value!r:.60} is not {_WORDS[kind]}", where=f"{where}, key {key}")
    return value


def _one_of(value: str, allowed: tuple[str, ...], where: str) -> str:
    if value not in allowed:
        raise tomltext.unknown("value", value, allowed, where=where)
    return value


def _training(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings of :class:`Training`; the steps are a matter of each task."""
    hints = {name: kind for name, kind in get_type_hints(Training).items() if name != "steps"}
    tomltext.check_keys(table, hints, where=where)
    for key, value in table.items():
        kind = hints[key]
        fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if (
            not fits
            or (isinstance(value, bool) and kind is not bool)
            or (isinstance(value, int | float) and not value >= 0)
        ):
            raise ConfigError(f"{value!r:.60} is not allowed", where=f"{where}, key {key}")
    return {key: hints[key](value) for key, value in table.items()}
