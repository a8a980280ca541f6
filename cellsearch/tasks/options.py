"""Options of tasks: frozen dataclasses whose fields are the options, checked when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

from cellsearch.errors import ConfigError

__all__ = ["TaskOptions", "at_least", "one_of", "parse_options"]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Options that every task has. ``batch_size`` B: sequences in a training batch."""

    batch_size: int = 32

    def check(self) -> None:
        """Raise :class:`ConfigError` for an illegal value."""
        at_least(1, batch_size=self.batch_size)


T = TypeVar("T", bound=TaskOptions)


def parse_options(kind: type[T], options: Mapping[str, Any], task: str) -> T:
    """The options of a task from plain data. Raises :class:`ConfigError` for an unknown name, a
    wrong type or an illegal value.
    """
    allowed = {field.name for field in fields(kind)}
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in allowed:
            raise ConfigError(
                f"task {task} has no option {name!r}",
                where=f"task_options.{name}",
                hint="allowed: " + ", ".join(sorted(allowed)),
            )
        values[name] = _convert(value, hints[name], name)
    parsed = kind(**values)
    parsed.check()
    return parsed


def _convert(value: Any, kind: Any, name: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[int, ...]:
        if isinstance(value, list | tuple) and all(
            isinstance(v, int) and not isinstance(v, bool) for v in value
        ):
            return tuple(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    wanted = "a list of int" if kind == tuple[int, ...] else kind.__name__
    raise ConfigError(f"{value!r} is not {wanted}", where=f"task_options.{name}")


def at_least(least: float, **values: float) -> None:
    """Raise :class:`ConfigError` for a value below ``least``."""
    for name, value in values.items():
        if not value >= least:
            raise ConfigError(
                f"{value} is too small", where=f"task_options.{name}", hint=f"use {least} or more"
            )


def one_of(allowed: tuple[str, ...], **values: str) -> None:
    """Raise :class:`ConfigError` for a value that is not among the allowed ones."""
    for name, value in values.items():
        if value not in allowed:
            raise ConfigError(
                f"{value!r} is not allowed",
                where=f"task_options.{name}",
                hint="allowed: " + ", ".join(allowed),
            )
