"""Schedules by name, made from the options of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from cellsearch.errors import ConfigError
from cellsearch.files import Parts
from cellsearch.schedules.base import Schedule

__all__ = ["create", "get", "names"]

_SCHEDULES: Parts[Schedule] = Parts(
    "schedule",
    "cellsearch.schedules",
    Schedule,
    {
        "curve_stop": "cellsearch.schedules.curve_stop:CurveStop",
        "fixed": "cellsearch.schedules.fixed:Fixed",
        "halving": "cellsearch.schedules.halving:SuccessiveHalving",
        "lookahead": "cellsearch.schedules.look_ahead:LookAhead",
    },
)


def names() -> tuple[str, ...]:
    """The names of all schedules, those of other installed packages included."""
    return _SCHEDULES.names()


def get(name: str) -> type[Schedule]:
    """The schedule of this name; raises :class:`ConfigError` for an unknown one."""
    return _SCHEDULES.get(name)


def create(name: str, options: Mapping[str, Any] | None = None) -> Schedule:
    """The schedule of this name. Raises :class:`ConfigError` for an unknown name, an unknown
    option, or a wrong value.
    """
    kind = get(name)
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
