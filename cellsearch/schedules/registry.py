"""Schedules by name, made from the options of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellsearch.errors import checked_arguments
from cellsearch.files import Parts
from cellsearch.options import read_options
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


@checked_arguments
def get(name: str) -> type[Schedule]:
    """The schedule of this name; raises :class:`ConfigError` for an unknown one."""
    return _SCHEDULES.get(name)


@checked_arguments
def create(name: str, options: Mapping[str, Any] | None = None, *, source: str = "") -> Schedule:
    """The schedule of this name with these options; ``source``: the file that says so. Raises
    :class:`ConfigError` for an unknown name, option, or value.
    """
    return read_options(get(name), options or {}, source=source, path="schedule_options")
