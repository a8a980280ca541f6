"""What grew out of what, kept up to date trial by trial, and which cell to extend next."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Collection, Sequence
from statistics import median, stdev

from cellsearch.history import Index, Ranking
from cellsearch.strategies.ranking import GROW
from cellsearch.trial import Status, Trial

__all__ = ["Frontier", "Level", "Tree", "cost", "is_grown"]

WINDOW = 40
"""The size of a usual step follows so many of the newest extensions."""


def is_grown(trial: Trial) -> bool:
    """Whether the trial is an extension of another."""
    proposal = trial.proposal
    return (
        bool(proposal.parents)
        and proposal.origin.kind == GROW
        and trial.status is not Status.DUPLICATE
    )


def cost(trial: Trial, pay: float) -> float:
    """The score, with what its weights cost: a cell is worth its weights if this is lower than
    without them.
    """
    weights = trial.result.cell_parameters if pay and trial.result is not None else 0
    return trial.score + pay * weights / 1000


class Level(Ranking):
    """The scored trials of a level by what they cost; kept by :class:`Tree`."""

    def __init__(self, pay: float) -> None:
        super().__init__()
        self._pay = pay

    def value(self, trial: Trial) -> float | None:
        """The cost, if there is a score."""
        return cost(trial, self._pay) if trial.score < float("inf") else None


class Frontier(Index):
    """All trees of cells that grew out of each other, and which cell of them to extend next.

    pay: see :class:`Grow`.

    From the first cell on, one goes down to the child, or stays, whichever has the lowest *bound*,
    and extends the cell where one stays. Of a child it is the lowest cost of all that grew from it,
    of staying the cost of the cell itself, each less ::

        explore * spread * sqrt(ln(visits of the cell) / visits)

    Visits are how many cells grew from a cell, itself included (of staying: how many children it
    has, and one); ``spread`` is the standard deviation of the children's lowest costs. A cell has
    at least as many children as the square root of its visits says, so that the first cells, which
    are never good themselves, are gone back to as well.

    UCT (Kocsis & Szepesvari 2006) with the best of a subtree in the place of its mean, because one
    good cell is wanted, and progressive widening (Coulom 2007).
    """

    def __init__(self, pay: float) -> None:
        self._pay = pay
        self._parent = array("l")
        """By number; -1 for what was not grown."""
        self._cost = array("d")
        """What each trial costs; infinity without a score, and for what is not extended."""
        self._best = array("d")
        """The lowest cost of each trial and what was grown from it."""
        self._visits = array("l")
        """How many trials were grown from each, itself included."""
        self.children: defaultdict[int, list[int]] = defaultdict(list)
        """Numbers of what was grown from a trial; those of the first cells under -1."""
        self.ranked = _Extensible(pay)
        """The cells that can be extended, by what they cost."""
        self._grown = array("l")
        """Numbers of all that was grown."""

    # -- kept up to date ---------------------------------------------------------------------------

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        self.ranked.put(trial, before)
        if before is None:
            self._add(trial)
        value = self.ranked.value(trial)
        self._cost[trial.number] = math.inf if value is None or value != value else value
        self._hand_up(trial.number)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self.ranked.drop(trial)
        number = trial.number
        parent, own = self._parent[number], number in self.children.get(-1, ())
        for kept in (self._parent, self._cost, self._best, self._visits):
            del kept[number:]
        if own:
            self.children[-1].remove(number)
        if parent >= 0:
            self.children[parent].remove(number)
            self._grown.pop()
            self._hand_up(parent)
            self._count(parent, -1)

    def _add(self, trial: Trial) -> None:
        missing = trial.number + 1 - len(self._parent)
        self._parent.extend([-1] * missing)
        self._cost.extend([math.inf] * missing)
        self._best.extend([math.inf] * missing)
        self._visits.extend([1] * missing)
        if is_grown(trial):
            parent = self._parent[trial.number] = trial.proposal.parents[0]
            self._grown.append(trial.number)
            self.children[parent].append(trial.number)
            self._count(parent, 1)
        elif not trial.is_baseline and trial.status is not Status.DUPLICATE:
            self.children[-1].append(trial.number)

    def _count(self, number: int, one: int) -> None:
        while number >= 0:
            self._visits[number] += one
            number = self._parent[number]

    def _hand_up(self, number: int) -> None:
        """Let those that a trial was grown from know of its cost."""
        while number >= 0:
            lowest = min(
                (self._best[child] for child in self.children.get(number, ())), default=math.inf
            )
            lowest = min(lowest, self._cost[number])
            if lowest == self._best[number]:
                return
            self._best[number] = lowest
            number = self._parent[number]

    # -- asked -------------------------------------------------------------------------------------

    def next(self, explore: float, closed: Collection[int] = ()) -> int:
        """The number of the cell to extend; -1 if none is left. ``closed``: not these."""
        number, step = -1, self.step()
        while True:
            arms = self._arms(number, closed)
            stays = number >= 0 and number not in closed
            count = len(self.children.get(number, ()))
            visits = self._visits[number] if number >= 0 else len(self._parent)
            if not arms or (stays and count < math.sqrt(visits)):
                return number if stays else -1
            width = explore * _spread([self._best[arm] for arm in arms], step)
            width *= math.sqrt(math.log(1 + visits))
            bounds = [(self._best[arm] - width / math.sqrt(self._visits[arm]), arm) for arm in arms]
            lowest, child = min(bounds)
            if stays and self._cost[number] - width / math.sqrt(1 + count) <= lowest:
                return number
            number = child

    def _arms(self, number: int, closed: Collection[int]) -> list[int]:
        """The children that one may go down to: those with a score that are not closed with all
        that grew from them.
        """
        return [
            child
            for child in self.children.get(number, ())
            if self._cost[child] < math.inf and (child not in closed or self._arms(child, closed))
        ]

    def step(self) -> float:
        """The usual change of what a cell costs by an extension, over the newest of them."""
        changes = [
            abs(self._cost[number] - self._cost[self._parent[number]])
            for number in self._grown[-WINDOW:]
            if self._cost[number] < math.inf and self._cost[self._parent[number]] < math.inf
        ]
        return median(changes) if changes else 0.0

    def idle(self) -> int:
        """How many extensions the best cell has, none of which is better."""
        best = self.ranked.numbers[:1]
        return len(self.children.get(best[0], ())) if best else 0


def _spread(values: Sequence[float], default: float) -> float:
    return stdev(values) if len(values) > 1 else default


class _Extensible(Level):
    """The scored cells that growth goes on from: what the strategy or a person proposed, no
    controls and no supernets.
    """

    def value(self, trial: Trial) -> float | None:
        """The cost, if the trial is such a cell."""
        return super().value(trial) if trial.ranks and not trial.is_baseline else None


class Tree(Index):
    """What was grown from one trial, level by level.

    root: number of that trial.
    pay: see :class:`Grow`.
    """

    def __init__(self, root: int, pay: float) -> None:
        self._root = root
        self._pay = pay
        self._level = array("h")
        """The level of each trial by number; -1 for one that was not grown from the root."""
        self.children = array("l")
        """How many were grown from each trial, by number."""
        self.sizes = [1]
        """How many trials each level holds."""
        self.costs = [Level(pay)]
        """Those with a score, by what they cost. Level 0 is left empty: the root stands for it."""
        self.unfinished = 0
        """How many trials of level 1 and further are not finished."""

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        if before is None:
            self._add(trial)
        level = self._level[trial.number]
        if level > 0:
            self.costs[level].put(trial, before)
            self.unfinished += not trial.status.finished
            self.unfinished -= before is not None and not before.status.finished

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        del self.children[trial.number :]
        level = self._level[trial.number]
        del self._level[trial.number :]
        if level > 0:
            self.children[trial.proposal.parents[0]] -= 1
            self.unfinished -= not trial.status.finished
            self.costs[level].drop(trial)
            self.sizes[level] -= 1
            if not self.sizes[level]:
                self.sizes.pop()
                self.costs.pop()

    def _add(self, trial: Trial) -> None:
        """Find the level of a new trial, and count it."""
        missing = trial.number + 1 - len(self._level)
        self._level.extend([-1] * missing)
        self.children.extend([0] * missing)
        if trial.number == self._root:
            self._level[trial.number] = 0
        elif is_grown(trial) and self._level[trial.proposal.parents[0]] >= 0:
            parent = trial.proposal.parents[0]
            level = self._level[trial.number] = self._level[parent] + 1
            self.children[parent] += 1
            if level == len(self.sizes):
                self.sizes.append(0)
                self.costs.append(Level(self._pay))
            self.sizes[level] += 1
