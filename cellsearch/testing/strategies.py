"""What every strategy must do. Subclass :class:`StrategyContract` in a test file and say how to
make the strategy.

::

    class TestMine(StrategyContract):
        def strategy(self) -> Strategy:
            return MyStrategy()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import FrozenInstanceError, fields
from functools import cache

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.errors import ConfigError
from cellsearch.experiment.catalog import load_space
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.options import read_options
from cellsearch.simulation.simulate import (
    best_so_far,
    completed,
    failed,
    fake_connections,
    simulate,
)
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.strategies.features import distance
from cellsearch.trial import BASELINE, Budget, Proposal, Rung, Status, Trial

__all__ = ["StrategyContract", "likeness", "space"]


@cache
def space(name: str = "lstm_gru") -> SearchSpace:
    """A search space of the project."""
    return load_space(name)


@cache
def likeness(genome: Genome, steps: int = 100, target: str = "mut1") -> float:
    """A score that a search can learn: how far a cell is from a zoo cell, with a little noise that
    is fixed by the cell's key.
    """
    noise = np.random.default_rng(int(genome.key[:8], 16)).normal(0.0, 0.01)
    return distance(genome, zoo.load(target)) + float(noise)


def fragile(genome: Genome, steps: int = 100) -> float:
    """:func:`likeness`, but every third cell cannot be trained."""
    return float("inf") if int(genome.key[:8], 16) % 3 == 0 else likeness(genome)


class StrategyContract(ABC):
    """Tests that hold for every strategy."""

    trials = 60
    """How long the simulated searches are."""

    @abstractmethod
    def strategy(self) -> Strategy:
        """The strategy under test."""

    def space(self) -> SearchSpace:
        """The space of the simulated searches."""
        return space("lstm_gru")

    def history(self, seed: int = 1) -> History:
        """A history of this strategy's own making, with failures and with trials in flight at its
        end.
        """
        done = simulate(
            self.strategy(),
            self.space(),
            fragile,
            trials=self.trials // 2,
            seed=seed,
            first=_baselines(),
        )
        running = [
            trial.with_(status=Status.RUNNING, rungs=(Rung(Budget(100)),), failure=None)
            for trial in list(done)[-2:]
        ]
        return History([*list(done)[:-2], *running])

    def test_it_has_a_name_a_paper_and_frozen_options(self) -> None:
        """Name and paper are there; options cannot be changed."""
        strategy = self.strategy()
        assert strategy.name
        assert strategy.paper
        for option in fields(strategy):  # type: ignore[arg-type]
            with pytest.raises(FrozenInstanceError):
                setattr(strategy, option.name, getattr(strategy, option.name))

    def test_the_same_history_gives_the_same_proposal(self) -> None:
        """A proposal is a function of history and rng alone."""
        for history in (History(), self.history()):
            again = History(list(history))
            rng = [np.random.default_rng([7, len(history), 0]) for _ in range(2)]
            assert self.strategy().propose(
                self.space(), history, rng[0]
            ) == self.strategy().propose(self.space(), again, rng[1])

    def test_nothing_is_kept_between_calls(self) -> None:
        """Calls in between change nothing."""
        strategy, history = self.strategy(), self.history()
        fresh = strategy.propose(self.space(), history, np.random.default_rng(3))
        other = self.history(seed=2)
        for seed in range(5):
            strategy.propose(self.space(), other, np.random.default_rng(seed))
        assert strategy.propose(self.space(), history, np.random.default_rng(3)) == fresh

    def test_it_does_not_change_the_history(self) -> None:
        """A history is read only."""
        history = self.history()
        before = list(history)
        self.strategy().propose(self.space(), history, np.random.default_rng(0))
        assert list(history) == before

    def test_it_starts_from_nothing(self) -> None:
        """An empty history is enough."""
        assert (
            self.strategy().propose(self.space(), History(), np.random.default_rng(0)) is not None
        )

    def test_all_proposals_are_legal_new_and_say_where_they_come_from(self) -> None:
        """Over a whole search with failures and two workers."""

        def check(proposal: Proposal, history: History) -> None:
            assert self.space().contains(proposal.genome) is None
            assert str(proposal.origin)
            assert proposal.origin.kind != BASELINE
            assert all(number in history.by_number for number in proposal.parents)
            if proposal.inherit is not None:
                assert history.by_number[proposal.inherit].result is not None

        done = simulate(
            self.strategy(),
            self.space(),
            fragile,
            trials=self.trials,
            seed=5,
            first=_baselines(),
            check=check,
        )
        assert len(done) == self.trials
        assert len({trial.genome.key for trial in done}) == self.trials

    def test_two_workers_are_kept_busy(self) -> None:
        """With one trial in flight there is something else to train, from the first proposal on."""
        strategy, records = self.strategy(), list[Trial]()
        for number in range(self.trials // 2):
            proposal = strategy.propose(
                self.space(), History(records), np.random.default_rng([9, number, 0])
            )
            assert proposal is not None, (
                f"nothing to propose for trial {number} while one is in flight"
            )
            records.append(Trial(number, proposal, Status.RUNNING))
            if number > 0:
                before = records[number - 1]
                learned = (
                    fake_connections(self.space(), before.genome)
                    if strategy.wants_connections
                    else {}
                )
                records[number - 1] = completed(before, likeness(before.genome), learned)

    def test_it_goes_on_when_everything_fails(self) -> None:
        """A failed training does not end a search."""
        strategy, records = self.strategy(), list[Trial]()
        for number in range(12):
            proposal = strategy.propose(
                self.space(), History(records), np.random.default_rng([2, number, 0])
            )
            if proposal is None:
                break
            records.append(failed(Trial(number, proposal)))
        assert len(records) >= 2

    def test_it_works_in_every_space_of_the_project(self) -> None:
        """Also where there is one state, or hardly any room."""
        for name in ("tiny", "single_state"):
            done = simulate(self.strategy(), space(name), likeness, trials=12, seed=4)
            assert len(done) == 12
            assert all(space(name).contains(trial.genome) is None for trial in done)

    def test_another_seed_gives_another_search(self) -> None:
        """The rng matters."""
        runs = [
            simulate(self.strategy(), self.space(), likeness, trials=16, seed=seed)
            for seed in (1, 2)
        ]
        assert [t.genome.key for t in runs[0]] != [t.genome.key for t in runs[1]]

    def test_it_gets_better(self) -> None:
        """A sanity check, not a benchmark: the best of whole searches beat their first
        proposals.
        """
        runs = [
            simulate(self.strategy(), self.space(), likeness, trials=self.trials, seed=seed)
            for seed in (6, 7, 8)
        ]
        curves = np.array([best_so_far(history) for history in runs])
        assert curves[:, -1].mean() < curves[:, 3].mean()

    def test_options_of_the_wrong_kind_are_refused(self) -> None:
        """An unknown option is an error, not ignored."""
        with pytest.raises(ConfigError, match="unknown key"):
            read_options(type(self.strategy()), {"no_such_option": 1})


def _baselines() -> tuple[Proposal, ...]:
    return tuple(Proposal(zoo.load(name), origin=f"baseline:{name}") for name in ("lstm", "gru"))
