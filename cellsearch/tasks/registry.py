"""Finds tasks by name, and says what is known of each without loading its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.files import Parts
from cellsearch.options import default_table
from cellsearch.tasks.base import Arrays, Task
from cellsearch.tasks.data import registry

__all__ = ["TaskData", "TaskInfo", "describe", "get", "info", "names", "register"]

_SHOWN = 4
"""Arrays whose shapes are shown."""
_TASKS: Parts[Task] = Parts(
    "task",
    "cellsearch.tasks",
    Task,
    {
        "adding": "cellsearch.tasks.adding:Adding",
        "anbncn": "cellsearch.tasks.anbncn:AnBnCn",
        "associative_recall": "cellsearch.tasks.associative_recall:AssociativeRecall",
        "distil": "cellsearch.tasks.distil:Distil",
        "episodes": "cellsearch.tasks.episodes:Episodes",
        "irregular": "cellsearch.tasks.irregular:Irregular",
        "dyck1": "cellsearch.tasks.dyck:Dyck1",
        "dyck2": "cellsearch.tasks.dyck:Dyck2",
        "modular_sum": "cellsearch.tasks.parity:ModularSum",
        "mad_compression": "cellsearch.tasks.mad:MadCompression",
        "mad_fuzzy_recall": "cellsearch.tasks.mad:MadFuzzyRecall",
        "mad_in_context_recall": "cellsearch.tasks.mad:MadInContextRecall",
        "mad_memorization": "cellsearch.tasks.mad:MadMemorization",
        "mad_noisy_recall": "cellsearch.tasks.mad:MadNoisyRecall",
        "mad_selective_copying": "cellsearch.tasks.mad:MadSelectiveCopying",
        "group_word": "cellsearch.tasks.groups:GroupWord",
        "even_pairs": "cellsearch.tasks.regular:EvenPairs",
        "parity_check": "cellsearch.tasks.regular:ParityCheck",
        "cycle_navigation": "cellsearch.tasks.regular:CycleNavigation",
        "modular_arithmetic": "cellsearch.tasks.regular:ModularArithmetic",
        "modular_arithmetic_brackets": "cellsearch.tasks.context_free:ModularArithmeticBrackets",
        "solve_equation": "cellsearch.tasks.context_free:SolveEquation",
        "stack_manipulation": "cellsearch.tasks.context_free:StackManipulation",
        "reverse_string": "cellsearch.tasks.context_free:ReverseString",
        "duplicate_string": "cellsearch.tasks.context_sensitive:DuplicateString",
        "missing_duplicate": "cellsearch.tasks.context_sensitive:MissingDuplicate",
        "odds_first": "cellsearch.tasks.context_sensitive:OddsFirst",
        "binary_addition": "cellsearch.tasks.context_sensitive:BinaryAddition",
        "binary_multiplication": "cellsearch.tasks.context_sensitive:BinaryMultiplication",
        "compute_sqrt": "cellsearch.tasks.context_sensitive:ComputeSqrt",
        "bucket_sort": "cellsearch.tasks.context_sensitive:BucketSort",
        "selective_copy": "cellsearch.tasks.selective_copy:SelectiveCopy",
        "arrays": "cellsearch.tasks.own_sequences:ArraysTask",
        "char_lm": "cellsearch.tasks.char_lm:CharLM",
        "cogscale": "cellsearch.tasks.cogscale:Cogscale",
        "copy": "cellsearch.tasks.copy:Copy",
        "etth1": "cellsearch.tasks.forecasting:ETTh1",
        "japanese_vowels": "cellsearch.tasks.classification:JapaneseVowels",
        "jsb": "cellsearch.tasks.jsb:JSB",
        "mackey_glass": "cellsearch.tasks.forecasting:MackeyGlass",
        "mnist1d": "cellsearch.tasks.classification:Mnist1D",
        "online_drift": "cellsearch.tasks.online_drift:OnlineDrift",
        "parity": "cellsearch.tasks.parity:Parity",
        "pen_digits": "cellsearch.tasks.classification:PenDigits",
        "pixels": "cellsearch.tasks.pixels:Pixels",
        "sentiment": "cellsearch.tasks.sentiment:Sentiment",
        "spoken_digits": "cellsearch.tasks.classification:SpokenDigits",
        "etth1_gaps": "cellsearch.tasks.gaps:ETTh1Gaps",
        "sunspots_gaps": "cellsearch.tasks.gaps:SunspotsGaps",
        "sunspots": "cellsearch.tasks.forecasting:Sunspots",
        "table": "cellsearch.tasks.table:TableForecast",
        "table_labels": "cellsearch.tasks.table:TableLabels",
        "time_machine": "cellsearch.tasks.corpora:TimeMachine",
        "tiny_shakespeare": "cellsearch.tasks.corpora:TinyShakespeare",
        "translation": "cellsearch.tasks.translation:Translation",
        "word_lm": "cellsearch.tasks.word_lm:WordLM",
    },
)


@checked_arguments
def register(part: type[Task]) -> type[Task]:
    """Let this process know a task by its ``name``; a decorator. Workers of a search know entry
    points only, so it is for trying out with ``--workers 0`` or ``InProcess``. Raises
    :class:`ConfigError` for a name that is taken.
    """
    return _TASKS.register(part)


def names() -> tuple[str, ...]:
    """The names of all tasks, those of other installed packages included."""
    return tuple(sorted(_TASKS.names()))


@checked_arguments
def get(name: str) -> type[Task]:
    """The class of a task; of a family, ``NAME:VARIANT`` names one of its tasks. Raises
    :class:`ConfigError` for an unknown name.
    """
    if name == "suite":
        raise ConfigError(
            "a suite is several tasks, and here one is needed",
            where="task",
            hint="name one of them: cellsearch suites lists them; cellsearch evaluate CELL "
            "--suite NAME trains all",
        )
    family, colon, variant = name.partition(":")
    found = _TASKS.get(family)
    return found.variant(variant) if colon else found


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What is known of a task without loading its data. ``missing``: ``""`` if the data are there,
    else what is missing.

    ``download``: addresses from which missing data would be downloaded when they are needed,
    ``download_bytes``: their size in all, where it is known. ``data``: in few words whether the
    data are there and what to do otherwise; ``about_data``: all that is known of the data set, in
    lines. ``options``: name and default of each option of the task.
    """

    name: str
    metric: str
    summary: str
    source: str
    dataset: str
    missing: str
    options: Mapping[str, Any]
    download: tuple[str, ...] = ()
    download_bytes: int = 0
    data: str = "there"
    about_data: str = ""


