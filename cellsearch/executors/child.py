"""A job in a process of its own: for one that was under way when a process died."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import signal
import sys
import time
import warnings
from multiprocessing.connection import Connection
from typing import Any

from cellsearch.executors.worker import (
    KILL_FACTOR,
    KILL_SECONDS,
    load_evaluation,
    perform,
    read_only,
    worker_name,
)
from cellsearch.job import Job, Outcome
from cellsearch.tasks.base import Arrays
from cellsearch.trial import Failure

__all__ = ["perform_apart"]

_PR_SET_PDEATHSIG = 1
_DIED, _LATE = object(), object()


def perform_apart(evaluation: str, job: Job, arrays: Arrays) -> Outcome:
    """:func:`cellsearch.executors.worker.perform` in a child process, so that a job that ends its
    process ends that one: its failure is ``"crash"``.

    The child is a copy of this process where the system can make one, so that it knows tasks that
    were registered here. evaluation: importable name.
    """
    started = time.monotonic()
    context: Any = multiprocessing.get_context("fork" if _can_fork() else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(sender, evaluation, job, dict(arrays)))
    with warnings.catch_warnings():
        # Threads are no danger here: the child trains with one thread and shares no lock with us.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    sender.close()
    limit = job.limits.seconds * KILL_FACTOR + KILL_SECONDS if job.limits.seconds else math.inf
    try:
        answer = _answer(receiver, limit)
        if answer is _DIED:
            child.join()
    finally:
        child.kill()  # it has answered, has died, or is given up
        child.join()
        receiver.close()
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, Outcome):
        return answer
    seconds = time.monotonic() - started
    failure = Failure(
        "timeout", f"did not end within {job.limits.seconds:g} seconds; killed after {seconds:.1f}"
    )
    if answer is _DIED:
        how = _how_it_ended(child.exitcode)
        failure = Failure("crash", f"the process died twice while it was trained: {how}")
    return Outcome(job.trial, job.rung, failure=failure, worker=worker_name(), wall_seconds=seconds)


def _answer(receiver: Connection, seconds: float) -> object:
    """The child's outcome or exception; ``_DIED``, or ``_LATE`` when its time is over."""
    end = time.monotonic() + seconds
    while not receiver.poll(min(1.0, max(0.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            return _LATE
    try:
        return receiver.recv()
    except EOFError:
        return _DIED


def _in_child(sender: Connection, evaluation: str, job: Job, arrays: Arrays) -> None:
    if sys.platform == "linux":
        # The child has a copy of the run's lock, so it must not outlive us.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        answer: object = perform(load_evaluation(evaluation), job, read_only(arrays), worker_name())
    except Exception as error:  # noqa: BLE001  what would fail every job alike is raised by the parent
        answer = error
    sender.send(answer)


def _can_fork() -> bool:
    """Whether a copy of this process can train: not where there is no fork, nor after CUDA was
    used.
    """
    torch = sys.modules.get("torch")
    has_cuda = torch is not None and torch.cuda.is_initialized()
    return "fork" in multiprocessing.get_all_start_methods() and not has_cuda


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "nobody knows how"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
