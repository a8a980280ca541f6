"""The contracts of cellsearch, held by the parts of this package."""

from typing import ClassVar

from cellsearch_example.ops import ARCTAN
from cellsearch_example.schedules import BetterHalf
from cellsearch_example.strategies import HillClimb
from cellsearch_example.tasks import Majority

from cellsearch.schedules import Schedule
from cellsearch.strategies import Strategy
from cellsearch.testing.ops import OpContract
from cellsearch.testing.schedules import ScheduleContract
from cellsearch.testing.strategies import StrategyContract
from cellsearch.testing.tasks import TaskContract


class TestArctan(OpContract):
    op = ARCTAN


class TestMajority(TaskContract):
    task = Majority
    options: ClassVar = {"length": 5, "batch_size": 16}
    beats = 0.3


class TestHillClimb(StrategyContract):
    def strategy(self) -> Strategy:
        return HillClimb()


class TestBetterHalf(ScheduleContract):
    def schedule(self) -> Schedule:
        return BetterHalf()
