"""Genetic search over cells: content-aligned crossover, mutation over the whole space, tournament,
ageing, islands, species.

Asynchronous: every proposal is made from the results that are there, without waiting for a
generation. The population is the newest ``population`` scored cells (the oldest dies, as in
regularised evolution, Real et al. 2019) and those of the space's seed genomes and of the
experiment's baselines that the space holds.

With ``islands`` each has a population of its own; the seed genomes and their first mutants belong
to all of them, later cells to the island that their origin names after ``@``, and now and then a
parent comes from another one. With ``species`` parents compete only with cells that look like them
(distance of graph features), so that a new kind of cell has time to become good. With ``archive``
the population is the best cell of each niche instead (:mod:`cellsearch.strategies.archive`), and
nobody dies of age; with ``objectives`` parents compete in several of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

import numpy as np

from cellsearch.errors import ConfigError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.options import at_least, between, check_options
from cellsearch.space import SearchSpace
from cellsearch.strategies.archive import elites, niche_of
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.features import distance
from cellsearch.strategies.nsga2 import check_objectives, check_shares, strengths
from cellsearch.strategies.odds import is_worth_training
from cellsearch.strategies.ranking import (
    CROSSOVER,
    GROW,
    MUTATE,
    controls,
    crossover_rate,
    growth_rate,
    members,
    position_rates,
    proposed,
    success_rates,
    tournament,
)
from cellsearch.trial import Origin, Proposal, Trial

__all__ = ["Genetic"]

TRIES = 30
STEPS = 5
"""Steps of growth that are drawn of one cell before it is mutated instead."""
WINDOW = 200
"""Adaptive rates follow the record of so many of the newest children."""


@dataclass(frozen=True)
class Genetic(Strategy):
    """Breeds cells.

    population: how many of the newest cells live.
    initial: how many mutants of the seed genomes are made first.
    tournament: how many cells compete to be a parent.
    crossover: share of children of two parents.
    also_mutate: chance that such a child is mutated too.
    grow: share of mutations that are steps of growth, as those of the strategy grow: each keeps
        what a value was and opens something new beside it (a gate, a memory).
    sift: cells in which a state stays zero are not trained, and those in which one may grow
        exponentially as often as such cells have been trained without failing so far.
    islands: populations that breed apart.
    migration: chance that a parent comes from another island.
    species: distance from 0 to 1 up to which cells compete for parenthood (0: all do).
    adaptive: operators are chosen by their record instead of alike, and crossover becomes more or
        less frequent by its own, between half of what is declared and half way to always.
    inherit: children start from their first parent's weights.
    archive: "map_elites": the population is the best cell of each niche of recurrence class, number
        of weights, and kind of memory, however old it is; "": the newest cells.
    objectives: what parents compete in, front by front (several of those of nsga2); none: the score
        alone.
    """

    name: ClassVar[str] = "genetic"
    starts_from_seeds: ClassVar[bool] = True
    paper: ClassVar[str] = (
        "Rawal & Miikkulainen 2018 (crossover, species); Real et al. 2019 (ageing); "
        "Jozefowicz et al. 2015 (seeds); Mouret & Clune 2015 (archive); Deb et al. 2002 "
        "(objectives)"
    )

    before: ClassVar[Mapping[str, object]] = MappingProxyType({"sift": False})

    population: Annotated[int, at_least(2)] = 24
    initial: Annotated[int, at_least(0)] = 8
    tournament: Annotated[int, at_least(1)] = 4
    crossover: Annotated[float, between(0, 1)] = 0.3
    also_mutate: Annotated[float, between(0, 1)] = 0.3
    grow: Annotated[float, between(0, 1)] = 0.0
    sift: bool = True
    islands: Annotated[int, between(1, 64)] = 1
    migration: Annotated[float, between(0, 1)] = 0.1
    species: Annotated[float, between(0, 1)] = 0.0
    adaptive: bool = True
    inherit: bool = False
    archive: Literal["", "map_elites"] = ""
    objectives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_options(self)
        check_objectives(self.objectives)
        if len(set(self.objectives)) == 1:
            raise ConfigError(
                "name two or more objectives, or none",
                where="objectives",
                hint='as in nsga2: ["score", "parameters"]',
            )
        if self.archive and self.islands > 1:
            raise ConfigError(
                "an archive and islands are two ways to keep different cells alive",
                where="archive",
                hint="use one of them: set islands to 1, or leave archive out",
            )

    @property
    def minimised(self) -> tuple[str, ...]:
        """See :attr:`Strategy.minimised`."""
        return self.objectives or ("score",)

    def check(self, space: SearchSpace, tasks: Collection[str] = ()) -> None:
        """See :meth:`Strategy.check`: shares are those of the suite's tasks."""
        check_shares(self.objectives, tasks)

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """Seed genomes first, then mutants of them, then children of the population."""
        for name, genome in space.seeds.items():
            if genome.key not in history.by_key:
                return Proposal(genome, origin=Origin("seed", name))
        island = self._island(history)
        alive = self._alive(space, history, island)
        if proposed(history) < self.initial + len(space.seeds) or len(alive) < 2:
            return self._first_new(self._mutants_of_seeds(space, history, rng), history, rng)
        others = [k for k in range(self.islands) if k != island]
        abroad = (
            self._alive(space, history, others[int(rng.integers(len(others)))]) if others else alive
        )
        abroad = abroad if len(abroad) > 1 else alive
        children = self._children(space, history, alive, abroad, island, rng)
        return self._first_new(children, history, rng)

    def _first_new(
        self, drawn: Iterable[Proposal], history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """The first cell that is new and worth a training; the first new one where none is."""
        spare: Proposal | None = None
        for proposal in drawn:
            if proposal.genome.key in history.by_key:
                continue
            if not self.sift or is_worth_training(proposal.genome, history, rng):
                return proposal
            spare = spare or proposal
        return spare

    def _island(self, history: History) -> int:
        """The island with the fewest of the newest cells, the first of several."""
        if self.islands == 1:
            return 0
        counts = [0] * self.islands
        for trial in itertools.islice(reversed(history), 2 * self.population * self.islands):
            home = _home(trial)
            if home is not None and home < self.islands:
                counts[home] += 1
        return counts.index(min(counts))

    def _alive(self, space: SearchSpace, history: History, island: int) -> list[Trial]:
        if self.archive:
            return _archived(space, history)
        if self.islands == 1:
            return members(space, history, self.population)
        return members(
            space, history, self.population, lambda trial: _home(trial) in (None, island)
        )

    def _parent(
        self, space: SearchSpace, alive: Sequence[Trial], rng: np.random.Generator
    ) -> Trial:
        """The winner of a tournament, among cells of one kind when there are species."""
        if self.species > 0:
            model = alive[int(rng.integers(len(alive)))].genome
            alive = [trial for trial in alive if distance(model, trial.genome) <= self.species]
        if not self.objectives:
            return tournament(alive, self.tournament, rng)
        drawn = rng.choice(len(alive), size=min(self.tournament, len(alive)), replace=False)
        strength = strengths(self.objectives, space, alive)
        return alive[min((int(k) for k in drawn), key=lambda k: (strength[k], alive[k].number))]

    def _mutants_of_seeds(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Iterator[Proposal]:
        """Seed genomes (or random cells where the space has none) after one to three mutations."""
        seeds = list(space.seeds.values())
        for _ in range(TRIES):
            genome = seeds[int(rng.integers(len(seeds)))] if seeds else space.sample(rng)
            parent = history.by_key.get(genome.key)
            for _ in range(int(rng.integers(1, 4)) if seeds else 0):
                genome, _ = self._mutation(space, history, genome, rng, None, self.grow)
            yield Proposal(genome, (parent.number,) if parent is not None else (), "initial")

    def _children(
        self,
        space: SearchSpace,
        history: History,
        alive: Sequence[Trial],
        abroad: Sequence[Trial],
        island: int,
        rng: np.random.Generator,
    ) -> Iterator[Proposal]:
        weights, crossover, grow = None, self.crossover, self.grow
        if self.adaptive:
            weights = success_rates(history, space.operators(), window=WINDOW, floor=0.02)
            crossover = crossover_rate(history, self.crossover, window=WINDOW)
            if grow:
                grow = growth_rate(history, grow, window=WINDOW)
        for _ in range(TRIES):
            first = self._parent(space, abroad if rng.random() < self.migration else alive, rng)
            parents: tuple[Trial, ...] = (first,)
            genome: Genome = first.genome
            crossed = False
            if rng.random() < crossover:
                from_abroad = rng.random() < self.migration
                second = self._parent(space, abroad if from_abroad else alive, rng)
                try:
                    genome = space.crossover(first.genome, second.genome, rng)
                except SpaceError:
                    continue  # the two have nothing to exchange: two others
                parents, crossed = (first, second), True
            made = Origin(CROSSOVER)
            if not crossed or rng.random() < self.also_mutate:
                genome, made = self._mutation(space, history, genome, rng, weights, grow)
            numbers = tuple(dict.fromkeys(trial.number for trial in parents))
            origin = self._origin(made, crossed, island)
            yield Proposal(genome, numbers, origin, first.number if self.inherit else None)

    def _origin(self, made: Origin, crossed: bool, island: int) -> Origin:
        """Of a child that was ``made`` so, the crossover that may have come before left out."""
        home = str(island) if self.islands > 1 else ""
        if crossed:
            return Origin(CROSSOVER, made.detail and f"+{made.detail}", home)
        return Origin(made.kind, made.detail, home or made.place)

    def _mutation(
        self,
        space: SearchSpace,
        history: History,
        genome: Genome,
        rng: np.random.Generator,
        weights: Mapping[str, float] | None,
        grow: float,
    ) -> tuple[Genome, Origin]:
        """A mutant, by one of the operators with these ``weights`` or, at a chance of ``grow``, a
        step of growth, and what made it.
        """
        if grow and rng.random() < grow and len(genome.nodes) < space.limits.max_nodes:
            rates = None
            if self.adaptive:
                rates = position_rates(history, space.growth_kinds(genome), window=WINDOW)
            grown = space.extension(genome, rng, rates, avoid=history.by_key, tries=STEPS)
            if grown is not None:
                step, _, place = grown.operator.partition("@")
                return grown.genome, Origin(GROW, step, place)
        edit = space.mutation(genome, rng, weights)
        return edit.genome, Origin(MUTATE, edit.operator)


def _archived(space: SearchSpace, history: History) -> list[Trial]:
    """The best of each niche; a control that the space holds where it is better than that, or where
    there is none.
    """
    best = {niche_of(trial): trial for trial in elites(history)}
    for control in controls(history):
        if control.is_scored and space.contains(control.genome) is None:
            niche = niche_of(control)
            if niche not in best or control.score < best[niche].score:
                best[niche] = control
    return sorted(best.values(), key=lambda trial: (trial.score, trial.number))


def _home(trial: Trial) -> int | None:
    """The island that a trial belongs to; ``None`` when it belongs to all."""
    place = trial.proposal.origin.place
    return int(place) if place.isdigit() else None
