"""Trains candidates. This is the door: :func:`prepare` once before the jobs of a task or a suite,
:func:`evaluate` for each job.

Each name is loaded on first use, because looking at a run does without torch. Behind the door:
``jobs`` (one task or a suite?), ``loop`` (one task), ``suite`` (several, made one score), ``model``
(the task and the network of a job), ``state`` and ``checkpoint`` (put down and taken up),
``results`` (trainings that are paid once), ``prefilter`` and ``guard`` (what is refused),
``connections`` and ``gates`` (what is learned of each connection), ``quiet_start`` (a cell that
grew starts as its parent), ``fused`` (readout and loss), ``environment`` (fingerprint of the
machine), ``data`` (plain values).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellsearch.training.data import Data, ReferenceTraining
    from cellsearch.training.jobs import check_precision, evaluate, layer_sizes, naive, prepare

__all__ = [
    "Data",
    "ReferenceTraining",
    "check_precision",
    "evaluate",
    "layer_sizes",
    "naive",
    "prepare",
]

_HOME = {
    "Data": "cellsearch.training.data",
    "ReferenceTraining": "cellsearch.training.data",
    "check_precision": "cellsearch.training.jobs",
    "evaluate": "cellsearch.training.jobs",
    "layer_sizes": "cellsearch.training.jobs",
    "naive": "cellsearch.training.jobs",
    "prepare": "cellsearch.training.jobs",
}


def __getattr__(name: str) -> object:
    """Load a name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
