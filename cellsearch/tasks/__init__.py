"""Tasks: what cells are trained for. A file each; this one finds them by name.

``get(name)`` gives the class; a task is made with ``cls.create(options, cls.load(options))``.
:func:`from_arrays`, :func:`from_teacher` and :func:`from_text_file` make one from your own data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task
from cellsearch.tasks.registry import TaskData, TaskInfo, describe, get, info, names

if TYPE_CHECKING:
    from cellsearch.tasks.arrays import from_arrays, from_teacher, from_text_file

__all__ = [
    "Arrays",
    "Batch",
    "CellFactory",
    "Split",
    "Task",
    "TaskData",
    "TaskInfo",
    "describe",
    "from_arrays",
    "from_teacher",
    "from_text_file",
    "get",
    "info",
    "names",
]

_LAZY = ("from_arrays", "from_teacher", "from_text_file")
"""Loaded on first use, because they need torch."""


def __getattr__(name: str) -> object:
    if name == "arrays":
        return import_module(f"{__name__}.arrays")
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.arrays"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
