"""Schedules by name, made from the options of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from cellsearch.errors import ConfigError
from cellsearch.schedules.base import Schedule
from cellsearch.schedules.curve_stop import CurveStop
from cellsearch.schedules.fixed import Fixed
from cellsearch.schedules.halving import SuccessiveHalving
from cellsearch.schedules.look_ahead import LookAhead

__all__ = ["create", "names"]


_SCHEDULES: dict[str, type[Schedule]] = {
    cls.name: cls for cls in (CurveStop, Fixed, LookAhead, SuccessiveHalving)
}


def names() -> tuple[str, ...]:
    """The names of all schedules."""
    return tuple(sorted(_SCHEDULES))


def create(name: str, options: Mapping[str, Any] | None = None) -> Schedule:
    """The schedule of this name. Raises :class:`ConfigError` for an unknown name, an unknown
    option, or a wrong value.
    """
    if name not in _SCHEDULES:
        raise ConfigError(
            f"there is no schedule {name!r}",
            where="schedule",
            hint="schedules: " + ", ".join(names()),
        )
    kind = _SCHEDULES[name]
    allowed = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for option, value in (options or {}).items():
        where = f"schedule_options.{option}"
        if option not in allowed:
            raise ConfigError(
                f"schedule {name} has no option {option!r}",
                where=where,
                hint="allowed: " + (", ".join(sorted(allowed)) or "none"),
            )
        default = allowed[option].default
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if default is not MISSING and (isinstance(value, bool) or not isinstance(value, kinds)):
            wanted = "a number" if float in kinds else "a whole number"
            raise ConfigError(
                f"{value!r:.60} is not {wanted}", where=where, hint=f"the default is {default!r}"
            )
    return kind(**dict(options or {}))
