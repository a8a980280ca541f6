"""The benchmark of fitness: its cells, scores and ranks, and that it goes on where it stopped."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.job import Job

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("only in a checkout", allow_module_level=True)


@pytest.fixture
def fitness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("fitness")


def test_cells_are_diverse_and_always_the_same(fitness: ModuleType) -> None:
    found, again = fitness.cells(18), fitness.cells(18)
    assert found == again
    assert list(found)[:4] == ["lstm", "random 1", "mutated 2", "gru"]
    assert len({genome.key for genome in found.values()}) == 18
    assert list(fitness.cells(9).items()) == list(found.items())[:9]


def test_equal_weights(fitness: ModuleType) -> None:
    assert fitness.equal_size(zoo.load("lstm"), 16) == 24
    assert fitness.equal_size(zoo.load("gru"), 16) > 24


class Scripted:
    """Stands in for the work: trainings by name, and what they give."""

    def __init__(self, fitness: ModuleType, scores: dict[tuple[str, str, float], Any]) -> None:
        self._scores, self.trained = scores, 0
        real = fitness.Work(["sunspots"])
        self.suite, self.held_out, self._real = real.suite, ["sunspots"], real
        self._cell = ""

    def parts(self, genome: Any) -> Any:
        self._cell = genome.key
        return self._real.parts(genome)

    def train(self, job: Job) -> dict[str, Any]:
        self.trained += 1
        worth = int(self._cell[:4], 16) / 65536
        if worth > 0.9:
            return {"failed": "nan", "seconds": 1.0}
        return {"score": 0.01 + 0.05 * worth, "test": worth, "seconds": 1.0}


def test_it_goes_on_where_it_stopped_and_correlates(fitness: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "fitness.jsonl"
    work = Scripted(fitness, {})
    results = fitness.Results(path)
    fitness.go_on(results, work, 4, minutes=0.0)
    assert work.trained == 0
    assert "four are the least" in fitness.show(results, work, 4)
    fitness.go_on(results, work, 6, minutes=1.0)
    each = 1 + 12 + 2
    assert work.trained == 6 * each == len(results.rows)
    with open(path, "a") as file:
        file.write('{"cell": "lstm", "pa')  # killed while it wrote
    again = fitness.Results(path)
    fitness.go_on(again, work, 8, minutes=1.0)
    assert work.trained == 8 * each
    shown = fitness.show(again, work, 8)
    assert "8 cells; held out: sunspots" in shown
    assert "| char_lm, one training | 1.00 | 1.00 to 1.00 |" in shown


def test_what_failed_is_the_worst(fitness: ModuleType) -> None:
    rows = {
        (cell, "held jsb", rate): row
        for cell, row in (
            ("a", {"failed": "nan"}),
            ("b", {"score": 1.0, "test": 3.0}),
            ("c", {"score": 2.0, "test": 2.0}),
        )
        for rate in fitness.RATES
    }
    rows["c", "held jsb", fitness.RATES[1]] = {"score": 9.0, "test": 0.0}  # validation says no
    assert fitness.held_out_ranks(rows, ["a", "b", "c"], ["jsb"]).tolist() == [[2, 1, 0]]


def test_the_score_of_the_suite_counts_failures(fitness: ModuleType) -> None:
    suite = fitness.Work([]).suite
    targets = [member.chance / 2 for member in suite.members]
    rows = {
        (cell, f"broad {member.name}", rate): row
        for member, target in zip(suite.members, targets, strict=True)
        for rate in suite.rates_of(member)
        for cell, row in (
            ("good", {"score": target}),
            ("half", {"score": target} if rate < 1 else {"failed": "nan"}),
            ("none", {"failed": "diverged"}),
        )
    }
    scores = [fitness.broad_score(suite, rows, cell, targets) for cell in ("good", "half", "none")]
    assert scores[:2] == [pytest.approx(0.0), pytest.approx(0.5)]
    assert math.isinf(scores[2])


def test_intervals_hold_the_correlation(fitness: ModuleType) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(40)
    y = x + rng.standard_normal(40)
    low, high = fitness.interval(x.tolist(), y.tolist(), samples=200)
    assert low < fitness.spearman(x.tolist(), y.tolist()) < high
    assert 0.1 < high - low < 0.8


def test_gains_over_the_first_score(fitness: ModuleType) -> None:
    """A score in the order of the ranks against one in the reverse order: 1 and -1, in each sample
    of cells; one that failed as the first is left out of the second comparison.
    """
    final = [float(k) for k in range(12)]
    back = [-value for value in final]
    assert fitness.interval(final, final, back, samples=50) == pytest.approx((2.0, 2.0))
    assert fitness.interval(final, final, final, samples=50) == pytest.approx((0.0, 0.0))
    every, kept = fitness.gains({"one": [math.inf, *back[1:]], "suite": final}, final)
    assert every.startswith("suite against one, all cells (12): 1.00 and -")
    assert kept == (
        "suite against one, those that trained as one (11): 1.00 and -1.00, difference 2.00 to 2.00"
    )
