"""An archive of different kinds of cells: the best cell of each niche (MAP-Elites, Mouret & Clune
2015, arXiv 1504.04909).

A niche is what a cell is, apart from how good it is: the class of its recurrence, how many weights
it has, and how it keeps what it remembers. So a small or a scan-able cell, or one with another kind
of memory, stays a parent although larger cells have better scores.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict
from functools import lru_cache
from typing import Literal, NamedTuple

from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import RecurrenceClass, recurrence_class
from cellsearch.genome.parts import Node
from cellsearch.history import History, Index
from cellsearch.trial import Trial

__all__ = ["Elites", "MemoryKind", "Niche", "elites", "memory_kind", "niche_of"]

MemoryKind = Literal["squashed", "fixed", "gated"]
"""How a state gets from one step to the next; see :func:`memory_kind`."""
_ORDER: tuple[MemoryKind, ...] = ("squashed", "fixed", "gated")
_WIDER = 1.5
"""A niche ends where weights are so many times those where it begins."""
_ADDITIVE = frozenset({"add", "sub", "identity", "neg", "max", "min"})


class Niche(NamedTuple):
    """A kind of cell."""

    recurrence: RecurrenceClass
    """The class of its recurrence."""
    size: int
    """Logarithm of its weights, to the base of 1.5, rounded down."""
    memory: MemoryKind
    """How it keeps what it remembers."""


@lru_cache(maxsize=4_000)
def memory_kind(genome: Genome) -> MemoryKind:
    """How long a cell can remember, as far as the graph tells: ``"gated"`` where some state gets to
    its own next value by sums and by factors that depend on the data (constant error carousel,
    Hochreiter & Schmidhuber 1997), ``"fixed"`` where all such factors are constants or trained
    weights (they forget at a rate of their own), ``"squashed"`` where every way leads through a
    nonlinear op or a dense matrix, so that what is remembered is written anew at each step.
    """
    found = 0
    for state, end in enumerate(genome.next_states, start=genome.first_node - len(genome.states)):
        ways: list[int | None] = [None] * genome.first_node
        ways[state] = 1
        for _, node in genome.numbered():
            ways.append(_way(genome, node, ways))
        found = max(found, ways[end] or 0)
    return _ORDER[found]


def _way(genome: Genome, node: Node, ways: list[int | None]) -> int | None:
    """The best way of the state through this node: 2 if it is gated, 1 if it is not; ``None`` if
    there is none.
    """
    below = [ways[value] for value in node.inputs]
    if node.op in _ADDITIVE:
        return max((way for way in below if way is not None), default=None)
    if node.op == "mul":
        kept = [way for way in below if way is not None]
        factors = [v for v, way in zip(node.inputs, below, strict=True) if way is None]
        if len(kept) != 1:
            return None  # a product of the state with itself
        constant = all((one := genome.node(v)) is not None and one.op == "const" for v in factors)
        return kept[0] if constant else 2
    if node.op == "blend":
        return 2 if any(way is not None for way in below[1:]) else None
    if node.op in ("diag", "scale", "bias"):
        return below[0]
    return None


def niche_of(trial: Trial) -> Niche:
    """The niche of a trial with a result."""
    weights = trial.result.cell_parameters if trial.result is not None else 1
    size = int(math.log(max(weights, 1), _WIDER))
    return Niche(recurrence_class(trial.genome), size, memory_kind(trial.genome))


class Elites(Index):
    """The trials of each niche, best first; baselines are not among them."""

    def __init__(self) -> None:
        self.niches: defaultdict[Niche, list[tuple[float, int]]] = defaultdict(list)
        """Score and number of the trials of each niche, best first."""
        self._homes: dict[int, tuple[Niche, float]] = {}

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        if before is not None:
            self._remove(trial.number)
        if trial.ranks and not trial.is_baseline:
            niche = niche_of(trial)
            insort(self.niches[niche], (trial.score, trial.number))
            self._homes[trial.number] = niche, trial.score

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self._remove(trial.number)

    def _remove(self, number: int) -> None:
        home = self._homes.pop(number, None)
        if home is not None:
            niche, score = home
            members = self.niches[niche]
            del members[bisect_left(members, (score, number))]
            if not members:
                del self.niches[niche]


def elites(history: History) -> list[Trial]:
    """The best trial of each niche that the strategy proposed, best first."""
    found = sorted(members[0] for members in history.index(Elites).niches.values())
    return [history.by_number[number] for _, number in found]
