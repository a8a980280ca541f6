"""Joins everything: asks the strategy, answers duplicates, grants training, remembers, and
resumes.
"""

from __future__ import annotations

from cellsearch.search.declared import SearchedExperiment
from cellsearch.search.events import (
    BestChanged,
    DuplicateAnswered,
    EnvironmentChanged,
    Resumed,
    SearchEvent,
    TrialEnded,
    TrialStarted,
)
from cellsearch.search.search import Search
from cellsearch.search.warm import Imported

__all__ = [
    "BestChanged",
    "DuplicateAnswered",
    "EnvironmentChanged",
    "Imported",
    "Resumed",
    "Search",
    "SearchEvent",
    "SearchedExperiment",
    "TrialEnded",
    "TrialStarted",
]
