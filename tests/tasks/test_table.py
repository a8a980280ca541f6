"""Forecasts of a table: what is understood, parts that share no row, and what needs no cell."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cellsearch.errors import CellsearchError, ConfigError
from cellsearch.tasks.table import TableForecast
from cellsearch.tasks.tables.features import filled
from cellsearch.tasks.tables.labelled import label_arrays
from cellsearch.tasks.tables.options import TableOptions
from cellsearch.tasks.tables.understand import table_of_options, understand
from cellsearch.tasks.tables.windows import Prepared, forecast_arrays
from cellsearch.testing.tasks import TaskContract, torch_factory

HOUR = 3600
PARTS = ("train", "valid", "test")


def day(k: float) -> str:
    return str(np.datetime64("2024-01-01T00:00") + np.timedelta64(round(k * 60), "m"))


def write(folder: Path, rows: Sequence[str], names: str = "t,v") -> str:
    path = folder / "table.csv"
    path.write_text("\n".join([names, *rows]) + "\n")
    return str(path)


def prepared(path: str, **options: Any) -> Prepared:
    made = TableOptions(path=path, **{"predict": ("v",), **options})
    return forecast_arrays(table_of_options(made), made)


def wave(n: int, seed: int = 0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=n)
    return 20 + 5 * np.sin(np.arange(n) * 2 * math.pi / 12) + 0.3 * noise


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> str:
    """600 hours of a wave with a period of 12, and a second column of noise."""
    other = np.random.default_rng(1).normal(size=600)
    rows = [
        f"{day(k)},{v:.4f},{w:.4f}" for k, (v, w) in enumerate(zip(wave(600), other, strict=True))
    ]
    return write(tmp_path_factory.mktemp("waves"), rows, "t,v,w")


class TestTable(TaskContract):
    task = "table"
    beats = 0.2  # a sine of variance 12.5 and noise of 0.09; the mean has about 1
    steps = 60

    @pytest.fixture(autouse=True)
    def _with_a_table(self, waves: str) -> None:
        type(self).options = {"path": waves, "predict": ["v"], "horizon": 2}


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 walks of 8 to 12 steps, up or down, with gaps; every row has the label of its walk."""
    random = np.random.default_rng(0)
    rows = []
    for k in range(60):
        way, height = ("up", "down")[k % 2], 0.0
        for t in range(random.integers(8, 13)):
            height += (1 if way == "up" else -1) + random.normal() / 2
            rows.append(f"walk {k},{t},{'' if random.random() < 0.1 else f'{height:.3f}'},{way}")
    order = random.permutation(len(rows))
    return write(tmp_path_factory.mktemp("walks"), [rows[k] for k in order], "id,time,height,way")


class TestTableLabels(TaskContract):
    task = "table_labels"
    beats = 0.2  # half of the walks go up
    steps = 60

    @pytest.fixture(autouse=True)
    def _with_a_table(self, walks: str) -> None:
        type(self).options = {"path": walks, "predict": ["way"], "group": "id", "batch_size": 16}


def test_groups_become_whole_sequences_in_the_order_of_time(walks: str) -> None:
    options = TableOptions(path=walks, predict=("way",), group="id")
    found = understand(options)
    assert found.task == "table_labels"
    arrays = label_arrays(table_of_options(options), options).arrays
    assert arrays["classes"].tolist() == ["down", "up"] or set(arrays["classes"]) == {"down", "up"}
    assert len(arrays["lengths"]) == 60
    assert arrays["lengths"].min() >= 8
    assert arrays["names"].tolist() == ["height", "height missing"]
    counts = [(arrays["split"] == k).sum() for k in range(3)]
    assert counts == [42, 9, 9]
    for k in range(3):  # both classes in every part
        assert 0.3 < arrays["y"][arrays["split"] == k].mean() < 0.7
    # Upwards is upwards: the rows stood in any order.
    ends = np.cumsum(arrays["lengths"])
    last, first = arrays["x"][ends - 1, 0], arrays["x"][ends - arrays["lengths"], 0]
    up = arrays["y"] == arrays["classes"].tolist().index("up")
    assert (last[up] > first[up]).all()
    assert (last[~up] < first[~up]).all()


