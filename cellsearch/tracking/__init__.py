"""What happens in a search, shown in the trackers of experiments that a team has already: each
follows the run's store from a process of its own, so that one that fails or hangs costs the search
nothing.
"""

from cellsearch.tracking.base import CurvePoint, TrackedCell, TrackedRun, TrackedTrial, Tracker
from cellsearch.tracking.follow import send
from cellsearch.tracking.process import Trackers
from cellsearch.tracking.registry import get, names

__all__ = [
    "CurvePoint",
    "TrackedCell",
    "TrackedRun",
    "TrackedTrial",
    "Tracker",
    "Trackers",
    "get",
    "names",
    "send",
]
