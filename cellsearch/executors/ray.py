"""Runs jobs on Ray workers, on this machine or on a cluster.

Core actors, not Ray Tune: one long-lived actor a worker (importing torch takes longer than many a
training), the data once in the object store as numpy arrays, and our own retries, because Ray's
would hide them. A worker that hangs is killed and replaced.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellsearch.errors import (
    CellsearchError,
    ConfigError,
    EnvironmentFailure,
    checked_arguments,
)
from cellsearch.executors.base import Executor
from cellsearch.executors.ray_cluster import RayCluster
from cellsearch.executors.worker import (
    DEFAULT_EVALUATION,
    KILL_FACTOR,
    KILL_SECONDS,
    ONE_THREAD,
    JobCheck,
    check_evaluation,
    load_evaluation,
    perform,
    read_only,
    worker_name,
)
from cellsearch.executors.worker_environment import named
from cellsearch.job import Job, Outcome
from cellsearch.later import Later
from cellsearch.tasks.base import Arrays
from cellsearch.trial import Failure

if TYPE_CHECKING:
    import ray
    from ray import exceptions
else:  # see ray_cluster.py
    ray, exceptions = Later("ray"), Later("ray.exceptions")

__all__ = ["Ray"]

_START_SECONDS = 180.0
_LARGEST_NUMBER_OF_FAILED_STARTS = 5
_POLL_SECONDS = 1.0


class _Worker:
    """What lives in a worker process."""

    def __init__(self, evaluation: str) -> None:
        self._evaluate = load_evaluation(evaluation)
        self._name = worker_name()
        self._arrays: Arrays = {}

    def load(self, arrays: Arrays) -> str:
        """Take the data; the worker's name, once it can take jobs."""
        self._arrays = read_only(arrays)
        return self._name

    def run(self, job: Job) -> Outcome:
        """Do a job."""
        return perform(self._evaluate, job, self._arrays, self._name)

    def compute(self, function: str, arguments: dict[str, Any]) -> Any:
        """Call a function with the data."""
        return check_evaluation(function)(arrays=self._arrays, **arguments)


@dataclass(slots=True)
class _Task:
    """A job on its way; ``deaths``: how many workers have died of it."""

    job: Job
    deaths: int = 0


@dataclass(slots=True)
class _Seat:
    """A place for a worker. ``pending``: what its actor owes us: that it has the data (``task`` is
    ``None``), or the outcome of ``task``.

    ``since``: when that was asked for; ``pending`` is ``None`` when the worker is idle.
    """

    actor: Any
    pending: ray.ObjectRef[Any] | None
    since: float
    name: str = ""
    task: _Task | None = None


