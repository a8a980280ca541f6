from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch import History, Proposal, SearchSpace
from cellsearch.options import between
from cellsearch.strategies import Strategy


@dataclass(frozen=True)
class HillClimb(Strategy):
    """Mutants of the best cell so far.

    ``explore``: share of random cells.
    """

    name: ClassVar[str] = "hill_climb"
    paper: ClassVar[str] = "an example"

    explore: Annotated[float, between(0, 1)] = 0.2

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        parents = [t for t in history.ranked if space.contains(t.genome) is None]
        for _ in range(200):
            if not parents or rng.random() < self.explore:
                proposal = Proposal(space.sample(rng), origin="random")
            else:
                best = parents[0]
                proposal = Proposal(space.mutate(best.genome, rng), (best.number,), "mutate")
            if proposal.genome.key not in history.by_key:
                return proposal
        return None
