"""Where the trainings of a command run, in this process or on Ray, and the options that say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from cellsearch.executors.base import Executor
from cellsearch.executors.in_process import InProcess
from cellsearch.job import Outcome

__all__ = ["TrainingLines", "make_executor", "ray_options"]


def ray_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a command that may run on Ray: ``ray_address`` and ``worker_env``."""
    address = click.option(
        "--ray-address", metavar="ADDRESS", help="Join this Ray cluster (or set RAY_ADDRESS)."
    )
    environment = click.option(
        "--worker-env",
        multiple=True,
        metavar="NAME",
        envvar="CELLSEARCH_WORKER_ENV",
        help="An environment variable, or a pattern such as HF_*, that Ray workers get besides "
        "what Python, torch and cellsearch read.",
    )
    return address(environment(command))


def make_executor(
    workers: int, folder: Path, ray_address: str | None, worker_env: Sequence[str]
) -> Executor:
    """Ray workers, or none for ``workers = 0``; ``folder``: for the log of Ray."""
    if workers == 0:
        return InProcess()
    from cellsearch.executors.ray import Ray  # takes a second, and not everybody has it

    return Ray(workers, ray_address, log_dir=folder, environment=worker_env)


class TrainingLines:
    """A line on standard error for each training that ended.

    total: how many there are; or at least, with ``more``.
    score: what the score of a training is called.
    """

    def __init__(self, total: int, score: str, *, more: bool = False) -> None:
        self.total, self.score, self.more = total, score, more
        self.done = 0

    def __call__(self, name: str, outcome: Outcome) -> None:
        """``name``: whose training it was."""
        self.done += 1
        text = (
            f"{self.score} {outcome.result.score:.4f}"
            if outcome.result
            else f"failed: {outcome.failure and outcome.failure.kind}"
        )
        total = f"/{self.total}{'+' * self.more}" if self.done <= self.total else ""
        click.echo(f"[{self.done}{total}] {name}: {text}", err=True)