class Ray(Executor):
    """Runs jobs on ``workers`` Ray actors, each with one thread.

    ``workers``: 0 means one for each CPU of the cluster. ``address``: of a cluster to join
    (default: the environment variable RAY_ADDRESS, and without it a fresh cluster on this machine,
    ended by :meth:`close`). ``log_dir``: where Ray's messages go (default: the folder given to
    :meth:`start`). ``evaluation``: importable name of the function that does the work.
    ``crash_retries``: how often a job is done again when its worker process dies, before that
    counts as the candidate's crash. ``grace``, ``grace_seconds``: a job is killed after its limit
    of seconds times the one plus the other, because the evaluation keeps the limit itself unless it
    hangs. ``allow_unauthenticated``: join a cluster on another host that asks for no token.
    ``environment``: names of environment variables, or patterns (``HF_*``), that workers get
    besides those that Python, torch and cellsearch read. Raises :class:`EnvironmentFailure` when
    Ray does not start, or its workers do not.
    """

    @checked_arguments
    def __init__(
        self,
        workers: int = 0,
        address: str | None = None,
        *,
        log_dir: str | Path | None = None,
        evaluation: str = DEFAULT_EVALUATION,
        crash_retries: int = 1,
        grace: float = KILL_FACTOR,
        grace_seconds: float = KILL_SECONDS,
        allow_unauthenticated: bool = False,
        environment: Sequence[str] = (),
    ) -> None:
        if workers < 0:
            raise ConfigError(
                f"{workers} workers",
                hint="the number of workers is at least 1, or 0 for one each CPU",
            )
        check_evaluation(evaluation)  # a wrong name fails here, not in every worker
        self._cluster = RayCluster(
            address,
            allow_unauthenticated=allow_unauthenticated,
            log_dir=Path(log_dir) if log_dir else None,
            environment=dict(ONE_THREAD) | named(os.environ, environment),
            template=evaluation == DEFAULT_EVALUATION,  # others may start threads when loaded
        )
        self._workers = workers
        self.capacity = workers or (os.cpu_count() or 1)
        self._evaluation = evaluation
        self._crash_retries = crash_retries
        self._grace, self._grace_seconds = grace, grace_seconds
        self._seats: list[_Seat] = []
        self._queue: deque[_Task] = deque()
        self._failed_starts = 0
        self._data: ray.ObjectRef[Any] | None = None
        self._check: JobCheck | None = None

    # -- the executor ------------------------------------------------------------------------------

    @checked_arguments
    def start(
        self,
        task: str,
        task_options: Mapping[str, Any],
        arrays: Arrays,
        *,
        folder: Path | None = None,
    ) -> None:
        """Start or join the cluster, put the data into its object store, and start the workers
        (without waiting for them).
        """
        if self._queue or any(seat.task for seat in self._seats):
            raise ConfigError(
                "jobs of another task are under way", hint="wait for their outcomes first"
            )
        size = sum(array.nbytes for array in arrays.values())
        self._cluster.connect(workers=self._workers, data_bytes=size, folder=folder)
        self.capacity = self._workers or max(1, self._cluster.cpus())
        self._check = JobCheck(task, task_options)
        self._data = ray.put(dict(arrays))
        for seat in self._seats:
            self._send_data(seat)
        self._seats += [self._new_seat() for _ in range(self.capacity - len(self._seats))]

    @checked_arguments
    def compute(self, function: str, arrays: Arrays, **arguments: Any) -> Any:
        """:meth:`Executor.compute`, by the first worker, after what it is doing; by this process if
        that worker dies.
        """
        if not self._seats:
            return super().compute(function, arrays, **arguments)
        answer = self._seats[0].actor.compute.remote(function, arguments)
        end = time.monotonic() + _START_SECONDS
        while not ray.wait([answer], timeout=_POLL_SECONDS)[0]:
            self._cluster.require()
            if time.monotonic() >= end:
                raise self._not_started()
        try:
            return ray.get(answer)
        except exceptions.RayTaskError as error:
            raise self._cause(error) from error
        except exceptions.RayError:
            return super().compute(function, arrays, **arguments)

    def submit(self, job: Job) -> None:
        """Give the job to an idle worker, or keep it until there is one."""
        if self._check is None:
            raise ConfigError("the executor has no data yet", hint="call start() before submit()")
        under_way = len(self._queue) + sum(seat.task is not None for seat in self._seats)
        if under_way >= self.capacity:
            raise ConfigError(
                f"{under_way} jobs are under way already, and there are {self.capacity} workers",
                hint="ask for events() first",
            )
        self._check(job)
        self._queue.append(_Task(job))
        self._dispatch()

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        """Outcomes of ended jobs; see :class:`Executor`. Also where dead and hung workers are
        noticed and replaced.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        outcomes: list[Outcome] = []
        while not outcomes and (self._queue or any(seat.task for seat in self._seats)):
            self._cluster.require()
            left = end - time.monotonic()
            outcomes = self._collect(min(max(left, 0.0), _POLL_SECONDS))
            self._dispatch()
            if left <= 0:
                break
        yield from outcomes

    @checked_arguments
    def close(self, *, kill: bool = False) -> None:
        """Wait for the jobs under way, unless ``kill``, and drop their outcomes; then end the
        workers and what was started of Ray.
        """
        try:
            while not kill and any(True for _ in self.events()):
                pass
        finally:
            seats, self._seats = self._seats, []
            self._queue.clear()
            self._check = self._data = None
            if self._cluster.connected and not self._cluster.lost:
                for seat in seats:
                    ray.kill(seat.actor)
            self._cluster.disconnect()

    # -- inside ------------------------------------------------------------------------------------

    def _new_seat(self) -> _Seat:
        options: dict[str, Any] = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0}
        options |= self._cluster.actor_environment
        actor: Any = ray.remote(_Worker).options(**options).remote(self._evaluation)
        seat = _Seat(actor, None, 0.0)
        self._send_data(seat)
        return seat

    def _send_data(self, seat: _Seat) -> None:
        seat.pending, seat.since, seat.task = (
            seat.actor.load.remote(self._data),
            time.monotonic(),
            None,
        )

    def _replace(self, seat: _Seat) -> None:
        ray.kill(seat.actor)
        fresh = self._new_seat()
        seat.actor, seat.pending, seat.since, seat.name, seat.task = (
            fresh.actor,
            fresh.pending,
            fresh.since,
            "",
            None,
        )

    def _dispatch(self) -> None:
        for seat in self._seats:
            if not self._queue:
                return
            if seat.pending is None:
                seat.task = self._queue.popleft()
                seat.pending = seat.actor.run.remote(seat.task.job)
                seat.since = time.monotonic()

    def _collect(self, seconds: float) -> list[Outcome]:
        """Wait for at most so long that a worker says something or runs out of time; deal with all
        that have.
        """
        waiting = {seat.pending: seat for seat in self._seats if seat.pending is not None}
        limit = (
            min((self._deadline(seat) for seat in waiting.values()), default=math.inf)
            - time.monotonic()
        )
        try:
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=max(0.0, min(seconds, limit)))
            if done and len(waiting) > 1:
                done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        except exceptions.RayError as error:
            raise EnvironmentFailure(
                f"the Ray cluster is gone: {_first_line(error)}", hint=self._cluster.hint()
            ) from error
        outcomes = [self._hear(waiting[reference]) for reference in done]
        now = time.monotonic()
        outcomes += [
            self._expire(seat)
            for seat in self._seats
            if seat.pending is not None and now >= self._deadline(seat)
        ]
        return [outcome for outcome in outcomes if outcome is not None]

    def _deadline(self, seat: _Seat) -> float:
        if seat.task is None:
            return seat.since + _START_SECONDS
        seconds = seat.task.job.limits.seconds
        return seat.since + seconds * self._grace + self._grace_seconds if seconds else math.inf

    def _hear(self, seat: _Seat) -> Outcome | None:
        """A worker is ready, or has an outcome, or has died."""
        task = seat.task
        assert seat.pending is not None
        try:
            answer = ray.get(seat.pending)
        except exceptions.RayTaskError as error:
            seat.task = seat.pending = None
            raise self._cause(error) from error
        except exceptions.RayError as error:
            return self._died(seat, error)
        seat.pending = seat.task = None
        if task is None:
            seat.name = str(answer)
            self._failed_starts = 0
            return None
        assert isinstance(answer, Outcome)
        return answer

    def _cause(self, error: exceptions.RayTaskError) -> CellsearchError:
        """What a worker has raised, as this process raises it."""
        if isinstance(error.cause, CellsearchError):
            return error.cause
        return EnvironmentFailure(
            f"a worker failed: {_last_line(error)}", hint=self._cluster.hint()
        )

    def _not_started(self) -> EnvironmentFailure:
        return EnvironmentFailure(
            f"a Ray worker has not started within {_START_SECONDS:.0f} seconds;"
            f" the cluster has {self._cluster.cpus()} CPUs for {self.capacity} workers",
            hint="ask for fewer workers, or wait until the cluster has room",
        )

    def _died(self, seat: _Seat, error: exceptions.RayError) -> Outcome | None:
        """Replace a dead worker. Its job is done again by a fresh one, until too many have died of
        it.
        """
        self._cluster.look_now()  # then it died of that
        task, name, seconds = seat.task, seat.name, time.monotonic() - seat.since
        if task is None:
            self._failed_starts += 1
            if self._failed_starts >= _LARGEST_NUMBER_OF_FAILED_STARTS:
                raise EnvironmentFailure(
                    f"Ray workers die when they start: {_first_line(error)}",
                    hint=self._cluster.hint(),
                ) from error
            self._replace(seat)
            return None
        self._cluster.log(
            f"worker {name} died with trial {task.job.trial}, rung {task.job.rung}: {error}"
        )
        self._replace(seat)
        task.deaths += 1
        if task.deaths <= self._crash_retries:
            self._queue.appendleft(task)
            return None
        kind = "memory" if isinstance(error, exceptions.OutOfMemoryError) else "crash"
        failure = Failure(kind, f"the worker process died {task.deaths} times: {_reason(error)}")
        return Outcome(
            task.job.trial, task.job.rung, failure=failure, worker=name, wall_seconds=seconds
        )

    def _expire(self, seat: _Seat) -> Outcome | None:
        """Kill a worker that is over its time; it may hang where no Python code of ours runs."""
        task, name, seconds = seat.task, seat.name, time.monotonic() - seat.since
        if task is None:
            raise self._not_started()
        self._cluster.log(
            f"worker {name} killed: trial {task.job.trial}, rung {task.job.rung} was over its time"
        )
        self._replace(seat)
        failure = Failure(
            "timeout",
            f"did not end within {task.job.limits.seconds:g} seconds; killed after {seconds:.1f}",
        )
        return Outcome(
            task.job.trial, task.job.rung, failure=failure, worker=name, wall_seconds=seconds
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _reason(error: exceptions.RayError) -> str:
    """The sentence of Ray's text that says how the process ended."""
    text = str(error)
    start = text.find("Worker exit type")
    return (
        " ".join(text[start:].split())[:300]
        if isinstance(error, exceptions.RayActorError) and start >= 0
        else _first_line(error)
    )
