"""A search on parity that takes a moment, and an executor that trains nothing: what comes of a
training follows from its job.
"""

from __future__ import annotations

from collections.abc import Iterator

import cellsearch as cs
from cellsearch.job import Job, Outcome, Result

__all__ = ["SETTINGS", "Untrained", "outcome_of"]

SETTINGS = {
    "strategy": "random",
    "space": "tiny",
    "trials": 4,
    "workers": 0,
    "training.steps": 4,
    "training.hidden_size": 8,
    "task_options.batch_size": 8,
}
"""What is another than in the experiment ``parity``."""


class Untrained(cs.InProcess):
    """Gives :meth:`outcome` for each job, one after the other; ``until``: after so many it is
    interrupted, as by Ctrl-C.
    """

    def __init__(self, until: float = 1e9) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        """Those that have an outcome."""
        self.until = until
        self._waiting: list[Job] = []

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def events(self, timeout: float | None = None) -> Iterator[Outcome]:
        for job in self._waiting:
            if len(self.jobs) >= self.until:
                raise KeyboardInterrupt
            self.jobs.append(job)
            yield self.outcome(job)
        self._waiting = []

    def outcome(self, job: Job) -> Outcome:
        """What comes of a job."""
        return outcome_of(job, 1.0 + len(job.genome) % 7 + (job.seed % 5) / 10)


def outcome_of(job: Job, score: float) -> Outcome:
    """A training with this score, on test data too where the job reads them."""
    metrics = {"test_score": score, "test_metric": score} if job.test else {}
    return Outcome(job.trial, 0, Result(score, score, job.steps, 1.0, 100, 90, metrics=metrics))
