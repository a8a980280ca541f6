"""What runs jobs: in this process, or on Ray workers.

Each executor is a module of its own, loaded on first use, so that nobody loads Ray who does not ask
for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellsearch.executors.in_process import InProcess
    from cellsearch.executors.ray import Ray

__all__ = ["InProcess", "Ray"]

_HOME = {"InProcess": "cellsearch.executors.in_process", "Ray": "cellsearch.executors.ray"}


def __getattr__(name: str) -> object:
    """Load an executor from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