def test_labels_that_vary_or_are_told_by_a_column_are_said(tmp_path: Path) -> None:
    rows = [f"{g},{t},{t % 3},{g % 2},{'ab'[g % 2]}" for g in range(20) for t in range(5)]
    path = write(tmp_path, rows, "g,time,v,twin,label")
    options = TableOptions(path=path, predict=("label",), group="g")
    assert any("WARNING: twin says the same as label" in note for note in understand(options).notes)
    rows[7] = rows[7][:-1] + "c"
    path = write(tmp_path, rows, "g,time,v,twin,label")
    with pytest.raises(ConfigError, match="several values within 1 group of g"):
        understand(TableOptions(path=path, predict=("label",), group="g"))


def rows_of_windows(made: Prepared, name: str, horizon: int) -> set[int]:
    window = int(made.arrays["window"])
    return {int(t) + k for t in made.arrays[name] for k in range(-window, horizon)}


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("window", [0, 5])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("timed", [False, True])
def test_windows_of_two_parts_share_no_row(
    tmp_path: Path, horizon: int, window: int, grouped: bool, timed: bool
) -> None:
    groups = ["a", "b", "c"] if grouped else ["a"]
    rows = [f"{day(k)},{g},{wave(200)[k]:.3f}" for g in groups for k in range(200) if k % 71]
    options = {"time": "t"} if timed else {}
    names = "t,g,v" if timed else "x,g,v"
    if not timed:
        rows = [row.partition(",")[2] for row in rows]
        names = "g,v"
    made = prepared(
        write(tmp_path, rows, names),
        horizon=horizon,
        window=window,
        group="g" if grouped else "",
        **options,
    )
    found = {name: rows_of_windows(made, name, horizon) for name in PARTS}
    for one, other in itertools.combinations(PARTS, 2):
        assert found[one]
        assert not found[one] & found[other], (one, other)


def test_the_parts_follow_in_time_and_scaling_knows_the_first_only(tmp_path: Path) -> None:
    # What comes later is a thousand times larger: had it been seen, the mean would show it.
    values = [f"{day(k)},{k % 7 if k < 140 else 1000 * k}" for k in range(200)]
    made = prepared(write(tmp_path, values), window=4)
    assert abs(made.arrays["mean"][0] - 3) < 0.1
    assert abs(made.arrays["scale"][0] - 2) < 0.1
    ends = [(int(made.arrays[name].min()), int(made.arrays[name].max())) for name in PARTS]
    assert ends[0][1] < ends[1][0] <= ends[1][1] < ends[2][0]


def test_missing_values_repeat_the_past_are_marked_and_are_no_targets(tmp_path: Path) -> None:
    rows = [f"{day(k)},{'' if k % 10 == 3 else k}" for k in range(300)]
    made = prepared(write(tmp_path, rows), window=6)
    assert made.arrays["names"].tolist() == ["v", "v missing"]
    mean, scale = made.arrays["mean"][0], made.arrays["scale"][0]
    raw = made.arrays["values"][:, 0] * scale + mean
    assert np.allclose(raw[[12, 13, 14]], [12, 12, 14], atol=1e-3)
    assert made.arrays["values"][[12, 13, 14], 1].tolist() == [0, 1, 0]
    assert np.isnan(made.arrays["target"][13])
    assert all(t % 10 != 3 for name in PARTS for t in made.arrays[name])
    assert any("v: 30" in note for note in made.notes)


def test_filling_never_looks_ahead() -> None:
    random = np.random.default_rng(0)
    raw = random.normal(size=(60, 3))
    raw[random.random(raw.shape) < 0.3] = np.nan
    segment = np.repeat([0, 1, 2], 20)
    before = filled(raw, segment, np.zeros(3))
    assert np.isfinite(before).all()
    for k in range(60):
        changed = raw.copy()
        changed[k + 1 :] = 99
        assert np.array_equal(filled(changed, segment, np.zeros(3))[: k + 1], before[: k + 1])
    changed = raw.copy()
    changed[:20] = 99  # another segment
    assert np.array_equal(filled(changed, segment, np.zeros(3))[20:], before[20:])


