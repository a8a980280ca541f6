"""``cellsearch ask`` and ``cellsearch tell``, and the search of a run whose cells are told."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cellsearch.executors.in_process import InProcess
from cellsearch.runs.locate import MAX_FILE
from cellsearch.search import Search
from cellsearch.store import Inbox
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment

EXPERIMENT = """
space = "lstm_gru"
strategy = "external"
task = "parity"
trials = 5
workers = 0
baselines = ["gru"]
[task_options]
batch_size = 4
[training]
steps = 3
hidden_size = 4
evaluations = 1
"""
OWN = "h[t] = tanh(linear(x[t], h[t-1]))"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(EXPERIMENT, "utf-8")
    return path


@pytest.fixture
def run(call: Call, experiment: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    code, _, err = call("search", experiment, "--run", folder)
    assert code == 0
    assert f"cellsearch tell {folder} FILE proposes cells" in err
    return folder


def test_a_loop_of_ask_tell_and_search(
    call: Call, experiment: Path, run: Path, tmp_path: Path
) -> None:
    code, out, _ = call("ask", run, "--json")
    brief = json.loads(out)
    assert (code, brief["trials"]["left"], brief["task"]["name"]) == (0, 4, "parity")
    cell = tmp_path / "own.cell"
    cell.write_text(f"# a plain one\n{OWN}\n", "utf-8")
    code, out, err = call("tell", run, cell, "--reason", "of no use: it says so itself")
    assert (code, err) == (0, "")
    assert out == (
        f"{cell}:1: accepted: it waits to be trained\n"
        "1 cell accepted; nobody searches in the run now: "
        f"cellsearch search {run}/experiment.toml --run {run}\n"
    )
    code, out, _ = call("search", run / "experiment.toml", "--run", run)
    assert code == 0
    assert "told" in out
    _, out, _ = call("show", f"{run}:1")
    assert "reason         a plain one" in out
    _, out, _ = call("ask", run)
    assert "# reason: a plain one" in out
    code, out, _ = call("tell", run, cell, "--json")
    told = json.loads(out)
    assert (code, told["known"], told["cells"][0]["trial"]) == (0, 1, 1)


def test_wrong_cells_are_refused_and_good_ones_taken(call: Call, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "several.cell"
    path.write_text(f"h[t] = tanh(\n---\n{OWN}\n---\nh[t] = tanh(linear(q))\n", "utf-8")
    code, out, err = call("tell", run, path)
    assert code == 3
    assert f"{path}:3: accepted" in out
    assert f"refused: {path}:1: not a statement: '(' was never closed (column 12)" in err
    assert f"refused: {path}:5: q is not known here (column 20)" in err
    path.write_text("h[t] = tanh(linear(q))\n", "utf-8")
    code, out, err = call("tell", run, path)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {path}:1: q is not known here (column 20)")
    assert len(Inbox(run).letters()) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "there is no cell in it"),
        (b"h[t] = \xff", "not UTF-8 text (byte 7)"),
        (b"#" * (MAX_FILE + 1), "larger than 4194304 bytes"),
        (b"[" * 200_000, "not JSON"),
        (f"# {'x' * 1_000_000}\n{OWN}".encode(), "characters; at most"),
        (b"h[t] = tanh(linear(x[t], h[t-1]))\x00", "null bytes"),
    ],
)
@pytest.mark.parametrize("piped", [True, False])
def test_hostile_files(
    call: Call,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    said: str,
    piped: bool,
) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(data)
    if piped:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    code, out, err = call("tell", run, "-" if piped else path)
    assert (code, out) == (3, "")
    assert said in err
    assert len(err) < 1000
    assert not Inbox(run).letters()


def test_a_reason_with_codes_of_a_terminal_is_shown_harmless(call: Call, run: Path) -> None:
    path = run.parent / "codes.json"
    path.write_text(json.dumps([{"cell": OWN, "reason": "\x1b[2J</script>\ud800"}]), "utf-8")
    assert call("tell", run, path)[0] == 0
    call("search", run / "experiment.toml", "--run", run)
    for command in ("show", "ask"):
        _, out, _ = call(command, f"{run}:1" if command == "show" else run)
        assert "\\x1b[2J" in out
        assert "\x1b" not in out
    call("report", run)
    page = (run / "report.html").read_text("utf-8")
    assert "&lt;/script&gt;" in page


def test_waiting_needs_a_strategy_that_waits(call: Call) -> None:
    code, _, err = call("search", "quickstart", "--wait")
    assert (code, err.splitlines()[0]) == (
        2,
        "error: --wait: the strategy genetic proposes cells itself and waits for nobody",
    )


def test_there_must_be_a_run(call: Call, tmp_path: Path) -> None:
    for command in (["ask", tmp_path], ["tell", tmp_path, "-"]):
        code, _, err = call(*command)
        assert code == 4
        assert "there is no run here" in err


def test_ls_says_what_operators_paid(call: Call, tmp_path: Path) -> None:
    with Search.open(tmp_path / "a", small_experiment("genetic")) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
    code, out, _ = call("ls", tmp_path / "a", "--operators")
    assert code == 0
    assert out.splitlines()[0].split()[:2] == ["operator", "children"]
    assert "mutate:" in out
    assert (
        "crossover pays"
        in json.loads(call("ls", tmp_path / "a", "--operators", "--json")[1])["verdict"]
    )
    with Search.open(tmp_path / "b", small_experiment("random", trials=3)) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
    assert call("ls", tmp_path / "b", "--operators")[1].startswith("no trial of the run has")
