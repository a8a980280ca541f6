"""What each operator paid."""

from __future__ import annotations

import pytest

from cellsearch import strategies, zoo
from cellsearch.history import History
from cellsearch.job import Budget
from cellsearch.reporting.operators import (
    Paid,
    operators,
    operators_section,
    p_value,
    paid,
    verdict,
)
from cellsearch.simulation.simulate import completed, failed, simulate
from cellsearch.testing.strategies import space
from cellsearch.trial import Proposal, Rung, Status, Trial

CELL = zoo.load("mgu")


def trial(number: int, score: float, origin: str, *parents: int) -> Trial:
    begun = Trial(number, Proposal(CELL, parents, origin), rungs=(Rung(Budget(9, 0)),))
    return completed(begun, score) if score < 9 else failed(begun)


HISTORY = History(
    [
        trial(0, 0.5, "seed:lstm"),
        trial(1, 0.4, "seed:gru"),
        trial(2, 0.3, "mutate:op@1", 0),
        trial(3, 0.6, "mutate:op", 0),
        trial(4, 9.0, "mutate:insert", 1),
        trial(5, 0.45, "crossover", 0, 1),  # better than one of its parents
        trial(6, 0.2, "crossover+op@3", 1, 0),
        trial(7, 0.1, "imported:a", 0),
        trial(8, 0.1, "mutate:op", 4),  # of a parent without a score
        trial(9, 0.1, "mutate:op", 0).with_(status=Status.DUPLICATE, duplicate_of=2),
    ]
)


def test_children_are_counted_by_operator_and_kind() -> None:
    rows = {row.operator: row for row in operators(HISTORY)}
    assert list(rows) == [
        *("mutate", "mutate:op", "mutate:insert"),
        *("crossover", "crossover alone", "crossover+op"),
    ]
    assert (rows["mutate"].tried, rows["mutate"].failed, rows["mutate"].better) == (3, 1, 1)
    assert rows["mutate:op"].gain == pytest.approx((0.2 - 0.1) / 2)
    assert rows["mutate:insert"].gain != rows["mutate:insert"].gain  # nothing to take a mean of
    assert (rows["crossover"].tried, rows["crossover"].better) == (2, 1)
    assert rows["crossover"].gain == pytest.approx((-0.05 + 0.2) / 2)
    assert rows["crossover"].best == 0.2


@pytest.mark.parametrize(
    ("better", "tried", "others_better", "others", "p"),
    [  # scipy.stats.fisher_exact
        (1, 2, 1, 3, 1.0),
        (8, 10, 1, 6, 0.03496503496503495),
        (0, 5, 5, 5, 0.007936507936507936),
        (0, 4, 0, 9, 1.0),
    ],
)
def test_fishers_exact_test(
    better: int, tried: int, others_better: int, others: int, p: float
) -> None:
    def record(better: int, tried: int) -> Paid:
        return paid("x", [(0.1, 0.2)] * better + [(0.3, 0.2)] * (tried - better))

    assert p_value(record(better, tried), record(others_better, others)) == pytest.approx(p)


def test_the_verdict_needs_both_and_follows_the_test() -> None:
    assert "crossover pays about as often as mutation (p = 1" in verdict(operators(HISTORY))
    assert verdict(operators(History(HISTORY[:5]))) == ""
    many = [trial(0, 0.5, "seed")]
    many += [trial(k, 0.4, "crossover", 0) for k in range(1, 11)]
    many += [trial(k, 0.6, "mutate:op", 0) for k in range(11, 21)]
    assert "crossover pays more often than mutation" in verdict(operators(History(many)))


def test_a_search_without_parents_has_no_section() -> None:
    strategy = strategies.create("random")
    found = simulate(strategy, space(), lambda genome, steps: 1.0, trials=5, seed=0)
    assert operators_section(found) == ""
    assert "What each operator paid" in operators_section(HISTORY)
