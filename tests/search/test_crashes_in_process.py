"""A cell that ends its process ends an in-process search once, and is a failure then."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.trainings import facts, job

from cellsearch.errors import ConfigError
from cellsearch.executors.child import perform_apart
from cellsearch.executors.in_process import InProcess
from cellsearch.executors.worker import DEFAULT_EVALUATION, load_evaluation, perform
from cellsearch.job import Limits
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.testing.executors import make_job
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import differing_rows, final_table, small_experiment
from cellsearch.training import prepare
from cellsearch.trial import Status

CRASHING = [3, 6]
SCRIPT = """
import json, sys
from cellsearch.executors.in_process import InProcess
from cellsearch.search import Search
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment

path, options = sys.argv[1], json.loads(sys.argv[2])
with Search.open(path, small_experiment(trials=8, task_options=options)) as search:
    search.run(InProcess(evaluation=EVALUATION), arrays={})
"""


def sitting(path: Path, options: dict[str, Any]) -> int:
    """A search in a process of its own; how that ended."""
    command = [sys.executable, "-c", SCRIPT, str(path), json.dumps(options)]
    return subprocess.run(command, check=False, timeout=120).returncode


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ({"exit": 0}, 0, "exit status 0"),
        ({"exit": 7}, 7, "exit status 7"),
        ({"signal": int(signal.SIGSEGV)}, -signal.SIGSEGV, "SIGSEGV"),
        ({"signal": int(signal.SIGABRT)}, -signal.SIGABRT, "SIGABRT"),
        ({"signal": int(signal.SIGKILL)}, -signal.SIGKILL, "SIGKILL"),
    ],
)
def test_a_cell_that_crashes_does_not_block_the_run(
    tmp_path: Path, how: dict[str, int], code: int, said: str
) -> None:
    path, options = tmp_path / "a", {**how, "trials": CRASHING}
    codes = [sitting(path, options) for _ in range(len(CRASHING) + 1)]
    assert codes == [code, code, 0]
    with Store.read(path) as store:
        history = store.history()
    assert [t.number for t in history if t.status is Status.FAILED] == CRASHING
    for number in CRASHING:
        failure = history[number].failure
        assert failure is not None
        assert (failure.kind, said in failure.message) == ("crash", True)

    told = {"fail": "crash", "trials": CRASHING}
    with Search.open(tmp_path / "b", small_experiment(trials=8, task_options=told)) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        assert differing_rows(final_table(history), final_table(search.history)) == []


def test_a_killed_search_does_not_count_against_the_cell(tmp_path: Path) -> None:
    """However often the process is killed from outside while it trains a cell."""
    before = small_experiment(trials=4)
    for _ in range(4):
        search = Search.open(tmp_path, before)
        assert search.ask() is not None
        search._store.close()  # as the kernel would
    with Search.open(tmp_path, before) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        assert {trial.status for trial in search.history} == {Status.COMPLETED}


def test_a_job_apart_gives_what_it_gives_here() -> None:
    """A training by torch, in the copy of this process, to the last bit."""
    adding = job("gru", task="adding")
    arrays = prepare("adding", adding.task_options).arrays
    apart = perform_apart(DEFAULT_EVALUATION, adding, arrays)
    here = perform(load_evaluation(DEFAULT_EVALUATION), adding, arrays, "here")
    assert apart.result is not None
    assert here.result is not None
    assert facts(apart.result) == facts(here.result)


def test_a_job_apart_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellsearch.executors.child.KILL_SECONDS", 0.3)
    hanging = make_job(0, {"hang": 1}, limits=Limits(seconds=0.1))
    failure = perform_apart(EVALUATION, hanging, {}).failure
    assert failure is not None
    assert failure.kind == "timeout"


def test_what_would_fail_every_job_is_raised_from_a_job_apart() -> None:
    with pytest.raises(ConfigError, match="told to raise"):
        perform_apart(EVALUATION, make_job(0, {"raise": "config"}), {})
