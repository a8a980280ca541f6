"""The cost model: exact counts, and a ranking that follows measured times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellsearch import Genome, zoo
from cellsearch.compiler import cost
from cellsearch.compiler.cost import Constants, Cost, estimate, machine_constants, predicted_seconds
from cellsearch.errors import BackendError
from cellsearch.runs import compute
from cellsearch.runs.facts import cell_facts, predicted
from cellsearch.space import LayerSizes


def test_multiply_adds_of_lstm() -> None:
    found = estimate(zoo.load("lstm"), input_size=5, hidden_size=7, steps=3, batch=2)
    assert found.multiply_adds == 3 * (4 * 7 * (5 + 7)) * 3 * 2
    inference = estimate(
        zoo.load("lstm"), input_size=5, hidden_size=7, steps=3, batch=2, training=False
    )
    assert inference.multiply_adds * 3 == found.multiply_adds
    assert inference.bytes < found.bytes


def counted(text: str, hidden: int, **sizes: int | str) -> int:
    return estimate(
        Genome.from_text(text),
        input_size=3,
        hidden_size=hidden,
        steps=1,
        batch=1,
        training=False,
        sizes=sizes,
    ).multiply_adds


def test_multiply_adds_of_blocks_and_other_sizes() -> None:
    assert counted("h[t] = tanh(linear(x[t]) + linear(h[t-1], blocks=4))", 8) == 8 * 3 + 4 * 2 * 2
    heads = "h[t] = head_norm(tanh(linear(x[t]) + linear(h[t-1], blocks=2)), 2)"
    assert counted(heads, 8) == 8 * 3 + 2 * 4 * 4
    assert counted("h[t] = rotate(h[t-1], linear(x[t], size=H/2))", 8) == 4 * 3
    assert counted("h[t] = tanh(linear(x[t], linear(h[t-1], size=P)))", 8, P="H/4") == 8 * 5 + 2 * 8
    assert counted("h[t] = tanh(linear(x[t], h[t-1]))", 8, P=5) == 8 * 11


@pytest.mark.parametrize(
    ("text", "hidden", "message"),
    [
        ("h[t] = tanh(linear(x[t], linear(h[t-1], size=P)))", 8, "size P, which is not bound"),
        ("h[t] = tanh(linear(x[t]) + linear(h[t-1], blocks=4))", 6, "gives no whole number"),
    ],
)
def test_no_time_is_predicted_at_sizes_that_a_cell_cannot_have(
    text: str, hidden: int, message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        counted(text, hidden)


def test_every_cell_of_the_zoo_has_a_cost_a_footprint_and_a_share_of_the_compute() -> None:
    for name in zoo.names():
        genome = zoo.load(name)
        facts = cell_facts(genome, LayerSizes(8, 8))
        assert predicted(genome, 8, 8, {}), name
        assert compute._multiply_adds(genome, LayerSizes(8, 8)) >= facts["multiply_adds"], name


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
