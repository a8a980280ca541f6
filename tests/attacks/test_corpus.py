"""Hostile files: every reader and command answers each with a declared error or a right result, in
bounded time, and nothing in them runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from attacks.making import make

HANGS = 30.0
"""Seconds of processor time after which a reader counts as one that hangs. The longest file that is
read at all takes about one; benchmarks/attacks.py measures that.
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What came of each file and reader."""
    place = tmp_path_factory.mktemp("attacks")
    folder = place / "corpus"
    folder.mkdir()
    with warnings.catch_warnings(action="ignore"):
        make(folder)
    environment = os.environ | {
        "CELLSEARCH_CACHE": str(place / "cache"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-B", "-W", "ignore", str(Path(__file__).with_name("reading.py")), folder],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(place.rglob("made")), "something in a file has run"
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_all_kinds_are_read(told: list[dict[str, Any]]) -> None:
    assert {Path(one["file"]).suffix for one in told} >= {
        *(".cell", ".json", ".toml", ".txt", ".npz", ".pt", ".safetensors", ""),
    }
    assert len(told) > 200


def test_what_is_sound_is_answered_and_of_each_kind_something_is_refused(
    told: list[dict[str, Any]],
) -> None:
    """No reader passes by saying nothing, or by refusing everything."""
    ends = {Path(one["file"]).suffix for one in told}
    answered = {one["file"] for one in told if one["answered"]}
    assert {f"sound{end}" if end else "run" for end in ends} <= answered
    assert {Path(one["file"]).suffix for one in told if not one["answered"]} == ends


def test_nothing_but_answers_and_declared_errors(told: list[dict[str, Any]]) -> None:
    assert [one for one in told if one["wrong"]] == []


def test_no_reader_hangs(told: list[dict[str, Any]]) -> None:
    assert [one for one in told if one["seconds"] > HANGS] == []
