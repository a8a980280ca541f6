"""torch, and what of a task is built on it, loaded on first use.

Loading torch takes a second or two of a processor. To read an experiment, to open a run, to load
data or to hand jobs to workers a task's name, options and arrays are enough; what trains loads the
rest. So a module of a task takes torch from here::

    from cellsearch.tasks.later import heads, nn, torch
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["adaptive", "heads", "mad_model", "nn", "teacher", "torch", "translation_model"]


class _Later(ModuleType):
    """Stands for a module until one of its names is asked for."""

    def __getattr__(self, name: str) -> object:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)  # the next time it is at hand
        return value


if TYPE_CHECKING:
    import torch
    from torch import nn

    from cellsearch.tasks import adaptive, heads, mad_model, teacher, translation_model
else:
    torch, nn = _Later("torch"), _Later("torch.nn")
    adaptive = _Later("cellsearch.tasks.adaptive")
    heads = _Later("cellsearch.tasks.heads")
    mad_model = _Later("cellsearch.tasks.mad_model")
    teacher = _Later("cellsearch.tasks.teacher")
    translation_model = _Later("cellsearch.tasks.translation_model")
