"""Trains all jobs of a round of finals: those of the sweep, of its widening, or of all seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from cellsearch.executors.base import Executor, outcomes
from cellsearch.executors.longest_first import expected_work, longest_first
from cellsearch.finals.journal import Journal
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Outcome

__all__ = ["Jobs", "Outcomes", "Rounds"]

Jobs = Mapping[str, Mapping[str, Job]]
"""By the name of the finalist, then by which of its trainings it is."""
Outcomes = dict[str, dict[str, Outcome]]
"""Likewise."""


@dataclass
class Rounds:
    """Trains rounds of jobs, one after the other."""

    executor: Executor
    """What trains."""
    on_outcome: Callable[[str, Outcome], None] | None = None
    """Told the name of the finalist and the outcome of each training."""
    journal: Journal | None = None
    """Keeps the outcomes; those that it holds already are not trained for again."""
    prefix: str = ""
    """Of the keys in the journal, where that holds finals on several tasks."""

    def train(self, jobs: Jobs) -> Outcomes:
        """Run all jobs that the journal does not know, as many at once as the executor takes;
        outcomes in the order of the jobs.
        """
        done: dict[str, dict[str, Outcome]] = {name: {} for name in jobs}

        def end(name: str, which: str, outcome: Outcome) -> None:
            done[name][which] = outcome
            if self.on_outcome is not None:
                self.on_outcome(name, outcome)

        known = self.journal.outcomes if self.journal is not None else {}
        waiting = []
        for name, group in jobs.items():
            for which, job in group.items():
                outcome = known.get(self._key(name, which, job))
                if outcome is None:
                    waiting.append((name, which, job))
                else:
                    end(name, which, outcome)
        for name, which, job, outcome in self._perform(waiting):
            if self.journal is not None:
                self.journal.add(self._key(name, which, job), outcome)
            end(name, which, outcome)
        return {name: {which: done[name][which] for which in jobs[name]} for name in jobs}

    def _key(self, name: str, which: str, job: Job) -> str:
        return f"{self.prefix}{'final' if job.test else 'sweep'}/{name}/{which}"

    def _perform(
        self, waiting: list[tuple[str, str, Job]]
    ) -> Iterator[tuple[str, str, Job, Outcome]]:
        """The outcome of each, as it comes."""
        if not waiting:
            return
        work = {name: _work(job) for name, job in {name: job for name, _, job in waiting}.items()}
        queue = longest_first(waiting, lambda item: work[item[0]])
        begun = self._begun()
        jobs = [
            replace(job, trial=number, was_under_way=number < begun)
            for number, (_, _, job) in enumerate(queue)
        ]
        for outcome in outcomes(self.executor, jobs):
            yield *queue[outcome.trial], outcome

    def _begun(self) -> int:
        """How many of the first jobs were under way when finals were interrupted: the order is the
        same each time.
        """
        if self.journal is None or not self.journal.was_interrupted:
            return 0
        self.journal.was_interrupted = False
        return self.executor.capacity


def _work(job: Job) -> float:
    """How long a job takes, in units that compare jobs of one task; what is no cell comes first."""
    if job.body:
        return math.inf
    return expected_work(Genome.from_json(job.genome), job.training, job.steps)
