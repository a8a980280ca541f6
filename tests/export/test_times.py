"""Models of data at uneven times, with missing values and resets: predicted, streamed and exported
in every form as the run scored them.
"""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.c_files import Loaded

import cellsearch as cs
from cellsearch.errors import ConfigError
from cellsearch.export.c.write import c_model

Call = Callable[..., tuple[int, str, str]]
CELLS = ("gru_dh", "cfc", "gru")


def own_data() -> tuple[list[Any], list[Any], list[Any]]:
    """Values, targets at every position and times of 40 sequences of different lengths."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 2)) * 3 + 5 for n in rng.integers(4, 9, 40)]
    times = [np.cumsum(rng.exponential(2.0, len(s))) + 100 for s in x]
    for s in x:
        s[rng.random(s.shape) < 0.2] = np.nan
    return x, [np.nansum(s, 1).cumsum() for s in x], times


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y, times = own_data()
    data = cs.tasks.from_arrays(
        x, y, kind="regression", readout="every", times=times, observed="infer", batch_size=8
    )
    folder = tmp_path_factory.mktemp("timed")
    settings = {
        "task": data.name,
        "task_options": data.options,
        "trials": len(CELLS),
        "baselines": list(CELLS),
        "training.steps": 4,
        "training.hidden_size": 6,
        "training.evaluations": 1,
    }
    search = cs.Search.open(folder / "run", cs.load_experiment("quickstart", settings))
    search.run(cs.InProcess(), arrays=data.arrays)
    np.savez(folder / "split.npz", split=data.arrays["split"])
    return folder / "run"


def trial_of(run: Path, cell: str) -> Any:
    return cs.open_run(run).trial(CELLS.index(cell))


def valid(run: Path) -> list[int]:
    """The sequences of the validation set."""
    split = np.load(run.parent / "split.npz")["split"]
    return [int(k) for k in np.flatnonzero(split == 1)]


def exported(trial: Any, folder: Path, *, resets: bool = False) -> Any:
    """The model as a file of its own."""
    trial.export(folder / "best.py", "model", force=True, resets=resets)
    spec = importlib.util.spec_from_file_location("best", folder / "best.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


def answered(model: Any, cell: str, x: list[Any], times: list[Any]) -> list[Any]:
    more = {} if cell == "gru" else {"times": times}
    return [np.asarray(row)[..., 0] for row in model.predict(x, **more)]


@pytest.mark.parametrize("cell", CELLS)
def test_the_saved_file_has_the_recorded_score(run: Path, cell: str, tmp_path: Path) -> None:
    x, y, times = own_data()
    chosen, trial = valid(run), trial_of(run, cell)
    given = [x[k] for k in chosen], [times[k] for k in chosen]
    own = answered(trial.model(), cell, *given)
    found = answered(exported(trial, tmp_path), cell, *given)
    for a, b in zip(found, own, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    wanted = np.concatenate([y[k] for k in chosen])
    root = float(np.sqrt(np.mean((np.concatenate(found) - wanted) ** 2)))
    assert root == pytest.approx(trial.result.metric, rel=1e-4)
    worse = answered(exported(trial, tmp_path), cell, given[0], [2 * t for t in given[1]])
    if cell != "gru":
        assert np.abs(worse[0] - found[0]).max() > 1e-4


@pytest.mark.parametrize("cell", ["gru_dh", "gru"])
def test_the_saved_file_takes_resets(run: Path, cell: str, tmp_path: Path) -> None:
    x, _, times = own_data()
    trial = trial_of(run, cell)
    file = exported(trial, tmp_path, resets=cell == "gru")
    fresh = [np.arange(len(s)) == 3 for s in x[:2]]
    more = {} if cell == "gru" else {"times": times[:2]}
    wanted = trial.model().predict(x[:2], resets=fresh, **more)
    found = file.predict(x[:2], resets=fresh, **more)
    without = file.predict(x[:2], **more)
    for a, b, c in zip(found, wanted, without, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(a[:3], c[:3])
        assert np.abs(np.asarray(a) - np.asarray(c))[3:].max() > 1e-4
    with pytest.raises(ValueError, match="one a position"):
        file.predict(x[:2], resets=[[True]] * 2)


@pytest.mark.parametrize("cell", ["gru_dh", "cfc"])
def test_streams_and_steps_are_the_same(run: Path, cell: str, tmp_path: Path) -> None:
    x, _, times = own_data()
    trial = trial_of(run, cell)
    model, file = trial.model(), exported(trial, tmp_path)
    wanted = model.predict(x[0], times=times[0])[:, 0]
    stream, state, streamed, stepped = model.stream(), None, [], []
    loaded = Loaded(c_model(trial.whole(), tmp_path / "m.c"), tmp_path)
    loaded.init()
    in_c = []
    gaps = [None, *np.diff(times[0]).tolist()]
    for row, dt in zip(x[0], gaps, strict=True):
        streamed.append(stream(row, dt=dt)[0])
        answer, state = file.step(row, state, dt=dt)
        stepped.append(float(answer[0]))
        unit = model.interface.time_unit
        in_c.append(loaded.step(row.astype(np.float32), dt=unit if dt is None else dt)[0])
    for found in (streamed, stepped, in_c):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="none is given"):
        stream(x[0][0])
    with pytest.raises(ValueError, match="give dt"):
        file.step(x[0][0], state)


@pytest.mark.parametrize("form", ["onnx", "torch-export"])
@pytest.mark.filterwarnings("ignore")
def test_other_runtimes_answer_the_same(run: Path, form: Any, tmp_path: Path) -> None:
    x, _, times = own_data()
    trial = trial_of(run, "gru_dh")
    wanted = trial.model().predict(x[0], times=times[0])
    unit = trial.model().interface.time_unit
    dt = np.concatenate([[unit], np.diff(times[0])])[:, None]
    path = tmp_path / ("m.onnx" if form == "onnx" else "m.pt2")
    trial.export(path, form, with_head=True)
    shape = (1, 1, 6)
    states = [np.zeros(shape, dtype=np.float32) for _ in trial.genome.states]
    if form == "onnx":
        from cellsearch.export.onnx.check import session

        named = {f"{n}_0": s for n, s in zip(trial.genome.state_names, states, strict=True)}
        found = session(path.read_bytes()).run(None, {"x": x[0][:, None], "dt": dt, **named})[0]
    else:
        program = torch.export.load(io.BytesIO(path.read_bytes())).module()
        given = tuple(map(torch.from_numpy, states))
        state = given if len(given) > 1 else given[0]
        with torch.no_grad():
            raw = torch.from_numpy(x[0][:, None])
            found = program(raw, state, dt=torch.from_numpy(dt))[0].numpy()
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-4, atol=1e-4)


def test_predict_reads_tables_and_array_files(run: Path, call: Call, tmp_path: Path) -> None:
    x, _, times = own_data()
    wanted = trial_of(run, "gru_dh").model().predict(x[:2], times=times[:2])
    with (tmp_path / "new.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "when", "x1", "x0", "fresh"])
        for k in range(2):
            for when, row in zip(times[k], x[k], strict=True):
                cells = ["" if np.isnan(v) else repr(float(v)) for v in row[::-1]]
                writer.writerow([f"s{k}", repr(float(when)), *cells, 0])
    lengths = [len(s) for s in x[:2]]
    padded = [np.pad(s, ((0, max(lengths) - len(s)), (0, 0))) for s in x[:2]]
    when = [np.pad(t, (0, max(lengths) - len(t)), mode="edge") for t in times[:2]]
    np.savez(tmp_path / "new.npz", x=np.stack(padded), times=np.stack(when), lengths=lengths)
    table = (tmp_path / "new.csv", "--group", "who", "--times", "when", "--resets", "fresh")
    for arguments in (table, (tmp_path / "new.npz",)):
        code, out, err = call("predict", f"{run}:0", *arguments)
        assert code == 0, err
        found = [float(row["y"]) for row in csv.DictReader(out.splitlines())]
        np.testing.assert_allclose(found, np.concatenate(wanted)[:, 0], rtol=1e-4)
    code, _, err = call("predict", f"{run}:0", tmp_path / "new.csv", "--group", "who")
    assert code == 2
    assert "no times are given" in err


def test_a_reset_begins_anew(run: Path, tmp_path: Path) -> None:
    x, _, times = own_data()
    trial = trial_of(run, "cfc")
    model = trial.model()
    fresh = np.arange(len(x[0])) == 2
    found = model.predict(x[0], times=times[0], resets=fresh)
    plain = model.predict(x[0], times=times[0])
    assert np.array_equal(found[:2], plain[:2])
    assert np.abs(found[2:] - plain[2:]).max() > 1e-4
    mine = exported(trial, tmp_path).predict(x[0], times=times[0], resets=fresh)
    np.testing.assert_allclose(np.asarray(mine), found, rtol=1e-4, atol=1e-4)


def test_times_that_do_not_fit_are_refused(run: Path) -> None:
    x, _, times = own_data()
    model = trial_of(run, "gru_dh").model()
    for wrong, said in (
        (None, "no times are given"),
        (times[0][:-1], "they do not fit the sequences"),
        (times[0][::-1], "they decrease"),
    ):
        with pytest.raises(ConfigError, match=said):
            model.predict(x[0], times=wrong)
    with pytest.raises(ConfigError, match="values are not finite"):
        model.predict(np.where(np.isnan(x[0]), np.inf, x[0]), times=times[0])
