"""What a search has used up of what it may: time and optimizer steps."""

from __future__ import annotations

import math
import time
from bisect import bisect_right

from cellsearch.history import Granted, History
from cellsearch.job import Allowance
from cellsearch.store import Store

__all__ = ["Spending", "seconds_searched", "steps_granted"]


def steps_granted(history: History) -> int:
    """Optimizer steps of all trials together, see :class:`cellsearch.history.Granted`."""
    return history.index(Granted).steps


def seconds_searched(store: Store) -> float:
    """Wall clock of the sittings before this one, each from its opening until the last that
    happened in it.
    """
    openings = [environment.opened for environment in store.environments()]
    last = [0.0, *openings]
    for times in store.lookup.rows("SELECT started, ended FROM rungs"):
        for moment in times:
            if moment is not None:
                sitting = bisect_right(openings, moment)
                last[sitting] = max(last[sitting], moment)
    return sum(end - opened for opened, end in zip(openings, last[1:], strict=True))


class Spending:
    """What a run uses up of its allowance. A sitting lasts from opening the run until closing it.

    seconds_before: wall clock of earlier sittings.
    steps_before: optimizer steps of earlier sittings.
    opened: when this one began, by :func:`time.monotonic`.
    """

    def __init__(
        self, allowance: Allowance, *, seconds_before: float, steps_before: int, opened: float
    ) -> None:
        self._allowance = allowance
        self._seconds_before = seconds_before
        self._steps_before = steps_before
        self._opened = opened

    @property
    def seconds(self) -> float:
        """Wall clock of all sittings together."""
        return self._seconds_before + time.monotonic() - self._opened

    @property
    def hours_used_up(self) -> bool:
        """Whether the time is used up; never, where it is not bounded."""
        return self._allowance.hours > 0 and self.seconds >= 3600 * self._allowance.hours

    def used_up(self, history: History) -> str:
        """What is used up, in words; ``""`` while there is some left of each."""
        if self.hours_used_up:
            return f"the {self._allowance.hours:g} hours of the allowance"
        if self._allowance.steps and steps_granted(history) >= self._allowance.steps:
            return f"the {self._allowance.steps} optimizer steps of the allowance"
        return ""

    def seconds_left(self, history: History) -> float:
        """Until it is used up, if steps are done as fast as in this sitting so far; infinity where
        nothing is bounded.
        """
        left = 3600 * self._allowance.hours - self.seconds if self._allowance.hours else math.inf
        if self._allowance.steps:
            granted = steps_granted(history)
            rate = (granted - self._steps_before) / max(time.monotonic() - self._opened, 1e-9)
            left = min(left, (self._allowance.steps - granted) / rate if rate else math.inf)
        return max(0.0, left)
