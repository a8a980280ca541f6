from __future__ import annotations

import errno

import numpy as np
import pytest

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


def test_interrupt_is_not_an_outcome() -> None:
    def interrupted(job: Job, arrays: Arrays) -> Result:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform(interrupted, make_job(0), {}, "here")


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
