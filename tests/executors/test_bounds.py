"""Bounds of a job hold where its own code looks at no clock and no memory."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
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


@pytest.mark.parametrize(
    "changes", [{"hidden_size": 20000}, {"num_layers": 10**6}, {"hidden_size": 10**6}]
)
def test_a_model_that_cannot_fit_is_not_built(changes: dict[str, int]) -> None:
    trained(Limits())  # loads what is loaded once
    before = resident_mb()
    failure = trained(Limits(memory_mb=300), **changes).failure
    assert failure is not None
    assert failure.kind == "memory"
    assert "300 MiB are allowed" in failure.message
    assert resident_mb() - before < 50
