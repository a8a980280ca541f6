"""Strategies by name, made from the options of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellsearch.errors import checked_arguments
from cellsearch.files import Parts
from cellsearch.options import default_table, read_options
from cellsearch.strategies.base import Strategy

__all__ = ["create", "get", "names", "options", "register"]

_STRATEGIES: Parts[Strategy] = Parts(
    "strategy",
    "cellsearch.strategies",
    Strategy,
    {
        "random": "cellsearch.strategies.random:Random",
        "prune": "cellsearch.strategies.prune:Prune",
        "grow": "cellsearch.strategies.grow:Grow",
        "genetic": "cellsearch.strategies.genetic:Genetic",
        "regularized_evolution": "cellsearch.strategies.evolution:RegularizedEvolution",
        "local_search": "cellsearch.strategies.evolution:LocalSearch",
        "predictor": "cellsearch.strategies.predictor:Predictor",
        "nsga2": "cellsearch.strategies.nsga2:Nsga2",
        "external": "cellsearch.strategies.external:External",
    },
)


@checked_arguments
def register(part: type[Strategy]) -> type[Strategy]:
    """Let this process know a strategy by its ``name``; a decorator. Workers of a search know entry
    points only, so it is for trying out with ``--workers 0`` or ``InProcess``. Raises
    :class:`ConfigError` for a name that is taken.
    """
    return _STRATEGIES.register(part)


def names() -> tuple[str, ...]:
    """The names of all strategies, those of other installed packages included."""
    return _STRATEGIES.names()


@checked_arguments
def get(name: str) -> type[Strategy]:
    """The strategy of this name; raises :class:`ConfigError` for an unknown one."""
    return _STRATEGIES.get(name)


@checked_arguments
def options(name: str) -> dict[str, Any]:
    """The options of a strategy with their defaults."""
    return default_table(get(name))


@checked_arguments
def create(name: str, given: Mapping[str, Any] | None = None, *, source: str = "") -> Strategy:
    """A strategy with these options; ``source``: the file that says so. Raises
    :class:`ConfigError` for an unknown name, option, or value.
    """
    return read_options(get(name), given or {}, source=source, path="strategy_options")
