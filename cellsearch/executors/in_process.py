"""Runs jobs in the calling process, one after the other: for tests, debugging, and machines without
Ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.executors.base import Executor
from cellsearch.executors.child import perform_apart
from cellsearch.executors.worker import (
    DEFAULT_EVALUATION,
    JobCheck,
    load_evaluation,
    perform,
    read_only,
    worker_name,
)
from cellsearch.job import Job, Outcome
from cellsearch.tasks.base import Arrays

__all__ = ["InProcess"]


class InProcess(Executor):
    """One job at a time, trained inside :meth:`events`.

    The limits of a job are kept by the evaluation itself, between two steps, and its time by an
    alarm (:class:`cellsearch.executors.isolation.Alarm`), which breaks off Python code only. A job
    that was under way when its process died is done in a process of its own, so that a cell that
    crashes does so once and is a failure of kind ``"crash"`` then.
    ``evaluation``: importable name of the function that does the work.
    """

    capacity = 1

    @checked_arguments
    def __init__(self, *, evaluation: str = DEFAULT_EVALUATION) -> None:
        self._evaluate, self._evaluation = load_evaluation(evaluation), evaluation
        self._worker = worker_name()
        self._job: Job | None = None
        self._arrays: Arrays | None = None
        self._check: JobCheck | None = None

    @checked_arguments
    def start(
        self,
        task: str,
        task_options: Mapping[str, Any],
        arrays: Arrays,
        *,
        folder: Path | None = None,
    ) -> None:
        """Keep the data for the jobs to come; there is nothing to log."""
        self._check = JobCheck(task, task_options)
        self._arrays = read_only(arrays)

    def submit(self, job: Job) -> None:
        """Take a job; it is trained when its outcome is asked for."""
        if self._check is None:
            raise ConfigError("the executor has no data yet", hint="call start() before submit()")
        if self._job is not None:
            raise ConfigError(
                "a job is under way already, and an in-process executor runs one at a time",
                hint="ask for events() first",
            )
        self._check(job)
        self._job = job

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        """Train the job that was submitted; nothing if there is none. ``timeout`` has no meaning
        where nothing is waited for.
        """
        if self._job is None or self._arrays is None:
            return
        job, self._job = self._job, None
        if job.was_under_way:
            yield perform_apart(self._evaluation, job, self._arrays)
        else:
            yield perform(self._evaluate, job, self._arrays, self._worker)

    @checked_arguments
    def close(self, *, kill: bool = False) -> None:
        """Forget the data and a job that was not begun."""
        self._job = self._arrays = self._check = None
