"""Joins everything: asks the strategy, answers duplicates, grants training, remembers, and
resumes.
"""

from __future__ import annotations

from cellsearch.search.continuing import Imported
from cellsearch.search.events import (
    BestChanged,
    DuplicateAnswered,
    EnvironmentChanged,
    Resumed,
    SearchEvent,
    TrialEnded,
    TrialStarted,
    WaitsForTold,
)
from cellsearch.search.search import Search

__all__ = [
    "BestChanged",
    "DuplicateAnswered",
    "EnvironmentChanged",
    "Imported",
    "Resumed",
    "Search",
    "SearchEvent",
    "TrialEnded",
    "TrialStarted",
    "WaitsForTold",
]
