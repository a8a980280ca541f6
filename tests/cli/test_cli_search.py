"""``cellsearch search`` and the commands that look at what it leaves, in this process (``--workers
0``) and as a process of its own.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cellsearch.compiler.module import compile_cell
from cellsearch.errors import SearchWarning
from cellsearch.genome.graph import Genome
from cellsearch.store import Store
from cellsearch.trial import Status

EXPERIMENT = """
question = "Does the command line work?"
space = "tiny"
strategy = "random"
task = "parity"
trials = 5
seed = 3
deterministic = true
baselines = ["lstm", "gru"]
[task_options]
batch_size = 4
[training]
steps = 3
hidden_size = 4
evaluations = 1
learning_rate = 1e-3
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(EXPERIMENT, "utf-8")
    return path


@pytest.fixture
def searched(call: Call, experiment: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    code, _, err = call("search", experiment, "--run", folder, "--workers", "0")
    assert (code, err) == (0, "")
    return folder


def read(call: Call, *arguments: str | Path) -> Any:
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, ""), err
    return json.loads(out)


def test_a_search_prints_a_line_a_trial_and_the_final_table(
    call: Call, experiment: Path, tmp_path: Path
) -> None:
    code, out, err = call("search", experiment, "--run", tmp_path / "run", "--workers", "0")
    assert (code, err) == (0, "")
    assert "Does the command line work?" in out
    assert [f"[{k}/5]" in out for k in (1, 2, 3, 4, 5)] == [True] * 5
    table = out[out.index("cell  ") :]
    assert "LSTM" in table
    assert "GRU" in table
    assert "trained of 5 asked for" in table
    assert {"store.sqlite", "experiment.toml", "best.cell", "checkpoints"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }


