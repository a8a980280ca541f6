"""Strategies by name, made from the options of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cellsearch.errors import ConfigError
from cellsearch.files import Parts
from cellsearch.strategies.base import Strategy

__all__ = ["create", "get", "names", "options"]

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
    },
)


def names() -> tuple[str, ...]:
    """The names of all strategies, those of other installed packages included."""
    return _STRATEGIES.names()


def get(name: str) -> type[Strategy]:
    """The strategy of this name; raises :class:`ConfigError` for an unknown one."""
    return _STRATEGIES.get(name)


def options(name: str) -> dict[str, Any]:
    """The options of a strategy with their defaults."""
    kind = get(name)
    # strategies are dataclasses
    return {f.name: f.default for f in fields(kind)}  # type: ignore[arg-type]


def create(name: str, given: Mapping[str, Any] | None = None) -> Strategy:
    """A strategy with these options; raises :class:`ConfigError` for an unknown name, option, or
    value of another type.
    """
    kind, known = get(name), options(name)
    checked: dict[str, Any] = {}
    for key, value in (given or {}).items():
        where = f"strategy_options.{key}"
        if key not in known:
            raise ConfigError(
                f"the strategy {name} has no option {key!r}",
                where=where,
                hint="options: " + (", ".join(known) or "none"),
            )
        checked[key] = _checked(value, known[key], where)
    return kind(**checked)


def _checked(value: Any, default: Any, where: str) -> Any:
    """The value when it has the type of the default (an integer may stand for a number)."""
    kind = type(default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if (
        kind is tuple
        and isinstance(value, (list, tuple))
        and all(isinstance(item, str) for item in value)
    ):
        return tuple(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            str: "a text",
            tuple: "a list of texts",
        }
        raise ConfigError(
            f"{value!r:.60} is not {words[kind]}", where=where, hint=f"the default is {default!r}"
        )
    return value
