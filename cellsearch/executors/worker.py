"""What every worker does with a job, in whatever process it lives: evaluate it, and turn whatever
happens into an outcome.
"""

from __future__ import annotations

import errno
import importlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from cellsearch.errors import (
    BackendError,
    CellsearchError,
    CheckpointError,
    ConfigError,
    EnvironmentFailure,
    GenomeError,
    TrainingError,
)
from cellsearch.executors.isolation import Alarm, Interrupts, isolated
from cellsearch.job import Job, Outcome, checked_result, plain_text
from cellsearch.tasks.base import Arrays
from cellsearch.trial import Failure, Result

__all__ = [
    "DEFAULT_EVALUATION",
    "ONE_THREAD",
    "Evaluation",
    "JobCheck",
    "check_evaluation",
    "load_evaluation",
    "perform",
    "read_only",
    "worker_name",
]

Evaluation = Callable[[Job, Arrays], Result]
DEFAULT_EVALUATION = "cellsearch.training:evaluate"

# Bit-identical results need a fixed number of threads, and one thread a worker is the fastest for
# many small trials. The libraries read these when they are loaded, so they are set before torch is
# imported.
ONE_THREAD: Mapping[str, str] = MappingProxyType(
    {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "VECLIB_MAXIMUM_THREADS": "1",
    }
)

_MESSAGE_LENGTH = 4000
_DISK_FAILS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES})


KILL_FACTOR, KILL_SECONDS = 1.5, 10.0
"""A process that hangs is killed after its job's limit times the one and plus the other: the
evaluation keeps its time itself, unless it hangs.
"""


def load_evaluation(name: str) -> Evaluation:
    """The function that an importable name such as ``"cellsearch.training:evaluate"`` means,
    with what its module has to ``get_ready``. Raises :class:`ConfigError`.

    A name instead of the function itself, because a worker process cannot be handed code, only what
    it can import.
    """
    evaluation = check_evaluation(name)
    module = sys.modules.get(getattr(evaluation, "__module__", ""))
    if (get_ready := getattr(module, "get_ready", None)) is not None:
        get_ready()
    return evaluation


def check_evaluation(name: str) -> Callable[..., Any]:
    """The function, but nothing is got ready: for who only wants to know that it is there. Raises
    :class:`ConfigError`.
    """
    module, _, function = name.partition(":")
    hint = f'write "package.module:function", for example "{DEFAULT_EVALUATION}"'
    try:
        evaluation = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"no evaluation function can be imported as {name!r}: {error}", hint=hint
        ) from error
    if not callable(evaluation):
        raise ConfigError(f"{name!r} is not a function", hint=hint)
    return evaluation  # type: ignore[no-any-return]


def worker_name() -> str:
    """Host and process, which together name a worker."""
    return f"{socket.gethostname()}:{os.getpid()}"


def read_only(arrays: Arrays) -> Arrays:
    """Views of the arrays that cannot be written, so that no candidate can spoil the data of the
    next.
    """
    views = {}
    for name, array in arrays.items():
        views[name] = array.view()
        views[name].flags.writeable = False
    return MappingProxyType(views)


def perform(evaluation: Evaluation, job: Job, arrays: Arrays, worker: str) -> Outcome:
    """Run one job. The candidate's failure, whatever it is, becomes the outcome: also an exit, an
    interrupt that it raises itself, and a result that could not be stored.

    Raises the user's own interrupt (Ctrl-C), :class:`ConfigError` and :class:`EnvironmentFailure`,
    which would hit every candidate alike; a backend that cannot run this cell is the candidate's
    own failure.
    """
    start = time.perf_counter()
    with Interrupts() as interrupts:
        result, failure = _attempt(evaluation, job, arrays, interrupts)
    return Outcome(
        job.trial,
        job.rung,
        result,
        failure,
        worker=worker,
        wall_seconds=time.perf_counter() - start,
    )


def _attempt(
    evaluation: Evaluation, job: Job, arrays: Arrays, interrupts: Interrupts
) -> tuple[Result | None, Failure | None]:
    """The result or the failure."""
    failure = None
    alarm = Alarm(job.limits.seconds)
    try:
        with isolated(), alarm:
            result = evaluation(job, arrays)
        if interrupts.raised is None:
            return checked_result(result), None
    except TrainingError as error:
        failure = Failure(error.kind, str(error))
    except (BackendError, GenomeError) as error:
        failure = Failure("invalid", str(error))
    except (ConfigError, EnvironmentFailure):
        raise
    except CheckpointError as error:
        _raise_if_the_disk_fails(error)
        failure = Failure("error", str(error))
    except OSError as error:
        _raise_if_the_disk_fails(error)
        failure = Failure("error", traceback.format_exc()[-_MESSAGE_LENGTH:])
    except CellsearchError as error:
        failure = Failure("error", str(error))
    except MemoryError:
        failure = Failure("memory", "out of memory")
    except BaseException:  # noqa: BLE001  one candidate's failure is its result, never the end of the search
        failure = Failure("error", traceback.format_exc()[-_MESSAGE_LENGTH:])
    finally:
        alarm.stop()
    if interrupts.raised is not None:
        raise interrupts.raised
    assert failure is not None
    return None, Failure(failure.kind, plain_text(failure.message))


def _raise_if_the_disk_fails(error: Exception) -> None:
    """A full or broken disk would fail every candidate alike, so it ends the search, which can be
    resumed.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in _DISK_FAILS:
        raise EnvironmentFailure(
            f"the disk fails: {cause.strerror}",
            where=str(cause.filename or ""),
            hint="make room on the disk and run the same command again",
        ) from error


class JobCheck:
    """Refuses jobs of another task than the one whose data the workers have."""

    def __init__(self, task: str, task_options: Mapping[str, Any]) -> None:
        self._task = task
        self._options = dict(task_options)

    def __call__(self, job: Job) -> None:
        """Raise :class:`ConfigError` for a job of another task."""
        if job.task != self._task or dict(job.task_options) != self._options:
            raise ConfigError(
                f"the job of trial {job.trial} is of task {job.task!r} with options "
                f"{dict(job.task_options)!r:.200},"
                f" but the workers have the data of {self._task!r} with {self._options!r:.200}",
                hint="call the executor's start() with this task first",
            )
