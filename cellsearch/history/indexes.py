"""What somebody wants to know of all trials, kept up to date trial by trial."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from cellsearch.trial import Status, Trial

__all__ = ["AnIndex", "Granted", "Index", "Ranking", "Totals"]


class Index(ABC):
    """What somebody wants to know of all trials, kept up to date trial by trial, so that a long
    history costs no more than a short one.

    Made with the same arguments it is one index; see :meth:`History.index`.
    """

    reads_curves = False
    """Whether it looks at curves, metrics or connections of results."""

    @abstractmethod
    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """A trial was added, or took the place of what it was ``before``."""

    @abstractmethod
    def drop(self, trial: Trial) -> None:
        """The newest trial is left out again."""

    def fill(self, trials: Iterable[Trial]) -> None:
        """The trials that there are at first, in order of number."""
        for trial in trials:
            self.put(trial)


AnIndex = TypeVar("AnIndex", bound=Index)


class Totals(Index):
    """How many trials became what, and what they took."""

    def __init__(self) -> None:
        self.statuses: Counter[Status] = Counter()
        """How many have each status."""
        self.counted = 0
        """How many count against those of the experiment: neither rejected before training nor
        imported.
        """
        self.ended = 0
        """How many of these are finished."""
        self.rejected = 0
        """How many were rejected before training."""
        self.failures: Counter[str] = Counter()
        """How many failed for each kind of reason."""
        self.imported = 0
        """How many were taken over from other runs."""

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        if before is not None:
            self._add(before, -1)
        self._add(trial, 1)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self._add(trial, -1)

    def _add(self, trial: Trial, sign: int) -> None:
        rejected, imported = trial.is_rejected, trial.is_imported
        self.statuses[trial.status] += sign
        self.rejected += sign * rejected
        if trial.failure is not None:
            self.failures[trial.failure.kind] += sign
        self.imported += sign * imported
        if not (rejected or imported):
            self.counted += sign
            self.ended += sign * trial.status.finished


class Granted(Index):
    """Optimizer steps of all trials together: what each did, or what was granted it where there is
    no result.

    Trials that were rejected before training, imported, or answered as duplicates took none.
    """

    def __init__(self) -> None:
        self.steps = 0
        """The sum."""

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        self.steps += self.of(trial) - (self.of(before) if before is not None else 0)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self.steps -= self.of(trial)

    @staticmethod
    def of(trial: Trial) -> int:
        """Those of one trial."""
        if not trial.rungs or trial.duplicate_of is not None:
            return 0
        if trial.is_rejected or trial.is_imported:
            return 0
        ends = (
            rung
            for k, rung in enumerate(trial.rungs)
            if k + 1 == len(trial.rungs) or trial.is_repeat(k + 1)
        )
        return sum(rung.budget.steps if rung.result is None else rung.result.steps for rung in ends)


class Ranking(Index):
    """Trials in the order of a number that each may have, ties by number of the trial."""

    def __init__(self) -> None:
        self.values = array("d")
        """The numbers that trials have, rising."""
        self.numbers = array("q")
        """Whose they are."""

    @abstractmethod
    def value(self, trial: Trial) -> float | None:
        """What the trial is ranked by; ``None`` for a trial that is not."""

    def below(self, value: float, number: int) -> int:
        """How many come before this value of the trial of this number."""
        low = bisect_left(self.values, value)
        return bisect_left(self.numbers, number, low, bisect_right(self.values, value, low))

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        old = self._ordered(before) if before is not None else None
        new = self._ordered(trial)
        if old != new:
            self._remove(old, trial.number)
            if new is not None:
                place = self.below(new, trial.number)
                self.values.insert(place, new)
                self.numbers.insert(place, trial.number)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self._remove(self._ordered(trial), trial.number)

    def _remove(self, value: float | None, number: int) -> None:
        if value is not None:
            place = self.below(value, number)
            del self.values[place], self.numbers[place]

    def fill(self, trials: Iterable[Trial]) -> None:
        """See :meth:`Index.fill`."""
        found = [(value, t.number) for t in trials if (value := self._ordered(t)) is not None]
        found.sort()
        self.values.extend(value for value, _ in found)
        self.numbers.extend(number for _, number in found)

    def _ordered(self, trial: Trial) -> float | None:
        """What is no number comes last."""
        value = self.value(trial)
        return float("inf") if value is not None and value != value else value
