"""Look-ahead: a short training ranks the extensions of one cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cellsearch.history import History
from cellsearch.options import between
from cellsearch.schedules.base import Schedule
from cellsearch.trial import Budget, Trial

__all__ = ["LookAhead"]


@dataclass(frozen=True, slots=True)
class LookAhead(Schedule):
    """A short training ranks candidates that have one parent in common: the best of its siblings so
    far goes on, the others stop.

    The first rung is ``share`` of the full training. Meant for growing with ``inherit``, where a
    candidate begins with the weights of its parent, so that a short training shows what the new
    node is good for. Nobody waits for a sibling: a candidate is compared with those that were
    decided on before it, so of n siblings in random order 1 + 1/2 + ... + 1/n go on (2.4 of 6).
    Controls, cells without a parent, and cells that only serve to find others get the full training
    at once.

    share: of the full training, that candidates are ranked by.

    Cheap evaluation of candidates before a costly one: Liu et al. 2018 (PNAS, arXiv 1712.00559),
    section 3.3, with training in place of its predictor.
    """

    name: ClassVar[str] = "lookahead"
    paper: ClassVar[str] = (
        "Liu et al. 2018, Progressive Neural Architecture Search (with short trainings "
        "in place of a predictor)"
    )

    share: Annotated[float, between(0, 1, open_low=True, open_high=True)] = 0.2

    def rungs(self, steps: int) -> tuple[int, ...]:
        """The short training and the full one."""
        return tuple(sorted({max(1, round(self.share * steps)), steps}))

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        """The short training, then the full one for the best of the siblings."""
        if trial.status.finished:
            return None
        if trial.is_baseline or trial.is_intermediate or not trial.proposal.parents:
            return None if trial.rungs else Budget(steps, 0)
        rungs = self.rungs(steps)
        done = sum(rung.result is not None for rung in trial.rungs)
        if done >= len(rungs):
            return None
        if done == 0 or self._is_best(history, trial):
            return Budget(rungs[done], done)
        return None

    def _is_best(self, history: History, trial: Trial) -> bool:
        own, parent = trial.score_at(0), trial.proposal.parents[0]
        if own is None or not own < float("inf"):
            return False
        siblings = (other for other in history.children(parent) if other.number != trial.number)
        return all(
            score is None or own < score for score in (other.score_at(0) for other in siblings)
        )
