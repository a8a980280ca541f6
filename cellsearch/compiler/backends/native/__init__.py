"""The native backend: bytecode for one C runtime that runs whole sequences, forward and backward.
float32 on the CPU.

A cell costs no compilation: its schedule (:mod:`cellsearch.compiler.scheduling.commands`) becomes
tables of numbers that a fixed library interprets. The library is compiled once on each machine
(:mod:`cellsearch.compiler.backends.native.build`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellsearch.compiler.backends.native.backend import Native

__all__ = ["Native"]


def __getattr__(name: str) -> object:
    """Load the backend on first use: it needs torch, and counting what a cell costs does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.backend"), name)
