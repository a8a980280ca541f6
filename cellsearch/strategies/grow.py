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

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.genome.graph import Genome
from cellsearch.options import at_least
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.ranking import best, given_cell, position_rates
from cellsearch.trial import History, Origin, Proposal, Status, Trial

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
        levels, children = _levels(history, root)
        open_parents: list[Trial] = []
        for depth, parents in enumerate(self._beams(levels), start=1):
            if depth == len(levels) or len(levels[depth]) < self._room(depth):
                open_parents += sorted(
                    parents, key=lambda t: (children[t.number], self._cost(t), t.number)
                )
        proposal = self._extension(space, history, open_parents[:PARENTS], rng)
        if proposal is not None:
            return proposal
        if self.pay and (
            self._has_stopped(levels)
            or not all(trial.status.finished for level in levels for trial in level)
        ):
            return None  # the end, or whether it is the end depends on what is being trained
        return self._best_first(space, history, root, children, rng)

    def _room(self, depth: int) -> int:
        """How many cells a level holds."""
        return self.branch if depth == 1 else self.beam * self.branch

    def _cost(self, trial: Trial) -> float:
        """The score, with what its weights cost: a cell is worth its weights if this is lower than
        without them.
        """
        weights = trial.result.cell_parameters if self.pay and trial.result is not None else 0
        return trial.score + self.pay * weights / 1000

    def _beams(self, levels: Sequence[Sequence[Trial]]) -> list[Sequence[Trial]]:
        """For each level from 1 on the cells that it extends; ends where growth has stopped to pay,
        or nothing is scored yet.
        """
        beams: list[Sequence[Trial]] = [levels[0]]  # the root may be extended before it has a score
        lowest, idle = self._cost(levels[0][0]), 0
        for depth in range(1, len(levels)):
            scored = sorted(
                (t for t in levels[depth] if t.score < float("inf")),
                key=lambda t: (self._cost(t), t.number),
            )
            if not scored:
                break
            if self._cost(scored[0]) < lowest:
                lowest, idle = self._cost(scored[0]), 0
            else:
                idle += 1
            if idle >= self.patience:
                break
            beams.append(scored[: self.beam])
        return beams

    def _has_stopped(self, levels: Sequence[Sequence[Trial]]) -> bool:
        """Whether ``patience`` trained levels in a row have no cell that is worth its weights."""
        lowest, idle = self._cost(levels[0][0]), 0
        for depth in range(1, len(levels)):
            cost = min(self._cost(trial) for trial in levels[depth])
            lowest, idle = (cost, 0) if cost < lowest else (lowest, idle + 1)
            if idle >= self.patience:
                return True
        return False

    def _best_first(
        self,
        space: SearchSpace,
        history: History,
        root: Trial,
        children: Counter[int],
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


def _levels(history: History, root: Trial) -> tuple[list[list[Trial]], Counter[int]]:
    """Level by level the trials that were grown to it, as far as there are any; and how many were
    grown from each, by number.
    """
    level = {root.number: 0}
    found = [[root]]
    extended: list[int] = []
    duplicate = Status.DUPLICATE
    for trial in history:
        proposal = trial.proposal
        if proposal.parents:
            parent = proposal.parents[0]
            above = level.get(parent)
            if above is not None and trial.status is not duplicate and proposal.origin.kind == GROW:
                level[trial.number] = above + 1
                extended.append(parent)
                if above + 1 == len(found):
                    found.append([])
                found[above + 1].append(trial)
    return found, Counter(extended)
