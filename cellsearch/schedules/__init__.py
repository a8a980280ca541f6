"""Schedules: who gets more training."""

from cellsearch.job import Allowance
from cellsearch.schedules.base import Schedule
from cellsearch.schedules.curve_stop import CurveStop
from cellsearch.schedules.fixed import Fixed
from cellsearch.schedules.halving import SuccessiveHalving
from cellsearch.schedules.look_ahead import LookAhead
from cellsearch.schedules.registry import create, get, names

__all__ = [
    "Allowance",
    "CurveStop",
    "Fixed",
    "LookAhead",
    "Schedule",
    "SuccessiveHalving",
    "create",
    "get",
    "names",
]
