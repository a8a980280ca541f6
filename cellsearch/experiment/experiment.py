"""Experiments: the TOML that declares a search, read strictly.

Flat keys ``name question space strategy task trials seed workers deterministic lookahead baselines
schedule``, then the tables ``[strategy_options] [task_options] [training] [schedule_options]
[limits] [prefilter] [allowance] [constrain]``. ``space`` is a name, a path, or a table that holds
the search space itself; the resolved text that a run keeps is of the last kind, so that it needs no
other file. ``[constrain]`` narrows that space for this experiment
(:meth:`cellsearch.space.SearchSpace.constrained`) and is part of it in the resolved text. ``task =
"suite:NAME"`` names a suite (or its file), which brings its own training; ``[task_options]`` may
replace keys of it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from cellsearch import options as tomltext
from cellsearch import schedules, strategies, tasks, zoo
from cellsearch.errors import ConfigError
from cellsearch.experiment import catalog
from cellsearch.schedules import Schedule
from cellsearch.settings import Allowance, Limits, Prefilter, Training
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.suite import SUITE, Suite

__all__ = ["Experiment", "load_experiment", "parse_experiment", "read_training"]

Frozen = TypeVar("Frozen", Training, Limits, Prefilter, Allowance)

_SCALARS: dict[str, type] = {
    "name": str,
    "question": str,
    "strategy": str,
    "task": str,
    "schedule": str,
    "trials": int,
    "seed": int,
    "workers": int,
    "lookahead": int,
    "deterministic": bool,
}
_TABLES = (
    "strategy_options",
    "task_options",
    "training",
    "schedule_options",
    "limits",
    "prefilter",
    "allowance",
    "constrain",
)
_KEYS = (*_SCALARS, "space", "baselines", *_TABLES)
_LOWEST = {"trials": 1, "seed": 0, "workers": 0, "lookahead": 1}
_WORD = 2**63
_OPTIONS_OF = {
    "strategy": "strategy_options",
    "task": "task_options",
    "schedule": "schedule_options",
}
_TYPE_WORD = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Experiment:
    """A declared search; :func:`load_experiment` reads one.

    ``trials``: candidates in all, baselines included; ``seed`` decides proposals, weights and
    batches; ``workers``: processes (0: none, train in this one); ``prefilter``: checks before
    training, whose rejects do not count as trials; ``allowance``: what the search may use up
    besides; ``deterministic``: the proposal of trial n sees results of trials up to n -
    ``lookahead`` only, so the table does not depend on the number of workers; ``baselines``: names
    of zoo cells that are trained first, under the same budget.
    """

    name: str
    space: SearchSpace
    strategy: Strategy
    task: str
    schedule: Schedule
    question: str = ""
    trials: int = 40
    seed: int = 0
    workers: int = 2
    deterministic: bool = False
    lookahead: int = 4
    baselines: tuple[str, ...] = ("lstm", "gru")
    task_options: Mapping[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    limits: Limits = field(default_factory=Limits)
    prefilter: Prefilter = field(default_factory=Prefilter)
    allowance: Allowance = field(default_factory=Allowance)

    def to_toml(self) -> str:
        """The resolved experiment: every option written out, the search space included;
        :func:`load_experiment` reads it back.
        """
        document: dict[str, Any] = {
            key: getattr(self, key)
            for key in (
                "name",
                "question",
                "task",
                "trials",
                "seed",
                "workers",
                "deterministic",
                "lookahead",
                "baselines",
            )
        }
        document |= {"strategy": self.strategy.name, "schedule": self.schedule.name}
        document |= {
            "strategy_options": _options(self.strategy),
            "schedule_options": _options(self.schedule),
            "task_options": dict(self.task_options),
            "training": asdict(self.training),
            "limits": asdict(self.limits),
            "prefilter": asdict(self.prefilter),
            "allowance": asdict(self.allowance),
            "space": tomltext.parse(self.space.to_toml(), f"search space {self.space.name}"),
        }
        return tomltext.render(document)


def load_experiment(
    name_or_path: str | Path, overrides: Mapping[str, Any] | None = None
) -> Experiment:
    """The experiment of this name, or in this file, with some values replaced.

    ``overrides``: dotted keys such as ``{"trials": 8, "training.steps": 100}``. Another strategy,
    task or schedule than the file's starts from its own default options. Raises
    :class:`ConfigError` that names file, key, allowed keys and the nearest match.
    """
    entry = catalog.find(catalog.EXPERIMENTS, name_or_path)
    document = _overridden(entry.document(), overrides or {})
    document.setdefault("name", entry.name)
    return parse_experiment(document, source=str(entry.path), folder=entry.path.parent)


def parse_experiment(
    document: Mapping[str, Any], *, source: str, folder: Path | None = None
) -> Experiment:
    """The experiment that a decoded TOML document declares; paths in it are relative to
    ``folder``.
    """
    tomltext.check_keys(document, _KEYS, where=source)
    document = _with_suite(document, source, folder)
    for key, kind in _SCALARS.items():
        if key in document:
            _check_type(document[key], kind, f"{source}, key {key}")
    for key, lowest in _LOWEST.items():
        if key in document and document[key] < lowest:
            raise ConfigError(
                f"{document[key]} is too small",
                where=f"{source}, key {key}",
                hint=f"the smallest allowed is {lowest}",
            )
    for key in ("name", "space", "strategy", "task"):
        if key not in document:
            raise ConfigError(
                f"the key {key} is missing", where=source, hint=f'add a line {key} = "..."'
            )
    if (
        document["name"] in ("", ".", "..")
        or not document["name"].isprintable()
        or set("/\\") & set(document["name"])
    ):
        hint = "it names the run's folder: any text without / and \\"
        raise ConfigError(
            f"{document['name']!r:.60} is no name", where=f"{source}, key name", hint=hint
        )
    tables = {key: _table(document, key, source) for key in _TABLES}
    task = document["task"]
    shares: tuple[str, ...] = ()
    if task == SUITE:
        shares = tuple(
            member.name
            for member in Suite.parse(tables["task_options"], f"{source}, [task_options]").members
        )
    else:
        parse_options(tasks.get(task).Options, tables["task_options"], task)
    space = _space(document["space"], source, folder).constrained(
        tables["constrain"], source=f"{source}, [constrain]"
    )
    strategy = strategies.create(document["strategy"], tables["strategy_options"])
    strategy.check(space, shares)
    scalars = {
        key: document[key]
        for key in _SCALARS
        if key in document and key not in ("strategy", "schedule")
    }
    return Experiment(
        **scalars,
        space=space,
        strategy=strategy,
        schedule=schedules.create(document.get("schedule", "fixed"), tables["schedule_options"]),
        baselines=_baselines(document.get("baselines", ["lstm", "gru"]), source),
        task_options=types.MappingProxyType(dict(tables["task_options"])),
        training=read_training(tables["training"], f"{source}, [training]", task),
        limits=_dataclass(Limits, tables["limits"], f"{source}, [limits]"),
        prefilter=_read_prefilter(tables["prefilter"], f"{source}, [prefilter]"),
        allowance=_dataclass(Allowance, tables["allowance"], f"{source}, [allowance]"),
    )


def read_training(table: Mapping[str, Any], where: str, task: str = "") -> Training:
    """The ``[training]`` table of an experiment. Raises :class:`ConfigError` for an unknown key or
    a value that is no such.

    ``task``: the name of what is trained for, where that is known.
    """
    from cellsearch.training.model import check_training  # torch: importing this module loads none

    training = _dataclass(Training, table, where)
    check_training(training, tasks.get(task) if task and task != SUITE else None)
    return training


def _read_prefilter(table: Mapping[str, Any], where: str) -> Prefilter:
    from cellsearch.training.prefilter import check_thresholds

    prefilter = _dataclass(Prefilter, table, where)
    check_thresholds(prefilter)
    return prefilter


def _overridden(document: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    for key, options in _OPTIONS_OF.items():
        if key in overrides and overrides[key] != document.get(key):
            document.pop(options, None)
    for dotted, value in overrides.items():
        *path, last = dotted.split(".")
        table = document
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{part} is no table, so {dotted} cannot be set", where="--set")
        table[last] = value
    return document


def _with_suite(document: Mapping[str, Any], source: str, folder: Path | None) -> Mapping[str, Any]:
    """The document with the suite that ``task = "suite:NAME"`` names written out; other documents
    as they are.
    """
    task = document.get("task")
    if not isinstance(task, str) or not task.startswith(f"{SUITE}:"):
        return document
    if "training" in document:
        hint = "write a suite of your own, or leave it out"
        raise ConfigError(
            "a suite brings its own training", where=f"{source}, [training]", hint=hint
        )
    entry = catalog.find(catalog.SUITES, task.partition(":")[2], beside=folder)
    changes = _table(document, "task_options", source)
    suite = Suite.parse({**entry.document(), **changes}, str(entry.path))
    training = {**suite.training, "steps": suite.steps}
    return {**document, "task": SUITE, "task_options": suite.to_document(), "training": training}


def _space(value: object, source: str, folder: Path | None) -> SearchSpace:
    if isinstance(value, Mapping):
        return SearchSpace.from_toml(tomltext.render(value), source=f"{source}, [space]")
    if not isinstance(value, str):
        raise ConfigError(
            f"{value!r:.60} is no search space",
            where=f"{source}, key space",
            hint="write a name, a path, or a table",
        )
    entry = catalog.find(catalog.SPACES, value, beside=folder)
    return SearchSpace.from_toml(entry.text, source=str(entry.path))


def _baselines(value: object, source: str) -> tuple[str, ...]:
    where = f"{source}, key baselines"
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(
            f"{value!r:.60} is no list of names",
            where=where,
            hint='for example baselines = ["lstm", "gru"]',
        )
    for name in value:
        try:
            zoo.entry(name)
        except ConfigError as error:
            raise ConfigError(error.message, where=where, hint=error.hint) from None
    return tuple(value)


def _table(document: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    table = document.get(key, {})
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"{table!r:.60} is no table",
            where=f"{source}, key {key}",
            hint=f"write [{key}] and its keys below",
        )
    return table


def _check_type(value: object, kind: type, where: str) -> None:
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{value!r:.60} is not {_TYPE_WORD[kind]}", where=where)
    if isinstance(value, int) and not -_WORD <= value < _WORD:  # what TOML and the store hold
        raise ConfigError(
            f"{value} is too large", where=where, hint=f"the largest allowed is {_WORD - 1}"
        )


def _dataclass(kind: type[Frozen], table: Mapping[str, Any], where: str) -> Frozen:
    hints = get_type_hints(kind)
    tomltext.check_keys(table, hints, where=where)
    for key, value in table.items():
        _check_type(value, hints[key], f"{where}, key {key}")
        if isinstance(value, int | float) and not value >= 0:
            raise ConfigError(
                f"{value} is {'negative' if value < 0 else 'no number'}",
                where=f"{where}, key {key}",
                hint="use 0 or more",
            )
    return kind(**{key: hints[key](value) for key, value in table.items()})


def _options(part: object) -> dict[str, Any]:
    """The fields of a strategy or schedule; a field that is ``None`` has no TOML form and is left
    to its default.
    """
    if not is_dataclass(part):
        return {}
    return {
        f.name: getattr(part, f.name) for f in fields(part) if getattr(part, f.name) is not None
    }
