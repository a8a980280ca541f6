"""The benchmarks of the tasks: results that can be gone on with, ranks, the choice of a suite."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("only in a checkout", allow_module_level=True)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with two tasks of a few steps."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("trainings")
    small = {
        "parity": {"steps": 3, "hidden_size": 4, "evaluations": 1},
        "adding": {"steps": 2, "hidden_size": 4, "evaluations": 1},
    }
    monkeypatch.setattr(module, "SETTINGS", small)
    return module


@pytest.fixture
def correlation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("correlation")


def test_finished_trainings_are_not_run_again(
    trainings: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs" / "tasks.jsonl"
    wanted = [("parity", "gru", 0, False), ("adding", "gru", 0, False), ("parity", "gru", 0, True)]
    trainings.go_on(trainings.Results(path), wanted[:1], 1.0)
    first = path.read_text()
    row = json.loads(first)
    assert 0 <= row["score"] <= 1
    assert row["score"] == pytest.approx(1 - row["valid"])
    with open(path, "a") as file:
        file.write('{"task": "adding", "cell": "gr')  # killed while it wrote
    capsys.readouterr()
    trainings.go_on(trainings.Results(path), wanted, 1.0)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.read_text().startswith(first)
    assert [(r["task"], r["torch"]) for r in rows] == [
        ("parity", False),
        ("adding", False),
        ("parity", True),
    ]
    trainings.SETTINGS["parity"]["steps"] = 4  # other settings: the old rows do not count any more
    assert [r["task"] for r in trainings.Results(path).current()] == ["adding"]
    trainings.go_on(trainings.Results(path), wanted[:1], -1.0)
    assert "time is up" in capsys.readouterr().out
    assert len(trainings.Results(path).rows) == 3


def test_how_long_it_will_take(trainings: ModuleType) -> None:
    rows = [
        {"task": "parity", "cell": "gru", "seconds": 60.0},
        {"task": "parity", "cell": "lstm", "seconds": 180.0},
    ]
    assert "2 trainings to do, about 2 minutes" in trainings.expected(
        rows, [("parity", "gru", 1, False), ("parity", "gru", 2, False)]
    )
    unknown_cell = trainings.expected(
        rows, [("parity", "mgu", 0, False), ("adding", "gru", 0, False)]
    )
    assert (
        unknown_cell
        == "2 trainings to do, about 2 minutes of a free core; unknown, so not counted: adding"
    )


def test_trainings_that_ran_out_of_time_do_not_count(trainings: ModuleType, tmp_path: Path) -> None:
    results = trainings.Results(tmp_path / "rows.jsonl")
    row = {
        "task": "parity",
        "cell": "gru",
        "seed": 0,
        "torch": False,
        "settings": trainings.settings("parity"),
    }
    results.add({**row, "failed": "timeout: 900.1 s at step 2; 900 s are allowed"})
    assert list(results.current()) == []
    results.add({**row, "failed": "nan: the loss is nan at step 2"})
    assert [found["failed"][:3] for found in results.current()] == ["nan"]


def test_tasks_that_the_lstm_is_quick_on(correlation: ModuleType) -> None:
    rows = [
        {"task": "parity", "cell": "lstm", "seed": 0, "seconds": 6.0},
        {"task": "adding", "cell": "lstm", "seed": 0, "seconds": 6.1},
        {"task": "copy", "cell": "gru", "seed": 0, "seconds": 1.0},
        {"task": "jsb", "cell": "lstm", "seed": 1, "seconds": 1.0},
        {"task": "dyck1", "cell": "lstm", "seed": 0, "failed": "nan"},
    ]
    assert correlation.cheap(rows, ["copy", "adding", "parity", "jsb", "dyck1"], 6.0) == ["parity"]


def test_ranks_and_their_correlation(correlation: ModuleType) -> None:
    assert correlation.ranks([3.0, 1.0, 1.0, math.nan]).tolist() == [2.0, 0.5, 0.5, 3.0]
    assert correlation.ranks([math.inf, 0.0, math.nan]).tolist() == [1.5, 0.0, 1.5]
    a = np.array([0.3, 0.1, 0.9, 0.4, 0.45])
    assert correlation.spearman(a, np.exp(a)) == pytest.approx(1.0)
    assert correlation.spearman(a, -a) == pytest.approx(-1.0)
    assert correlation.spearman(a, [1.0] * 5) == 0.0
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 5, (2, 9)).astype(float)  # with ties
        assert correlation.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_the_suite_covers_and_keeps_to_its_bounds(correlation: ModuleType) -> None:
    """Two groups of tasks that say the same, and one that is expensive."""
    matrix = np.array(
        [[1.0, 0.9, 0.1, 0.0], [0.9, 1.0, 0.2, 0.1], [0.1, 0.2, 1.0, 0.0], [0.0, 0.1, 0.0, 1.0]]
    )
    chosen = correlation.greedy_suite(matrix, [True] * 4, [10.0, 10.0, 10.0, 10.0])
    assert [k for k, _ in chosen] == [1, 3, 2, 0]
    assert [reached for _, reached in chosen] == pytest.approx([0.55, 0.775, 0.975, 1.0])
    assert [
        k for k, _ in correlation.greedy_suite(matrix, [True] * 4, [10.0, 10.0, 10.0, 2000.0])
    ] == [1, 2, 0]
    assert [
        k for k, _ in correlation.greedy_suite(matrix, [True, False, True, True], [10.0] * 4)
    ] == [0, 3, 2]
    assert len(correlation.greedy_suite(np.eye(20), [True] * 20, [1.0] * 20)) == correlation.LARGEST


def test_the_tables_use_the_cells_that_all_tasks_have(correlation: ModuleType) -> None:
    rows: list[dict[str, Any]] = []
    for n, cell in enumerate(("lstm", "gru", "rnn_tanh", "mgu")):
        for task in ("parity", "adding"):
            row = {
                "task": task,
                "cell": cell,
                "seed": 0,
                "torch": False,
                "score": n + 0.0,
                "test_score": n + 0.5,
                "seconds": 2.0,
            }
            rows.append({**row, "score": -row["score"]} if task == "adding" else row)
    tasks, cells = ["parity", "adding"], ["lstm", "gru", "rnn_tanh", "mgu"]
    shown = correlation.show(rows[:-1], tasks, cells, tasks)
    assert shown.startswith("3 cells: lstm, gru, rnn_tanh\n")
    assert "| parity | 2 | 1.00 | 1.00 | -1.00 |" in shown
    assert "| adding | 2 | -1.00 | -1.00 | 1.00 |" in shown
    assert shown.endswith(
        "| suite | mean of best correlation | seconds a cell |\n|---|---|---|\n| parity "
        "| 0.500 | 2 |"
    )
    assert correlation.show(rows[:-1], tasks, cells, ["adding"]).endswith(
        "|---|---|---|"
    )  # too unreliable to be chosen
    assert "2 cells are done" in correlation.show(rows[:4], tasks, cells, tasks)
