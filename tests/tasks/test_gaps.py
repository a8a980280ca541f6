"""Measured series with removed rows and values: what is read, what is asked, and that nobody sees
what was removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.small_tasks import small_data

from cellsearch import compile_cell, tasks, zoo
from cellsearch.errors import ConfigError
from cellsearch.tasks.base import Arrays, CellFactory, Task
from cellsearch.tasks.gaps import ETTh1Gaps, SunspotsGaps
from cellsearch.testing.tasks import TaskContract

SERIES: NDArray[np.float64] = np.sin(np.arange(300)[:, None] / np.array([4.0, 7.0])) + 20
ENDS = (200, 250, 300)


@pytest.fixture(params=[SunspotsGaps, ETTh1Gaps])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A task over a short series of one or two channels that needs no data."""
    channels = 2 if request.param is ETTh1Gaps else 1
    monkeypatch.setattr(request.param, "series", lambda: (SERIES[:, :channels], ENDS))
    monkeypatch.setattr(request.param, "channels", ("a", "b")[:channels])
    return request.param  # type: ignore[no-any-return]


def made(kind: Any, **options: Any) -> tuple[Task, Arrays]:
    given = {"history": 6, "horizon": 2, **options}
    arrays = kind.load(given)
    return kind.create(given, arrays), arrays


@pytest.mark.parametrize("extra", [False, True])
def test_windows_hold_what_was_seen_and_ask_for_the_rows_behind(kind: Any, extra: bool) -> None:
    task, arrays = made(kind, extra_columns=extra)
    series, kept, seen = arrays["series"], arrays["kept"], arrays["seen"]
    channels = series.shape[1]
    assert 0.4 < len(kept) / len(series) < 0.6
    assert 0.65 < seen.mean() < 0.85
    begin = 0
    for split, end in zip(("train", "valid", "test"), ENDS, strict=True):
        wanted = [k for k in range(5, len(kept)) if begin <= kept[k] + 1 and kept[k] + 2 < end]
        begin = end
        if split == "train":
            continue
        (batch,) = task.batches(split, 0)  # type: ignore[arg-type]
        assert batch.x.shape == (6, len(wanted), channels * 2 + 1 if extra else channels)
        for b, k in enumerate(wanted):
            rows = slice(k - 5, k + 1)
            gaps = np.diff(kept[rows]) * 0.5
            np.testing.assert_allclose(batch.beside["dt"][:, b], [1, *gaps])
            mask = batch.beside["mask"][:, b].numpy()
            assert (mask[:, :channels] == seen[rows]).all()
            x = batch.x[:, b].numpy()
            np.testing.assert_array_equal(x[:, :channels], series[kept[rows]] * seen[rows])
            target = series[kept[k] + 1 : kept[k] + 3]
            np.testing.assert_array_equal(batch.y[b], target.ravel())
            if extra:
                np.testing.assert_allclose(x[:, channels], batch.beside["dt"][:, b])
                assert (x[:, channels + 1 :] == seen[rows]).all()
                assert (mask[:, channels:] == 1).all()


def test_what_is_removed_never_reaches_a_cell(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, arrays = made(kind)
    hidden = np.ones(SERIES.shape[:1], dtype=bool)
    hidden[arrays["kept"]] = False
    changed = {**arrays, "series": arrays["series"] + 100.0 * hidden[:, None].astype(np.float32)}
    options = {"history": 6, "horizon": 2}
    one, other = (kind.create(options, a) for a in (arrays, changed))
    for a, b in zip(one.batches("test", 0), other.batches("test", 0), strict=True):
        assert torch.equal(a.x, b.x)
        assert not torch.equal(a.y, b.y)


def test_rows_are_drawn_by_the_option_alone(kind: Any) -> None:
    (_, a), (_, b), (_, c) = made(kind), made(kind), made(kind, drawn=1)
    assert np.array_equal(a["kept"], b["kept"])
    assert not np.array_equal(a["kept"], c["kept"])
    task, _ = made(kind)
    first, again = (next(task.batches("train", 3)) for _ in range(2))
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.beside["dt"], again.beside["dt"])


def test_a_window_that_fits_nowhere_is_said(kind: Any) -> None:
    with pytest.raises(ConfigError, match="no window of 290 rows that are left"):
        made(kind, history=290)


def test_a_cell_that_decays_with_the_time_reads_both(kind: Any) -> None:
    task, _ = made(kind)
    torch.manual_seed(0)
    model = task.model(
        CellFactory(
            lambda width: compile_cell(zoo.load("gru_dh"), input_size=width, hidden_size=4), 4
        )
    )
    (batch,) = task.batches("valid", 0)
    plain, _ = batch.read_by(model)
    for name in ("dt", "mask"):
        beside = {**batch.beside, name: torch.ones_like(batch.beside[name])}
        assert not torch.equal(model(batch.x, None, None, beside)[0], plain)


class _OnData(TaskContract):
    @pytest.fixture(autouse=True)
    def _data(self) -> None:
        small_data(self.task)


class TestSunspotsGaps(_OnData):
    task = "sunspots_gaps"
    options: ClassVar = {"history": 16}
    beats = 0.45


class TestETTh1Gaps(_OnData):
    task = "etth1_gaps"
    options: ClassVar = {"history": 16}
    beats = 0.8
    steps = 80


def test_the_last_value_seen_gives_the_known_figures() -> None:
    """Repeating it: what a cell must beat."""
    for name, known in (("sunspots_gaps", 0.3120), ("etth1_gaps", 0.3286)):
        data = small_data(name)
        task = tasks.get(name).create({}, tasks.get(name).load({}))
        assert data.name == name
        wrong, count = 0.0, 0
        for batch in task.batches("test", 0):
            seen = batch.beside["mask"].bool()
            last = torch.zeros_like(batch.x[0])
            for x, m in zip(batch.x, seen, strict=True):
                last = torch.where(m, x, last)
            wrong += float((last - batch.y).square().sum())
            count += batch.y.numel()
        assert wrong / count == pytest.approx(known, abs=5e-4), name
