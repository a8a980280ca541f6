"""``cellsearch search --csv``: from a table to a run, an experiment to edit, and a report."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import cellsearch as cs

Call = Callable[..., tuple[int, str, str]]
FEW = [
    "--trials",
    "3",
    "--workers",
    "0",
    "--set",
    "training.steps=12",
    "--set",
    "training.hidden_size=4",
]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two columns of 240 hours in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "plant.csv"
    lines = ["when;power;heat"]
    for k in range(240):
        value = 10 + 3 * math.sin(k * math.pi / 6)
        when = f"{1 + k // 24:02}.03.2024 {k % 24:02}:00"
        lines.append(f"{when};{f'{value:.3f}'.replace('.', ',')};{k % 5}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_becomes_a_run_an_experiment_and_a_report(table: Path, call: Call) -> None:
    code, out, err = call("search", "--csv", "plant.csv", "--predict", "power,heat", *FEW)
    assert code == 0, err
    for said in ("240 rows, 3 columns", "semicolons", "step: 1 hour", "power, heat", "repeats"):
        assert said in out
    names = ("last value", "linear", "no cell")
    assert all(name in out for name in names)
    assert "worse than what needs no cell" in err
    run = cs.open_run("runs/plant")
    assert {"RMSE power", "MAE heat"} <= set(run.trial(0).result.metrics)  # type: ignore[union-attr]
    assert run.naive[0].score < run.trials.best().score  # type: ignore[union-attr]
    page = run.report().read_text()
    assert "RMSE power" in page
    assert "last value" in page
    assert "worse than what needs no cell" in page
    code, out, _ = call("ls", "runs/plant", "--json")
    assert {one["name"] for one in json.loads(out)["naive"]} >= {"last value", "linear"}


def test_the_experiment_beside_the_run_can_be_run_and_edited(table: Path, call: Call) -> None:
    command = ("search", "--csv", "plant.csv", "--predict", "power", "--horizon", "2", *FEW)
    assert call(*command)[0] == 0
    written = Path("runs/plant.toml")
    text = written.read_text()
    assert "# predicts: power, 2 rows ahead" in text
    # From another folder, with nothing but the file.
    code, out, err = call("search", str(written.absolute()), "--run", "runs/plant", "--plain")
    assert code == 0, err
    assert "3 trained of 3" in out
    # What nobody edited is written again, what was edited stays.
    assert call(*command, "--trials", "4")[0] == 0
    assert "trials = 4" in written.read_text()
    written.write_text(re.sub(r"window = \d+", "window = 6", written.read_text()))
    code, out, _ = call(*command, "--trials", "4")
    assert "was edited and is left as it is" in out
    code, out, err = call("search", str(written), "--run", "runs/other")
    assert code == 0, err
    assert cs.open_run("runs/other").declared["task_options"]["window"] == 6


def test_predictions_from_the_table_have_the_recorded_error(table: Path, call: Call) -> None:
    """Raw rows go in, with a second column that is read and has gaps, and the unit comes out."""
    lines = table.read_text().splitlines()
    lines[1:] = [line[:-1] if k % 17 == 5 else line for k, line in enumerate(lines[1:])]
    table.write_text("\n".join(lines))
    assert call("search", "--csv", "plant.csv", "--predict", "power", *FEW)[0] == 0
    trial = cs.open_run("runs/plant").trial(2)
    assert call("predict", "runs/plant:2", "plant.csv", "--rolling", "-o", "out.json")[0] == 0
    answers = {
        row["position"]: row["power"] for row in json.loads(Path("out.json").read_text())["rows"]
    }
    raw = [float(line.split(";")[1].replace(",", ".")) for line in lines[1:]]
    task = trial.trained().task
    wrong = [answers[t] - raw[t] for t in task.arrays["valid"].tolist()]
    rmse = math.sqrt(sum(w * w for w in wrong) / len(wrong))
    assert rmse == pytest.approx(trial.result.metrics["RMSE power"], rel=1e-3)  # type: ignore[union-attr]


def test_labels_of_groups_in_one_command(table: Path, call: Call) -> None:
    signs = {0: (-1, "d"), 1: (1, "u")}
    rows = [f"{g},{t},{t * signs[g % 2][0]},{signs[g % 2][1]}" for g in range(40) for t in range(6)]
    Path("walks.csv").write_text("\n".join(["g,time,v,way", *rows]))
    code, out, err = call("search", "--csv", "walks.csv", "--predict", "way", "--group", "g", *FEW)
    assert code == 0, err
    assert "way of each g: 2 classes (d, u)" in out
    assert "always" in out


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ("--csv plant.csv", "name one column or more of when, power, heat"),
        ("--csv plant.csv --predict pwer", "did you mean power"),
        ("--csv plant.csv --predict power --time heat2", "did you mean heat"),
        ("--csv plant.csv --predict power --window 500", "--window"),
        ("--predict power", "--csv FILE"),
        ("", "--csv data.csv --predict COLUMN"),
    ],
)
def test_what_is_said_wrongly_is_answered_with_what_to_say(
    arguments: str, advice: str, table: Path, call: Call
) -> None:
    code, _, err = call("search", *arguments.split())
    assert code == 2
    assert advice in err.partition("hint: ")[2]
    assert not Path("runs").exists()


def test_a_dry_run_prints_the_experiment_alone(table: Path, call: Call) -> None:
    code, out, err = call("search", "--csv", "plant.csv", "--predict", "heat", "--dry-run")
    assert code == 0
    assert 'predict = ["heat"]' in out
    assert "240 rows" in err
    assert not Path("runs").exists()
