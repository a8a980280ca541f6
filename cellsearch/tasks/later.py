"""torch, and what of a task is built on it, loaded on first use.

Loading torch takes a second or two of a processor. To read an experiment, to open a run, to load
data or to hand jobs to workers a task's name, options and arrays are enough; what trains loads the
rest. So a module of a task takes torch from here::

    from cellsearch.tasks.later import heads, nn, torch
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellsearch.later import Later

__all__ = [
    "adaptive",
    "heads",
    "mad_model",
    "nn",
    "optimizer",
    "teacher",
    "torch",
    "translation_model",
]


if TYPE_CHECKING:
    import torch
    from torch import nn

    from cellsearch import optimizer
    from cellsearch.tasks import adaptive, heads, mad_model, teacher, translation_model
else:
    torch, nn = Later("torch"), Later("torch.nn")
    optimizer = Later("cellsearch.optimizer")
    adaptive = Later("cellsearch.tasks.adaptive")
    heads = Later("cellsearch.tasks.heads")
    mad_model = Later("cellsearch.tasks.mad_model")
    teacher = Later("cellsearch.tasks.teacher")
    translation_model = Later("cellsearch.tasks.translation_model")
