"""Pruning: train a cell with all connections, take away what is worth little, until a small cell
is left.

**Of the cell of parts** (``start = "parts"``): it is trained once, and then its sub-cells are
trained from scratch, see :mod:`cellsearch.strategies.parts`. A space that has no such cell, because
its recurrence is diagonal, parts are frozen or an op is missing, is pruned from its full cell.

**In rounds**, of the full cell or a given one (``start = "full"``, ``start = "lstm"``): several
chains run side by side. The first ones begin with the same trained cell and differ in what they
call weak, one criterion each; later ones begin with a full cell that lacks a random part of its
connections. A round removes a share of the connections and goes on with the weights of the round
before. A chain ends at its target size, or when the validation score has risen more than
``tolerance`` over the best of its rounds and a round before was small enough for the space.

Every round that is small enough is made discrete (every connection gate becomes 1), simplified, and
trained from scratch, as every cell of a search: only these finals are comparable with other cells,
and :meth:`History.gap` says what that cost. A chain that is further along comes first; a new one
begins when no other has work, so that workers never wait and no trial only fills time.

Origins: ``supernet:parts``, ``prune:final@CODE`` and ``prune:regrown@CODE`` of the cell of parts;
``supernet:<chain>:<round>`` (a cell with connection gates, not a result) and ``prune:final`` of
rounds; from a given cell also ``prune:start`` (the cell itself) and ``prune:ablation`` (without one
connection, trained from scratch) while its gates are trained.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, get_args

import numpy as np

from cellsearch.errors import SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.options import at_least, between
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.chains import FINAL, Chains, chains_since
from cellsearch.strategies.parts import PARTS, propose_part
from cellsearch.strategies.ranking import given_cell
from cellsearch.trial import SUPERNET, Connection, Origin, Proposal, Trial

__all__ = ["Chains", "Prune", "weakest_first"]

START = Origin("prune", "start")
ABLATION = Origin("prune", "ablation")
FULL = "full"
FULL_TARGET = 12
CONNECTIONS_A_NODE = 3
Criterion = Literal["saliency", "gate", "perturbation"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
FURTHER = 4
"""Sizes of a round that are tried before a chain ends because all of them are known."""
WINDOW = 16
"""A chain whose last training began more than so many trials ago, and 4 for each one under way, has
ended: it had its turn since.
"""


@dataclass(frozen=True)
class Prune(Strategy):
    """Removes connections of a cell that has more than it needs.

    start: ``"parts"``, the cell of parts; or ``"full"``, the full cell, or a given cell, both in
        rounds: a seed genome of the space, a zoo cell, or the text of a cell.
    first: of the cell of parts so many sub-cells are drawn before the best are varied.
    fresh: share of sub-cells that is drawn afterwards.
    memories: whether a state that a sub-cell begins to keep is mostly made a memory at once,
        written through a gate and read through squashing ops alone: ``unmeasured``, where nothing
        was measured of the connections (the cell of parts could not be trained), ``always`` or
        ``never``.
    batches: of the validation data, on which removals are measured.
    criteria: of rounds, what is weak, one chain after the other: ``saliency`` (estimated loss
        without it), ``gate`` (size of its weight), ``perturbation`` (measured validation loss
        without it, at ``batches`` forward passes a connection).
    remove: share of the connections that a round takes away.
    target: a chain ends at so many connections (0: 12 from the full cell, half of them from a given
        one).
    tolerance: a chain ends too when the score has risen by so much, relative to the best of its
        rounds.
    chains: how many run side by side at most (0: as many as there is work for).
    drop: share left out at random at the start of chains that have a full cell of their own.
    """

    name: ClassVar[str] = "prune"
    paper: ClassVar[str] = (
        "Molchanov et al. 2017 (saliency); Liu et al. 2019 (gates, DARTS); Wang et al. "
        "2021 (perturbation)"
    )
    wants_connections: ClassVar[bool] = True
    before: ClassVar[Mapping[str, object]] = MappingProxyType({"memories": "never"})

    start: str = PARTS
    criteria: Annotated[tuple[Criterion, ...], at_least(1)] = CRITERIA
    remove: Annotated[float, between(0.01, 0.95)] = 0.35
    target: Annotated[int, at_least(0)] = 0
    tolerance: Annotated[float, at_least(0)] = 0.05
    chains: Annotated[int, at_least(0)] = 0
    drop: Annotated[float, between(0, 0.9)] = 0.3
    batches: Annotated[int, at_least(1)] = 2
    first: Annotated[int, at_least(1)] = 8
    fresh: Annotated[float, between(0, 1)] = 0.15
    memories: Literal["unmeasured", "always", "never"] = "unmeasured"

    @property
    def perturbation(self) -> int:
        """See :attr:`Strategy.perturbation`: measured for the cell of parts, and where a chain
        uses it.
        """
        wanted = self.start == PARTS or "perturbation" in self.criteria
        return self.batches if wanted else 0

    def check(self, space: SearchSpace, tasks: Collection[str] = ()) -> None:
        """See :meth:`Strategy.check`: the cell that is pruned. Raises :class:`SpaceError` for a
        full cell beyond the space's limits.
        """
        if self.start == PARTS and _has_parts(space):
            return
        if self.start in (PARTS, FULL):
            space.full()
        else:
            space.gated(given_cell(space, self.start))

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """The cell of parts and its sub-cells; or, in rounds, the next step of the oldest chain
        that has one, then another criterion for the first cell, then a new chain.
        """
        found = history.index(Chains)
        if self.start == PARTS:
            # a run of a version whose default was the full cell goes on as it began
            if found.rounds or not _has_parts(space):
                return replace(self, start=FULL).propose(space, history, rng)
            at_once = None if self.memories == "unmeasured" else self.memories == "always"
            return propose_part(
                space,
                history,
                rng,
                first=self.first,
                fresh=self.fresh,
                memories_at_once=at_once,
            )
        running = 0
        recent = len(history) - WINDOW - 4 * history.in_flight
        for chain in chains_since(history, recent):
            rounds = self._rounds(history, found, chain)
            if not rounds[-1].status.finished:
                running += 1
                continue
            if max(rounds[-1].number, found.finals.get(rounds[-1].number, 0)) < recent:
                continue
            following = self._following(space, history, found, chain, rounds)
            if following is not None:
                return following
        if self.chains and running >= self.chains:
            return None
        return self._branch(space, history, found) or self._new_chain(space, history, found, rng)

    def _rounds(self, history: History, found: Chains, chain: int) -> list[Trial]:
        """The rounds of a chain in order; those of the first criteria begin with the cell that they
        share.
        """
        own = found.rounds[chain]
        shared = 0 < chain < len(self.criteria) and 0 in found.rounds
        return [
            history.by_number[number] for number in ([found.rounds[0][0], *own] if shared else own)
        ]

    # -- steps of a chain --------------------------------------------------------------------------

    def _following(
        self,
        space: SearchSpace,
        history: History,
        found: Chains,
        chain: int,
        rounds: Sequence[Trial],
    ) -> Proposal | None:
        """The final of the last round, or the next round; ``None`` at the end of the chain."""
        last = rounds[-1]
        if last.result is None or self._has_risen(rounds):
            before = rounds[:-1]
            if last.result is None or any(
                t.number in found.finals or _discrete(space, t) is not None
                for t in reversed(before)
            ):
                return None
        if last.number not in found.finals:
            genome = _discrete(space, last)
            if genome is not None and genome.key not in history.by_key:
                return Proposal(genome, (last.number,), FINAL)
        return None if self._is_stuck(space, rounds) else self._round(space, history, chain, last)

    def _is_stuck(self, space: SearchSpace, rounds: Sequence[Trial]) -> bool:
        """Whether the last round could take away less than half of its share, because the rest
        would be no cell.
        """
        if len(rounds) < 2:
            return False
        before, after = (len(space.connections(trial.genome)) for trial in rounds[-2:])
        return before - after < self._share(space, before) / 2

    def _share(self, space: SearchSpace, count: int) -> int:
        """How many of so many connections a round takes away."""
        return min(math.ceil(self.remove * count), count - self._target(space))

    def _has_risen(self, rounds: Sequence[Trial]) -> bool:
        """Whether the last round is worse than the best by more than the tolerance."""
        best = min(trial.score for trial in rounds)
        return rounds[-1].score > best + self.tolerance * abs(best)

    def _round(
        self, space: SearchSpace, history: History, chain: int, last: Trial
    ) -> Proposal | None:
        """The cell of the last round without its weakest connections; ``None`` when there is none
        that is smaller and new.

        Where another chain has that cell already, the next weakest go as well.
        """
        names = space.connections(last.genome)
        count = self._share(space, len(names))
        if count <= 0 or last.result is None:
            return None
        order = weakest_first(
            names, last.result.connections, self.criteria[chain % len(self.criteria)]
        )
        number = int(last.proposal.origin.detail.rpartition(":")[2]) + 1
        for more in range(FURTHER):
            smaller = _take(space, last.genome, order[: count + more])
            if smaller.key not in history.by_key:
                origin = _round_of(chain, number)
                gated = space.is_gated(smaller)
                return Proposal(smaller, (last.number,), origin, last.number) if gated else None
        return None

    def _target(self, space: SearchSpace) -> int:
        if self.target or self.start == FULL:
            return self.target or FULL_TARGET
        return len(space.connections(space.gated(given_cell(space, self.start)))) // 2

    # -- new chains --------------------------------------------------------------------------------

    def _branch(self, space: SearchSpace, history: History, found: Chains) -> Proposal | None:
        """The first round of another criterion, from the cell that the first chain began with."""
        root = history.by_number[found.rounds[0][0]] if 0 in found.rounds else None
        if root is None or not root.status.finished:
            return None
        for chain in range(1, len(self.criteria)):
            if chain not in found.rounds:
                following = self._round(space, history, chain, root)
                if following is not None:
                    return following
        return None

    def _new_chain(
        self, space: SearchSpace, history: History, found: Chains, rng: np.random.Generator
    ) -> Proposal | None:
        if self.start != FULL:
            return self._from_given(space, history, found)
        genome = space.full()
        chain = max(len(self.criteria) - 1, found.last) + 1 if found.rounds else 0
        if chain > 0:
            names = np.array(space.connections(genome))
            dropped = names[rng.random(len(names)) < self.drop]
            genome = _take(space, genome, rng.permutation(dropped).tolist())
        return Proposal(genome, origin=_round_of(chain, 0))

    def _from_given(self, space: SearchSpace, history: History, found: Chains) -> Proposal | None:
        """The given cell with gates; while that is trained the cell itself, and without one
        connection each.
        """
        cell = given_cell(space, self.start)
        if not found.rounds:
            return Proposal(space.gated(cell), origin=_round_of(0, 0))
        known = history.by_key.get(cell.key)
        if known is None:
            return Proposal(cell, origin=START)
        for smaller in space.each_pruning(cell):
            if smaller.key not in history.by_key:
                return Proposal(smaller, (known.number,), ABLATION)
        return None


def _has_parts(space: SearchSpace) -> bool:
    try:
        space.parts_cell()
    except SpaceError:
        return False
    return True


def _round_of(chain: int, number: int) -> Origin:
    return Origin(SUPERNET, f"{chain}:{number}")


def weakest_first(
    names: Iterable[str], learned: Mapping[str, Connection], criterion: str
) -> list[str]:
    """The connections from weakest to strongest; those that training says nothing of are the
    strongest.

    Saliencies and perturbations are losses and compare with one another. Gates of scalars and of
    matrices do not, so each kind is ranked by itself and the relative ranks are compared.
    """
    names = list(names)
    if criterion != "gate":
        return sorted(names, key=lambda name: (_loss_without(learned.get(name), criterion), name))
    rank: dict[str, float] = {}
    for scalars in (True, False):
        kind = sorted(
            (name for name in names if name.endswith(".scale") == scalars),
            key=lambda name: (learned[name].gate if name in learned else math.inf, name),
        )
        rank.update({name: (position + 0.5) / len(kind) for position, name in enumerate(kind)})
    return sorted(names, key=lambda name: (rank[name], name))


def _loss_without(found: Connection | None, criterion: str) -> float:
    value = (
        None if found is None else found.saliency if criterion == "saliency" else found.perturbation
    )
    return math.inf if value is None or math.isnan(value) else value


def _discrete(space: SearchSpace, trial: Trial) -> Genome | None:
    """The cell of a round without its gates; ``None`` while the space does not hold it."""
    if len(space.connections(trial.genome)) > CONNECTIONS_A_NODE * space.limits.max_nodes:
        return None  # far too large; spares the time to find out
    try:
        return space.discrete(trial.genome)
    except SpaceError:
        return None


def _take(space: SearchSpace, genome: Genome, names: Sequence[str]) -> Genome:
    """The cell without as many of the connections as can go: all at once if that is legal, else by
    halves.
    """
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
