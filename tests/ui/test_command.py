"""``cellsearch ui`` as a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]


def test_it_says_where_it_is_and_ends_when_it_is_told(run: Path) -> None:
    command = [sys.executable, "-m", "cellsearch", "ui", str(run), "--port", "0", "--token"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.readline()
        found = re.fullmatch(r"1 run: (http://127\.0\.0\.1:\d+/\?token=\S+)\n", said)
        assert found is not None, said
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(found[1], timeout=30) as answer:
            assert b"<title>cellsearch</title>" in answer.read()
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stderr.read()) == (0, "")


def test_a_folder_without_runs_is_refused(call: Call, tmp_path: Path) -> None:
    code, _, said = call("ui", tmp_path)
    assert code == 4
    assert "no run here" in said


def test_a_missing_extra_is_said(call: Call, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellsearch.cli.ui.find_spec", lambda name: None)
    code, _, said = call("ui", run)
    assert code == 6
    assert "cellsearch[ui]" in said
