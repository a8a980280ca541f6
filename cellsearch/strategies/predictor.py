"""Predictor-guided search: mutate the best cells many times, train the mutant that a model of the
past scores promises most of.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.options import at_least, between
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.evolution import sampled
from cellsearch.strategies.features import matrix
from cellsearch.strategies.ranking import MUTATE, best, proposed
from cellsearch.strategies.surrogate import GaussianProcess, RidgeEnsemble, standardised
from cellsearch.trial import Origin, Proposal, Status, Trial

__all__ = ["Predictor"]

RECENT = 80
BEST = 40


@dataclass(frozen=True)
class Predictor(Strategy):
    """Trains what a model of the scores so far likes best among mutants of the best cells.

    initial: seed genomes and random cells before the model counts.
    incumbents: how many of the best cells are mutated.
    candidates: cells that compete for one training.
    fresh: share of the candidates that are random cells instead of mutants.
    model: ``"gp"`` or ``"ridge"``.
    caution: how much uncertainty attracts (mean - caution * deviation is minimised).
    random_share: chance of a random cell instead of all this.
    """

    name: ClassVar[str] = "predictor"
    starts_from_seeds: ClassVar[bool] = True
    paper: ClassVar[str] = (
        "BANANAS, White et al. 2021; Gaussian process on graph features: Kandasamy et "
        "al. 2018, Ru et al. 2021"
    )

    initial: Annotated[int, at_least(2)] = 8
    incumbents: Annotated[int, at_least(1)] = 5
    candidates: Annotated[int, between(1, 500)] = 10
    fresh: Annotated[float, between(0, 1)] = 0.1
    model: Literal["gp", "ridge"] = "gp"
    caution: Annotated[float, at_least(0)] = 0.5
    random_share: Annotated[float, between(0, 1)] = 0.05

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """Seed genomes, random cells, then the most promising of some mutants of the best."""
        for name, genome in space.seeds.items():
            if genome.key not in history.by_key:
                return Proposal(genome, origin=Origin("seed", name))
        ranked = [
            t
            for t in best(history, self.incumbents + BEST)
            if not t.is_baseline or space.contains(t.genome) is None
        ]
        started = proposed(history) >= self.initial
        if not started or len(ranked) < 2 or rng.random() < self.random_share:
            return sampled(space, history, rng, "random")
        made = self._mutants(space, ranked[: self.incumbents], rng)
        promise = self._promise(history, [proposal.genome for proposal in made], rng)
        for k in np.argsort(promise, kind="stable"):
            genome = space.tidy(made[int(k)].genome)
            if genome.key not in history.by_key:
                return replace(made[int(k)], genome=genome)
        return sampled(space, history, rng, "random")

    def _mutants(
        self, space: SearchSpace, parents: Sequence[Trial], rng: np.random.Generator
    ) -> list[Proposal]:
        """Random cells and mutants of the best ones, the latter not simplified yet; every third
        after two mutations.
        """
        made = [
            Proposal(space.sample(rng), origin="fresh")
            for _ in range(round(self.fresh * self.candidates))
        ]
        for k in range(self.candidates - len(made)):
            parent = parents[int(rng.integers(len(parents)))]
            edit = space.mutation(parent.genome, rng, tidy=False)
            if k % 3 == 2:
                edit = space.mutation(edit.genome, rng, tidy=False)
            made.append(Proposal(edit.genome, (parent.number,), Origin(MUTATE, edit.operator)))
        return made

    def _promise(
        self, history: History, candidates: Sequence[Genome], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """The lower confidence bound of each candidate's score; trials in flight count with what
        the model expects of them.
        """
        known = _known(history)
        newest = itertools.islice(reversed(history), RECENT)
        waiting = [trial.genome for trial in newest if not trial.status.finished][:16]
        table = matrix([*(t.genome for t in known), *waiting, *candidates])
        n, m = len(known), len(waiting)
        y = standardised(np.array([t.score for t in known]))
        # the kriging believer of Ginsbourger et al. 2010: so two workers do not get almost the same
        # cell
        if m:
            y = np.concatenate([y, self._predict(table[:n], y, table[n : n + m], rng)[0]])
        mean, deviation = self._predict(table[: n + m], y, table[n + m :], rng)
        return mean - self.caution * deviation

    def _predict(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        at: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (
            GaussianProcess().predict(x, y, at)
            if self.model == "gp"
            else RidgeEnsemble().predict(x, y, at, rng)
        )


def _known(history: History) -> list[Trial]:
    """The trials that the model learns from: the newest finished ones, failures included, and the
    best.
    """
    chosen = {trial.number: trial for trial in best(history, BEST)}
    recent = 0
    for trial in reversed(history):
        if (
            trial.status.finished
            and trial.status is not Status.DUPLICATE
            and not trial.is_intermediate
        ):
            chosen.setdefault(trial.number, trial)
            recent += 1
            if recent == RECENT:
                break
    return [chosen[number] for number in sorted(chosen)]
