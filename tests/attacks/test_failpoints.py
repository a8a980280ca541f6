"""A search that is killed at any place where it writes goes on as if nothing had been.

The places are those of :func:`cellsearch.files.failpoint`: before and after each commit of the
store and each file that appears. Every one that a small search passes is tried, each time that it
passes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cellsearch.executors.in_process import InProcess
from cellsearch.files import passed
from cellsearch.runs import open_run
from cellsearch.search import Search
from cellsearch.testing.executors import train_lines
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import Row, differing_rows, final_table, small_experiment

TRIALS = 6


def drive(run: Path) -> None:
    """The process that is killed: a small search, with a trial that fails."""
    options = {"log": str(run.parent / "log"), "fail": "nan", "trials": [4]}
    experiment = small_experiment(
        "genetic", trials=TRIALS, deterministic=True, task_options=options
    )
    with Search.open(run, experiment) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})


def start(run: Path, failpoint: str = "", *, listing: Path | None = None) -> int:
    """Run :func:`drive` in a process of its own; what it returned."""
    environment = {**os.environ, "CELLSEARCH_FAILPOINT": failpoint}
    command = [sys.executable, __file__, str(run), *([str(listing)] if listing else [])]
    return subprocess.run(command, env=environment, timeout=120, check=False).returncode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Counter[str]]:
    """The table of the search that nobody kills, and how often it passes which place."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder / "run", listing=folder / "places.json") == 0
    places = Counter(json.loads((folder / "places.json").read_text()))
    return final_table(open_run(folder / "run").trials), places


def check_kill(folder: Path, place: str, table: list[Row]) -> None:
    """Kill at the place, look, go on, and compare."""
    run = folder / "run"
    assert start(run, place) == -signal.SIGKILL
    before = final_table(open_run(run).trials) if (run / "store.sqlite").exists() else []
    ended = {(n, 0) for n, row in enumerate(before) if row[4] in ("completed", "failed")}
    seen = len(train_lines(folder / "log", "begin")) if (folder / "log").exists() else 0
    assert start(run) == 0
    after = final_table(open_run(run).trials)
    assert not differing_rows(after, table)
    again = train_lines(folder / "log", "begin")[seen:]
    assert not ended & {(trial, rung) for trial, rung, _ in again}, "trained twice"
    left = [path.name for path in run.rglob("*.tmp")]
    assert not left, "a temporary file was left behind"


def test_the_places_are_those_that_matter(undisturbed: tuple[list[Row], Counter[str]]) -> None:
    table, places = undisturbed
    assert len(table) >= TRIALS
    assert {"store: begun", "store: changed", "store: committed"} <= places.keys()
    assert any(place.endswith(": written") for place in places)
    assert min(places["store: committed"], places["store: changed"]) >= 2 * TRIALS


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("place", ["store: changed", "store: committed"])
def test_a_kill_at_some_commits(
    undisturbed: tuple[list[Row], Counter[str]], place: str, share: float, tmp_path: Path
) -> None:
    table, places = undisturbed
    check_kill(tmp_path, f"{place}@{1 + round(share * (places[place] - 1))}", table)


@pytest.mark.slow
def test_a_kill_at_every_place(undisturbed: tuple[list[Row], Counter[str]], tmp_path: Path) -> None:
    table, places = undisturbed
    for place, times in sorted(places.items()):
        for number in range(1, times + 1):
            folder = tmp_path / f"{place}-{number}".replace(" ", "-").replace(":", "")
            folder.mkdir()
            check_kill(folder, f"{place}@{number}", table)


if __name__ == "__main__":
    drive(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(json.dumps(passed))
