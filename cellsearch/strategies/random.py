"""Random search: the control of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cellsearch.history import History
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.ranking import first_new
from cellsearch.trial import Proposal

__all__ = ["Random"]


@dataclass(frozen=True)
class Random(Strategy):
    """Cells drawn from the space, independent of all results."""

    name: ClassVar[str] = "random"
    paper: ClassVar[str] = "Bergstra & Bengio 2012; as a control for cells: Li & Talwalkar 2019"

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """A new random cell; ``None`` when 200 of them were all known, so the space is as good as
        exhausted.
        """
        genome = first_new(history, lambda: space.sample(rng), tries=200)
        return None if genome is None else Proposal(genome, origin="random")
