"""Drawing by weights, again and again from the same things."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np

__all__ = ["Group", "Lot", "Lots", "MadeLater"]

Thing = TypeVar("Thing")
MOST = 256


class Group(NamedTuple, Generic[Thing]):
    """Things that are made when somebody wants them."""

    weights: Sequence[float]
    """One for each."""
    make: Callable[[int], Thing]
    """The thing of this place among them."""

    def each(self) -> Iterator[tuple[Thing, float]]:
        """All of them, with their weights."""
        return zip(map(self.make, range(len(self.weights))), self.weights, strict=True)


class MadeLater(Sequence[Thing]):
    """The things of groups, each made when it is drawn: mostly one of hundreds is."""

    def __init__(self, groups: Iterable[Group[Thing]]) -> None:
        self._groups = list(groups)
        self._ends = list(accumulate(len(group.weights) for group in self._groups))
        self.weights = [weight for group in self._groups for weight in group.weights]
        """Of each thing."""

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[k] for k in range(len(self))[place]]
        place = range(len(self))[place]
        group = bisect_right(self._ends, place)
        before = self._ends[group - 1] if group else 0
        return self._groups[group].make(place - before)


class Lot(Generic[Thing]):
    """Things with weights; all alike when no weight is above 0.

    :meth:`draw` takes from the generator what ``rng.choice(len(things), p=weights / sum)`` takes
    and gives what that gives: proposals of runs that exist are to stay what they are. It does not
    check and add up the weights each time, which is nearly all that ``choice`` does.
    """

    def __init__(self, things: Sequence[Thing], weights: Sequence[float]) -> None:
        self.things = things
        self._ends: list[float] = []
        if weights and min(weights) < 0:
            raise ValueError(f"weights are 0 or more, not {min(weights)}")
        chances = np.array(weights, dtype=float)
        total = np.add.reduce(chances)
        if total > 0:
            ends = (chances / total).cumsum()
            self._ends = (ends / ends[-1]).tolist()

    def draw(self, rng: np.random.Generator) -> Thing:
        """One of the things."""
        if not self._ends:
            return self.things[int(rng.integers(len(self.things)))]
        return self.things[bisect_right(self._ends, rng.random())]


class Lots:
    """What was drawn from last, or listed to be drawn from; ``most``: so much of it."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, int], tuple[object, Any]] = OrderedDict()

    def get(self, what: str, of: object, make: Callable[[], Thing]) -> Thing:
        """The lot or list ``what`` of this very object, which does not change; made if it is not
        kept.
        """
        key = (what, id(of))
        owner, lot = self._kept.get(key, (None, None))
        if lot is None or owner is not of:
            lot = make()
            self._kept[key] = (of, lot)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return cast("Thing", lot)
