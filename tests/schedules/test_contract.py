"""The contract of schedules, held by each of them, and broken by those that it is for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from cellsearch import schedules
from cellsearch.history import History
from cellsearch.schedules import CurveStop, Fixed, LookAhead, Schedule, SuccessiveHalving
from cellsearch.testing.schedules import ScheduleContract
from cellsearch.trial import Budget, Trial


class TestFixed(ScheduleContract):
    def schedule(self) -> Schedule:
        return Fixed()


class TestHalving(ScheduleContract):
    def schedule(self) -> Schedule:
        return SuccessiveHalving()


class TestLookAhead(ScheduleContract):
    def schedule(self) -> Schedule:
        return LookAhead()


class TestCurveStop(ScheduleContract):
    def schedule(self) -> Schedule:
        return CurveStop(minimum=2)


def test_every_schedule_has_a_contract() -> None:
    tested = {
        kind().schedule().name
        for kind in ScheduleContract.__subclasses__()
        if kind.__module__ == __name__
    }
    assert tested == set(schedules.names())


@dataclass(frozen=True, slots=True)
class _Endless(Fixed):
    name: ClassVar[str] = "broken"

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        return Budget(steps, 0)


@dataclass(frozen=True, slots=True)
class _SkipsARung(SuccessiveHalving):
    name: ClassVar[str] = "broken"

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        granted = SuccessiveHalving.next_budget(self, history, trial, steps)
        return replace(granted, rung=granted.rung + 1) if granted else None


@dataclass(frozen=True, slots=True)
class _FallingRungs(Fixed):
    name: ClassVar[str] = "broken"

    def rungs(self, steps: int) -> tuple[int, ...]:
        return (steps, 1)


@dataclass(frozen=True, slots=True)
class _Counts(Fixed):
    name: ClassVar[str] = "broken"
    calls: ClassVar[list[int]] = []

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        self.calls.append(1)
        return Budget(steps, 0) if len(self.calls) % 3 else None


@pytest.mark.parametrize(
    ("broken", "finds", "arguments"),
    [
        (_Endless, "test_a_finished_trial_gets_nothing", ()),
        (_SkipsARung, "test_a_trial_climbs_its_rungs_in_order_and_comes_to_an_end", ()),
        (_FallingRungs, "test_rungs_rise_to_the_full_training", (7,)),
        (_Counts, "test_the_answer_is_a_pure_function", ()),
    ],
)
def test_the_contract_finds_a_broken_schedule(
    broken: type[Schedule], finds: str, arguments: tuple[int, ...]
) -> None:
    class Broken(ScheduleContract):
        def schedule(self) -> Schedule:
            return broken()

    with pytest.raises((AssertionError, IndexError)):
        getattr(Broken(), finds)(*arguments)
