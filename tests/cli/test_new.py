"""The starts that ``cellsearch new`` writes run as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cellsearch.experiment.catalog import load_space
from cellsearch.runs import open_run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_experiment_is_searched_in_a_space(call: Call) -> None:
    assert call("new", "experiment", "mine")[:2] == (
        0,
        "experiment: mine.toml\ntry it: cellsearch search mine.toml --workers 0\n",
    )
    assert call("new", "space", "small", "-o", "small.toml")[0] == 0
    assert call("spaces", "small.toml")[0] == 0
    assert load_space("small.toml").name == "small"
    code, _, err = call(
        *("search", "mine.toml", "--workers", "0", "--trials", "4"),
        *("--set", "training.steps=2", "--set", "space=small.toml"),
    )
    assert (code, err) == (0, "")
    assert open_run("runs/mine").counts["completed"] == 4


@pytest.mark.parametrize(("kind", "count"), [("strategy", 6), ("task", 4)])
def test_a_strategy_and_a_task_are_tried_by_running_their_file(
    call: Call, kind: str, count: int
) -> None:
    assert call("new", kind, "my_part")[1].endswith("try it: python my_part.py\n")
    done = subprocess.run(
        [sys.executable, "my_part.py"], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run = open_run("runs/my_part")
    assert run.counts["completed"] == count
    assert run.declared[kind] == "my_part"


def test_nothing_is_overwritten_and_names_are_plain(call: Call) -> None:
    assert call("new", "space", "a1")[0] == 0
    before = Path("a1.toml").read_text()
    assert call("new", "experiment", "a1")[0] == 2
    assert Path("a1.toml").read_text() == before
    assert call("new", "experiment", "a1", "--force")[0] == 0
    for name in ("A", "a b", "../a", '"', "1a", "a" * 41):
        code, _, err = call("new", "task", name)
        assert (code, "is not a name" in err) == (2, True)
    assert call("new", "task", "b", "-o", "b.toml")[0] == 2
    assert sorted(os.listdir()) == ["a1.toml"]
