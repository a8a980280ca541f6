"""Drawing by weights, again and again from the same things."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

__all__ = ["Lot", "Lots"]

Thing = TypeVar("Thing")
MOST = 256


class Lot(Generic[Thing]):
    """Things with weights; all alike when no weight is above 0.

    :meth:`draw` takes from the generator what ``rng.choice(len(things), p=weights / sum)`` takes
    and gives what that gives: proposals of runs that exist are to stay what they are. It does not
    check and add up the weights each time, which is nearly all that ``choice`` does.
    """

    def __init__(self, things: Sequence[Thing], weights: Sequence[float]) -> None:
        self.things = things
        self._ends: list[float] = []
        chances = np.array(weights, dtype=float)
        if (chances < 0).any():
            raise ValueError(f"weights are 0 or more, not {min(weights)}")
        total = chances.sum()
        if total > 0:
            ends = (chances / total).cumsum()
            self._ends = (ends / ends[-1]).tolist()

    def draw(self, rng: np.random.Generator) -> Thing:
        """One of the things."""
        if not self._ends:
            return self.things[int(rng.integers(len(self.things)))]
        return self.things[bisect_right(self._ends, rng.random())]


class Lots:
    """The lots that were drawn from last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], tuple[object, Lot[object]]] = OrderedDict()

    def get(self, what: str, of: object, make: Callable[[], Lot[Thing]]) -> Lot[Thing]:
        """The lot ``what`` of this very object, which does not change; made if it is not kept."""
        key = (what, id(of))
        owner, lot = self._kept.get(key, (None, None))
        if lot is None or owner is not of:
            lot = make()  # type: ignore[assignment]
            self._kept[key] = (of, lot)  # type: ignore[assignment]
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return lot  # type: ignore[return-value]
