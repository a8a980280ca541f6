"""Growing a cell from the output downwards, one node a step, with a beam.

Level 0 is the smallest cell of the space (or a given one). An extension turns one leaf into a node over leaves, so every proposal is a
complete cell. A level holds ``beam * branch`` extensions of the best ``beam`` cells of the level before; the next level starts when
they are proposed, with what has been scored by then, so workers never wait. When ``patience`` levels brought nothing better, or the
beam has no extension left, growth goes on best first: untried extensions of the best cells of any level.

Which extension is tried first is drawn by the ops' weights in the space and by the record of the kinds of extension so far.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.records import check_range, success_rates
from cellsearch.trial import History, Proposal, Status, Trial

__all__ = ["Grow"]

PREFIX = "grow:"


@dataclass(frozen=True)
class Grow(Strategy):
    """Extends cells node by node.

    ``beam``: cells of a level that are extended. ``branch``: extensions of each. ``patience``: levels without a better cell.
    ``start``: ``"smallest"`` or the name of a seed genome of the space. ``inherit``: extensions start from their parent's weights.
    """

    name: ClassVar[str] = "grow"
    paper: ClassVar[str] = "cells as trees grown from h_t downwards: Schrimpf et al. 2018; beam over levels: Liu et al. 2018 (PNAS)"

    beam: int = 2
    branch: int = 3
    patience: int = 2
    start: str = "smallest"
    inherit: bool = False

    def __post_init__(self) -> None:
        check_range(self.name, "beam", self.beam, 1)
        check_range(self.name, "branch", self.branch, 1)
        check_range(self.name, "patience", self.patience, 1)

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """An extension for the first level that is not full; then best first."""
        root_genome = self._root(space)
        root = history.by_key.get(root_genome.key)
        if root is None:
            return Proposal(root_genome, origin=f"{PREFIX}start")
        levels = _levels(history, root)
        for depth, parents in enumerate(self._beams(levels), start=1):
            if len(levels[depth]) < (self.branch if depth == 1 else self.beam * self.branch):
                proposal = self._extension(space, history, _fewest_children(history, parents), rng)
                if proposal is not None:
                    return proposal
        everything = sorted((t for level in levels.values() for t in level), key=lambda t: (t.score, t.number))
        for parent in everything:
            proposal = self._extension(space, history, [parent], rng)
            if proposal is not None:
                return proposal
        return None

    def _root(self, space: SearchSpace) -> Genome:
        if self.start == "smallest":
            return space.start()
        if self.start not in space.seeds:
            allowed = ", ".join(("smallest", *space.seeds))
            raise ConfigError(f"the space {space.name} has no seed genome {self.start!r}", where="strategy_options.start", hint=allowed)
        return space.seeds[self.start]

    def _beams(self, levels: dict[int, list[Trial]]) -> list[list[Trial]]:
        """For each level from 1 on the cells that it extends; ends where growth has stopped to pay, or nothing is scored yet."""
        beams = [levels[0]]  # the root may be extended before it has a score
        best, idle = levels[0][0].score, 0
        for depth in range(1, len(levels)):
            scored = sorted((t for t in levels[depth] if t.score < float("inf")), key=lambda t: (t.score, t.number))
            if not scored:
                break
            if scored[0].score < best:
                best, idle = scored[0].score, 0
            else:
                idle += 1
            if idle >= self.patience:
                break
            beams.append(scored[: self.beam])
        return beams

    def _extension(self, space: SearchSpace, history: History, parents: Sequence[Trial], rng: np.random.Generator) -> Proposal | None:
        """A new extension of the first parent that has one."""
        for parent in parents:
            kinds = success_rates(history, space.growth_kinds(parent.genome), window=200, floor=0.02)
            edit = space.extension(parent.genome, rng, kinds, avoid=history.by_key)
            if edit is not None:
                inherit = parent.number if self.inherit and parent.status is Status.COMPLETED else None
                return Proposal(edit.genome, (parent.number,), f"{PREFIX}{edit.operator}", inherit=inherit)
        return None


def _levels(history: History, root: Trial) -> defaultdict[int, list[Trial]]:
    """Level -> the trials that were grown to it."""
    level = {root.number: 0}
    found = defaultdict(list, {0: [root]})
    for trial in history:
        if trial.proposal.origin.startswith(PREFIX) and trial.proposal.parents and trial.status is not Status.DUPLICATE:
            depth = level.get(trial.proposal.parents[0])
            if depth is not None:
                level[trial.number] = depth + 1
                found[depth + 1].append(trial)
    return found


def _fewest_children(history: History, parents: Sequence[Trial]) -> list[Trial]:
    """The parents, those with fewer children first, then the better ones."""
    children = dict.fromkeys((parent.number for parent in parents), 0)
    for trial in history:
        if trial.proposal.parents and trial.proposal.parents[0] in children:
            children[trial.proposal.parents[0]] += 1
    return sorted(parents, key=lambda t: (children[t.number], t.score, t.number))
