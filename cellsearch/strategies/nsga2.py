"""Several objectives at once: NSGA-II over score, size and cost of a cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, SpaceError
from cellsearch.genome.device import COSTS, INT8
from cellsearch.genome.measures import RecurrenceClass, gemm_depth, multiply_adds, recurrence_class
from cellsearch.history import History
from cellsearch.options import at_least, between, check_options, unknown
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.evolution import sampled
from cellsearch.strategies.ranking import CROSSOVER, MUTATE, best, members, proposed
from cellsearch.trial import Origin, Proposal, Trial

__all__ = ["Nsga2", "check_objectives", "check_shares", "crowding", "fronts", "strengths"]

TRIES = 30
CROSSINGS = 20
"""So many tries to cross two cells, then a mutant it is."""
ELITE = 40
SHARE = "share."
"""How objectives begin that are one task of a suite: ``share.TASK``, as in ``Result.metrics`` (see
:mod:`cellsearch.training.suite`).
"""

CLASSES: dict[RecurrenceClass, int] = {"affine-diagonal": 0, "elementwise": 1, "dense": 2}
"""Classes of the recurrence from the cheapest one on; see :mod:`cellsearch.genome.measures`."""


def _measured(name: str, space: SearchSpace, trial: Trial) -> float:
    """A number that training wrote down; what was not measured counts as infinite."""
    return float(trial.metrics.get(name, math.inf))


OBJECTIVES: dict[str, Callable[[SearchSpace, Trial], float]] = {
    "score": lambda space, trial: trial.score,
    "parameters": lambda space, trial: space.parameters(trial.genome),
    "multiply_adds": lambda space, trial: max(
        multiply_adds(trial.genome, sizes.input_size, sizes.hidden_size, dict(sizes.named))
        for sizes in space.counted_at
    ),
    "nodes": lambda space, trial: len(trial.genome.nodes),
    "gemm_depth": lambda space, trial: gemm_depth(trial.genome),
    "class": lambda space, trial: CLASSES[recurrence_class(trial.genome)],
    "seconds": lambda space, trial: (
        trial.result.seconds if trial.result is not None else float("inf")
    ),
    "time": partial(_measured, "predicted_us"),
}
OBJECTIVES |= {name: partial(_measured, name) for name in (*COSTS, INT8)}
"""What can be minimised. ``class``: 0 for an affine-diagonal recurrence, 1 for an elementwise, 2
for a dense one. ``seconds`` is the measured training time, ``time`` what the compiler predicts for
a position (it does not depend on the machine or its load; a result without a prediction counts as
the slowest). The costs on a device (``flash_bytes``, ``ram_bytes``, ``macs_per_step``,
``state_bytes``) and ``int8``, the score with rounded weights, are those of
:class:`cellsearch.genome.device.DeviceLimits`."""


@dataclass(frozen=True)
class Nsga2(Strategy):
    """Breeds the non-dominated cells: small and cheap ones stay in the race against good ones.

    objectives: two or more of score, parameters, multiply_adds, nodes, gemm_depth, class, seconds,
        time, and, as trained for a device, flash_bytes, ram_bytes, macs_per_step, state_bytes,
        int8; in a suite also ``share.TASK``, the share of the reference's skill at one task.
    population: parents that compete.
    initial: seed genomes and random cells first.
    crossover: share of children of two parents.
    """

    name: ClassVar[str] = "nsga2"
    starts_from_seeds: ClassVar[bool] = True
    paper: ClassVar[str] = "Deb et al. 2002; for architectures: Lu et al. 2019 (NSGA-Net)"

    objectives: tuple[str, ...] = ("score", "parameters")
    population: Annotated[int, at_least(4)] = 24
    initial: Annotated[int, at_least(2)] = 12
    crossover: Annotated[float, between(0, 1)] = 0.3

    def __post_init__(self) -> None:
        check_options(self)
        check_objectives(self.objectives)
        if len(set(self.objectives)) < 2:
            raise ConfigError(
                "name two or more objectives", where="objectives", hint="for one, use genetic"
            )

    @property
    def minimised(self) -> tuple[str, ...]:
        """The objectives."""
        return self.objectives

    def front(self, space: SearchSpace, trials: Iterable[Trial]) -> list[Trial]:
        """Those trials with a score that none of them dominates, in the order of the objectives."""
        valued = [
            ([_value(name, space, trial) for name in self.objectives], trial.number, trial)
            for trial in trials
            if trial.is_scored
        ]
        found: list[Trial] = []
        kept = np.empty((0, len(self.objectives)))
        for values, _, trial in sorted(valued, key=lambda one: one[:2]):
            # What comes later in this order is nowhere smaller first, so it dominates nothing.
            row = np.array(values)
            if not ((kept <= row).all(1) & (kept < row).any(1)).any():
                found.append(trial)
                kept = np.vstack([kept, row])
        return found

    def check(self, space: SearchSpace, tasks: Collection[str] = ()) -> None:
        """See :meth:`Strategy.check`: shares are those of the suite's tasks."""
        check_shares(self.objectives, tasks)

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """Seed genomes, then random cells, then children of the best fronts."""
        for name, genome in space.seeds.items():
            if genome.key not in history.by_key:
                return Proposal(genome, origin=Origin("seed", name))
        chosen, strength = self._parents(space, history)
        if proposed(history) < self.initial or len(chosen) < 2:
            return sampled(space, history, rng, "initial")
        crossed = (
            rng.random() < self.crossover
        )  # once: crossing fails more often than mutation, and would be declared in vain
        for k in range(TRIES):
            parents = [_duel(chosen, strength, rng)]
            genome, origin = parents[0].genome, Origin(CROSSOVER)
            if crossed and k < CROSSINGS:
                parents.append(_duel(chosen, strength, rng))
                try:
                    genome = space.crossover(parents[0].genome, parents[1].genome, rng)
                except SpaceError:
                    continue  # nothing to exchange: two others
            else:
                edit = space.mutation(genome, rng)
                genome, origin = edit.genome, Origin(MUTATE, edit.operator)
            if genome.key not in history.by_key:
                return Proposal(genome, tuple(dict.fromkeys(t.number for t in parents)), origin)
        return None

    def _parents(
        self, space: SearchSpace, history: History
    ) -> tuple[list[Trial], list[tuple[int, float]]]:
        """The best of the newest and the best cells by (front, crowding), and that pair for each;
        smaller is better.
        """
        pool = {t.number: t for t in members(space, history, 3 * self.population)}
        for trial in best(history, ELITE):
            if not trial.is_baseline:
                pool.setdefault(trial.number, trial)
        trials = [pool[number] for number in sorted(pool)]
        if not trials:
            return [], []
        strength = strengths(self.objectives, space, trials)
        order = sorted((*one, k) for k, one in enumerate(strength))[: self.population]
        return [trials[k] for _, _, k in order], [(rank, negative) for rank, negative, _ in order]


