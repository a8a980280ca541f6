"""How readily a cell is trained whose states may grow exponentially: as often as such cells have
been trained without failing so far, compared with others.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from cellsearch.genome.graph import Genome
from cellsearch.history import History, Index
from cellsearch.space.stability import has_zero_state, may_explode
from cellsearch.trial import Status, Trial

__all__ = ["Explosions", "is_worth_training"]


class Explosions(Index):
    """How many trials have ended, by whether their cells may explode and whether they failed.

    kind: of the origins that count; ``""``: all.
    """

    def __init__(self, kind: str = "") -> None:
        self._kind = kind
        self._finished = Counter[tuple[bool, bool]]()

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        if before is not None:  # a later rung: it is under way again
            self._count(before, -1)
        self._count(trial, 1)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self._count(trial, -1)

    def _count(self, trial: Trial, one: int) -> None:
        counts = not self._kind or trial.proposal.origin.kind == self._kind
        if counts and trial.status.finished and trial.status is not Status.DUPLICATE:
            self._finished[may_explode(trial.genome), trial.status is Status.FAILED] += one

    def odds(self) -> float:
        """How often a training of a cell that may explode succeeds, for one time that one of
        another does; at most 1. Each rate is (1 + successes) / (2 + trainings).
        """
        wild, calm = (
            (1 + self._finished[kind, False])
            / (2 + self._finished[kind, False] + self._finished[kind, True])
            for kind in (True, False)
        )
        return min(wild / calm, 1.0)


def is_worth_training(
    genome: Genome, history: History, rng: np.random.Generator, kind: str = ""
) -> bool:
    """Not where a state stays zero; where one may explode by the odds of the origins of ``kind``
    (``""``: of all).
    """
    if has_zero_state(genome):
        return False
    return not may_explode(genome) or rng.random() < history.index(Explosions, kind).odds()