def test_times_are_sorted_repeated_ones_left_out_and_gaps_filled_or_cut(tmp_path: Path) -> None:
    steps = [*range(100), *range(103, 200), *range(300, 400)]
    rows = [f"{day(k)},{k}" for k in steps]
    rows[10:10] = [f"{day(50)},7", f"{day(5)},0"]
    made = prepared(write(tmp_path, rows), window=5)
    said = " | ".join(made.notes)
    assert "not in the order of time" in said
    assert "2 rows of a time that comes again" in said
    assert "1 gap in time filled with 3 rows" in said
    assert "cut at 1 gap of more than 5 rows" in said
    assert len(made.arrays["values"]) == 300
    # No window reaches over the long gap, and the last row of one time counts.
    raw = made.arrays["values"][:, 0] * made.arrays["scale"][0] + made.arrays["mean"][0]
    assert np.allclose(raw[:100], [*range(5), 0, *range(6, 100)], atol=1e-3)
    for name in PARTS:
        for t in made.arrays[name]:
            assert np.ptp(raw[t - 5 : t + 1]) < 50


def test_irregular_times_count_rows_and_are_said(tmp_path: Path) -> None:
    moments = np.cumsum(np.random.default_rng(0).uniform(0.2, 9, size=300))
    made = prepared(write(tmp_path, [f"{day(m)},{k % 5}" for k, m in enumerate(moments)]))
    assert any("irregular" in note for note in made.notes)
    assert len(made.arrays["values"]) == 300


def test_several_series_without_a_group_are_refused_with_the_column(tmp_path: Path) -> None:
    rows = [f"{day(k)},{s},{k}" for k in range(50) for s in ("north", "south", "east")]
    with pytest.raises(ConfigError, match="several series") as caught:
        prepared(write(tmp_path, rows, "t,station,v"))
    assert "--group" in caught.value.hint
    assert "station" in caught.value.hint


def test_constant_text_and_counting_columns_are_said_and_not_read(tmp_path: Path) -> None:
    rows = [f"{k},{day(k)},{k % 7},5,word{k % 3}," for k in range(100)]
    made = prepared(write(tmp_path, rows, "id,t,v,same,label,nothing"))
    assert made.arrays["names"].tolist() == ["v"]
    said = " | ".join(made.notes)
    assert "id counts the rows" in said
    assert "same has one value (5)" in said
    assert "label is text" in said
    assert "nothing is empty" in said


def test_a_column_that_knows_the_future_is_said(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=120)
    columns = (values, np.append(values[1:], 0), 2 * values + 1, -np.append(0, values[:-1]))
    rows = [f"{day(k)}," + ",".join(f"{c[k]:.6f}" for c in columns) for k in range(120)]
    made = prepared(write(tmp_path, rows, "t,v,next,copy,past"))
    assert any("WARNING: next says what v will be 1 row later" in note for note in made.notes)
    assert any("copy says the same as v" in note for note in made.notes)
    assert not any(note.startswith(("past", "WARNING: past")) for note in made.notes)