def test_a_wrong_setting_leaves_no_run_that_the_right_one_would_meet(
    call: Call, experiment: Path, tmp_path: Path
) -> None:
    wrong = (
        "search",
        experiment,
        "--run",
        tmp_path / "run",
        "--workers",
        "0",
        "--set",
        "training.backend=nativ",
    )
    code, _, err = call(*wrong)
    assert (code, "training.backend" in err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_the_same_command_again_trains_nothing(
    call: Call, searched: Path, experiment: Path
) -> None:
    before = read(call, "ls", searched)
    code, _, _ = call("search", experiment, "--run", searched, "--workers", "0")
    assert code == 0
    assert read(call, "ls", searched) == before


def test_more_trials_go_on_where_the_run_ended(
    call: Call, searched: Path, experiment: Path, tmp_path: Path
) -> None:
    code, out, _ = call("search", experiment, "--run", searched, "--workers", "0", "--trials", "7")
    assert code == 0
    assert "resuming: 5 of 7" in out
    call("search", experiment, "--run", tmp_path / "whole", "--workers", "0", "--trials", "7")
    columns = ("number", "score", "origin", "status", "parameters")
    table = [
        [{c: t[c] for c in columns} for t in read(call, "ls", run)["trials"]]
        for run in (searched, tmp_path / "whole")
    ]
    assert table[0] == table[1]


def test_a_search_starts_from_cells_and_runs_that_a_person_names(
    call: Call, searched: Path, experiment: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.cell"
    own.write_text("h[t] = tanh(linear(x[t], h[t-1])) * sigmoid(linear(x[t]))\n", "utf-8")
    given = ("--import", searched, "--enqueue", own, "--enqueue", f"{searched}:2")
    code, out, err = call(
        "search",
        experiment,
        "--run",
        tmp_path / "warm",
        "--workers",
        "0",
        "--set",
        "seed=4",
        *given,
    )
    assert code == 0, err
    assert f"imported 5 trials of {searched}\n" in err
    assert "own is trial 5\n" in err
    assert f"{searched.name}-2 is trial 2 already\n" in err
    assert "  enqueued  ETA" in out
    assert "3 of the trained imported" in out  # and the baselines
    listed = json.loads(call("ls", tmp_path / "warm", "--json")[1])["trials"]
    origins = {trial["number"]: trial["origin"] for trial in listed}
    assert [origins[n] for n in range(6)] == [
        "baseline:lstm",
        "baseline:gru",
        *[f"imported:{searched.name}"] * 3,
        "enqueued",
    ]
    assert len(origins) == 8  # five of its own, baselines included
    code, _, err = call(
        "search", experiment, "--run", tmp_path / "other", "--workers", "0", "--enqueue", "lsmt"
    )
    assert code == 2
    assert "there is no cell 'lsmt'" in err
    assert not (tmp_path / "other").exists()


def test_hours_end_a_search_and_more_hours_go_on(
    call: Call, experiment: Path, tmp_path: Path
) -> None:
    command = ("search", experiment, "--run", tmp_path / "bounded", "--workers", "0")
    code, _, err = call(*command, "--hours", "0.0000001")
    assert code == 5  # it ended without a candidate
    assert "hours of the allowance are used up; the same command with more of them goes on" in err
    code, out, err = call(*command, "--hours", "1")
    assert code == 0, err
    assert "[5/5]" in out
    assert "used up" not in err


def test_another_experiment_in_the_same_folder_is_refused(
    call: Call, searched: Path, experiment: Path
) -> None:
    code, out, err = call(
        "search", experiment, "--run", searched, "--workers", "0", "--set", "training.steps=4"
    )
    assert (code, out) == (4, "")
    assert "training.steps" in err


def test_a_run_that_is_being_written_is_refused_but_can_be_read(
    call: Call, searched: Path, experiment: Path
) -> None:
    with Store.open(searched):
        code, _, err = call(
            "search", experiment, "--run", searched, "--workers", "0", "--trials", "7"
        )
        assert code == 4
        assert "another process is writing this run" in err
        assert "process" in read(call, "ls", searched)["writer"]
    assert read(call, "ls", searched)["writer"] == ""


def test_a_dry_run_resolves_and_writes_nothing(
    call: Call, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call("search", experiment, "--dry-run", "--set", "training.steps=9")
    assert (code, err) == (0, "")
    assert "steps = 9" in out
    assert read(call, "search", experiment, "--dry-run")["strategy"] == "random"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


def test_json_of_a_search_is_one_document(call: Call, experiment: Path, tmp_path: Path) -> None:
    code, out, err = call(
        "search", experiment, "--run", tmp_path / "run", "--workers", "0", "--json"
    )
    assert code == 0
    assert len(json.loads(out)["trials"]) == 5
    assert "[5/5]" in err


def test_a_search_whose_reader_goes_away_says_that_it_is_not_done(
    experiment: Path, tmp_path: Path
) -> None:
    arguments = f"search {experiment} --run {tmp_path / 'run'} --workers 0 --trials 40"
    command = f"{sys.executable} -m cellsearch {arguments} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 130
    assert done.stderr.splitlines() == [
        f"stopped: nobody reads the output any more; the same command goes on with "
        f"{tmp_path / 'run'}"
    ]


def test_a_run_with_cells_still_to_be_pruned_says_so(
    call: Call, experiment: Path, tmp_path: Path
) -> None:
    changes = ("--set", "strategy=prune", "--trials", "3")
    code, out, err = call(
        "search", experiment, "--run", tmp_path / "run", "--workers", "0", *changes
    )
    assert "supernet" in out
    assert (code, err.splitlines()[-1]) == (5, "hint: search on with more --trials")


def test_without_a_valid_candidate_the_exit_code_is_5(
    call: Call, experiment: Path, tmp_path: Path
) -> None:
    code, _, err = call(
        "search",
        experiment,
        "--run",
        tmp_path / "run",
        "--workers",
        "0",
        "--set",
        "limits.seconds=1e-6",
    )
    assert code == 5
    assert err.startswith("error: ")
    trials = read(call, "ls", tmp_path / "run")["trials"]
    assert {t["failure"]["kind"] for t in trials} == {"timeout"}
    assert call("best", tmp_path / "run")[0] == 5


def test_ls_and_best_agree(call: Call, searched: Path) -> None:
    document = read(call, "ls", searched)
    assert document["completed"] + document["failed"] == 5
    assert document["asked_for"] == 5
    scores = [float("inf") if t["score"] is None else t["score"] for t in document["trials"]]
    assert scores == sorted(scores)
    assert [t["number"] for t in read(call, "ls", searched, "--sort", "number")["trials"]] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert len(read(call, "ls", searched, "--top", "2")["trials"]) == 2
    best = read(call, "best", searched)
    assert best["number"] == next(t["number"] for t in document["trials"] if not t["baseline"])
    assert {t["name"] for t in best["baselines"]} == {"LSTM", "GRU"}
    assert Genome.from_text((searched / "best.cell").read_text("utf-8")).key == best["key"]
    assert call("best", searched)[1].startswith(Genome.from_text(best["cell"]).to_text())


def test_a_trial_is_shown_by_its_number(call: Call, searched: Path) -> None:
    shown = read(call, "show", f"{searched}:2")
    assert shown["trial"]["number"] == 2
    assert read(call, "show", searched)["key"] == read(call, "best", searched)["key"]
    assert read(call, "show", f"{searched}:best")["key"] == read(call, "best", searched)["key"]
    assert "trial" in call("show", f"{searched}:2")[1]
    assert call("show", f"{searched}:99")[0] == 4
    assert call("show", f"{searched}:two")[0] == 2


def test_the_report_is_one_file(call: Call, searched: Path, tmp_path: Path) -> None:
    code, out, _ = call("report", searched)
    assert code == 0
    assert str(searched / "report.html") in out
    page = (searched / "report.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "LSTM" in page
    assert call("report", searched)[0] == 0
    other = tmp_path / "other.html"
    other.write_text("mine", "utf-8")
    assert call("report", searched, "-o", other)[0] == 2
    assert other.read_text("utf-8") == "mine"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_an_exported_state_dict_fits_the_compiled_cell(
    call: Call, searched: Path, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    assert call("export", f"{searched}:1", "--to", "state-dict", "-o", path)[0] == 0
    if suffix == ".pt":
        weights = torch.load(path, weights_only=True)
    else:
        from safetensors.torch import load_file

        weights = load_file(path)
    cell = Genome.from_text(read(call, "show", f"{searched}:1")["cell"])
    module = compile_cell(cell, input_size=weights["l0.r.weight_x"].shape[1], hidden_size=4)
    module.load_state_dict(weights)


def test_a_source_export_of_a_run_has_its_weights_beside_it(
    call: Call, searched: Path, tmp_path: Path
) -> None:
    path = tmp_path / "best_cell.py"
    code, out, err = call("export", searched, "--to", "source", "-o", path)
    assert (code, err) == (0, "")
    assert str(path) in out
    assert {"best_cell.py", "best_cell.pt"} <= {p.name for p in tmp_path.iterdir()}
    assert torch.load(tmp_path / "best_cell.pt", weights_only=True)
    program = "import sys; sys.modules['cellsearch'] = None; import best_cell"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- Ctrl-C ----------------------------------------------------------------------------------------


def press(
    arguments: list[str], presses: int, ready: Callable[[str], bool]
) -> tuple[int, str, float]:
    """Run the command on a terminal of its own, press Ctrl-C when ``ready(screen)``; exit code,
    screen, seconds from the last press.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", COLUMNS="120", LINES="40")
        # As the installed command does. Under -m, Python ends by SIGINT instead of the exit code
        # (130 in a shell, too) if the interrupt came while a library imported by the training ran
        # code from a string.
        os.execv(
            sys.executable,
            [sys.executable, "-c", "from cellsearch.cli import main; main()", *arguments],
        )
    screen, sent, pressed, end = b"", 0, 0.0, time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            screen += data
        if (
            sent < presses
            and time.monotonic() - pressed > 0.5
            and (sent or ready(screen.decode("utf-8", "replace")))
        ):
            os.write(terminal, b"\x03")
            sent, pressed = sent + 1, time.monotonic()
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return (
        os.waitstatus_to_exitcode(status),
        screen.decode("utf-8", "replace"),
        time.monotonic() - pressed,
    )


def is_training(run: Path) -> bool:
    """Whether a trial of the run has been handed out."""
    if not (run / "experiment.toml").is_file():
        return False
    with Store.read(run) as store:
        return any(trial.status is Status.RUNNING for trial in store.history())


def test_ctrl_c_once_finishes_the_trial_and_exits_130(
    call: Call, experiment: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [
        "search",
        str(experiment),
        "--run",
        str(run),
        "--workers",
        "0",
        "--trials",
        "300",
        "--plain",
    ]
    code, screen, _ = press(arguments, 1, lambda screen: "[  2/300]" in screen)
    assert code == 130, screen
    assert "the same command goes on" in screen
    document = read(call, "ls", run)
    assert document["waiting"] + document["running"] == 0
    assert 2 <= document["completed"] < 300


def test_ctrl_c_twice_stops_at_once_and_nothing_is_lost(
    call: Call, experiment: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [
        "search",
        str(experiment),
        "--run",
        str(run),
        "--workers",
        "0",
        "--trials",
        "6",
        "--plain",
        "--set",
        "training.steps=100000",
    ]
    code, screen, seconds = press(arguments, 2, lambda _: is_training(run))
    assert code == 130, screen
    assert "stopped at once" in screen
    assert seconds < 20
    document = read(call, "ls", run)
    assert document["completed"] == 0
    assert document["waiting"] == 1


def test_the_live_table_shows_the_baselines(experiment: Path, tmp_path: Path) -> None:
    code, screen, _ = press(
        ["search", str(experiment), "--run", str(tmp_path / "run"), "--workers", "0"],
        0,
        lambda _: False,
    )
    assert code == 0, screen
    assert "ETA" in screen
    assert "trained of 5 asked for" in screen


def test_a_limit_on_weights_counts_what_is_trained(
    call: Call, experiment: Path, tmp_path: Path
) -> None:
    limited = ("search", experiment, "--workers", "0", "--run", tmp_path / "a", "--max-weights")
    code, out, err = call(*limited, "10")
    assert (code, out) == (2, "mine: Does the command line work?\n")
    assert "error: max_weights: 10 weights are too few for the space tiny" in err
    assert "I = 4, H = 4" in err
    with pytest.warns(SearchWarning, match=r"left out: gated \(72 weights, at most 60 with I = 4"):
        code, _, err = call(*limited, "60", "--set", "strategy=genetic")
    assert code == 0
    trials = read(call, "ls", tmp_path / "a")["trials"]
    assert sorted(t["cell_parameters"] for t in trials if t["baseline"]) == [112, 144]
    assert max(t["cell_parameters"] or 0 for t in trials if not t["baseline"]) <= 60
    code, _, err = call(*limited, "many")
    assert code == 2
    assert "max_weights: there is no cell 'many' in the zoo" in err
