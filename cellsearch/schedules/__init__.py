"""Schedules: who gets more training."""

from cellsearch.schedules.base import (
    CurveStop,
    Fixed,
    LookAhead,
    Schedule,
    SuccessiveHalving,
    create,
    names,
)

__all__ = ["CurveStop", "Fixed", "LookAhead", "Schedule", "SuccessiveHalving", "create", "names"]
