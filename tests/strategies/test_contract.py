"""Every strategy fulfils the contract."""

from __future__ import annotations

import pytest

from cellsearch import strategies
from cellsearch.strategies import Strategy
from cellsearch.testing.strategies import StrategyContract


class TestRandom(StrategyContract):
    def strategy(self) -> Strategy:
        return strategies.create("random")


class TestGenetic(StrategyContract):
    def strategy(self) -> Strategy:
        return strategies.create("genetic")


class TestGeneticWithIslandsAndSpecies(StrategyContract):
    def strategy(self) -> Strategy:
        return strategies.create(
            "genetic", {"islands": 3, "population": 8, "species": 0.5, "inherit": True}
        )


class TestGrow(StrategyContract):
    def strategy(self) -> Strategy:
        return strategies.create("grow")


class TestGrowByLevels(StrategyContract):
    def strategy(self) -> Strategy:
        return strategies.create("grow", {"frontier": "levels"})


class TestPrune(StrategyContract):
    trials = 24

    def strategy(self) -> Strategy:
        return strategies.create("prune")


class TestGeneticWithArchive(StrategyContract):
    trials = 60

    def strategy(self) -> Strategy:
        return strategies.create("genetic", {"archive": "map_elites"})


class TestGeneticWithObjectives(StrategyContract):
    trials = 100  # two objectives: the seed genomes are beaten later in the score alone

    def strategy(self) -> Strategy:
        return strategies.create("genetic", {"objectives": ("score", "parameters")})


class TestPruneTheFullCell(StrategyContract):
    trials = 24

    def strategy(self) -> Strategy:
        return strategies.create("prune", {"start": "full"})


class TestRegularizedEvolution(StrategyContract):
    def strategy(self) -> Strategy:
        return strategies.create("regularized_evolution", {"population": 12, "tournament": 4})


class TestLocalSearch(StrategyContract):
    def strategy(self) -> Strategy:
        return strategies.create("local_search")


class TestPredictor(StrategyContract):
    trials = 24

    def strategy(self) -> Strategy:
        return strategies.create("predictor")


class TestPredictorRidge(StrategyContract):
    trials = 24

    def strategy(self) -> Strategy:
        return strategies.create("predictor", {"model": "ridge", "candidates": 6})


class TestNsga2(StrategyContract):
    trials = 100  # two objectives: the seed genomes are beaten later in the score alone

    def strategy(self) -> Strategy:
        return strategies.create("nsga2")


def test_every_strategy_has_a_contract_test():
    tested = {
        kind().strategy().name
        for kind in StrategyContract.__subclasses__()
        if kind.__module__ == __name__
    }
    assert tested == set(strategies.names()) - {"external"}  # which proposes nothing


def test_unknown_names_are_refused_with_a_hint():
    with pytest.raises(Exception, match="no strategy 'genetik'") as caught:
        strategies.create("genetik")
    assert "genetic" in caught.value.hint
