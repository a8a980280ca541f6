"""``cellsearch watch`` shows another process's run, and does not touch it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cellsearch.executors import InProcess
from cellsearch.search import Search, SearchEvent, TrialEnded
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment

Call = Callable[..., tuple[int, str, str]]
TRIALS = 5


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "the watcher says nothing"
        time.sleep(0.01)


def test_a_search_is_followed_to_its_end(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Search.open(run, small_experiment("random", trials=TRIALS)) as search:
        watcher = subprocess.Popen(
            [sys.executable, "-u", "-m", "cellsearch", "watch", str(run)],
            stdout=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        assert watcher.stdout is not None
        reader = threading.Thread(target=lambda: lines.extend(watcher.stdout or ()))
        reader.start()
        wait_until(lambda: bool(lines))  # it says what is searched

        def wait_for_it(event: SearchEvent) -> None:
            if isinstance(event, TrialEnded):
                name = f"{event.trial.name} "
                wait_until(lambda: any(name in line for line in lines))

        search.run(InProcess(evaluation=EVALUATION), wait_for_it, arrays={})
        assert watcher.poll() is None
    assert watcher.wait(60) == 0
    reader.join()
    watcher.stdout.close()
    assert lines[0] == "small\n"
    found = [line[:5] for line in lines[1 : TRIALS + 1]]
    assert found == [f"[{n}/5]" for n in range(1, TRIALS + 1)]
    assert f"nobody searches in {run}\n" in lines


def test_ctrl_c_ends_the_watcher_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Search.open(run, small_experiment("random", trials=2)) as search:
        with subprocess.Popen(
            [sys.executable, "-u", "-m", "cellsearch", "watch", str(run)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watcher:
            assert watcher.stdout is not None
            assert watcher.stderr is not None
            assert watcher.stdout.readline() == "small\n"
            os.kill(watcher.pid, signal.SIGINT)
            assert watcher.wait(60) == 130
            assert "Traceback" not in watcher.stderr.read()
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        assert search.finished


def test_a_run_in_which_nobody_searches_is_shown_once(tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    with Search.open(run, small_experiment("random", trials=2)) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
    code, out, err = call("watch", run)
    assert (code, err) == (0, "")
    assert "resuming: 2 of 2 trials are there already" in out
    assert f"nobody searches in {run}" in out
    assert call("watch", tmp_path / "none")[0] == 4
