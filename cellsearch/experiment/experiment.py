"""Experiments: the TOML that declares a search, read strictly.

Flat keys ``name question space strategy task trials seed workers deterministic lookahead baselines
schedule``, then the tables ``[strategy_options] [task_options] [training] [schedule_options]
[limits] [prefilter] [allowance] [reevaluation] [device] [constrain]``. ``space`` is a name, a path,
or a table that holds the search space itself; the resolved text that a run keeps is of the last
kind, so that it needs no other file. ``[constrain]`` narrows that space for this experiment
(:meth:`cellsearch.space.SearchSpace.constrained`) and is part of it in the resolved text. ``task =
"suite:NAME"`` names a suite (or its file), which brings its own training; ``[task_options]`` may
replace keys of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from cellsearch import schedules, strategies, tasks, zoo
from cellsearch.compiler import backends
from cellsearch.errors import ConfigError, amount, checked_arguments
from cellsearch.experiment import catalog
from cellsearch.experiment.misplaced import check_places
from cellsearch.experiment.overrides import overridden
from cellsearch.genome.device import COSTS, INT8, DeviceLimits
from cellsearch.job import Allowance, Limits, Prefilter, Reevaluation, Training
from cellsearch.options import at_least, keys, read_options, render_toml, table_of
from cellsearch.schedules import Fixed, Schedule
from cellsearch.space import SearchSpace, SizeLimits
from cellsearch.strategies.base import Strategy
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.suite import SUITE, Suite

__all__ = ["Experiment", "ExperimentFile", "load_experiment", "parse_experiment", "read_training"]

_PLAIN = (
    "name",
    "question",
    "task",
    "trials",
    "seed",
    "workers",
    "deterministic",
    "lookahead",
    "baselines",
    "max_weights",
)


@dataclass(frozen=True)
class Experiment:
    """A declared search; :func:`load_experiment` reads one."""

    name: str
    """Names the run's folder."""
    space: SearchSpace
    """Which cells there are (cellsearch spaces)."""
    strategy: Strategy
    """What proposes them (cellsearch strategies)."""
    task: str
    """What they are trained for (cellsearch tasks; suite:NAME for several)."""
    schedule: Schedule
    """Who gets more training (cellsearch schedules)."""
    question: str = ""
    """What the search is to answer, for people."""
    trials: int = 40
    """Candidates in all, baselines included."""
    seed: int = 0
    """Decides proposals, weights and batches."""
    workers: int = 2
    """Processes (0: none, train in this one)."""
    deterministic: bool = False
    """The proposal of trial n sees results of trials up to n - ``lookahead`` only, so the table
    does not depend on the number of workers."""
    lookahead: int = 4
    """How far a deterministic search runs ahead of the results that it knows."""
    baselines: tuple[str, ...] = ("lstm", "gru")
    """Zoo cells that are trained first, under the same budget."""
    max_weights: int | str = 0
    """Trainable weights of a cell at most, counted at the sizes that are trained: all layers and
    directions, without embedding and readout. 0: as many as the space allows; the name of a zoo
    cell: as many as that has. Baselines are trained all the same."""
    task_options: Mapping[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    limits: Limits = field(default_factory=Limits)
    prefilter: Prefilter = field(default_factory=Prefilter)
    """Checks before training, whose rejects do not count as trials."""
    allowance: Allowance = field(default_factory=Allowance)
    """What the search may use up, besides its number of trials."""
    reevaluation: Reevaluation = field(default_factory=Reevaluation)
    """Who is trained again, with new seeds, before it ranks."""
    device: DeviceLimits = field(default_factory=DeviceLimits)
    """What the found cells must fit; baselines are trained all the same."""
    folder: Path | None = field(default=None, compare=False)
    """Of its file: data whose path is relative are looked for there too."""

    def __repr__(self) -> str:
        return (
            f"<experiment {self.name}: {self.strategy.name} in {self.space.name} for {self.task}, "
            f"{amount(self.trials, 'trial')}>"
        )

    @property
    def counts_sizes(self) -> bool:
        """Whether which cells are legal depends on the sizes that are trained."""
        return bool(self.max_weights or self.device.bounds)

    @property
    def measured(self) -> DeviceLimits | None:
        """For which device the costs of each trial are written down; ``None``: they are not."""
        wanted = self.device.any or not {*COSTS, INT8}.isdisjoint(self.strategy.minimised)
        return self.device if wanted else None

    def to_toml(self) -> str:
        """The resolved experiment: every option written out, the search space included;
        :func:`load_experiment` reads it back.
        """
        document = {key: getattr(self, key) for key in _PLAIN}
        document |= {"strategy": self.strategy.name, "schedule": self.schedule.name}
        document |= {
            "strategy_options": table_of(self.strategy),
            "schedule_options": table_of(self.schedule),
            "task_options": dict(self.task_options),
            "training": table_of(self.training),
            "limits": table_of(self.limits),
            "prefilter": table_of(self.prefilter),
            "allowance": table_of(self.allowance),
            "space": self.space.to_table(),
        }
        if self.device.any:
            document["device"] = table_of(self.device)
        if self.reevaluation.any:
            document["reevaluation"] = table_of(self.reevaluation)
        return render_toml(document)


@dataclass(frozen=True)
class ExperimentFile:
    """What an experiment file says, before the names in it are looked up; the fields of
    :class:`Experiment` say what each means.
    """

    name: str
    space: Annotated[str | Mapping[str, Any], "a name, a path, or a table"]
    strategy: str
    task: str
    schedule: str = Fixed.name
    question: str = Experiment.question
    trials: Annotated[int, at_least(1)] = Experiment.trials
    seed: Annotated[int, at_least(0)] = Experiment.seed
    workers: Annotated[int, at_least(0)] = Experiment.workers
    deterministic: bool = Experiment.deterministic
    lookahead: Annotated[int, at_least(1)] = Experiment.lookahead
    baselines: Annotated[tuple[str, ...], "a list of zoo cells"] = Experiment.baselines
    max_weights: Annotated[int | str, "a number of weights, or a zoo cell that has as many"] = (
        Experiment.max_weights
    )
    training: Training = field(default_factory=Training)
    limits: Limits = field(default_factory=Limits)
    prefilter: Prefilter = field(default_factory=Prefilter)
    allowance: Allowance = field(default_factory=Allowance)
    reevaluation: Reevaluation = field(default_factory=Reevaluation)
    device: DeviceLimits = field(default_factory=DeviceLimits)
    strategy_options: Mapping[str, Any] = field(default_factory=dict)
    task_options: Mapping[str, Any] = field(default_factory=dict)
    schedule_options: Mapping[str, Any] = field(default_factory=dict)
    constrain: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.name
        if name in ("", ".", "..") or not name.isprintable() or set("/\\") & set(name):
            raise ConfigError(
                f"{name!r:.60} is not a name",
                where="name",
                hint="it names the run's folder: any text without / and \\",
            )
        for cell in self.baselines:
            _check_zoo(cell, "baselines")
        if isinstance(self.max_weights, str):
            _check_zoo(self.max_weights, "max_weights")
        elif self.max_weights < 0:
            hint = "allowed: a number of weights, 0 for no limit, or a zoo cell that has as many"
            raise ConfigError(f"{self.max_weights} is out of range", where="max_weights", hint=hint)


def _check_zoo(cell: str, where: str) -> None:
    try:
        zoo.entry(cell)
    except ConfigError as error:
        raise ConfigError(error.message, where=where, hint=error.hint) from None


@checked_arguments
def load_experiment(
    name_or_path: str | Path, overrides: Mapping[str, Any] | None = None
) -> Experiment:
    """The experiment of this name, or in this file, with some values replaced.

    ``overrides``: dotted keys such as ``{"trials": 8, "training.steps": 100}``. Another strategy,
    task or schedule than the file's starts from its own default options. Raises
    :class:`ConfigError` that names file, key, allowed keys and the nearest match.
    """
    entry = catalog.find(catalog.EXPERIMENTS, name_or_path)
    document = overridden(entry.document(), overrides or {})
    document.setdefault("name", entry.name)
    return parse_experiment(document, source=str(entry.path), folder=entry.path.parent)


@checked_arguments
def parse_experiment(
    document: Mapping[str, Any], *, source: str, folder: Path | None = None
) -> Experiment:
    """The experiment that a decoded TOML document declares; paths in it are relative to
    ``folder``.
    """
    document = _with_suite(document, source, folder)
    check_places(document, keys(ExperimentFile), source)
    declared = read_options(ExperimentFile, document, source=source)
    shares: tuple[str, ...] = ()
    if declared.task == SUITE:
        suite = Suite.parse(declared.task_options, source, "task_options")
        shares = tuple(member.name for member in suite.members)
    else:
        parse_options(tasks.get(declared.task).Options, declared.task_options, source=source)
    _check_training(declared.training, f"{source}: ", declared.task)
    declared = _with_device(declared, source)
    most, narrow = _weight_limit(declared, source)
    space = _space(declared.space, source, folder).constrained(
        narrow, source=f"{source}: [constrain]"
    )
    strategy = strategies.create(declared.strategy, declared.strategy_options, source=source)
    strategy.check(space, shares)
    _check_device(declared, strategy, source)
    same = (*_PLAIN, "training", "limits", "prefilter", "allowance", "reevaluation", "device")
    return Experiment(
        **{key: getattr(declared, key) for key in same} | {"max_weights": most},
        space=space,
        strategy=strategy,
        schedule=schedules.create(declared.schedule, declared.schedule_options, source=source),
        task_options=MappingProxyType(dict(declared.task_options)),
        folder=folder,
    )


def _weight_limit(declared: ExperimentFile, source: str) -> tuple[int | str, Mapping[str, Any]]:
    """``max_weights``, and what else ``[constrain]`` says: its ``max_parameters`` is the same, but
    where it says at which sizes it counts.
    """
    narrow = dict(declared.constrain)
    if "max_parameters" not in narrow:
        return declared.max_weights, narrow
    if declared.max_weights:
        raise ConfigError(
            "there are two limits on weights: max_weights and constrain.max_parameters",
            where=f"{source}: max_weights",
            hint="keep max_weights, which counts at the sizes that are trained",
        )
    if narrow.keys() & {"input_size", "hidden_size"}:
        return 0, narrow
    table = {"max_parameters": narrow.pop("max_parameters")}
    limits = read_options(SizeLimits, table, source=source, path="constrain")
    return limits.max_parameters, narrow


def _with_device(declared: ExperimentFile, source: str) -> ExperimentFile:
    """The document with those limits of ``[constrain]`` that are about a device in ``[device]``."""
    moved = {
        key: declared.constrain[key] for key in keys(DeviceLimits) if key in declared.constrain
    }
    if not moved:
        return declared
    read_options(DeviceLimits, moved, source=source, path="constrain")
    twice = [key for key in moved if getattr(declared.device, key)]
    if twice:
        raise ConfigError(
            f"there are two limits {twice[0]}: in [device] and in [constrain]",
            where=f"{source}: constrain.{twice[0]}",
            hint="keep that of [device]",
        )
    rest = {key: value for key, value in declared.constrain.items() if key not in moved}
    return replace(declared, constrain=rest, device=replace(declared.device, **moved))


def _check_device(declared: ExperimentFile, strategy: Strategy, source: str) -> None:
    """Refuse a score with rounded weights where none is taken."""
    wanted = declared.device.any or not {*COSTS, INT8}.isdisjoint(strategy.minimised)
    if wanted and declared.training.bidirectional:
        raise ConfigError(
            "a device runs step by step, and a bidirectional model needs the future",
            where=f"{source}: training.bidirectional",
            hint="set it to false, or leave out [device]",
        )
    if declared.device.int8 and declared.task == SUITE:
        hint = "search on one of its tasks"
        raise ConfigError(
            "a suite has no score with int8 weights", where=f"{source}: device.int8", hint=hint
        )
    if INT8 in strategy.minimised and not declared.device.int8:
        raise ConfigError(
            "the score with int8 weights is an objective, and this experiment does not take it",
            where=f"{source}: strategy_options.objectives",
            hint="add int8 = true to [device] (--int8)",
        )


@checked_arguments
def read_training(table: Mapping[str, Any], source: str, task: str = "") -> Training:
    """The ``[training]`` table of an experiment. Raises :class:`ConfigError` for an unknown key or
    a value that is not allowed.

    source: the file, for errors.
    task: the name of what is trained for, where that is known.
    """
    training = read_options(Training, table, source=source, path="training")
    _check_training(training, f"{source}: ", task)
    return training


def _check_training(training: Training, place: str, task: str) -> None:
    """Refuse what no value of its own is wrong about: a backend that is not there, a task that
    cannot be read in both directions.
    """
    if training.backend != "auto":
        backends.check_name(training.backend, where=f"{place}training.backend")
    if task not in ("", SUITE):
        tasks.get(task).check_training(training, where=f"{place}training")


def _with_suite(document: Mapping[str, Any], source: str, folder: Path | None) -> Mapping[str, Any]:
    """The document with the suite that ``task = "suite:NAME"`` names written out; other documents
    as they are.
    """
    task, changes = document.get("task"), document.get("task_options", {})
    if not isinstance(task, str) or not task.startswith(f"{SUITE}:"):
        return document
    asked = document.get("training", {})
    if not isinstance(asked, Mapping) or set(asked) - {"precision"}:
        hint = "write a suite of your own, or leave out all but precision"
        raise ConfigError("a suite brings its own training", where=f"{source}: training", hint=hint)
    read_training(asked, source)
    entry = catalog.find(catalog.SUITES, task.partition(":")[2], beside=folder)
    if not isinstance(changes, Mapping):
        return document  # the reader says what is wrong
    declared = {**entry.document(), **changes}
    if asked:
        declared["training"] = {**declared.get("training", {}), **asked}
    suite = Suite.parse(declared, str(entry.path))
    training = {**suite.training, "steps": suite.steps}
    return {**document, "task": SUITE, "task_options": suite.to_document(), "training": training}


def _space(value: str | Mapping[str, Any], source: str, folder: Path | None) -> SearchSpace:
    if isinstance(value, Mapping):
        return SearchSpace.from_table(value, source=f"{source}: [space]")
    entry = catalog.find(catalog.SPACES, value, beside=folder)
    return SearchSpace.from_toml(entry.text, source=str(entry.path))
