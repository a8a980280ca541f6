"""The generated series solves its equation, and the task asks for what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellsearch import tasks
from cellsearch.tasks.forecasting import MackeyGlass


def by_small_steps(count: int, inner: int = 400) -> np.ndarray:
    """The same equation by Euler's rule, the plainest there is."""
    lag = 17 * inner
    x = np.full(lag + (count - 1) * inner + 1, 1.2)
    for k in range(lag, len(x) - 1):
        past = x[k - lag]
        x[k + 1] = x[k] + (0.2 * past / (1 + past**10) - 0.1 * x[k]) / inner
    return x[lag::inner]


def test_the_series_solves_the_equation() -> None:
    from cellsearch.tasks import forecasting

    made, plain = forecasting._mackey_glass(60), by_small_steps(60)
    assert np.abs(made - plain).max() < 2e-3
    assert 0.2 < made.min() < made.max() < 1.4


def test_splits_and_persistence() -> None:
    series, ends = MackeyGlass.series()
    assert series.shape == (4000, 1)
    assert ends == (3000, 3500, 4000)
    task = tasks.get("mackey_glass").create({}, tasks.get("mackey_glass").load({}))
    wanted = torch.cat([batch.y for batch in task.batches("test", 0)])
    assert wanted.shape == (495, 6)
    assert float(wanted.square().mean()) == pytest.approx(0.294, abs=5e-4), "answering 0"


def test_noise_is_what_was_asked_for() -> None:
    clean, noisy = (
        tasks.get("mackey_glass").load({"noise": share})["series"] for share in (0, 0.1)
    )
    assert (noisy - clean).std() == pytest.approx(0.1, rel=0.05)
    assert noisy.dtype == clean.dtype
