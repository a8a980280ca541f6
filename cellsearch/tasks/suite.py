"""Suites: several tasks that a cell must all be good at. How one is declared, and its data;
:mod:`cellsearch.training.suite` trains and scores it. A suite itself is not a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from cellsearch import tasks
from cellsearch.errors import ConfigError
from cellsearch.job import SUITE, Result, Training
from cellsearch.options import (
    Key,
    above,
    at_least,
    between,
    keys,
    read_options,
    table_of,
    unknown,
)
from cellsearch.tasks.base import Arrays

__all__ = ["SUITE", "Member", "Suite", "load_suite_data", "metric_of", "part"]

Rates = tuple[Annotated[float, above(0)], ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One task of a suite."""

    name: str = ""
    """What it is called in the suite; as the task when that is left out."""
    task: str
    """Name of the task itself."""
    steps: Annotated[int, at_least(1)]
    """Optimizer steps."""
    chance: float
    """The score of who has learned nothing: the best answer that does not look at the input."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the task."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the suite's training."""
    rates: Annotated[Rates, "a list of numbers above 0"] = ()
    """Factors of its learning rate, in place of the suite's."""

    def __post_init__(self) -> None:
        if self.task == SUITE:
            raise ConfigError("a suite cannot hold a suite", where="task", hint="name its tasks")
        read_options(tasks.get(self.task).Options, self.options, path="options")
        object.__setattr__(self, "name", self.name or self.task)
        object.__setattr__(self, "training", _without_steps(self.training))
        _require_distinct("rates", self.rates)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Several tasks, and how their scores become one."""

    name: str
    """What the suite is called."""
    description: str = ""
    """What it asks, for people."""
    aggregation: Literal["min", "mean", "pareto"] = "min"
    """``min``: as good as at the task that a cell is worst at (Jozefowicz et al. 2015); ``mean``;
    ``pareto``: one objective a task, ranked by the mean.
    """
    reference: Literal["lstm", "gru", "best", "perfect"] = "lstm"
    """The score that counts as 1: that of ``lstm``, ``gru``, or the ``best`` of both; or 0, which
    is ``perfect``, for tasks where these two learn nothing."""
    most: Annotated[float, at_least(0)] = 0.0
    """A share counts up to this in the fitness, so that no task makes up for all others (0: no
    limit)."""
    stop_below: Annotated[float, between(0, 1, open_high=True)] = 0.0
    """With ``min``, the tasks after one with a smaller share of the reference are not trained (0:
    all are).
    """
    seeds: Annotated[tuple[Annotated[int, at_least(0)], ...], at_least(1)] = (1, 2, 3)
    """The reference is the mean over them; candidates of a search are trained with the first, or
    the first ``trainings``."""
    trainings: Annotated[int, at_least(1)] = 1
    """With how many seeds a search trains a candidate on each task, at each rate."""
    rates: Annotated[Rates, at_least(1)] = (1.0,)
    """Each task is trained at each of these factors of its learning rate; the reference is taken at
    its best one."""
    over_rates: Literal["mean", "best"] = "mean"
    """The share of a task is the ``mean`` over its trainings, or that at the ``best`` of its rates,
    times the part of all its trainings that did not diverge."""
    failures: Literal["fail", "count"] = "fail"
    """A training that diverges makes the trial ``fail``, or counts as a share of 0."""
    weights: Annotated[int, at_least(0)] = 0
    """Of each task's whole model, within 15 %: every cell has the hidden size that follows from
    them (0: that of the training)."""
    equal: Literal["", "lstm", "gru"] = ""
    """Every cell alone has as many weights as this one has with the hidden size of the training,
    within 15 %, as cells have in final comparisons ("": every cell has that hidden size)."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Of all tasks."""
    members: Annotated[tuple[Member, ...], Key("tasks"), at_least(1)]
    """Its tasks in the order in which they are trained, cheap ones first."""

    def __post_init__(self) -> None:
        if len({member.name for member in self.members}) < len(self.members):
            raise ConfigError(
                "the tasks of a suite need names of their own",
                where="tasks",
                hint='add name = "..." to each of [[tasks]]',
            )
        _require_distinct("seeds", self.seeds)
        _require_distinct("rates", self.rates)
        if self.stop_below and self.aggregation != "min":
            raise ConfigError(
                f"a {self.aggregation} needs all tasks",
                where="stop_below",
                hint='only for aggregation = "min"',
            )
        if self.weights and self.equal:
            raise ConfigError(
                "the hidden size follows from weights or from equal, not from both",
                where="equal",
                hint="leave one of them out",
            )
        object.__setattr__(self, "training", _without_steps(self.training))

    @property
    def steps(self) -> int:
        """Optimizer steps of all trainings of a candidate together."""
        steps = sum(member.steps * len(self.rates_of(member)) for member in self.members)
        return steps * self.trainings

    def rates_of(self, member: Member) -> tuple[float, ...]:
        """The factors of the learning rate at which a task is trained."""
        return member.rates or self.rates

    def seeds_of(self, repeat: int = 0) -> tuple[int, ...]:
        """The seeds of a candidate's trainings, and of those of each repeat: the suite's in order,
        then whole numbers above the largest of them.
        """
        beyond = max(self.seeds) + 1 - len(self.seeds)
        first = repeat * self.trainings
        return tuple(
            self.seeds[k] if k < len(self.seeds) else beyond + k
            for k in range(first, first + self.trainings)
        )

    @classmethod
    def parse(cls, document: Mapping[str, Any], source: str = "suite", path: str = "") -> Suite:
        """The suite that a decoded TOML document declares. Raises :class:`ConfigError` for anything
        that it does not say properly, which names ``source`` and, below ``path``, the key.
        """
        return read_options(cls, document, source=source, path=path)

    def to_document(self) -> dict[str, Any]:
        """Plain data that :meth:`parse` reads back. What came after version 0.1 is left out where
        it says nothing new, so that older runs find the suite that they began with.
        """
        document = {k: v for k, v in table_of(self).items() if _LATER.get(k) != v}
        members = [{k: v for k, v in m.items() if k != "rates" or v} for m in document["tasks"]]
        return {**document, "tasks": members}