REFUSED = {
    "a column that is not there": ({"predict": ("w",)}, "unknown column"),
    "text": ({"predict": ("s",)}, "text"),
    "a constant": ({"predict": ("c",)}, "nothing to learn"),
    "nothing": ({"predict": ()}, "nothing is named"),
    "a window too long": ({"window": 90}, "no window of 90"),
    "no times": ({"time": "s"}, "no times"),
    "parts too large": ({"valid": 0.5, "test": 0.5}, "no three parts"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_forecast_is_refused_with_what_helps(kind: str, tmp_path: Path) -> None:
    options, message = REFUSED[kind]
    rows = [f"{day(k)},{k % 9},3,x{k % 4}" for k in range(100)]
    with pytest.raises(CellsearchError, match=message) as caught:
        prepared(write(tmp_path, rows, "t,v,c,s"), **options)
    assert caught.value.hint


def test_the_period_is_found_and_the_naive_forecasts_are_what_they_say(waves: str) -> None:
    made = prepared(waves, horizon=3, window=24)
    assert made.arrays["period"] == 12
    task = TableForecast(
        TableOptions(path=waves, predict=("v",), horizon=3, window=24), made.arrays
    )
    found = {one.name: one for one in task.naive("test")}
    assert list(found) == ["last value", "value 12 rows before", "linear"]
    raw = wave(600)
    places = made.arrays["test"]
    wanted = raw[places[:, None] + np.arange(3)]
    by_hand = {
        "last value": raw[places - 1][:, None],
        "value 12 rows before": raw[places[:, None] + np.arange(3) - 12],
    }
    for name, forecast in by_hand.items():
        difference = forecast - wanted
        rmse, mae = np.sqrt(np.mean(difference**2)), np.mean(np.abs(difference))
        assert found[name].metric == pytest.approx(rmse, rel=1e-3)
        assert found[name].errors == pytest.approx({"RMSE v": rmse, "MAE v": mae}, rel=1e-3)
        assert found[name].score == pytest.approx((rmse / made.arrays["scale"][0]) ** 2, rel=1e-3)
    assert found["linear"].score < found["value 12 rows before"].score < 0.2


def test_errors_of_each_column_are_in_its_own_unit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(300, 2)) * [1, 1000]
    rows = [
        f"{day(k)},{a:.3f},{'' if k % 5 == 0 else f'{b:.3f}'}" for k, (a, b) in enumerate(values)
    ]
    path = write(tmp_path, rows, "t,v,w")
    options = TableOptions(path=path, predict=("v", "w"), window=4, horizon=2, relative="no")
    made = forecast_arrays(table_of_options(options), options)
    task = TableForecast(options, made.arrays)
    model = task.model(torch_factory())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # it answers 0, the mean of the training part
    found = task.errors(model, "valid")
    assert list(found) == ["RMSE v", "MAE v", "RMSE w", "MAE w"]
    assert 0.8 < found["RMSE v"] < 1.2
    assert 800 < found["RMSE w"] < 1200
    score, metric = task.score(model, "valid")
    assert score == metric
    assert 0.8 < score < 1.2
    # A target that is missing changes nothing, in the loss and in the score.
    batch = next(task.batches("valid", 0))
    assert torch.isnan(batch.y).any()
    assert torch.isfinite(task.loss(model(batch.x)[0], batch))


def test_the_interface_leads_from_raw_rows_to_raw_answers(waves: str) -> None:
    """What the model answers, by the interface, is what the score was computed from."""
    options = TableOptions(path=waves, predict=("v",), horizon=2, window=24)
    made = forecast_arrays(table_of_options(options), options)
    task = TableForecast(options, made.arrays)
    torch.manual_seed(0)
    model = task.model(torch_factory()).eval()
    told = task.interface()
    table = table_of_options(options)
    raw = np.stack([table.column(n, "").values for n in told.inputs.names], 1)  # type: ignore[union-attr]
    differences = []
    for t in made.arrays["valid"]:
        x = (raw[t - 24 : t] - told.inputs.mean) / told.inputs.scale  # type: ignore[union-attr]
        last = x[-1]
        x = x - last if told.inputs.relative else x  # type: ignore[union-attr]
        with torch.no_grad():
            answer = model(torch.tensor(x[:, None], dtype=torch.float32))[0].numpy()[0]
        answer = answer + (last[0] if told.inputs.relative else 0)  # type: ignore[union-attr]
        differences.append(answer * told.answer.scale + told.answer.mean - raw[t : t + 2, 0])
    rmse = float(np.sqrt(np.mean(np.square(differences))))
    assert task.score(model, "valid")[1] == pytest.approx(rmse, rel=1e-4)
