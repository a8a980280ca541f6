"""Pruning a full cell: train it with all connections, take the weakest away, train on, until a small cell is left.

Several chains run side by side. A chain starts from the full cell of the space, from the second one on with a random part of its
connections left out. A round removes a share of the connections that training found weakest and goes on with the weights of the round
before. Once the cell is small enough for the space, it is made discrete (every connection gate becomes 1), simplified, and trained from
scratch, as every cell of a search: only these finals are comparable with other cells. When no chain has work, connections are taken out
of the best ordinary cells one at a time.

Origins: ``supernet:<chain>:<round>`` (a cell with connection gates, not a result), ``prune:final`` and ``prune:refine``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cellsearch.errors import ConfigError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.records import best, check_range
from cellsearch.trial import Connection, History, Proposal, Status, Trial

__all__ = ["Prune"]

SUPERNET = "supernet:"
FINAL = "prune:final"
REFINE = "prune:refine"
CONNECTIONS_A_NODE = 3
CRITERIA = ("saliency", "gate")


@dataclass(frozen=True)
class Prune(Strategy):
    """Removes the weakest connections, round by round.

    ``chains``: how many run side by side. ``remove``: share of the connections that a round takes away. ``target``: a chain ends at so many
    connections. ``drop``: share left out at random at the start of each chain but the first. ``criteria``: what is weak, one chain after
    the other (``saliency``: estimated loss without it; ``gate``: size of its weight).
    """

    name: ClassVar[str] = "prune"
    paper: ClassVar[str] = "Molchanov et al. 2017 (saliency); Liu et al. 2019 (gates, DARTS); Wang et al. 2021 (gates mislead)"
    wants_connections: ClassVar[bool] = True

    chains: int = 2
    remove: float = 0.35
    target: int = 12
    drop: float = 0.3
    criteria: tuple[str, ...] = CRITERIA

    def __post_init__(self) -> None:
        check_range(self.name, "chains", self.chains, 1)
        check_range(self.name, "remove", self.remove, 0.01, 0.95)
        check_range(self.name, "target", self.target, 1)
        check_range(self.name, "drop", self.drop, 0, 0.9)
        for criterion in self.criteria or ("",):
            if criterion not in CRITERIA:
                raise ConfigError(
                    f"unknown criterion {criterion!r}", where="strategy_options.criteria", hint="allowed: " + ", ".join(CRITERIA)
                )

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Finals of what is small enough, then the next round of a chain, then a new chain, then refinements of the best cells."""
        chains = _chains(history)
        active = 0
        for chain, rounds in chains.items():
            last = rounds[-1]
            if not last.status.finished:
                active += 1
            if last.result is None or last.status is Status.FAILED:
                continue
            final = self._final(space, history, last)
            if final is not None:
                return final
            following = self._round(space, history, chain, last)
            if following is not None:
                return following
        if active < self.chains:
            return self._new_chain(space, history, max(chains, default=-1) + 1, rng)
        return self._refinement(space, history)

    def _new_chain(self, space: SearchSpace, history: History, chain: int, rng: np.random.Generator) -> Proposal | None:
        genome = space.full()
        if chain > 0 or genome.key in history.by_key:
            names = np.array(space.connections(genome))
            dropped = names[rng.random(len(names)) < self.drop]
            genome = _take(space, genome, rng.permutation(dropped).tolist())
        return Proposal(genome, origin=f"{SUPERNET}{chain}:0")

    def _round(self, space: SearchSpace, history: History, chain: int, last: Trial) -> Proposal | None:
        """The cell of the last round without its weakest connections; ``None`` when the chain is at its end."""
        names = space.connections(last.genome)
        if len(names) <= self.target or last.result is None:
            return None
        criterion = self.criteria[chain % len(self.criteria)]
        order = weakest_first(names, last.result.connections, criterion)
        count = min(math.ceil(self.remove * len(names)), len(names) - self.target)
        smaller = _take(space, last.genome, order[:count])
        if smaller.key == last.genome.key or smaller.key in history.by_key or not space.is_gated(smaller):
            return None
        number = int(last.proposal.origin.rpartition(":")[2]) + 1
        return Proposal(smaller, (last.number,), f"{SUPERNET}{chain}:{number}", inherit=last.number)

    def _final(self, space: SearchSpace, history: History, last: Trial) -> Proposal | None:
        """The discrete cell of a round, when the space holds it and it is new."""
        if len(space.connections(last.genome)) > CONNECTIONS_A_NODE * space.limits.max_nodes:
            return None  # far too large; spares the time to find out
        try:
            genome = space.discrete(last.genome)
        except SpaceError:
            return None  # still too large
        return None if genome.key in history.by_key else Proposal(genome, (last.number,), FINAL)

    def _refinement(self, space: SearchSpace, history: History) -> Proposal | None:
        """The best ordinary cell without one connection that it hardly needs and that has not been tried."""
        for trial in best(history, 8):
            if space.is_gated(trial.genome) or space.contains(trial.genome) is not None or trial.result is None:
                continue
            names = weakest_first(space.connections(trial.genome), trial.result.connections, "saliency")
            for name in names:
                try:
                    genome = space.remove(trial.genome, [name])
                except SpaceError:
                    continue
                if genome.key not in history.by_key:
                    return Proposal(genome, (trial.number,), REFINE)
        return None


def weakest_first(names: Iterable[str], learned: Mapping[str, Connection], criterion: str) -> list[str]:
    """The connections from weakest to strongest; those that training says nothing of are the strongest.

    Saliencies are losses and compare with one another. Gates of scalars and of matrices do not, so each kind is ranked by itself and
    the relative ranks are compared.
    """
    names = list(names)
    if criterion == "saliency":
        return sorted(names, key=lambda name: (learned[name].saliency if name in learned else math.inf, name))
    rank: dict[str, float] = {}
    for scalars in (True, False):
        kind = sorted(
            (name for name in names if name.endswith(".scale") == scalars),
            key=lambda name: (learned[name].gate if name in learned else math.inf, name),
        )
        rank.update({name: (position + 0.5) / len(kind) for position, name in enumerate(kind)})
    return sorted(names, key=lambda name: (rank[name], name))


def _take(space: SearchSpace, genome: Genome, names: Sequence[str]) -> Genome:
    """The cell without as many of the connections as can go: all at once if that is legal, else by halves."""
    there = set(space.connections(genome))
    names = [name for name in names if name in there]
    if not names:
        return genome
    try:
        return space.remove(genome, names)
    except SpaceError:
        if len(names) == 1:
            return genome
    half = len(names) // 2
    return _take(space, _take(space, genome, names[:half]), names[half:])


def _chains(history: History) -> dict[int, list[Trial]]:
    """Chain -> its rounds in order."""
    chains: defaultdict[int, list[Trial]] = defaultdict(list)
    for trial in history:
        origin = trial.proposal.origin
        if origin.startswith(SUPERNET) and trial.status is not Status.DUPLICATE:
            chains[int(origin.split(":")[1])].append(trial)
    return chains
