"""Growing a cell from the output downwards, step by step.

It begins with the smallest cell of the space, or a given one (``start = "gru"``). An extension
turns a leaf, or a value on the way to it, into a node over leaves (:mod:`cellsearch.space.growth`),
so every proposal is a complete cell.

Which cell is extended next is decided by a lower bound (:class:`Frontier`): its score, better where
what grew from it is better, and the more so the less often it was tried. So growth follows the best
cell while its extensions bring something, then goes back to another, and workers never wait. With
``frontier = "levels"`` it goes level by level instead: a level holds ``beam * branch`` extensions
of the best ``beam`` cells of the level before; when ``patience`` levels brought nothing better, or
the beam has no extension left, growth goes on by bounds.

Which step comes first is drawn by the ops' weights in the space and by what the history says of
each step at each place, for which the record of the step everywhere is the prior. A look-ahead
ranks the candidates for the next node: with ``inherit`` a candidate starts from its parent's
weights and, as far as its ops allow, as the parent's function, and under ``schedule = "lookahead"``
it is trained for a short while first; only the best of its siblings so far goes on.

``pay`` is what a node has to earn: the score must fall by that much for each 1,000 weights that it
adds. Cells are then compared by ``score + pay * weights / 1000``, and growth stops for good when
``patience * branch`` extensions of the best one (or ``patience`` levels) brought nothing that pays.
Then workers may have to wait, because nothing is grown that only fills time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.options import at_least
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.ranking import GROW, given_cell, position_rates
from cellsearch.strategies.tree import Frontier, Tree, cost
from cellsearch.trial import Origin, Proposal, Status, Trial

__all__ = ["Grow"]

SMALLEST = "smallest"
TRIES = 5
"""Extensions that are drawn of one parent before another is looked at; bounds the time of a
proposal.
"""
PARENTS = 8
"""Parents that are looked at before any of the ``MOST`` best will do."""
MOST = 200


@dataclass(frozen=True)
class Grow(Strategy):
    """Extends cells node by node.

    frontier: which cell is extended next: the one with the lowest ``"bound"``, or those of a
        ``"levels"``.
    explore: how much better than its score a cell may be that was never extended, in usual steps.
    beam: cells of a level that are extended.
    branch: extensions of each.
    patience: levels without a better cell; with ``frontier = "bound"`` as many times ``branch``
        extensions of the best one.
    start: ``"smallest"``, a seed genome of the space, a zoo cell, or the text of a cell.
    inherit: extensions start from their parent's weights, as its function where that is possible.
    pay: by how much the score must fall for each 1,000 weights that an extension adds to the layer
        (0: any improvement counts, and growth never stops by itself).
    """

    name: ClassVar[str] = "grow"
    paper: ClassVar[str] = (
        "cells as trees grown from h_t downwards: Schrimpf et al. 2018; bounds handed up a "
        "tree: Kocsis & Szepesvari 2006 (UCT); beam over levels: Liu et al. 2018 (PNAS)"
    )
    quiet_start: ClassVar[bool] = True

    beam: Annotated[int, at_least(1)] = 2
    branch: Annotated[int, at_least(1)] = 3
    patience: Annotated[int, at_least(1)] = 2
    start: str = SMALLEST
    inherit: bool = False
    pay: Annotated[float, at_least(0)] = 0.0
    frontier: Literal["bound", "levels"] = "bound"
    explore: Annotated[float, at_least(0)] = 0.5

    def check(self, space: SearchSpace, tasks: Collection[str] = ()) -> None:
        """See :meth:`Strategy.check`: the cell that growth starts from."""
        self._root(space)

    def _root(self, space: SearchSpace) -> Genome:
        return space.start() if self.start == SMALLEST else given_cell(space, self.start)

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """The start; then an extension of the cell with the lowest bound, or of one of the first
        level that is not full; ``None`` at the end when nodes have to pay.
        """
        root_genome = self._root(space)
        root = history.by_key.get(root_genome.key)
        if root is None:
            return Proposal(root_genome, origin=Origin(GROW, "start"))
        if self.frontier == "bound":
            return self._by_bound(space, history, root, rng)
        return self._by_levels(space, history, root, rng)

    # -- by bound ----------------------------------------------------------------------------------

    def _by_bound(
        self, space: SearchSpace, history: History, root: Trial, rng: np.random.Generator
    ) -> Proposal | None:
        """An extension of the first cell of the frontier of which one is drawn."""
        frontier = history.index(Frontier, self.pay)
        if self.pay and self.frontier == "bound" and frontier.idle() >= self.patience * self.branch:
            return None  # the end, or whether it is the end depends on what is being trained
        closed: set[int] = set()
        while len(closed) < PARENTS:
            number = frontier.next(self.explore, closed)
            parent = history.by_number[number] if number >= 0 else root
            has_room = len(parent.genome.nodes) < space.limits.max_nodes
            kinds = space.growth_kinds(parent.genome) if has_room else ()
            if len(frontier.children.get(number, ())) < len(kinds):
                proposal = self._extension_of(space, history, parent, kinds, rng)
                if proposal is not None:
                    return proposal
            if number < 0:
                break
            closed.add(number)
        known = [history.by_number[number] for number in frontier.ranked.numbers[:MOST]] or [root]
        return self._extension(space, history, known, rng) or self._extension(
            space, history, known, rng, tries=0
        )

    # -- by levels ---------------------------------------------------------------------------------

    def _by_levels(
        self, space: SearchSpace, history: History, root: Trial, rng: np.random.Generator
    ) -> Proposal | None:
        """An extension for the first level that is not full; then of the lowest bound, or the end
        when nodes have to pay.
        """
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
        return self._by_bound(space, history, root, rng)

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
            kinds = space.growth_kinds(parent.genome)
            proposal = self._extension_of(space, history, parent, kinds, rng, tries)
            if proposal is not None:
                return proposal
        return None

    def _extension_of(
        self,
        space: SearchSpace,
        history: History,
        parent: Trial,
        kinds: Sequence[str],
        rng: np.random.Generator,
        tries: int = TRIES,
    ) -> Proposal | None:
        """A new extension of this parent, which has these ``kinds`` of them, if one is drawn."""
        rates = position_rates(history, kinds, window=200)
        edit = space.extension(parent.genome, rng, rates, avoid=history.by_key, tries=tries)
        if edit is None:
            return None
        is_trained = parent.status in (Status.COMPLETED, Status.STOPPED)
        inherit = parent.number if self.inherit and is_trained else None
        return Proposal(edit.genome, (parent.number,), f"{GROW}:{edit.operator}", inherit=inherit)