def check_objectives(objectives: Sequence[str]) -> None:
    """Raise :class:`ConfigError` for a name of something that cannot be minimised."""
    for objective in objectives:
        if objective not in OBJECTIVES and not objective.startswith(SHARE):
            error = unknown("objective", objective, OBJECTIVES, where="objectives")
            error.hint += f"; in a suite also {SHARE}TASK"
            raise error


def check_shares(objectives: Sequence[str], tasks: Collection[str]) -> None:
    """Raise :class:`ConfigError` for the share of a task that is not in the suite of ``tasks``."""
    shares = [f"{SHARE}{task}" for task in tasks]
    for objective in objectives:
        if objective not in OBJECTIVES and objective not in shares:
            why = "which the suite does not have" if tasks else "but this experiment has no suite"
            raise ConfigError(
                f"the objective {objective!r} is of a task, {why}",
                where="strategy_options.objectives",
                hint="allowed: " + ", ".join([*OBJECTIVES, *shares]),
            )


def strengths(
    objectives: Sequence[str], space: SearchSpace, trials: Sequence[Trial]
) -> list[tuple[int, float]]:
    """Front and negative crowding distance of each of the trials; smaller is better."""
    if not trials:
        return []
    values = np.array([[_value(name, space, trial) for name in objectives] for trial in trials])
    found: list[tuple[int, float]] = [(0, 0.0)] * len(trials)
    for rank, front in enumerate(fronts(values)):
        for k, distance in zip(front, crowding(values[front]), strict=True):
            found[k] = (rank, -distance)
    return found


def _value(objective: str, space: SearchSpace, trial: Trial) -> float:
    """What is minimised; of a share of the reference's skill at a task (more is better) its
    negative, infinity if it was not measured.
    """
    if objective in OBJECTIVES:
        return OBJECTIVES[objective](space, trial)
    return -trial.metrics.get(objective, -math.inf)


def _duel(
    trials: Sequence[Trial], strength: Sequence[tuple[int, float]], rng: np.random.Generator
) -> Trial:
    """The stronger of two, drawn at random."""
    first, second = (int(k) for k in rng.integers(len(trials), size=2))
    return trials[first if strength[first] <= strength[second] else second]


def fronts(values: NDArray[np.float64]) -> list[list[int]]:
    """Rows of ``[n, objectives]`` by how many fronts dominate them: the first list is dominated by
    nobody.

    A row dominates another when it is nowhere greater and somewhere smaller (Deb et al. 2002,
    section III A).
    """
    nowhere_greater = np.all(values[:, None, :] <= values[None, :, :], axis=2)
    somewhere_smaller = np.any(values[:, None, :] < values[None, :, :], axis=2)
    dominates: NDArray[np.bool_] = np.logical_and(nowhere_greater, somewhere_smaller)
    left = np.arange(len(values))
    found: list[list[int]] = []
    while len(left):
        free = left[~dominates[np.ix_(left, left)].any(axis=0)]
        found.append(free.tolist())
        left = np.setdiff1d(left, free)
    return found


def crowding(values: NDArray[np.float64]) -> list[float]:
    """For each row of one front how far its neighbours are, summed over the objectives in units of
    their range; the ends: infinity.
    """
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        low, high = column[order[[0, -1]]]
        distance[order[[0, -1]]] = np.inf
        if np.isfinite(low) and low < high < np.inf:  # what was not measured counts as infinite
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / (high - low)
    return [float(d) for d in distance]
