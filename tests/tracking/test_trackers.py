"""Trackers follow a run, and cost the search nothing when they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellsearch.errors import ConfigError, InputFileError
from cellsearch.executors import InProcess
from cellsearch.runs import open_run
from cellsearch.search import Search
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.tracking import Trackers, names, send
from cellsearch.tracking.feed import Feed
from cellsearch.tracking.journal import ToldJournal

Call = Callable[..., tuple[int, str, str]]


def said(run: Path) -> list[Any]:
    return [json.loads(line) for line in (run / "listed.txt").read_text().splitlines()]


def test_a_tracker_of_another_package_is_told_everything_in_order(
    finished: Path, plugins: Path, call: Call
) -> None:
    assert {"tensorboard", "listed"} <= set(names())
    code, out, err = call("track", finished, "--to", "listed", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == [{"tracker": "listed", "told": 9, "where": "a list"}]
    lines = said(finished)
    assert [line[1:] for line in lines if line[0] == "trial"] == [[n, n] for n in range(9)]
    best = open_run(finished).find_best().number
    assert lines[0] == ["open", 0]
    assert lines[-2:] == [["winner", best], ["close", True]]
    assert call("track", finished, "--to", "listed")[1] == "listed: 0 new trials, a list\n"
    assert said(finished)[len(lines) :] == [["open", 9], ["winner", best], ["close", True]]


def test_a_search_that_goes_on_is_followed_from_where_it_was_left(
    tmp_path: Path, plugins: Path
) -> None:
    run = tmp_path / "run"
    for trials in (4, 7):
        with Search.open(run, small_experiment("random", trials=trials)) as search:
            with Trackers(run, ["listed"]) as trackers:
                search.run(InProcess(evaluation=EVALUATION), arrays={})
            assert trackers.left_over() == []
    steps = [line[1:] for line in said(run) if line[0] == "trial"]
    assert steps == [[n, n] for n in range(7)]
    assert [line[1] for line in said(run) if line[0] == "open"] == [0, 4]
    assert [line[1] for line in said(run) if line[0] == "close"] == [True, True]


def test_a_tracker_that_hangs_does_not_hold_up_the_search(tmp_path: Path, plugins: Path) -> None:
    run = tmp_path / "run"
    with Search.open(run, small_experiment("random", trials=4)) as search:
        with Trackers(run, ["hanging"], patience=0.5) as trackers:
            search.run(InProcess(evaluation=EVALUATION), arrays={})
            assert search.finished
        (words,) = trackers.left_over()
    assert "the tracker hanging did not answer in time" in words
    assert f"cellsearch track {run} --to hanging" in words
    assert trackers.left_over() == []


def test_a_tracker_that_cannot_write_is_one_warning(tmp_path: Path, call: Call) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    run.mkdir()
    (run / "tensorboard").write_text("in the way")
    code, _, err = call(
        *("search", "quickstart", "--run", run, "--workers", "0", "--trials", "2"),
        *("--set", "training.steps=2", "--track", "tensorboard"),
    )
    assert code == 0
    assert err.count("warning: the tracker tensorboard failed: ") == 1
    assert "Exists" in err
    assert open_run(run).counts["completed"] == 2
    (run / "tensorboard").unlink()
    assert call("track", run, "--to", "tensorboard")[1].startswith("tensorboard: 2 new trials")


def test_the_follower_ends_with_the_process_of_the_search(finished: Path, plugins: Path) -> None:
    """After kill -9 of the search standard input is at its end: what is in the store is told."""
    done = subprocess.run(
        [sys.executable, "-m", "cellsearch.tracking", str(finished), "listed"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert said(finished)[-1] == ["close", True]


def test_what_is_missing_is_said_before_anything_begins(
    tmp_path: Path, finished: Path, plugins: Path, call: Call
) -> None:
    run = tmp_path / "new"
    code, _, err = call("search", "quickstart", "--run", run, "--track", "missing")
    assert code == 2
    assert "pip install 'cellsearch[none]'" in err
    assert not run.exists()
    with pytest.raises(ConfigError, match="did you mean tensorboard"):
        send(finished, "tensorbord")


def test_trials_under_way_are_told_of_when_they_have_ended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Search.open(run, small_experiment("random", trials=4)) as search:
        first, second = search.ask(), search.ask()
        assert first is not None
        assert second is not None
        feed = Feed(run, [])
        assert feed.ended() == []
        executor = InProcess(evaluation=EVALUATION)
        executor.start("parity", {}, {})
        for trial in (second, first):
            executor.submit(search.job(trial))
            for outcome in executor.events(0):
                search.tell(outcome)
            time.sleep(0.002)  # the clock of the store has moved
        assert feed.ended() == [second.number, first.number]
        assert feed.ended() == []
        feed.close()


def test_a_torn_journal_goes_on_and_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.journal"
    journal = ToldJournal(file)
    journal.begin("somewhere")
    journal.add([4, 2])
    journal.confirm()
    journal.add([7])
    with open(file, "ab") as torn:
        torn.write(b"known 3")
    again = ToldJournal(file)
    assert (again.identity, again.trials, again.known) == ("somewhere", [4, 2, 7], 2)
    again.confirm()
    assert ToldJournal(file).known == 3
    file.write_text("something else\n")
    with pytest.raises(InputFileError, match="not one of a journal"):
        ToldJournal(file)


def test_following_needs_no_torch(finished: Path) -> None:
    program = (
        "import sys\nfrom cellsearch.tracking import send\n"
        f"send({str(finished)!r}, 'tensorboard')\nassert 'torch' not in sys.modules"
    )
    pytest.importorskip("tensorboard")
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, check=False)
    assert done.returncode == 0
