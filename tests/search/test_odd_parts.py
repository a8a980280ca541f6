"""Strategies and schedules that answer what they may not: an error that names them, nothing stored,
and the run goes on when they are mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from cellsearch import zoo
from cellsearch.errors import RunError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import Experiment
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.schedules import SuccessiveHalving
from cellsearch.search import Search
from cellsearch.space import SearchSpace
from cellsearch.store import Store
from cellsearch.strategies.base import Strategy
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import final_table, small_experiment
from cellsearch.trial import Budget, Proposal, Trial

TRIALS = 9
AT = 5
"""The trial at which a part answers oddly."""
_odd: dict[type, Callable[[Any], Any]] = {}
"""What is answered instead of a right proposal or budget, made from it."""


def answer(right: Any, now: bool) -> Any:
    return _odd.get(type(right), lambda same: same)(right) if now else right


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    yield
    _odd.clear()


@dataclass(frozen=True)
class Mine(Strategy):
    name: ClassVar[str] = "mine"
    paper: ClassVar[str] = ""

    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        right = Proposal(space.sample(rng), (len(history) - 1,) if history else (), "mine")
        found: Proposal | None = answer(right, len(history) == AT)
        return found


@dataclass(frozen=True, slots=True)
class Grants(SuccessiveHalving):
    name: ClassVar[str] = "grants"
    paper: ClassVar[str] = ""

    rung: ClassVar[int] = 0

    def next_budget(self, history: History, trial: Trial, steps: int) -> Budget | None:
        right = SuccessiveHalving.next_budget(self, history, trial, steps)
        now = trial.number >= AT and right is not None and right.rung == self.rung
        found: Budget | None = answer(right, now)
        return found


class Higher(Grants):
    """Answers oddly when a higher rung is due."""

    rung: ClassVar[int] = 1


class Own(BaseException):
    pass


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError


def raising(error: BaseException) -> Callable[[Any], Any]:
    def odd(right: Any) -> Any:
        raise error

    return odd


def proposal(**changes: Any) -> Callable[[Proposal], Proposal]:
    """The right proposal with some fields changed."""

    def odd(right: Proposal) -> Proposal:
        fields = {"genome": right.genome, "parents": right.parents, "origin": right.origin}
        return Proposal(**(fields | changes))

    return odd


def unmade(right: Any) -> Any:
    return object.__new__(type(right))


RAISED = {
    "ValueError": raising(ValueError("a \ud800")),
    "SystemExit": raising(SystemExit(0)),
    "a BaseException": raising(Own("own")),
    "GeneratorExit": raising(GeneratorExit()),
    "StopIteration": raising(StopIteration()),
    "MemoryError": raising(MemoryError()),
    "without words": raising(Wordless()),
}
OUTSIDE = Genome.from_text("h[t] = sin(linear(x[t], h[t-1]))")
PROPOSED: dict[str, Callable[[Any], Any]] = {
    **RAISED,
    "text": lambda right: "a cell",
    "a genome": lambda right: right.genome,
    "a pair": lambda right: (right.genome, ()),
    "the class": lambda right: Proposal,
    "False": lambda right: False,
    "a proposal without fields": unmade,
    "text as genome": proposal(genome="h[t] = x[t]"),
    "no genome": proposal(genome=None),
    "a genome outside": proposal(genome=OUTSIDE),
    "a published cell outside": proposal(genome=zoo.load("unicornn")),
    "a parent that is not there": proposal(parents=(AT,)),
    "a negative parent": proposal(parents=(-1,)),
    "text as parent": proposal(parents=("1",)),
    "text as parents": proposal(parents="12"),
    "a number as parents": proposal(parents=1),
    "no parents": proposal(parents=None),
    "half a parent": proposal(parents=(1.5,)),
    "NaN as parent": proposal(parents=(float("nan"),)),
    "True as parent": proposal(parents=(True,)),
    "a huge parent": proposal(parents=(10**5000,)),
    "an inherit that is not there": proposal(inherit=99),
    "a negative inherit": proposal(inherit=-1),
    "text as inherit": proposal(inherit="1"),
    "True as inherit": proposal(inherit=True),
    "infinite inherit": proposal(inherit=float("inf")),
    "half a character as origin": proposal(origin="a \ud800"),
    "a baseline": proposal(origin="baseline:lstm"),
    "enqueued": proposal(origin="enqueued"),
    "imported": proposal(origin="imported:other"),
}
CONVERTED_PROPOSALS: dict[str, Callable[[Any], Any]] = {
    "numbers of numpy": proposal(parents=(np.int64(1), np.uint8(2)), inherit=np.int32(1)),
    "a list": proposal(parents=[1, 2], inherit=1),
    "an array": proposal(parents=np.array([1, 2]), inherit=np.array(1)),
    "tensors": proposal(parents=(torch.tensor(1), torch.tensor(2)), inherit=torch.tensor(1)),
    "whole floats": proposal(parents=(1.0, np.float32(2)), inherit=1.0),
}


def budget(steps: Callable[[int], Any] = lambda n: n, rung: Any = None) -> Callable[[Any], Any]:
    """The right budget with other steps or another rung."""
    return lambda right: Budget(steps(right.steps), right.rung if rung is None else rung)


GRANTED: dict[str, Callable[[Any], Any]] = {
    **RAISED,
    "text": lambda right: "9",
    "a number": lambda right: right.steps,
    "a pair": lambda right: (right.steps, right.rung),
    "a budget without fields": unmade,
    "nothing": budget(lambda n: 0),
    "negative": budget(lambda n: -n),
    "NaN": budget(lambda n: float("nan")),
    "infinite": budget(lambda n: float("inf")),
    "half a step": budget(lambda n: n + 0.5),
    "more than all": budget(lambda n: 10),
    "huge": budget(lambda n: 2**70),
    "text as steps": budget(str),
    "None as steps": budget(lambda n: None),
    "True as steps": budget(lambda n: True),
    "a rung too high": lambda right: Budget(right.steps, right.rung + 1),
    "a rung too low": lambda right: Budget(right.steps, right.rung - 1),
    "text as rung": budget(rung="0"),
    "NaN as rung": budget(rung=float("nan")),
}
CONVERTED_BUDGETS: dict[str, Callable[[Any], Any]] = {
    "numbers of numpy": lambda right: Budget(np.int64(right.steps), np.uint8(right.rung)),  # type: ignore[arg-type]
    "a tensor": budget(torch.tensor),
    "a whole float": budget(float),
    "an array": budget(np.array),
}


def experiment(grants: type[Grants] = Grants) -> Experiment:
    return small_experiment(Mine(), schedule=grants(), trials=TRIALS, baselines=())


def search(path: Path, grants: type[Grants] = Grants) -> None:
    with Search.open(path, experiment(grants)) as found, InProcess(evaluation=EVALUATION) as worker:
        found.run(worker, arrays={})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """What comes out where nothing is odd."""
    path = tmp_path_factory.mktemp("plain")
    search(path)
    return stored(path)


def stored(path: Path) -> list[tuple[Any, ...]]:
    with Store.read(path) as store:
        return final_table(store.history())


def check_refused(
    name: str,
    path: Path,
    table: list[tuple[Any, ...]],
    grants: type[Grants] = Grants,
) -> None:
    """The error names the part, what was stored is a whole run, and it goes on."""
    with pytest.raises(RunError, match=name) as caught:
        search(path, grants)
    _odd.clear()
    assert caught.value.hint
    assert caught.value.where == str(path)
    before = stored(path)
    assert len(before) >= AT
    assert before[:AT] == table[:AT]
    search(path, grants)
    assert stored(path) == table


@pytest.mark.parametrize("odd", PROPOSED)
def test_an_odd_proposal(odd: str, tmp_path: Path, table: list[tuple[Any, ...]]) -> None:
    _odd[Proposal] = PROPOSED[odd]
    check_refused("strategy 'mine'", tmp_path, table)


@pytest.mark.parametrize("odd", [*GRANTED, "None"])
def test_an_odd_first_budget(odd: str, tmp_path: Path, table: list[tuple[Any, ...]]) -> None:
    _odd[Budget] = GRANTED.get(odd, lambda right: None)
    check_refused("schedule 'grants'", tmp_path, table)


@pytest.mark.parametrize("odd", [*GRANTED, "no more"])
def test_an_odd_higher_budget(odd: str, tmp_path: Path, table: list[tuple[Any, ...]]) -> None:
    _odd[Budget] = GRANTED.get(odd, budget(lambda n: 1))  # the steps of the rung below
    check_refused("schedule 'grants'", tmp_path, table, Higher)


@pytest.mark.parametrize("odd", CONVERTED_PROPOSALS)
def test_numbers_of_others_in_a_proposal(odd: str, tmp_path: Path) -> None:
    _odd[Proposal] = CONVERTED_PROPOSALS[odd]
    search(tmp_path)
    with Store.read(tmp_path) as store:
        found = store.trial(AT).proposal
    assert (found.parents, found.inherit) == ((1, 2), 1)


@pytest.mark.parametrize("grants", [Grants, Higher])
@pytest.mark.parametrize("odd", CONVERTED_BUDGETS)
def test_numbers_of_others_in_a_budget(
    odd: str, grants: type[Grants], tmp_path: Path, table: list[tuple[Any, ...]]
) -> None:
    _odd[Budget] = CONVERTED_BUDGETS[odd]
    search(tmp_path, grants)
    assert stored(tmp_path) == table


def test_the_first_proposal_is_asked_for_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mine, "propose", lambda *_: "a cell")
    with Search.open(tmp_path, small_experiment(Mine())) as found:
        with pytest.raises(RunError, match="strategy 'mine' proposed a str"):
            found.ask()
        assert not found.history


def test_a_person_s_interrupt_is_not_the_strategy_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mine, "propose", lambda *_: raising(KeyboardInterrupt())(None))
    with Search.open(tmp_path, experiment()) as found, pytest.raises(KeyboardInterrupt):
        found.ask()