_LATER = {
    "trainings": 1,
    "rates": [1.0],
    "over_rates": "mean",
    "failures": "fail",
    "weights": 0,
    "equal": "",
    "most": 0.0,
}
"""Keys that version 0.1 did not have, with what they say by default."""


def _require_distinct(key: str, values: tuple[float, ...]) -> None:
    if len(set(values)) < len(values):
        what = key.removesuffix("s")
        raise ConfigError(f"{list(values)} names a {what} twice", where=key)


def _without_steps(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of :class:`Training`, checked; the steps are a matter of each task."""
    if "steps" in table:
        raise unknown("key", "steps", set(keys(Training)) - {"steps"}, where="training.steps")
    training = read_options(Training, table, path="training")
    return {key: getattr(training, key) for key in table}


def load_suite_data(suite: Suite) -> Arrays:
    """The arrays of every task, as ``<number>/<name>``; :func:`part` takes those of one out
    again.
    """
    return {
        f"{k}/{name}": array
        for k, member in enumerate(suite.members)
        for name, array in tasks.get(member.task).load(member.options).items()
    }


def metric_of(task: str, result: Result | None = None) -> str:
    """What the number of a task is called, or of a suite. ``result``: of a training, where the data
    decide.
    """
    if task == SUITE:
        return "share of the reference"
    kind = tasks.get(task)
    return kind.metric if result is None else kind.metric_name(result.score, result.metric)


def part(arrays: Arrays, number: int) -> Arrays:
    """The arrays of one task out of those of the suite."""
    prefix = f"{number}/"
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
