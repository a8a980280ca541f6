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


WINDOW = 2000
"""How many of the newest trials count. Whether a cell may explode is worked out from its graph (0.1
ms), and for a hundred thousand trials the first proposal after a run was opened would wait.
"""


class Explosions(Index):
    """How many of the newest trials have ended, by whether their cells may explode and whether they
    failed.

    kind: of the origins that count; ``""``: all.
    """

    def __init__(self, kind: str = "") -> None:
        self._kind = kind
        self._newest = -1
        self._ended: dict[int, Trial] = {}
        """Those that count, by number; twice as many as the window, for the newest may be left out
        again.
        """
        self._kinds: dict[int, tuple[bool, bool]] = {}
        """Whether the cells of these may explode, and whether they failed, as far as it was asked
        for.
        """
        self._odds: float | None = None
        """What :meth:`odds` said, until a trial changes: a proposal asks for each cell it draws."""

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        number = trial.number
        self._forget(number)
        counts = not self._kind or trial.proposal.origin.kind == self._kind
        if counts and trial.status.finished and trial.status is not Status.DUPLICATE:
            self._ended[number] = trial
        if number > self._newest:
            self._newest = number
            self._forget(number - 2 * WINDOW)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self._forget(trial.number)
        self._newest = trial.number - 1

    def _forget(self, number: int) -> None:
        self._ended.pop(number, None)
        self._kinds.pop(number, None)
        self._odds = None

    def odds(self) -> float:
        """How often a training of a cell that may explode succeeds, for one time that one of
        another does; at most 1. Each rate is (1 + successes) / (2 + trainings).
        """
        if self._odds is not None:
            return self._odds
        counts = Counter[tuple[bool, bool]]()
        for number, trial in self._ended.items():
            if number > self._newest - WINDOW:
                kind = self._kinds.get(number)
                if kind is None:
                    kind = may_explode(trial.genome), trial.status is Status.FAILED
                    self._kinds[number] = kind
                counts[kind] += 1
        wild, calm = (
            (1 + counts[kind, False]) / (2 + counts[kind, False] + counts[kind, True])
            for kind in (True, False)
        )
        self._odds = min(wild / calm, 1.0)
        return self._odds


def is_worth_training(
    genome: Genome, history: History, rng: np.random.Generator, kind: str = ""
) -> bool:
    """Not where a state stays zero; where one may explode by the odds of the origins of ``kind``
    (``""``: of all).
    """
    if has_zero_state(genome):
        return False
    return not may_explode(genome) or rng.random() < history.index(Explosions, kind).odds()
