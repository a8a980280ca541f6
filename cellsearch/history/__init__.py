"""What a search remembers, as strategies and schedules read it: all trials by number, and indexes
that keep what is asked of them up to date.
"""

from __future__ import annotations

from cellsearch.history.frames import as_frame
from cellsearch.history.history import Descent, History
from cellsearch.history.indexes import AnIndex, Granted, Index, Ranking, Totals

__all__ = [
    "AnIndex",
    "Descent",
    "Granted",
    "History",
    "Index",
    "Ranking",
    "Totals",
    "as_frame",
]
