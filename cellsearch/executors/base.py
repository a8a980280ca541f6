"""What every executor is: something that runs jobs and reports what became of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cellsearch.errors import checked_arguments
from cellsearch.executors.worker import check_evaluation
from cellsearch.job import Job, Outcome
from cellsearch.tasks.base import Arrays

__all__ = ["Executor", "outcomes"]


class Executor(ABC):
    """Runs jobs. ``capacity``: how many at the same time.

    An executor never raises for one job: its failure is an outcome. It raises
    :class:`cellsearch.errors.EnvironmentFailure` or :class:`cellsearch.errors.ConfigError` for what
    would fail every job alike; jobs under way then have no outcome.
    """

    capacity: int

    @abstractmethod
    def start(
        self,
        task: str,
        task_options: Mapping[str, Any],
        arrays: Arrays,
        *,
        folder: Path | None = None,
    ) -> None:
        """Hand over the data of the task, as ``Task.load(task_options)`` gave it, before its jobs;
        workers get it once, read-only.

        ``folder``: the run's folder, for logs. May be called again, for another task, when no job
        is under way.
        """

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Start a job of the task given to :meth:`start`; at most ``capacity`` may be under way."""

    @abstractmethod
    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        """Outcomes of ended jobs: waits until there is at least one (or ``timeout`` seconds), then
        yields those that are there.
        """

    @checked_arguments
    def compute(self, function: str, arrays: Arrays, **arguments: Any) -> Any:
        """What a function returns that may need what trainings need, such as torch: called where
        that is loaded already. Here it is called in this process.

        function: importable name, ``"package.module:function"``. arrays: those given to
        :meth:`start`, which it gets as ``arrays``. arguments: its others, by name.
        """
        return check_evaluation(function)(arrays=arrays, **arguments)

    @abstractmethod
    def close(self, *, kill: bool = False) -> None:
        """Give back everything; ``kill``: without waiting for jobs under way."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(kill=error is not None)


def outcomes(executor: Executor, jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Run jobs in their order, as many at the same time as the executor can; the outcome of each,
    as it comes.
    """
    further = iter(jobs)
    under_way, remaining = 0, len(jobs)
    while remaining:
        while under_way < executor.capacity and (job := next(further, None)) is not None:
            executor.submit(job)
            under_way += 1
        for outcome in executor.events():
            under_way, remaining = under_way - 1, remaining - 1
            yield outcome
