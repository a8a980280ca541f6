"""Growing a cell from the output downwards, one node a step, with a beam.

Level 0 is the smallest cell of the space, or a given one (``start = "gru"``). An extension turns
one leaf into a node over leaves, so every proposal is a complete cell. A level holds ``beam *
branch`` extensions of the best ``beam`` cells of the level before; the next level starts when they
are proposed, with what has been scored by then, so workers never wait. When ``patience`` levels
brought nothing better, or the beam has no extension left, growth goes on best first: untried
extensions of the best cells of any level.

What comes first is drawn by the ops' weights in the space and by what the history says of each op
at each place, for which the record of the op everywhere is the prior. A look-ahead ranks the
candidates for the next node: with ``inherit`` a candidate starts from its parent's weights and, as
far as its ops allow, as the parent's function, and under ``schedule = "lookahead"`` it is trained
for a short while first; only the best of its siblings so far goes on.

``pay`` is what a node has to earn: the score must fall by that much for each 1,000 weights that it
adds. Cells are then compared by ``score + pay * weights / 1000``, and growth stops for good when
``patience`` levels brought nothing that pays. At the end of a level workers may have to wait then,
because nothing is grown that only fills time.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.genome.graph import Genome
from cellsearch.history import History, Index, Ranking
from cellsearch.options import at_least
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.ranking import best, given_cell, position_rates
from cellsearch.trial import Origin, Proposal, Status, Trial

__all__ = ["Grow"]

GROW = "grow"
SMALLEST = "smallest"
TRIES = 5
"""Extensions that are drawn of one parent before another is looked at; bounds the time of a
proposal.
"""
RECENT = 500
"""Growth best first looks at the best cells of all and at so many of the newest."""
PARENTS = 3
"""Parents that the beam, and growth best first, look at before they give up."""


@dataclass(frozen=True)
class Grow(Strategy):
    """Extends cells node by node.

    beam: cells of a level that are extended.
    branch: extensions of each.
    patience: levels without a better cell.
    start: ``"smallest"``, a seed genome of the space, a zoo cell, or the text of a cell.
    inherit: extensions start from their parent's weights, as its function where that is possible.
    pay: by how much the score must fall for each 1,000 weights that an extension adds to the layer
        (0: any improvement counts, and growth never stops by itself).
    """

    name: ClassVar[str] = "grow"
    paper: ClassVar[str] = (
        "cells as trees grown from h_t downwards: Schrimpf et al. 2018; beam over "
        "levels: Liu et al. 2018 (PNAS)"
    )
    quiet_start: ClassVar[bool] = True

    beam: Annotated[int, at_least(1)] = 2
    branch: Annotated[int, at_least(1)] = 3
    patience: Annotated[int, at_least(1)] = 2
    start: str = SMALLEST
    inherit: bool = False
    pay: Annotated[float, at_least(0)] = 0.0

    def check(self, space: SearchSpace, tasks: Collection[str] = ()) -> None:
        """See :meth:`Strategy.check`: the cell that growth starts from."""
        self._root(space)

    def _root(self, space: SearchSpace) -> Genome:
        return space.start() if self.start == SMALLEST else given_cell(space, self.start)

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """An extension for the first level that is not full; then best first, or the end when nodes
        have to pay.
        """
        root_genome = self._root(space)
        root = history.by_key.get(root_genome.key)
        if root is None:
            return Proposal(root_genome, origin=Origin(GROW, "start"))
        tree = history.index(Tree, root.number, self.pay)
        open_parents: list[Trial] = []
        for depth, parents in enumerate(self._beams(history, root, tree), start=1):
            if depth == len(tree.sizes) or tree.sizes[depth] < self._room(depth):
                open_parents += sorted(
                    parents, key=lambda t: (tree.children[t.number], self._cost(t), t.number)
                )
        proposal = self._extension(space, history, open_parents[:PARENTS], rng)
        if proposal is not None:
            return proposal
        if self.pay and (
            self._has_stopped(root, tree) or tree.unfinished or not root.status.finished
        ):
            return None  # the end, or whether it is the end depends on what is being trained
        return self._best_first(space, history, root, tree.children, rng)

    def _room(self, depth: int) -> int:
        """How many cells a level holds."""
        return self.branch if depth == 1 else self.beam * self.branch

    def _cost(self, trial: Trial) -> float:
        return cost(trial, self.pay)

    def _beams(self, history: History, root: Trial, tree: Tree) -> list[Sequence[Trial]]:
        """For each level from 1 on the cells that it extends; ends where growth has stopped to pay,
        or nothing is scored yet.
        """
        beams: list[Sequence[Trial]] = [[root]]  # the root may be extended before it has a score
        lowest, idle = self._cost(root), 0
        for level in tree.costs[1:]:
            if not level.values:
                break
            if level.values[0] < lowest:
                lowest, idle = level.values[0], 0
            else:
                idle += 1
            if idle >= self.patience:
                break
            beams.append([history.by_number[number] for number in level.numbers[: self.beam]])
        return beams

    def _has_stopped(self, root: Trial, tree: Tree) -> bool:
        """Whether ``patience`` trained levels in a row have no cell that is worth its weights."""
        lowest, idle = self._cost(root), 0
        for level in tree.costs[1:]:
            least = level.values[0] if level.values else float("inf")
            lowest, idle = (least, 0) if least < lowest else (lowest, idle + 1)
            if idle >= self.patience:
                return True
        return False

    def _best_first(
        self,
        space: SearchSpace,
        history: History,
        root: Trial,
        children: Sequence[int],
        rng: np.random.Generator,
    ) -> Proposal | None:
        """An extension of one of the best cells; else of a recent one of which one is found, those
        that were never extended first.
        """
        near = {
            t.number: t
            for t in (*best(history, 2 * PARENTS), *history[-RECENT:], root)
            if t is root or _is_grown(t)
        }
        costs = sorted(
            (self._cost(trial), trial.number)
            for trial in near.values()
            if len(trial.genome.nodes) < space.limits.max_nodes
        )
        proposal = self._extension(
            space, history, [near[number] for _, number in costs[:PARENTS]], rng
        )
        if proposal is None:
            rest = [
                near[number]
                for _, _, number in sorted(
                    (children[number] > 0, cost, number) for cost, number in costs
                )
            ]
            proposal = self._extension(space, history, rest, rng) or self._extension(
                space, history, rest, rng, tries=0
            )
        return proposal

    def _extension(
        self,
        space: SearchSpace,
        history: History,
        parents: Iterable[Trial],
        rng: np.random.Generator,
        tries: int = TRIES,
    ) -> Proposal | None:
        """A new extension of the first parent of which one is drawn."""
        for parent in parents:
            kinds = position_rates(history, space.growth_kinds(parent.genome), window=200)
            edit = space.extension(parent.genome, rng, kinds, avoid=history.by_key, tries=tries)
            if edit is not None:
                inherit = (
                    parent.number
                    if self.inherit and parent.status in (Status.COMPLETED, Status.STOPPED)
                    else None
                )
                return Proposal(
                    edit.genome, (parent.number,), f"{GROW}:{edit.operator}", inherit=inherit
                )
        return None


def _is_grown(trial: Trial) -> bool:
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
        elif _is_grown(trial) and self._level[trial.proposal.parents[0]] >= 0:
            parent = trial.proposal.parents[0]
            level = self._level[trial.number] = self._level[parent] + 1
            self.children[parent] += 1
            if level == len(self.sizes):
                self.sizes.append(0)
                self.costs.append(Level(self._pay))
            self.sizes[level] += 1
