"""Own sequences at uneven times, with values missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cellsearch import Genome, compile_cell
from cellsearch.errors import ConfigError
from cellsearch.tasks.arrays import from_arrays, read, save
from cellsearch.tasks.base import CellFactory

CELL = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1], dt[t], mask[t]))")


def data(n: int = 30) -> tuple[list[Any], list[Any], list[Any]]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 7, n)
    x = [rng.normal(5.0, 3.0, (t, 2)) for t in lengths]
    for values in x:
        values[rng.random(values.shape) < 0.2] = np.nan
    times = [np.cumsum(rng.exponential(60.0, t)) + 1.6e9 for t in lengths]
    return x, [float(t) for t in lengths], times


def test_what_a_batch_holds() -> None:
    x, y, times = data()
    made = from_arrays(x, y, kind="regression", times=times, observed="infer")
    arrays = made.arrays
    seen = ~np.isnan(np.concatenate(x))
    assert np.array_equal(arrays["mask"], seen.astype(np.float32))
    assert (arrays["x"][~seen] == 0).all()
    train = np.repeat(arrays["split"] == 0, arrays["lengths"])
    for column in range(2):
        known = arrays["x"][train & seen[:, column], column]
        assert abs(known.mean()) < 1e-5
        assert abs(known.std() - 1) < 1e-5
    starts = np.concatenate([[0], np.cumsum(arrays["lengths"])[:-1]])
    assert (arrays["dt"][starts] == 1).all()
    inner = np.ones(len(arrays["dt"]), dtype=bool)
    inner[starts] = False
    assert abs(arrays["dt"][train & inner].mean() - 1) < 1e-5
    task = made.create()
    batch = next(iter(task.batches("train", 0)))
    assert batch.beside.keys() == {"dt", "mask"}
    assert batch.beside["dt"].shape == batch.x.shape[:2]
    assert batch.beside["mask"].shape == batch.x.shape
    model = task.model(CellFactory(lambda width: compile_cell(CELL, width, 6), 6))
    task.training_loss(model, batch)[0].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert np.isfinite(task.score(model, "test")).all()
    blind = batch.read_by(model)[0]
    assert not torch.allclose(model(batch.x, None, batch.lengths)[0], blind)


def test_a_given_mask_is_that_of_the_gaps_it_names() -> None:
    x, y, _ = data()
    inferred = from_arrays(x, y, kind="regression", observed="infer")
    filled = [np.nan_to_num(values, nan=99.0) for values in x]
    masks = [~np.isnan(values) for values in x]
    given = from_arrays(filled, y, kind="regression", observed=masks)
    assert given.options == inferred.options
    parts = {"train": masks[:20], "valid": masks[20:25], "test": masks[25:]}
    apart = from_arrays(
        filled[:20],
        y[:20],
        kind="regression",
        valid=(filled[20:25], y[20:25]),
        test=(filled[25:], y[25:]),
        observed=parts,
    )
    assert np.array_equal(apart.arrays["mask"], inferred.arrays["mask"])


def test_data_without_them_are_what_they_were() -> None:
    x = np.arange(60.0).reshape(10, 3, 2)
    made = from_arrays(x, list(range(10)), kind="regression")
    assert made.arrays.keys().isdisjoint({"dt", "mask"})
    assert made.create().batches("train", 0).__next__().beside == {}
    assert made.options["digest"] == "bba0a49fba5127f6"


def test_a_file_keeps_them(tmp_path: Path) -> None:
    x, y, times = data()
    made = from_arrays(x, y, kind="regression", times=times, observed="infer")
    save(made, tmp_path / "a.npz")
    found = read(tmp_path / "a.npz")
    assert np.array_equal(found["dt"], made.arrays["dt"])
    assert np.array_equal(found["mask"], made.arrays["mask"])
    other = from_arrays(x, y, kind="regression", times=[t * 2 for t in times], observed="infer")
    assert other.options == made.options, "the unit of time matters"
    later = [np.concatenate([t[:1], t[1:] + 60]) for t in times]
    moved = from_arrays(x, y, kind="regression", times=later, observed="infer")
    assert moved.options["digest"] != made.options["digest"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observed": None}, 'say observed="infer" where NaN'),
        ({"times": [np.zeros(3)] * 30}, "positions|no time passes"),
        ({"times": [np.arange(9.0)] * 4}, "4 arrays, for 30 sequences"),
        ({"observed": [np.ones((1, 2))] * 30}, "not .* of true and false"),
        ({"observed": {"train": [], "valid": []}}, "given for train, valid"),
    ],
)
def test_what_does_not_fit_is_said(change: dict[str, Any], message: str) -> None:
    x, y, times = data()
    with pytest.raises(ConfigError) as caught:
        from_arrays(x, y, **{"kind": "regression", "times": times, "observed": "infer", **change})
    assert re.search(message, f"{caught.value} {caught.value.hint}")


def test_times_that_decrease_or_stand_still_are_refused() -> None:
    x, y, times = data()
    for wrong, message in (([t[::-1] for t in times], "decrease"), ([t * 0 for t in times], "no")):
        with pytest.raises(ConfigError, match=message):
            from_arrays(x, y, kind="regression", times=wrong, observed="infer")
    for values in x:
        values[:, 1] = np.nan
    with pytest.raises(ConfigError, match="feature 1 was never observed"):
        from_arrays(x, y, kind="regression", times=times, observed="infer")
