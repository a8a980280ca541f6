"""Discovers recurrent neural-network cells: search, inspect, export to plain PyTorch.

Importing this package is light: each public name is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cellsearch import _moved

if TYPE_CHECKING:
    from cellsearch import strategies, tasks, zoo
    from cellsearch.compiler.module import compile_cell
    from cellsearch.errors import CellsearchError
    from cellsearch.experiment import Experiment, load_experiment
    from cellsearch.experiment.catalog import load_space
    from cellsearch.genome.graph import Genome
    from cellsearch.search import Search
    from cellsearch.space import SearchSpace
    from cellsearch.trial import Budget, History, Proposal, Result, Trial

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "CellsearchError",
    "Experiment",
    "Genome",
    "History",
    "Proposal",
    "Result",
    "Search",
    "SearchSpace",
    "Trial",
    "__version__",
    "compile_cell",
    "load_experiment",
    "load_space",
    "strategies",
    "tasks",
    "zoo",
]

_HOME = {
    "Budget": "cellsearch.trial",
    "CellsearchError": "cellsearch.errors",
    "Experiment": "cellsearch.experiment",
    "Genome": "cellsearch.genome.graph",
    "History": "cellsearch.trial",
    "Proposal": "cellsearch.trial",
    "Result": "cellsearch.trial",
    "Search": "cellsearch.search",
    "SearchSpace": "cellsearch.space",
    "Trial": "cellsearch.trial",
    "compile_cell": "cellsearch.compiler.module",
    "load_experiment": "cellsearch.experiment",
    "load_space": "cellsearch.experiment.catalog",
    "strategies": "cellsearch.strategies",
    "tasks": "cellsearch.tasks",
    "zoo": "cellsearch.zoo",
}
_MODULES = frozenset({"strategies", "tasks", "zoo"})

_moved.install()


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'cellsearch' has no attribute {name!r}")
    module = import_module(_HOME[name])
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
