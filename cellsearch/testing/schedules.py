"""What every schedule must do. Subclass :class:`ScheduleContract` in a test file and say how to
make the schedule.

::

    class TestMine(ScheduleContract):
        def schedule(self) -> Schedule:
            return MySchedule()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.options import read_options
from cellsearch.schedules.base import Schedule
from cellsearch.trial import BASELINE, Budget, Proposal, Result, Rung, Status, Trial

__all__ = ["ScheduleContract"]

_GENOME = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
_STEPS = 900


class ScheduleContract(ABC):
    """Tests that hold for every schedule."""

    @abstractmethod
    def schedule(self) -> Schedule:
        """The schedule under test."""

    def trial(
        self,
        number: int,
        scores: Sequence[float] = (),
        status: Status = Status.RUNNING,
        origin: str = "random",
        parents: tuple[int, ...] = (),
    ) -> Trial:
        """A trial that has these scores on its rungs so far."""
        budgets = self.schedule().rungs(_STEPS)
        results = [
            Rung(
                Budget(budgets[k], k),
                Result(
                    score=score,
                    metric=score,
                    steps=budgets[k],
                    seconds=1.0,
                    parameters=1,
                    cell_parameters=1,
                    curve=((budgets[k], score),),
                ),
            )
            for k, score in enumerate(scores)
        ]
        proposal = Proposal(_GENOME, parents=parents, origin=origin)
        return Trial(number, proposal, status, tuple(results))

    def history(self) -> list[Trial]:
        """Trials of a search in which lower rungs say something about higher ones: completed ones,
        one that is training, one that failed.
        """
        rng, trials = np.random.default_rng(0), list[Trial]()
        for number in range(20):
            quality, scores = float(rng.normal()), list[float]()
            parents = (0,) if number else ()
            while self.grant(trials, number, scores, parents) is not None:
                scores.append(quality + float(rng.normal()) / (len(scores) + 2))
            trials.append(self.trial(number, scores, Status.COMPLETED, parents=parents))
        return [*trials, self.trial(20), self.trial(21, status=Status.FAILED)]

    def grant(
        self,
        history: Sequence[Trial],
        number: int,
        scores: Sequence[float],
        parents: tuple[int, ...],
    ) -> Budget | None:
        """What a trial with these scores gets next."""
        trial = self.trial(number, scores, parents=parents)
        return self.schedule().next_budget(History(history), trial, _STEPS)

    def test_it_has_a_name_and_frozen_options(self) -> None:
        """Options cannot be changed, and an unknown one is refused."""
        schedule = self.schedule()
        assert schedule.name
        assert isinstance(schedule.paper, str)
        for option in fields(schedule):  # type: ignore[arg-type]
            with pytest.raises(FrozenInstanceError):
                setattr(schedule, option.name, getattr(schedule, option.name))
        with pytest.raises(ConfigError, match="no_such_option"):
            read_options(type(schedule), {"no_such_option": 1})

    @pytest.mark.parametrize("steps", [1, 2, 7, 100, _STEPS])
    def test_rungs_rise_to_the_full_training(self, steps: int) -> None:
        """Each is a whole number of steps, more than the one before."""
        rungs = self.schedule().rungs(steps)
        assert rungs[-1] == steps
        assert all(type(rung) is int for rung in rungs)
        assert all(low < high for low, high in zip((0, *rungs), rungs, strict=False))

    def test_a_trial_climbs_its_rungs_in_order_and_comes_to_an_end(self) -> None:
        """Every budget is one of the rungs, the next one each time, a new trial's too."""
        for parents in ((), (0,)):
            scores: list[float] = []
            while True:
                budget = self.grant(self.history(), 30, scores, parents)
                if budget is None:
                    break
                assert budget.steps in self.schedule().rungs(_STEPS)
                assert budget.rung == len(scores)
                scores.append(-9.0)
            assert scores, "a new trial gets no training"

    def test_a_finished_trial_gets_nothing(self) -> None:
        """Whatever its end was."""
        for status in Status:
            if status.finished:
                trial = self.trial(30, [1.0], status)
                assert self.schedule().next_budget(History(self.history()), trial, _STEPS) is None

    def test_a_score_that_is_not_finite_raises_nothing(self) -> None:
        """Such a trial ends, or goes on with its next rung."""
        for score in (float("nan"), float("inf")):
            budget = self.grant(self.history(), 30, [score], ())
            assert budget is None or budget.rung == 1

    def test_baselines_get_the_full_training(self) -> None:
        """They are what the winner is compared with, however bad they are."""
        scores: list[float] = []
        granted = [0]
        while len(granted) == len(scores) + 1:
            trial = self.trial(30, scores, origin=f"{BASELINE}:lstm")
            budget = self.schedule().next_budget(History(self.history()), trial, _STEPS)
            scores.append(99.0)
            granted += [] if budget is None else [budget.steps]
        assert granted[-1] == _STEPS

    def test_the_answer_is_a_pure_function(self) -> None:
        """Calls in between, and another object, change nothing."""
        history = self.history()
        for scores in ([], [0.0], [-9.0]):
            first = self.grant(history, 30, scores, (0,))
            self.grant(history[:5], 31, [5.0], ())
            assert self.grant(history, 30, scores, (0,)) == first