def describe() -> tuple[TaskInfo, ...]:
    """All tasks, by name. Whether data files are damaged is found out when they are read."""
    return tuple(info(name) for name in names())


def info(name: str) -> TaskInfo:
    """One task. Raises :class:`ConfigError` for an unknown name."""
    task = get(name)
    missing = registry.available(task.dataset) if task.dataset else ""
    data = registry.state(task.dataset) if task.dataset else "there"
    if task.package and find_spec(task.package) is None:
        missing = f"the package {task.package} is not installed"
        data = f"missing: pip install {task.package}"
    options = default_table(task.Options)
    files = registry.to_download(task.dataset) if task.dataset and missing else ()
    return TaskInfo(
        name,
        task.metric,
        task.summary,
        task.source,
        task.dataset,
        missing,
        options,
        tuple(file.urls[0] for file in files),
        sum(file.size for file in files),
        data,
        registry.description(task.dataset) if task.dataset else "",
    )


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task's name, options and loaded arrays: all that a search needs, as plain data that may
    cross a process border.
    """

    name: str
    options: Mapping[str, Any]
    arrays: Arrays

    def __repr__(self) -> str:
        shapes = [f"{name} {list(array.shape)}" for name, array in self.arrays.items()]
        more = f" and {len(shapes) - _SHOWN} more" if len(shapes) > _SHOWN else ""
        return f"<data of the task {self.name}: {', '.join(shapes[:_SHOWN])}{more}>"

    def create(self, **changes: Any) -> Task:
        """The task itself, with some options changed."""
        return get(self.name).create({**self.options, **changes}, self.arrays)
