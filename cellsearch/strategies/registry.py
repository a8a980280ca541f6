"""Strategies by name, made from the options of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from cellsearch.errors import ConfigError
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.evolution import LocalSearch, RegularizedEvolution
from cellsearch.strategies.genetic import Genetic
from cellsearch.strategies.grow import Grow
from cellsearch.strategies.nsga2 import Nsga2
from cellsearch.strategies.predictor import Predictor
from cellsearch.strategies.prune import Prune
from cellsearch.strategies.random import Random

__all__ = ["create", "get", "names", "options"]

_STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind
    for kind in (Random, Prune, Grow, Genetic, RegularizedEvolution, LocalSearch, Predictor, Nsga2)
}


def names() -> tuple[str, ...]:
    """The names of all strategies."""
    return tuple(_STRATEGIES)


def get(name: str) -> type[Strategy]:
    """The strategy of this name; raises :class:`ConfigError` for an unknown one."""
    if name not in _STRATEGIES:
        near = get_close_matches(str(name), _STRATEGIES, n=2)
        raise ConfigError(
            f"there is no strategy {name!r}",
            where="strategy",
            hint=("did you mean " + " or ".join(near) + "? " if near else "")
            + "strategies: "
            + ", ".join(_STRATEGIES),
        )
    return _STRATEGIES[name]


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
