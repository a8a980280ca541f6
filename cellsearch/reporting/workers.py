"""Who worked on a run, and when: busy, idle, and what became of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

__all__ = ["Span", "WorkerLine", "died", "worker_lines"]

DEADLY = ("crash", "memory")
"""Kinds of failure with which a worker's process ends."""


class Span(NamedTuple):
    """One training on one worker; there are as many as trials. Times are seconds since 1970."""

    trial: int
    """Number of the trial."""
    rung: int
    """Which of its budgets."""
    started: float
    """When it was handed out."""
    ended: float
    """When its outcome came."""
    failure: str = ""
    """The kind of failure that the trial ended with; ``""`` for none."""


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """What one worker did, in order."""

    worker: str
    """Its name; ``""`` for the process of the search itself."""
    spans: tuple[Span, ...]
    """Its trainings, none of which begins before the one before it has ended."""

    @property
    def busy(self) -> float:
        """Seconds of training."""
        return sum(span.ended - span.started for span in self.spans)

    @property
    def share(self) -> float:
        """Of the time from its first training to the end of its last: busy."""
        whole = self.spans[-1].ended - self.spans[0].started if self.spans else 0.0
        return self.busy / whole if whole > 0 else 1.0

    @property
    def deaths(self) -> int:
        """How many trainings ended with the process."""
        return sum(died(span.failure) for span in self.spans)


def died(kind: str) -> bool:
    """Whether a failure of this kind ends the process that trained."""
    return kind in DEADLY


def worker_lines(spans: Iterable[tuple[str, Span]]) -> list[WorkerLine]:
    """The line of each worker, by name, out of trainings in any order.

    A training counts from when its worker was free: a job that was handed out early has waited.
    """
    by_worker: defaultdict[str, list[Span]] = defaultdict(list)
    for worker, span in spans:
        by_worker[worker].append(span)
    lines = []
    for worker, own in sorted(by_worker.items()):
        free, made = -math.inf, []
        for span in sorted(own, key=attrgetter("ended", "trial", "rung")):
            began = min(max(span.started, free), span.ended)
            made.append(span if began == span.started else span._replace(started=began))
            free = span.ended
        lines.append(WorkerLine(worker, tuple(made)))
    return lines
