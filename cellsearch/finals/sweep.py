"""Which learning rate each cell is trained with: decided by validation data, with seeds of its own.

The same rule for every cell. A rate at the edge of those tried says that the best may lie beyond,
so the next one beyond is tried, twice or half as large, until a rate is best that has been tried on
both sides, or the bound is reached. One seed of one rate says little where two rates are close, so
the two best are trained with a second seed, and those that are still no further from the best than
seeds are from each other, with a third.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cellsearch.finals.protocol import SWEEP_SEED, Finalist, Protocol, make_job
from cellsearch.finals.rounds import Rounds
from cellsearch.job import Job, Outcome

__all__ = ["Swept", "sweep"]

MOST_SEEDS = 3
"""Trainings of a rate where noise decides."""
STEP = 2.0
"""From one rate to the next beyond the edge."""
_TOO_FAST = frozenset({"nan", "diverged"})
"""Failures that a lower rate may spare."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What the sweep of one cell found."""

    rate: float
    """The chosen learning rate."""
    inside: bool | None
    """Whether rates on both sides of it were tried; ``None``: there was one only."""
    tried: tuple[tuple[float, float, int], ...]
    """Each rate, rising: mean validation score (infinity if a training failed), trainings."""


@dataclass
class _Cell:
    """What is known of one cell: scores by factor of the learning rate, one a seed."""

    protocol: Protocol
    scores: dict[float, list[float]] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)

    def tell(self, factor: float, outcome: Outcome) -> None:
        """One more training at this factor has ended."""
        result = outcome.result
        score = result.score if result is not None else math.inf
        self.scores.setdefault(factor, []).append(score if math.isfinite(score) else math.inf)
        if outcome.failure is not None:
            self.kinds.add(outcome.failure.kind)

    def wanted(self) -> list[tuple[float, int]]:
        """Factors and numbers of seeds to be trained next; nothing when all is decided."""
        seeds = range(max(1, self.protocol.sweep_seeds))
        if not self.scores:
            return [(factor, seed) for factor in self.protocol.rates for seed in seeds]
        beyond = self._beyond()
        if beyond is not None:
            return [(beyond, seed) for seed in seeds]
        return self._doubtful() if not self.protocol.sweep_seeds else []

    def mean(self, factor: float) -> float:
        """Mean validation score; infinity if a training failed."""
        return math.fsum(self.scores[factor]) / len(self.scores[factor])

    def best(self) -> float:
        """The factor with the best mean; of equal ones the nearest to 1 (in version 0.1 the
        lowest), where all failed the lowest.
        """
        factors = sorted(self.scores)
        if all(math.isinf(self.mean(factor)) for factor in factors):
            return factors[0]
        if self.protocol.is_as_before:
            return min(factors, key=self.mean)
        return min(factors, key=lambda factor: (self.mean(factor), abs(math.log(factor))))

    def inside(self) -> bool | None:
        """Whether rates on both sides of the best were tried."""
        if len(self.scores) == 1:
            return None
        return min(self.scores) < self.best() < max(self.scores)

    def _beyond(self) -> float | None:
        """The next factor beyond the edge, if the best is there and the bound is not reached."""
        best, widest = self.best(), self.protocol.widest
        if self.inside() is not False:
            return None
        if math.isinf(self.mean(best)) and not self.kinds <= _TOO_FAST:
            return None  # it fails for another reason than its rate
        further = best / STEP if best == min(self.scores) else best * STEP
        return further if 1 / widest <= further <= widest else None

    def _doubtful(self) -> list[tuple[float, int]]:
        """Factors that need another seed, because noise may decide between them."""
        known = [factor for factor in self.scores if math.isfinite(self.mean(factor))]
        if len(known) < 2:
            return []
        known.sort(key=lambda factor: (self.mean(factor), abs(math.log(factor))))
        if few := [factor for factor in known[:2] if len(self.scores[factor]) < 2]:
            return [(factor, 1) for factor in few]
        noise = max(
            abs(score - self.mean(factor)) for factor in known for score in self.scores[factor]
        )
        close = [f for f in known if self.mean(f) - self.mean(known[0]) <= noise]
        few = [factor for factor in close if len(self.scores[factor]) < MOST_SEEDS]
        return [(factor, len(self.scores[factor])) for factor in few] if len(close) > 1 else []


def sweep(
    rounds: Rounds,
    finalists: Sequence[Finalist],
    sizes: Mapping[str, int],
    protocol: Protocol,
) -> dict[str, Swept]:
    """The learning rate of each cell that gives the best validation score.

    With one rate there is nothing to decide, and nothing is trained.
    """
    base = protocol.training.learning_rate
    if len(protocol.rates) == 1:
        return {f.name: Swept(base * protocol.rates[0], None, ()) for f in finalists}
    cells = {f.name: _Cell(protocol) for f in finalists}
    while wanted := {f.name: w for f in finalists if (w := cells[f.name].wanted())}:
        jobs = {
            f.name: {
                _which(protocol, factor, seed): _job(f, protocol, sizes[f.name], factor, seed)
                for factor, seed in wanted[f.name]
            }
            for f in finalists
            if f.name in wanted
        }
        outcomes = rounds.train(jobs)
        for name, asked in wanted.items():
            for (factor, _), outcome in zip(asked, outcomes[name].values(), strict=True):
                cells[name].tell(factor, outcome)
    return {
        name: Swept(
            base * cell.best(),
            cell.inside(),
            tuple((base * f, cell.mean(f), len(cell.scores[f])) for f in sorted(cell.scores)),
        )
        for name, cell in cells.items()
    }


def _which(protocol: Protocol, factor: float, seed: int) -> str:
    """The name of a training in the journal; the first ones are called as in version 0.1."""
    if seed == 0 and factor in protocol.rates:
        return str(protocol.rates.index(factor))
    return f"{factor!r}/{seed}"


def _job(finalist: Finalist, protocol: Protocol, size: int, factor: float, seed: int) -> Job:
    training = replace(
        protocol.training,
        hidden_size=size,
        learning_rate=factor * protocol.training.learning_rate,
    )
    return make_job(finalist, protocol, training, SWEEP_SEED + seed, test=False)
