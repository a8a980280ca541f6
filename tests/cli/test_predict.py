"""``cellsearch predict``: files and streams in, answers in the user's units and labels out."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_tasks import labelled, measured, numbered, small_data

import cellsearch as cs
from cellsearch.errors import InputFileError
from cellsearch.job import Training
from cellsearch.runs.answers import stream_answers
from cellsearch.runs.new_data import sequences_of
from cellsearch.search import Search
from cellsearch.tasks import arrays as own
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.interface import Interface, features, values
from cellsearch.tasks.registry import TaskData
from cellsearch.training.model import cell_factory

Call = Callable[..., tuple[int, str, str]]
SETTINGS = {
    "strategy": "random",
    "space": "tiny",
    "trials": 2,
    "training.steps": 5,
    "training.hidden_size": 4,
    "training.evaluations": 1,
    "baselines": [],
}
pytestmark = pytest.mark.filterwarnings("ignore::cellsearch.errors.SearchWarning")


def searched(data: TaskData, folder: Path) -> Path:
    """A run over these data, which are gone afterwards."""
    own.save(data, folder / "mine.npz")
    settings = {**SETTINGS, "task": "arrays", "task_options.path": str(folder / "mine.npz")}
    with (
        Search.open(folder / "run", cs.load_experiment("parity", settings)) as search,
        cs.InProcess() as executor,
    ):
        search.run(executor)
    (folder / "mine.npz").unlink()
    return folder / "run"


def in_task(name: str, folder: Path, **options: Any) -> Path:
    settings = {**SETTINGS, "task": name, **{f"task_options.{k}": v for k, v in options.items()}}
    with (
        Search.open(folder / "run", cs.load_experiment("parity", settings)) as search,
        cs.InProcess() as executor,
    ):
        search.run(executor)
    return folder / "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def labels(folder: Path) -> Path:
    (folder / "labels").mkdir()
    return searched(labelled(), folder / "labels")


@pytest.fixture(scope="module")
def steps(folder: Path) -> Path:
    (folder / "steps").mkdir()
    return searched(measured(), folder / "steps")


@pytest.fixture(scope="module")
def stream(folder: Path) -> Path:
    (folder / "stream").mkdir()
    return searched(small_data("arrays: every"), folder / "stream")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


TABLE = "when,tilt,pressure,machine\n1,-3.0,1000100,a\n2,-3.1,1000200,a\n3,-2.9,1000000,b\n"


def test_a_table_is_one_sequence_or_one_a_group(labels: Path, tmp_path: Path, call: Call) -> None:
    table = write(tmp_path / "new.csv", TABLE)
    code, out, _ = call("predict", labels, table)
    assert code == 0
    assert out.splitlines()[0] == "answer"
    model = cs.load_model(labels)
    (answer,) = [model.predict([[1000100, -3.0], [1000200, -3.1], [1000000, -2.9]])]
    assert out.splitlines()[1].strip('"') == answer
    code, out, _ = call("predict", labels, table, "--group", "machine", "--probabilities")
    assert code == 0
    head, *rows = out.splitlines()
    assert head == 'sequence,answer,"p(falling, or so)",p(rising)'
    assert [row[0] for row in rows] == ["a", "b"]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".txt"])
def test_several_steps_in_every_form(steps: Path, tmp_path: Path, call: Call, suffix: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal([20, 1013, 0.5], [5, 8, 0.1], (6, 3))
    text = "h;p;t\n" + "\n".join(f"{h!r};{p!r};{t!r}" for t, p, h in x.tolist())
    table, target = write(tmp_path / "new.csv", text), tmp_path / f"answers{suffix}"
    assert call("predict", steps, table, "-o", target)[0] == 0
    expected = cs.load_model(steps).predict(x)
    if suffix == ".json":
        told = json.loads(target.read_text())
        assert told["units"] == {"t": "°C", "p": "hPa"}
        found = [[row["t"], row["p"]] for row in told["rows"]]
        assert [row["step"] for row in told["rows"]] == [1, 2]
    elif suffix == ".npz":
        arrays = np.load(target)
        assert arrays["step"].tolist() == [1, 2]
        found = np.stack([arrays["t"], arrays["p"]], 1).tolist()
    else:
        lines = target.read_text().splitlines()[suffix == ".csv" :]
        mark = "," if suffix == ".csv" else " "
        found = [[float(n) for n in line.split(mark)[-2:]] for line in lines]
    assert np.allclose(found, expected)


def test_arrays_in(steps: Path, labels: Path, tmp_path: Path, call: Call) -> None:
    x = np.random.default_rng(1).normal([20, 1013, 0.5], [5, 8, 0.1], (3, 6, 3))
    np.savez(tmp_path / "x.npz", x=x)
    code, out, _ = call("predict", steps, tmp_path / "x.npz")
    assert code == 0
    rows = [line.split(",") for line in out.splitlines()[1:]]
    assert [row[:2] for row in rows] == [[str(n), str(s)] for n in range(3) for s in (1, 2)]
    found = np.array([row[2:] for row in rows], dtype=float).reshape(3, 2, 2)
    assert np.allclose(found, cs.load_model(steps).predict(x))
    np.savez(tmp_path / "ragged.npz", x=np.zeros((2, 5, 2)), lengths=[3, 5])
    assert len(call("predict", labels, tmp_path / "ragged.npz")[1].splitlines()) == 3
    own.save(labelled(), tmp_path / "saved.npz")
    code, out, _ = call("predict", labels, tmp_path / "saved.npz")
    assert len(out.splitlines()) == 61


def test_a_stream_is_answered_row_by_row(
    stream: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "x0\n5.5\n4,5\n\n7\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(text.replace("4,5", "4.5")))
    code, out, _ = call("predict", stream, "-")
    assert code == 0
    head, *rows = out.splitlines()
    assert head == "position,y"
    found = [float(row.split(",")[1]) for row in rows]
    assert np.allclose(found, cs.load_model(stream).predict([5.5, 4.5, 7.0])[:, 0])
    table = write(tmp_path / "new.csv", "5.5\n4.5\n7.0\n")
    _, same, _ = call("predict", stream, table)
    assert [line.split(",")[0] for line in same.splitlines()] == ["position", "1", "2", "3"]
    again = [float(line.split(",")[1]) for line in same.splitlines()[1:]]
    assert np.allclose(again, found, rtol=1e-4)


def test_forecasts_roll(folder: Path, tmp_path: Path, call: Call) -> None:
    small_data("sunspots")  # skips where it is not there
    (folder / "sun").mkdir()
    run = in_task("sunspots", folder / "sun", history=12, horizon=2)
    x = 50 + 40 * np.sin(np.arange(16))
    table = write(tmp_path / "new.csv", "\n".join(["sunspots", *map(repr, x.tolist())]))
    code, out, _ = call("predict", run, table, "--rolling")
    rows = [line.split(",") for line in out.splitlines()]
    assert (code, rows[0]) == (0, ["position", "step", "sunspots"])
    assert [row[0] for row in rows[1::2]] == ["12", "13", "14", "15", "16"]
    _, last, _ = call("predict", run, table)
    assert [line.split(",")[-1] for line in last.splitlines()[1:]] == [r[2] for r in rows[-2:]]


def test_windows_of_the_users_own(labels: Path, tmp_path: Path, call: Call) -> None:
    table = write(tmp_path / "new.csv", TABLE)
    code, out, _ = call("predict", labels, table, "--rolling", "--window", 2)
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()] == ["position", "2", "3"]
    _, last, _ = call("predict", labels, table, "--window", 2)
    assert out.splitlines()[-1].endswith(last.splitlines()[-1])


def test_texts(folder: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "parity").mkdir()
    run = in_task("parity", folder / "parity")
    text = write(tmp_path / "new.txt", "0110\n\n1\n")
    code, out, _ = call("predict", run, text)
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()] == ["sequence", "line 1", "line 3"]
    code, _, err = call("predict", run, write(text, "0120"))
    assert code == 3
    assert "'2'" in err
    (folder / "lm").mkdir()
    run = in_task("char_lm", folder / "lm", tbptt=8, valid_tokens=256)
    target = tmp_path / "said.txt"
    assert call("predict", run, write(text, "In the\n"), "-o", target)[0] == 0
    assert target.read_text() == "".join(cs.load_model(run).predict("In the\n")) + "\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("In the\n"))
    assert len(call("predict", run, "-", "--probabilities")[1].splitlines()) >= 8


def test_tokens_are_numbers(folder: Path, tmp_path: Path, call: Call) -> None:
    (folder / "tokens").mkdir()
    run = searched(numbered(), folder / "tokens")
    text = write(tmp_path / "new.txt", "1 2 3\n6 0\n")
    code, out, _ = call("predict", run, text)
    assert code == 0
    assert {line.split(",")[1] for line in out.splitlines()[1:]} <= {"3", "4"}


@pytest.mark.parametrize(
    ("text", "options", "code", "says"),
    [
        ("", (), 3, "is empty"),
        ("\n\n", (), 3, "is empty"),
        ("pressure,tilt\n", (), 3, "no rows below|holds no rows|not numbers"),
        ("pressure,slope\n1,2\n3,4\n", (), 3, "no column tilt"),
        ("1,2,3\n4,5,6\n", (), 3, "no column"),
        ("pressure,tilt\n1,2\n,4\n5,6\n", (), 3, "1 value of pressure missing.* row 2"),
        ("pressure,tilt\n1,2\nnan,4\n5,6\n", (), 3, "pressure missing"),
        ("pressure,tilt\n1,up\n2,down\n3,up\n", (), 3, "tilt is text, not numbers: 'up', 'down'"),
        ("pressure,tilt\n1,2\n3,4,5,6\n", (), 3, "row has 4 cells"),
        (TABLE, ("--group", "nosuch"), 2, "nosuch"),
        (TABLE, ("--rolling",), 2, "how many rows a window has.*--window N"),
        (TABLE, ("--rolling", "--window", "9"), 2, "no sequence has the 9 rows"),
        (TABLE, ("-o", "answers.xlsx"), 2, "answers.xlsx.*suffix"),
    ],
)
def test_what_cannot_be_read_is_said(
    labels: Path,
    tmp_path: Path,
    call: Call,
    text: str,
    options: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    found, out, err = call("predict", labels, write(tmp_path / "new.csv", text), *options)
    assert found == code, err
    assert not out
    assert re.search(says, err.replace("\n", " ")), err
    assert "Traceback" not in err


def test_other_arrays_are_refused(labels: Path, tmp_path: Path, call: Call) -> None:
    path = tmp_path / "x.npz"
    bare = {name: labelled().arrays[name] for name in own.NAMES}  # type: ignore[attr-defined]
    for arrays, says in (
        ({"z": np.zeros(3)}, "no x"),
        ({"x": np.zeros((2, 0, 2))}, "empty"),
        ({"x": np.zeros((2, 3, 2)), "lengths": [1, 4]}, "lengths"),
        ({"x": np.full((3, 2), np.nan)}, "not finite"),
        (bare, "how they were scaled"),
    ):
        np.savez(path, **arrays)  # type: ignore[arg-type]
        code, _, err = call("predict", labels, path)
        assert code in (2, 3)
        assert says in err.replace("\n", " ")
    path.write_bytes(b"PK\x03\x04 no archive")
    assert call("predict", labels, path)[0] == 3


def test_what_is_there_is_not_overwritten(labels: Path, tmp_path: Path, call: Call) -> None:
    table, target = write(tmp_path / "new.csv", TABLE), write(tmp_path / "out.csv", "mine")
    assert call("predict", labels, table, "-o", target)[0] == 2
    assert target.read_text() == "mine"
    assert call("predict", labels, table, "-o", target, "--force")[0] == 0
    assert call("predict", "lstm", table)[0] == 2
    assert call("predict", labels, tmp_path / "nosuch.csv")[0] == 2


def test_a_run_that_moved_needs_no_data(labels: Path, tmp_path: Path, call: Call) -> None:
    shutil.copytree(labels, tmp_path / "elsewhere")
    table = write(tmp_path / "new.csv", TABLE)
    trial = cs.open_run(labels).best().number
    code, out, _ = call("predict", f"{tmp_path / 'elsewhere'}:{trial}", table)
    assert (code, out) == (0, call("predict", labels, table)[1])


def test_marks_of_missing_values_are_made_from_the_table(tmp_path: Path) -> None:
    interface = Interface(
        inputs=features(("v", "w", "w missing"), [1.0, 7.0, 0.0], [1.0, 1.0, 1.0]),
        answer=values(("v",)),
        readout="last",
    )
    table = write(tmp_path / "new.csv", "when,w,v\n1,,1\n2,5,2\n3,,3\n4,,4\n")
    (found,) = sequences_of(interface, table).sequences
    assert found.tolist() == [[1, 7, 1], [2, 5, 0], [3, 5, 1], [4, 5, 1]]
    table = write(tmp_path / "new.csv", "when,w,v\n1,4,1\n2,5,\n3,6,3\n")
    with pytest.raises(InputFileError, match=r"1 value of v missing.*row 2"):
        sequences_of(interface, table)


def test_a_stream_makes_marks_of_missing_values(monkeypatch: pytest.MonkeyPatch) -> None:
    factory = cell_factory(cs.zoo.load("gru"), Training(hidden_size=4))
    model = SequenceModel(factory, features=3, outputs=1)
    model.described = Interface(
        inputs=features(("v", "w", "w missing"), [1.0, 7.0, 0.0], [1.0, 1.0, 1.0]),
        answer=values(("v",)),
    )
    whole = model.predict([[1, 7, 1], [2, 5, 0], [3, 5, 1]])[:, 0]
    for lines in (["w;when;v", ";a;1", "5;b;2", "NaN;c;3"], ["1,", "2,5", "3,nan"]):
        rows = list(stream_answers(model, lines))
        assert [row["position"] for row in rows] == [1, 2, 3]
        assert np.allclose([row["v"] for row in rows], whole, atol=1e-5)
    for lines, says in (
        (["v,u", "1,2"], "no column w"),
        (["1,2,3,4"], "names of the columns first"),
        (["v,w", ",2"], "missing|not a number"),
        (["v,w", "1,x"], "'x' is not a number"),
        ([], "nothing came"),
    ):
        with pytest.raises(InputFileError) as caught:
            list(stream_answers(model, lines))
        assert re.search(says, f"{caught.value.message} {caught.value.hint}")
