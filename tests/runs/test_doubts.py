"""A cell that is handed out as the best says when a baseline is better or it failed, everywhere:
in ``best``, ``export``, at the end of a search, in JSON and in Python. Words for weights are the
same everywhere, and a failed trial says why.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cellsearch as cs
from cellsearch import training, zoo
from cellsearch.errors import SearchWarning
from cellsearch.executors.in_process import InProcess
from cellsearch.finals.table import FinalRow, judge
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.job import Failure, Outcome, Result, Training
from cellsearch.runs import Run, open_run
from cellsearch.runs.facts import trained_sizes
from cellsearch.search import Search
from cellsearch.testing.search import small_experiment

Call = Callable[..., tuple[int, str, str]]
LSTM, GRU = 0.5, 0.4


def made(folder: Path, scores: dict[int, float | str], **changes: Any) -> Run:
    """A run whose trials (LSTM, GRU, then found cells) got these scores, or failed so."""
    declared = small_experiment(trials=max(scores) + 1, **changes)
    with Search.open(folder, declared) as search:
        while (trial := search.ask()) is not None:
            score = scores[trial.number]
            if isinstance(score, str):
                search.tell(Outcome(trial.number, 0, failure=Failure(score, "it went wrong")))
                continue
            result = Result(score, score, 9, 1.0, parameters=30, cell_parameters=20)
            search.tell(Outcome(trial.number, 0, result=result))
    return open_run(folder)


@pytest.mark.parametrize(
    ("found", "worse_than"),
    [
        (0.3, []),
        (0.4, []),
        (0.45, ["GRU"]),
        (0.6, ["GRU", "LSTM"]),
    ],
)
def test_the_best_cell_says_which_baselines_are_better(
    found: float, worse_than: list[str], tmp_path: Path, call: Call
) -> None:
    run = made(tmp_path / "a", {0: LSTM, 1: GRU, 2: found, 3: 0.9})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert run.best().number == 2
    texts = [str(w.message) for w in said if w.category is SearchWarning]
    assert bool(texts) == bool(worse_than)
    for name in worse_than:
        assert f"{name} ({ {'GRU': GRU, 'LSTM': LSTM}[name]:g})" in texts[0]
        assert f"score {found:g}" in texts[0]
    code, out, err = call("best", tmp_path / "a")
    assert code == 0
    assert ("warning: the best cell, trial 2 " in err) == bool(worse_than)
    code, out, err = call("best", tmp_path / "a", "--json")
    assert [row["name"] for row in json.loads(out)["worse_than"]] == worse_than
    assert err == ""
    assert call("best", tmp_path / "a", "--baselines")[2] == ""


def test_export_of_a_run_warns_and_of_a_named_trial_does_not(tmp_path: Path, call: Call) -> None:
    made(tmp_path / "a", {0: LSTM, 1: GRU, 2: 0.6})
    with pytest.warns(SearchWarning, match=r"\(score 0.6\) is worse than the baselines GRU"):
        code, _, _ = call("export", tmp_path / "a", "--to", "cell", "-o", tmp_path / "x.cell")
    assert code == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, _, _ = call(
            "export", f"{tmp_path / 'a'}:2", "--to", "cell", "-o", tmp_path / "y.cell"
        )
    assert code == 0


def row(name: str, scores: tuple[float, ...], failures: int = 0, *, baseline: bool) -> FinalRow:
    return FinalRow(name, baseline, 10, 1000, 0.01, scores, scores, 1.0, failures)


LOW, HIGH = (0.10, 0.11, 0.12, 0.13, 0.14), (0.20, 0.21, 0.22, 0.23, 0.24)


@pytest.mark.parametrize(
    ("scores", "failures", "tile", "doubted"),
    [
        (LOW, 0, "-45.45 %", False),
        (HIGH, 0, "equal within noise", False),
        (tuple(s + 1 for s in HIGH), 0, "+454.55 %", True),
        (LOW[:2], 3, "not better", True),
    ],
)
def test_the_head_of_the_report_and_the_best_cell_follow_the_finals(
    scores: tuple[float, ...], failures: int, tile: str, doubted: bool, tmp_path: Path
) -> None:
    run = made(tmp_path / "a", {0: LSTM, 1: GRU, 2: 0.2})
    table = judge(
        [row("trial 2", scores, failures, baseline=False), row("gru", HIGH, baseline=True)]
    )
    (tmp_path / "a" / "finals.json").write_text(table.to_json(), "utf-8")
    page = run.report().read_text("utf-8")
    head = page[: page.index("Progress")]
    assert f"<b>{tile}</b>" in head
    assert "-50.00 %" not in head  # what validation said
    assert ("3 of 5 final trainings failed" in head) == (failures == 3)
    assert bool(run.doubt(run.find(2))) == doubted


def test_before_finals_the_head_says_how_the_best_compares(tmp_path: Path) -> None:
    run = made(tmp_path / "a", {0: LSTM, 1: GRU, 2: 0.6}, task_options={"length": 7})
    page = run.report().read_text("utf-8")
    assert "<b>+50.00 %</b><span>worse: score relative to GRU" in page
    assert "3 trials done" in page
    assert "score (accuracy)" in page  # metric and score are the same numbers here


def test_both_weights_have_a_word_of_their_own_everywhere(tmp_path: Path, call: Call) -> None:
    run = made(tmp_path / "a", {0: LSTM, 1: GRU, 2: 0.3, 3: "nan", 4: "timeout", 5: "nan"})
    for arguments in (("ls", tmp_path / "a"), ("best", tmp_path / "a")):
        header = next(line for line in call(*arguments)[1].splitlines() if "score" in line)
        assert "cell weights" in header
        assert "model weights" in header
    record = json.loads(call("ls", tmp_path / "a", "--json")[1])["trials"][0]
    assert (record["cell_weights"], record["model_weights"]) == (20, 30)
    assert (record["cell_parameters"], record["parameters"]) == (20, 30)
    page = run.report().read_text("utf-8")
    for word in ("cell weights", "model weights"):
        assert word in page
    assert not re.search(r"\bparameters\b", page[: page.index("<h2>Settings")])


def test_failures_are_counted_by_cause_and_shown_with_their_reason(
    tmp_path: Path, call: Call
) -> None:
    made(tmp_path / "a", {0: LSTM, 1: GRU, 2: 0.3, 3: "nan", 4: "timeout", 5: "nan"})
    assert "3 failed (2 nan, 1 timeout)" in call("ls", tmp_path / "a")[1]
    assert json.loads(call("ls", tmp_path / "a", "--json")[1])["failures"] == {
        "nan": 2,
        "timeout": 1,
    }
    out = call("show", f"{tmp_path / 'a'}:4")[1]
    assert "timeout: it went wrong" in out
    assert "failed" in out
    run = open_run(tmp_path / "a")
    assert run.doubt(run.find(4)) == "trial 4 failed (timeout): it went wrong"


@pytest.mark.parametrize(
    "trained",
    [
        Training(steps=1, evaluations=1, hidden_size=6),
        Training(steps=1, evaluations=1, hidden_size=5, num_layers=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("task", ["adding", "parity"])
def test_show_counts_at_the_sizes_of_the_run(
    task: str, trained: Training, tmp_path: Path, call: Call
) -> None:
    declared = small_experiment(
        "random", task=task, trials=3, training=trained, space_name="tiny", baselines=("lstm",)
    )
    with Search.open(tmp_path / "a", declared) as search:
        search.run(InProcess())
    run = open_run(tmp_path / "a")
    arrays = training.prepare(task, {}).arrays
    assert (trained_sizes(run),) == training.layer_sizes(task, {}, trained, arrays)
    for trial in run.trials:
        if trial.result is not None:
            shown = json.loads(call("show", f"{run.path}:{trial.number}", "--json")[1])
            assert shown["cell_weights"] == trial.result.cell_parameters
    assert json.loads(call("show", "lstm", "--json")[1])["parameters"] == 33024
    assert json.loads(call("show", f"{run.path}:0", "-H", "7", "--json")[1])["hidden_size"] == 7


def test_reprs_are_a_line(tmp_path: Path) -> None:
    run = made(tmp_path / "a", {0: LSTM, 1: GRU, 2: 0.3})
    for thing in (
        run.trials,
        run.trials[2],
        run.trials[2].proposal,
        zoo.load("lstm"),
        cs.tasks.from_arrays([[[1.0], [2.0]]] * 20, [0, 1] * 10),
        History(),
        replace(run.trials[0], number=7),
        Genome.from_text("h[t] = linear(x[t], h[t-1])"),
        cs.load_space("lstm_gru"),
        cs.load_experiment("quickstart"),
        training.prepare("adding", {}),
    ):
        assert len(repr(thing)) < 160, repr(thing)
        assert "\n" not in repr(thing)
