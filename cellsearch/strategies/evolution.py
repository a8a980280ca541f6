"""Regularised evolution and local search: the two simple searches that are hard to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.history import History
from cellsearch.options import at_least
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.ranking import MUTATE, members, own, proposed, tournament
from cellsearch.trial import Origin, Proposal, Trial

__all__ = ["LocalSearch", "RegularizedEvolution"]

TRIES = 30
START, RESTART = "start", "restart"
"""Kinds of origin of the random cells that a climb begins with."""


@dataclass(frozen=True)
class RegularizedEvolution(Strategy):
    """Mutates the winner of a tournament among the newest cells; the oldest dies.

    population: how many of the newest cells live; as many random cells come first.
    tournament: how many of them compete to be the parent.
    """

    name: ClassVar[str] = "regularized_evolution"
    paper: ClassVar[str] = "Real et al. 2019, algorithm 1"

    population: Annotated[int, at_least(2)] = 30
    tournament: Annotated[int, at_least(1)] = 10

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """A random cell while the population is being filled, then a mutant."""
        alive = [
            trial for trial in members(space, history, self.population) if not trial.is_baseline
        ]
        count = proposed(history)
        if count < self.population or len(alive) < 2:
            return sampled(space, history, rng, "initial")
        for _ in range(TRIES):
            parent = tournament(alive, self.tournament, rng)
            edit = space.mutation(parent.genome, rng)
            if edit.genome.key not in history.by_key:
                return Proposal(edit.genome, (parent.number,), Origin(MUTATE, edit.operator))
        return None


@dataclass(frozen=True)
class LocalSearch(Strategy):
    """Tries neighbours of the best cell in random order, and moves on as soon as one is better.

    initial: random cells before the first climb.
    patience: neighbours of a cell without success before a random restart.
    """

    name: ClassVar[str] = "local_search"
    paper: ClassVar[str] = "White et al. 2021, local search is state of the art for NAS benchmarks"

    initial: Annotated[int, at_least(1)] = 6
    patience: Annotated[int, at_least(1)] = 30

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """A start while there are few, then a neighbour of the best cell of the current climb."""
        climb = self._climb(history)
        scored = [trial for trial in climb if trial.score < float("inf")]
        restarted = bool(climb) and climb[0].proposal.origin.kind == RESTART
        starts = sum([trial.proposal.origin.kind == START for trial in climb])
        if not scored or (not restarted and starts < self.initial):
            return sampled(space, history, rng, START)
        best = min(scored, key=lambda t: (t.score, t.number))
        from_best = (best.number,)
        tried = sum(
            [trial.status.finished for trial in climb if trial.proposal.parents == from_best]
        )
        if tried >= self.patience:
            return sampled(space, history, rng, RESTART)
        for _ in range(TRIES):
            edit = space.mutation(best.genome, rng)
            if edit.genome.key not in history.by_key:
                return Proposal(edit.genome, (best.number,), Origin("neighbour", edit.operator))
        return sampled(space, history, rng, RESTART)

    def _climb(self, history: History) -> list[Trial]:
        """The trials since the last restart, the restart included, in order of number."""
        climb: list[Trial] = []
        for trial in own(history):
            climb.append(trial)
            if trial.proposal.origin.kind == RESTART:
                break
        return climb[::-1]


def sampled(
    space: SearchSpace, history: History, rng: np.random.Generator, origin: str
) -> Proposal | None:
    """A random cell that the history does not hold."""
    for _ in range(200):
        genome = space.sample(rng)
        if genome.key not in history.by_key:
            return Proposal(genome, origin=origin)
    return None
