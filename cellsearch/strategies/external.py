"""The strategy of a run whose cells are proposed from outside: by a person, a script, a language
model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cellsearch.history import History
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.trial import Proposal

__all__ = ["External"]


@dataclass(frozen=True)
class External(Strategy):
    """Proposes nothing itself: `cellsearch ask RUN` hands out what is known, `cellsearch tell RUN
    FILE` takes cells, and the search trains what it was told.
    """

    name: ClassVar[str] = "external"
    paper: ClassVar[str] = ""
    is_outside: ClassVar[bool] = True

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """Nothing: what was told the run comes before whatever a strategy would propose."""
        return None
