"""The cost model: exact counts, and a ranking that follows measured times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.compiler import cost
from cellsearch.compiler.cost import Constants, Cost, estimate, machine_constants, predicted_seconds


def test_multiply_adds_of_lstm() -> None:
    found = estimate(zoo.load("lstm"), input_size=5, hidden_size=7, steps=3, batch=2)
    assert found.multiply_adds == 3 * (4 * 7 * (5 + 7)) * 3 * 2
    inference = estimate(
        zoo.load("lstm"), input_size=5, hidden_size=7, steps=3, batch=2, training=False
    )
    assert inference.multiply_adds * 3 == found.multiply_adds
    assert inference.bytes < found.bytes


def test_the_fit_finds_constants() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((30, 5)) * [1e6, 1e4, 1e3, 10, 1]
    constants = np.array([1e-10, 2e-9, 5e-9, 0.0, 1e-4])
    assert np.allclose(cost._fit(features, features @ constants), constants, rtol=1e-6, atol=1e-12)


def test_constants_are_never_negative() -> None:
    features = np.array(
        [
            [1.0, 2.0, 0.0, 1.0, 1.0],
            [2.0, 4.1, 0.0, 1.0, 1.0],
            [3.0, 6.0, 1.0, 2.0, 1.0],
            [4.0, 8.2, 1.0, 2.0, 1.0],
        ]
    )
    assert min(cost._fit(features, np.array([2.0, 1.9, 3.0, 2.5]))) >= 0


def test_constants_are_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path))
    monkeypatch.setattr(cost, "measure_constants", lambda: Constants((1.0, 2.0, 3.0, 4.0, 5.0)))
    assert machine_constants() == Constants((1.0, 2.0, 3.0, 4.0, 5.0))
    monkeypatch.setattr(cost, "measure_constants", lambda: Constants((9.0, 9.0, 9.0, 9.0, 9.0)))
    assert machine_constants() == Constants((1.0, 2.0, 3.0, 4.0, 5.0))
    assert machine_constants(refresh=True) == Constants((9.0, 9.0, 9.0, 9.0, 9.0))
    next(tmp_path.glob("cost-*.json")).write_text('{"seconds": [1]}')
    assert machine_constants() == Constants((9.0, 9.0, 9.0, 9.0, 9.0)), (
        "a damaged file is measured again"
    )


def test_prediction_is_linear() -> None:
    assert (
        predicted_seconds(
            Cost(0, 0, (1.0, 2.0, 0.0, 0.0, 1.0)), Constants((1.0, 10.0, 0.0, 0.0, 0.5))
        )
        == 21.5
    )


def test_a_larger_cell_is_predicted_slower() -> None:
    constants = Constants((1e-11, 1e-10, 1e-9, 1e-7, 1e-4))
    times = [
        predicted_seconds(
            estimate(zoo.load("lstm"), input_size=n, hidden_size=n, steps=8, batch=4), constants
        )
        for n in (16, 64, 256)
    ]
    assert times == sorted(times)
    assert times[2] > 2 * times[1]
