from __future__ import annotations

import errno
import signal
import sys

import numpy as np
import pytest
import torch

from cellsearch.errors import BackendError, CheckpointError, EnvironmentFailure, GenomeError
from cellsearch.executors.in_process import InProcess
from cellsearch.executors.worker import perform
from cellsearch.job import Job
from cellsearch.tasks.base import Arrays
from cellsearch.testing.executors import TASK, ExecutorContract, make_job
from cellsearch.testing.noop import EVALUATION
from cellsearch.trial import Result


class TestInProcess(ExecutorContract):
    def make(self, evaluation: str = EVALUATION) -> InProcess:
        return InProcess(evaluation=evaluation)


def test_only_the_user_s_own_interrupt_ends_the_search() -> None:
    def interrupted(job: Job, arrays: Arrays) -> Result:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            sys.exit(0)  # what a task makes of it changes nothing
        raise AssertionError("no handler raised")

    with pytest.raises(KeyboardInterrupt):
        perform(interrupted, make_job(0), {}, "here")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "error",
    [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), BaseException(), ValueError("\ud800")],
)
def test_whatever_a_job_raises_is_its_failure(error: BaseException) -> None:
    def evaluation(job: Job, arrays: Arrays) -> Result:
        raise error

    failure = perform(evaluation, make_job(0), {}, "here").failure
    assert failure is not None
    assert failure.kind == "error"
    assert type(error).__name__ in failure.message
    failure.message.encode()


def test_a_job_leaves_nothing_behind_in_its_process() -> None:
    def states() -> tuple[object, ...]:
        return (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_default_device(),
            torch.get_num_threads(),
        )

    def evaluation(job: Job, arrays: Arrays) -> Result:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_default_device("meta")
        torch.set_num_threads(torch.get_num_threads() + 1)
        raise ValueError("after the damage")

    before = states()
    for _ in range(2):
        perform(evaluation, make_job(0), {}, "here")
        assert states() == before


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BackendError("no gcc"), "invalid"),
        (GenomeError("x meets h"), "invalid"),
        (CheckpointError("damaged"), "error"),
    ],
)
def test_errors_of_one_cell(error: Exception, kind: str) -> None:
    def evaluation(job: Job, arrays: Arrays) -> Result:
        raise error

    failure = perform(evaluation, make_job(0), {}, "here").failure
    assert failure is not None
    assert failure.kind == kind


def test_full_disk_is_no_fault_of_the_candidate() -> None:
    def evaluation(job: Job, arrays: Arrays) -> Result:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise CheckpointError("cannot be written") from error

    with pytest.raises(EnvironmentFailure, match="No space left"):
        perform(evaluation, make_job(0), {}, "here")


def test_missing_file_is_the_trial_s_own_failure() -> None:
    def evaluation(job: Job, arrays: Arrays) -> Result:
        raise FileNotFoundError(errno.ENOENT, "No such file", "trial-00001.safetensors")

    failure = perform(evaluation, make_job(0), {}, "here").failure
    assert failure is not None
    assert "trial-00001" in failure.message


def test_close_forgets_a_job_that_was_not_begun() -> None:
    executor = InProcess(evaluation=EVALUATION)
    executor.start(TASK, {}, {"x": np.zeros(3)})
    executor.submit(make_job(0))
    executor.close()
    assert list(executor.events()) == []
