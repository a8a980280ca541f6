"""Bounds of a job hold where its own code looks at no clock and no memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainings import SHORT, job

from cellsearch.executors.worker import DEFAULT_EVALUATION, load_evaluation, perform
from cellsearch.job import Job, Limits, Outcome
from cellsearch.tasks.base import Arrays
from cellsearch.testing.executors import make_job
from cellsearch.testing.noop import EVALUATION
from cellsearch.training import prepare
from cellsearch.training.guard import resident_mb
from cellsearch.trial import Result

pytestmark = [
    pytest.mark.timeout(120, method="thread"),  # the other method uses the alarm itself
    # An alarm that strikes inside a callback of the garbage collector (hypothesis has one) is
    # dropped by Python with this warning; the next one, a second later, counts.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def stubborn(job: Job, arrays: Arrays) -> Result:
    """Catches the first that comes."""
    try:
        time.sleep(60)
    except Exception:  # noqa: BLE001
        time.sleep(60)
    raise AssertionError


def busy(job: Job, arrays: Arrays) -> Result:
    """Never waits, never ends."""
    while True:
        pass


@pytest.mark.parametrize("name", [EVALUATION, f"{__name__}:stubborn", f"{__name__}:busy"])
def test_a_job_that_never_returns_is_ended(name: str) -> None:
    hanging = make_job(0, {"hang": 1}, limits=Limits(seconds=0.2))
    failure = perform(load_evaluation(name), hanging, {}, "here").failure
    assert failure is not None
    assert failure.kind == "timeout"
    assert "0.2 seconds" in failure.message
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


PACKAGE = """
import time
import {name}.part
time.sleep(1.0)
assert {name}.part.VALUE == 1
"""
"""As sympy, which torch loads with the first optimizer."""


def loads(job: Job, arrays: Arrays) -> Result:
    """Loads a package that takes its time, and then hangs or fails."""
    import_module(job.task_options["package"])
    if job.limits.seconds:
        time.sleep(60)
    raise ValueError("it is loaded")


def test_an_alarm_leaves_no_package_loaded_by_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "package_that_loads_slowly"
    (tmp_path / name).mkdir()
    (tmp_path / name / "part.py").write_text("VALUE = 1")
    (tmp_path / name / "__init__.py").write_text(PACKAGE.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    limited = make_job(0, {"package": name}, limits=Limits(seconds=0.1))
    failure = perform(load_evaluation(f"{__name__}:loads"), limited, {}, "here").failure
    assert failure is not None
    assert failure.kind == "timeout"
    after = make_job(1, {"package": name})
    failure = perform(load_evaluation(f"{__name__}:loads"), after, {}, "here").failure
    assert failure is not None
    assert failure.message.splitlines()[-1] == "ValueError: it is loaded"


def late(job: Job, arrays: Arrays) -> Result:
    """Its time is over while what it left behind is put back."""
    torch.set_default_dtype(torch.float64)
    time.sleep(job.task_options["sleep"])
    raise ValueError("too late")


@pytest.mark.parametrize("sleep", [0.70, 0.715, 0.719, 0.7195, 0.72, 0.7205, 0.721, 0.73])
def test_an_alarm_at_the_end_leaves_no_setting_behind(sleep: float) -> None:
    limited = make_job(0, {"sleep": sleep}, limits=Limits(seconds=0.2))
    failure = perform(load_evaluation(f"{__name__}:late"), limited, {}, "here").failure
    assert failure is not None
    assert failure.kind in ("timeout", "error")
    assert torch.get_default_dtype() == torch.float32
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def trained(limits: Limits, **changes: Any) -> Outcome:
    adding = job("lstm", task="adding", training=replace(SHORT, **changes), limits=limits)
    arrays = prepare("adding", adding.task_options).arrays
    return perform(load_evaluation(DEFAULT_EVALUATION), adding, arrays, "here")


@pytest.mark.parametrize("changes", [{"num_layers": 10**6}, {"evaluations": 10**9}])
def test_time_bounds_every_loop(changes: dict[str, int]) -> None:
    started = time.monotonic()
    failure = trained(Limits(seconds=1.0), **changes).failure
    assert failure is not None
    assert failure.kind == "timeout"
    assert time.monotonic() - started < 30


SHORT_OF_TIME = """
from dataclasses import replace
from support.trainings import SHORT, job
from cellsearch.executors.in_process import InProcess
from cellsearch.job import Limits
from cellsearch.training import prepare

adding = job("lstm", task="adding", training=SHORT, limits=Limits())
long = replace(adding, steps=10**6, limits=Limits(seconds=SECONDS))
with InProcess() as executor:
    executor.start("adding", adding.task_options, prepare("adding", adding.task_options).arrays)
    for one in (long, adding):
        executor.submit(one)
        for outcome in executor.events():
            print(outcome.failure.kind if outcome.failure else "trained")
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.05, 0.3])
def test_a_process_trains_on_after_a_training_that_was_short_of_time(seconds: float) -> None:
    # In a process of its own: the first training loads what may break by halves.
    found = subprocess.run(
        [sys.executable, "-c", SHORT_OF_TIME.replace("SECONDS", str(seconds))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert found.stdout.split() == ["timeout", "trained"]


@pytest.mark.parametrize(
    "changes", [{"hidden_size": 20000}, {"num_layers": 10**6}, {"hidden_size": 10**6}]
)
def test_a_model_that_cannot_fit_is_not_built(changes: dict[str, int]) -> None:
    assert trained(Limits()).failure is None  # loads what is loaded once
    before = resident_mb()
    assert before > 50, "Python and torch alone"
    failure = trained(Limits(memory_mb=300), **changes).failure
    assert failure is not None
    assert failure.kind == "memory"
    assert "300 MiB are allowed" in failure.message
    assert resident_mb() - before < 50
