"""Pruning the cell of parts: which sub-cells are trained from scratch, and what is learned of them.

The cell of parts (:mod:`cellsearch.space.parts_cell`) is trained once, and what each connection is
worth is measured on it: the validation loss without the connection (Wang et al. 2021, arXiv
2108.04392). Then sub-cells are trained from scratch, one a trial. The first ones are drawn: of each
sum mostly one term stays, the likelier the more its removal costs, and what costs little goes
sooner. Later ones are the best so far with a few decisions taken back: a term of a sum instead of
another, a connection more or less; what was removed can so grow again. Where nothing was measured,
what makes a memory of a state is one decision. Where nothing is written to a state any more,
nothing is left to train. A sub-cell whose states may grow exponentially is trained as readily as
such cells have been trained without failing so far, compared with others.

The connections that a sub-cell lacks stand in its origin, as a hexadecimal number with a bit for
each connection of the cell of parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from cellsearch.errors import SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.history import History, Index, Ranking
from cellsearch.space import SearchSpace
from cellsearch.space.parts_cell import Memory, alternatives, kept_states, memories
from cellsearch.space.stability import has_zero_state
from cellsearch.strategies.odds import is_worth_training
from cellsearch.trial import SUPERNET, Origin, Proposal, Status, Trial

__all__ = ["PARTS", "Subcells", "propose_part"]

PARTS = "parts"
SUPERNET_OF_PARTS = Origin(SUPERNET, PARTS)
_FINAL, _REGROWN = "final", "regrown"
_TRIES = 300
_REMEMBERED = 100_000
_SECOND = 0.1
"""Chance that a further term of a sum stays."""
_MEMORY = 0.5
"""The same for the next value of a state: what is new and what is kept are no alternatives, and a
state with one of them alone remembers nothing, or sees nothing.
"""
_TOGETHER = 0.9
"""Chance that a state that a sub-cell begins to keep is made a memory at once."""
_SWAP = 0.7
"""Chance that a change of a sum puts another term in the place of all, unless it is the next value
of a state.
"""


@dataclass(frozen=True)
class CellParts:
    """The cell of parts of a space."""

    cell: Genome
    names: tuple[str, ...]
    """Its connections."""
    sums: tuple[tuple[str, ...], ...]
    """Connections of which at least one stays."""
    free: tuple[str, ...]
    """All others."""
    memories: frozenset[tuple[str, ...]]
    """The sums that are the next value of a state."""
    kept: tuple[Memory, ...]
    """What makes a memory of each state."""

    @classmethod
    def of(cls, space: SearchSpace) -> CellParts:
        """Raises :class:`SpaceError` where there is none."""
        cell = space.parts_cell()
        names, sums = space.connections(cell), alternatives(cell)
        terms = {name for group in sums for name in group}
        free = tuple(name for name in names if name not in terms)
        return cls(cell, names, sums, free, memories(cell), kept_states(cell))

    def code(self, gone: Iterable[str]) -> str:
        """What stands in an origin for the connections that are gone."""
        there = set(gone)
        return f"{sum(1 << k for k, name in enumerate(self.names) if name in there):x}"

    def gone(self, code: str) -> set[str]:
        """The connections that an origin says are gone."""
        bits = int(code, 16)
        return {name for k, name in enumerate(self.names) if bits >> k & 1}


def propose_part(
    space: SearchSpace,
    history: History,
    rng: np.random.Generator,
    *,
    first: int,
    fresh: float,
    memories_at_once: bool | None = None,
) -> Proposal | None:
    """The cell of parts, then one sub-cell of it after the other; ``None`` when no new one is
    found.

    first: so many sub-cells are drawn before the best are varied.
    fresh: share that is drawn afterwards.
    memories_at_once: whether a state that is kept is mostly made a memory at once; by default where
        nothing was measured of the connections.
    """
    parts, found = CellParts.of(space), history.index(Subcells)
    if not found.supernets:
        return Proposal(parts.cell, origin=SUPERNET_OF_PARTS)
    supernet = found.supernets[0]
    worth = _worth(parts, history.by_number[supernet])
    best = found.ranked.numbers
    if memories_at_once is None:  # while the supernet is trained, nobody knows yet
        whole = history.by_number[supernet]
        memories_at_once = whole.status.finished and not _measured(whole)
    for _ in range(_TRIES):
        if len(best) < first or rng.random() < fresh:
            parent, kind = supernet, _FINAL
            gone = _drawn(parts, worth, rng)
            if memories_at_once:
                _make_memories(parts, set(parts.names), gone, rng)
        else:
            parent, kind = best[min(int(rng.geometric(0.4)) - 1, len(best) - 1)], _REGROWN
            gone = parts.gone(history.by_number[parent].proposal.origin.place)
            for _ in range(int(rng.geometric(0.5))):
                before = frozenset(gone)
                _change(parts, gone, rng)
                if memories_at_once:
                    _make_memories(parts, before, gone, rng)
        code = parts.code(gone)
        if found.is_known(parts.cell, code, history):
            continue
        genome = _subcell(space, parts, gone)
        found.remember(parts.cell, code, genome)
        if genome is None or genome.key in history.by_key:
            continue
        if is_worth_training(genome, history, rng, "prune"):
            return Proposal(genome, (parent,), Origin("prune", kind, code))
    return None


def _subcell(space: SearchSpace, parts: CellParts, gone: set[str]) -> Genome | None:
    """What is left, without gates; ``None`` while the space does not hold it, or where a state has
    lost all that is written to it.
    """
    try:
        genome = space.discrete(space.remove(parts.cell, gone))
    except SpaceError:
        return None
    return None if has_zero_state(genome) else genome


def _worth(parts: CellParts, supernet: Trial) -> Mapping[str, float]:
    """From 0 to 1, by rank: what each connection is worth among the terms of sums, or among the
    others; 0.5 each where nothing was measured.
    """
    learned = _measured(supernet)
    worth = dict.fromkeys(parts.names, 0.5)
    for kind in ([name for group in parts.sums for name in group], parts.free):
        measured = [(learned[name], name) for name in kind if name in learned]
        for rank, (_, name) in enumerate(sorted(measured)):
            worth[name] = (rank + 0.5) / len(measured)
    return worth


def _measured(supernet: Trial) -> Mapping[str, float]:
    """The loss without each connection, as far as it was measured: not where training failed."""
    learned = supernet.result.connections if supernet.result is not None else {}
    return {
        name: found.perturbation
        for name, found in learned.items()
        if found.perturbation is not None
    }


def _drawn(parts: CellParts, worth: Mapping[str, float], rng: np.random.Generator) -> set[str]:
    """Connections that go: all but one term of most sums, and of the others a quarter."""
    gone: set[str] = set()
    for group in parts.sums:
        weights = np.array([0.25 + worth[name] for name in group])
        kept = group[int(rng.choice(len(group), p=weights / weights.sum()))]
        stays = _MEMORY if group in parts.memories else _SECOND
        gone |= {name for name in group if name != kept and rng.random() >= stays}
    gone |= {name for name in parts.free if rng.random() < 0.5 * (1 - worth[name])}
    return gone


def _make_memories(
    parts: CellParts, before: Set[str], gone: set[str], rng: np.random.Generator
) -> None:
    """Let each state that is kept, and was not with the connections ``before`` gone, mostly become
    a memory that can be trained, in place: written through a gate, and read through squashing ops
    alone. A step towards it that is taken alone brings no better score.
    """
    for memory in parts.kept:
        pair = {memory.new, memory.old}
        if gone & pair or not before & pair or rng.random() >= _TOGETHER:
            continue
        if gone.issuperset(memory.gates):
            gate = memory.gates[int(rng.integers(len(memory.gates)))]
            gone |= _sum_of(parts, gate)
            gone.discard(gate)
        for name in memory.raw:
            gone.add(name)
            others = sorted(_sum_of(parts, name) - set(memory.raw))
            if others and gone.issuperset(others):
                gone.discard(others[int(rng.integers(len(others)))])


def _sum_of(parts: CellParts, name: str) -> set[str]:
    """The terms of the sum that a connection is one of; none for another connection."""
    return next((set(group) for group in parts.sums if name in group), set())


def _change(parts: CellParts, gone: set[str], rng: np.random.Generator) -> None:
    """Take one decision back, in place."""
    units: Sequence[tuple[str, ...]] = (*parts.sums, *((name,) for name in parts.free))
    weights = np.array([2.0 if len(unit) > 1 else 1.0 for unit in units])
    unit = units[int(rng.choice(len(units), p=weights / weights.sum()))]
    name = unit[int(rng.integers(len(unit)))]
    if len(unit) > 1 and unit not in parts.memories and rng.random() < _SWAP:
        gone |= set(unit)
        gone.discard(name)
        return
    gone ^= {name}
    if len(unit) > 1 and gone.issuperset(unit):
        gone.discard(name)


class Subcells(Index):
    """The sub-cells of the cell of parts that a history holds."""

    def __init__(self) -> None:
        self.supernets: list[int] = []
        """Trials of the cell of parts."""
        self.ranked = _Scored()
        """The sub-cells with a score, best first."""
        self._keys: dict[str, str] = {}
        """Keys of the sub-cells that were drawn, by their codes; empty where there is no cell."""
        self._whole: Genome | None = None
        """The cell of parts that these are of."""

    def is_known(self, whole: Genome, code: str, history: History) -> bool:
        """Whether what is left of the cell is no cell or has a trial already, as far as it was
        drawn before: the longer a search, the more of what it draws, and to make one takes
        milliseconds.
        """
        if self._whole is not whole or code not in self._keys:
            return False
        key = self._keys[code]
        return not key or key in history.by_key

    def remember(self, whole: Genome, code: str, genome: Genome | None) -> None:
        """What was drawn for a code: a function of it and of the cell."""
        if self._whole is not whole or len(self._keys) >= _REMEMBERED:
            self._whole, self._keys = whole, {}
        self._keys[code] = "" if genome is None else genome.key

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        self.ranked.put(trial, before)
        is_supernet = trial.proposal.origin == SUPERNET_OF_PARTS
        if before is None and is_supernet and trial.status is not Status.DUPLICATE:
            self.supernets.append(trial.number)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self.ranked.drop(trial)
        if trial.number in self.supernets:
            self.supernets.remove(trial.number)


class _Scored(Ranking):
    """Sub-cells by their scores."""

    def value(self, trial: Trial) -> float | None:
        """The score, if the trial is a sub-cell that has one."""
        origin = trial.proposal.origin
        return trial.standing if trial.ranks and origin.kind == "prune" and origin.place else None
