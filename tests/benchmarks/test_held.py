"""The judgment on held-out tasks: its sweep, its failures, its tables, and that it goes on."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cellsearch import zoo

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("only in a checkout", allow_module_level=True)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("held")


def swept(held: ModuleType, path: Path, scores: dict[float, float | None]) -> Any:
    """A judge who has no time left, and rates that were tried before."""
    results = held.Results(path)
    for rate, score in scores.items():
        row = {"cell": "gru", "task": "jsb", "what": "sweep", "rate": rate, "seed": 0}
        results.add({**row, **({"failed": "nan"} if score is None else {"score": score})})
    return held.Judge({"gru": zoo.load("gru")}, held.Results(path), -math.inf, sweep_seeds=1)


def test_the_sweep_is_widened_until_the_best_rate_is_inside(
    held: ModuleType, tmp_path: Path
) -> None:
    base: dict[float, float | None] = {2.5e-3: 4.0, 5e-3: 3.0, 1e-2: 2.0, 2e-2: 1.0}
    with pytest.raises(held.TimeIsUp):
        swept(held, tmp_path / "edge", base).rate("gru", "jsb")
    with pytest.raises(held.TimeIsUp):
        swept(held, tmp_path / "again", {**base, 4e-2: 0.5}).rate("gru", "jsb")
    failed = swept(held, tmp_path / "failed", {**base, 4e-2: None})
    assert failed.rate("gru", "jsb") == 2e-2
    low = swept(held, tmp_path / "low", {**base, 2.5e-3: 0.5, 1.25e-3: 0.7})
    assert low.rate("gru", "jsb") == 2.5e-3


def test_of_equal_rates_the_middle_one_counts(held: ModuleType, tmp_path: Path) -> None:
    same: dict[float, float | None] = dict.fromkeys((1.25e-3, 2.5e-3, 5e-3, 1e-2), 0.0)
    assert swept(held, tmp_path / "same", {**same, 2e-2: 0.1}).rate("gru", "jsb") == 5e-3


def test_the_mean_of_the_sweep_counts(held: ModuleType, tmp_path: Path) -> None:
    results = held.Results(tmp_path / "out")
    for rate in held.RATES:
        for seed, score in (
            (0, 1.0 if rate == 1e-2 else 2.0),
            (101, 3.0 if rate == 1e-2 else rate),
        ):
            row = {"cell": "gru", "task": "jsb", "what": "sweep", "rate": rate, "seed": seed}
            results.add({**row, "score": score})
    judge = held.Judge({"gru": zoo.load("gru")}, results, -math.inf, sweep_seeds=1)
    assert judge.rate("gru", "jsb") == 1e-2
    with pytest.raises(held.TimeIsUp):  # of two seeds, the least rate leads, at the edge
        held.Judge(judge.cells, results, -math.inf, sweep_seeds=2).rate("gru", "jsb")


def test_a_training_is_kept_and_not_done_again(held: ModuleType, tmp_path: Path) -> None:
    kept = {"cell": "gru", "task": "jsb", "what": "final", "rate": 5e-3, "seed": 1, "test": 8.0}
    held.Results(tmp_path / "out").add(kept)
    judge = held.Judge({"gru": zoo.load("gru")}, held.Results(tmp_path / "out"), -math.inf, 1)
    assert judge.train("gru", "jsb", "final", 5e-3, 1) == kept
    with pytest.raises(held.TimeIsUp):
        judge.train("gru", "jsb", "final", 5e-3, 2)


def test_tables(held: ModuleType) -> None:
    low, high = [1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4]
    found = {
        "jsb": {"lstm": (0.01, high), "gru": (0.01, low), "found": (0.02, low)},
        "etth1": {"lstm": (0.01, high), "gru": (0.01, low), "found": (0.02, [*low[:4], math.inf])},
    }
    shown = held.tables(found)
    assert "| jsb | 2.2000 ± 0.1581 (0.01) | 1.2000 ± 0.1581 (0.01) | 1.2000 ± 0.1581" in shown
    assert "| mean rank | 2.50 | 1.25 | 2.25 |" in shown
    assert "1 of 5 failed" in shown
    assert "| lstm, jsb | 0.0079 | 0.0317 | 1.00 | better |" in shown
    assert "| gru, jsb | 1.0000 | 1.0000 | 0.50 | equal within noise |" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("| lstm, etth1 ")]
    assert not line.endswith(" better |")  # one failed, so it is not
    other = held.tables(found, ["gru"])
    assert "| gru, jsb | 1.0000 | 1.0000 | 0.50 | equal within noise |" in other
    assert "| lstm against | p " in other
    assert "| lstm, jsb |" not in other
