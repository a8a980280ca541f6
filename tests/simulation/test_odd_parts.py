"""What strategies and schedules answer in a simulated search is checked as in a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.errors import RunError
from cellsearch.history import History
from cellsearch.schedules import Schedule
from cellsearch.simulation.simulate import simulate
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import Budget, Proposal, Status, Trial


@dataclass(frozen=True)
class Odd(Strategy):
    """Answers at its third trial what it may not."""

    name: ClassVar[str] = "odd"
    paper: ClassVar[str] = ""
    change: ClassVar[Callable[[Proposal], Any]] = staticmethod(lambda right: right)

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        right = Proposal(space.sample(rng), (len(history) - 1,) if history else (), "mine")
        found: Proposal | None = type(self).change(right) if len(history) == 2 else right
        return found


@dataclass(frozen=True)
class OddSchedule(Schedule):
    """Grants the third trial what it may not."""

    name: ClassVar[str] = "odd"
    paper: ClassVar[str] = ""
    budget: ClassVar[Any] = None

    def next_budget(self, history: History, trial: Trial, full_steps: int) -> Budget | None:
        right = Budget(full_steps) if not trial.rungs else None
        found: Budget | None = self.budget if trial.number == 2 and not trial.rungs else right
        return found

    def rungs(self, full_steps: int) -> tuple[int, ...]:
        return (full_steps,)


def run(schedule: Schedule | None = None) -> History:
    return simulate(Odd(), space(), likeness, trials=6, seed=0, schedule=schedule)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda right: 3, "proposed a int"),
        (lambda right: Proposal(zoo.load("nascell"), (), "mine"), "not in the space"),
        (lambda right: Proposal(right.genome, (7,), "mine"), "0 to 1 are there|proposed 7"),
        (lambda right: Proposal(right.genome, (), "mine", 9), "trial to inherit from"),
        (lambda right: Proposal(right.genome, (), "baseline:gru"), "proposed the origin"),
        (lambda right: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_an_odd_proposal(
    change: Callable[[Proposal], Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Odd, "change", staticmethod(change))
    with pytest.raises(RunError, match=rf"simulation: the strategy 'odd' .*({said})"):
        run()


@pytest.mark.parametrize(
    "budget",
    [None, 3, Budget(0), Budget(101), Budget(50, 1), Budget(50.5)],  # type: ignore[arg-type]
)
def test_an_odd_budget(budget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OddSchedule, "budget", budget)
    with pytest.raises(RunError, match=r"simulation: the schedule 'odd' .*"):
        run(OddSchedule())


def test_numbers_of_numpy_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    def foreign(right: Proposal) -> Proposal:
        return Proposal(right.genome, (np.int64(1),), "mine")  # type: ignore[arg-type]

    monkeypatch.setattr(Odd, "change", staticmethod(foreign))
    monkeypatch.setattr(OddSchedule, "budget", Budget(np.int64(100)))  # type: ignore[arg-type]
    history = run(OddSchedule())
    assert history.totals.statuses[Status.COMPLETED] == 6
    assert type(history[2].proposal.parents[0]) is int
    assert type(history[2].rungs[0].budget.steps) is int
