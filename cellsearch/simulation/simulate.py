"""A whole search in one process and without training: scores come from a function, workers are a
logical clock.

:func:`simulate` runs any strategy under any schedule against ``score(genome, steps)``: a made-up
landscape, a table of trainings that somebody did (:mod:`cellsearch.simulation.tabular`), or a
finished run. Thousands of trials take seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cellsearch.errors import checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.history import History
from cellsearch.job import Reevaluation
from cellsearch.schedules import Fixed, Schedule
from cellsearch.schedules.repeating import repeat_budget
from cellsearch.search.parts import checked_budget, checked_proposal, first_budget
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy
from cellsearch.trial import Budget, Connection, Failure, Proposal, Result, Rung, Status, Trial

__all__ = ["Score", "best_so_far", "completed", "failed", "fake_connections", "simulate"]

Score = Callable[[Genome, int], float]
"""``score(genome, steps)``: what training for so many steps gives; infinity or NaN for a training
that fails.
"""
Check = Callable[[Proposal, History], None]
ATTEMPTS = 8
_WHERE = "simulation"
"""What errors name in the place of a run."""


@dataclass
class _Clock:
    """Trials in flight by the time at which they end."""

    seed: int
    now: float = 0.0
    running: list[tuple[float, int]] | None = None

    def start(self, number: int, rung: int, steps: int) -> None:
        """Let a training begin; how long it takes is drawn from the seed and grows with its
        steps.
        """
        self.running = self.running or []
        speed = float(np.random.default_rng([self.seed, number, rung, 10**6]).uniform(0.5, 1.5))
        heapq.heappush(self.running, (self.now + speed * steps, number))

    def next_end(self) -> int:
        """Move on to the next end of a training: the number of its trial."""
        self.now, number = heapq.heappop(self.running or [])
        return number


@checked_arguments
def simulate(
    strategy: Strategy,
    space: SearchSpace,
    score: Score,
    *,
    trials: int,
    seed: int,
    workers: int = 2,
    first: tuple[Proposal, ...] = (),
    schedule: Schedule | None = None,
    reevaluation: Reevaluation | None = None,
    steps: int = 100,
    connections: Callable[[SearchSpace, Genome], Mapping[str, Connection]] | None = None,
    check: Check | None = None,
    on_result: Callable[[Trial], None] | None = None,
) -> History:
    """Run a search of ``trials`` trials, ``first`` before the strategy's own, and return its
    history.

    ``steps`` is a full training, ``schedule`` says who gets it (default: everybody),
    ``reevaluation`` who is trained again (default: nobody; ``score`` is asked again). Trainings
    take a time drawn from the seed, so they end out of order. A strategy that returns ``None``
    waits for a trial in flight, or, when there is none, has ended the search. ``check`` sees every
    proposal, ``on_result`` every trial after each of its trainings. ``connections`` says what
    training learned about each connection, for strategies that want it (default:
    :func:`fake_connections`).

    What strategy and schedule answer is checked as in a search: raises :class:`RunError` that names
    the part.
    """
    schedule, again = schedule or Fixed(), reevaluation or Reevaluation()
    clock, records = _Clock(seed), list[Trial]()
    while True:
        proposal = None
        if len(records) < trials and len(clock.running or ()) < workers:
            proposal = (
                first[len(records)]
                if len(records) < len(first)
                else _ask(strategy, space, History(records), seed, check)
            )
        if proposal is not None:
            number = len(records)
            trial = Trial(number, proposal)
            budget = first_budget(schedule, steps, History(records), trial, _WHERE)
            records.append(Trial(number, proposal, Status.RUNNING, (Rung(budget),)))
            clock.start(number, budget.rung, budget.steps)
        elif clock.running:
            number = clock.next_end()
            wanted = (
                (connections or fake_connections)(space, records[number].genome)
                if strategy.wants_connections
                else {}
            )
            trial = _trained(records[number], score, wanted)
            records[number] = trial
            done = trial.rungs[-1].budget.steps
            if trial.status is not Status.RUNNING:
                further = None
            elif done == steps:
                further = repeat_budget(again, History(records), trial, steps)
            else:
                further = checked_budget(schedule, steps, History(records), trial, _WHERE)
            if further is not None:
                records[number] = trial.with_(rungs=(*trial.rungs, Rung(further)))
                clock.start(number, further.rung, further.steps - done % steps)
            elif trial.status is Status.RUNNING:
                full = trial.rungs[-1].budget.steps == steps
                records[number] = trial.with_(status=Status.COMPLETED if full else Status.STOPPED)
            if on_result is not None:
                on_result(trial)
        else:
            return History(records)


def _ask(
    strategy: Strategy, space: SearchSpace, history: History, seed: int, check: Check | None
) -> Proposal | None:
    proposal = None
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, len(history), attempt])
        proposal = checked_proposal(strategy, space, history, rng, _WHERE)
        if proposal is None:
            return None
        if check is not None:
            check(proposal, history)
        if proposal.genome.key not in history.by_key:
            return proposal
    return None


def _trained(trial: Trial, score: Score, connections: Mapping[str, Connection]) -> Trial:
    """The trial with the result of its last rung, still running; or failed."""
    budget = trial.rungs[-1].budget
    value = score(trial.genome, budget.steps)
    if not value < float("inf"):
        return failed(trial)
    return trial.with_(rungs=(*trial.rungs[:-1], Rung(budget, _result(trial, value, connections))))


def _result(trial: Trial, score: float, connections: Mapping[str, Connection]) -> Result:
    size, steps = len(trial.genome.nodes), trial.rungs[-1].budget.steps if trial.rungs else 100
    return Result(score, score, steps, steps / 100, size, size, connections=connections)


def completed(
    trial: Trial, score: float, connections: Mapping[str, Connection] | None = None
) -> Trial:
    """The trial with a result of this score."""
    return replace(
        trial,
        status=Status.COMPLETED,
        rungs=(Rung(Budget(100), _result(trial, score, connections or {})),),
    )


def failed(trial: Trial) -> Trial:
    """The trial after a training that gave NaN."""
    return replace(trial, status=Status.FAILED, failure=Failure("nan", "the loss is not a number"))


def fake_connections(space: SearchSpace, genome: Genome) -> dict[str, Connection]:
    """What a training might say of the connections: fixed by their names alone."""
    found = {}
    for name in space.connections(genome):
        rng = np.random.default_rng(list(name.encode()))
        gate, saliency, perturbation = rng.random(3).tolist()
        found[name] = Connection(gate, saliency, perturbation)
    return found


def best_so_far(history: History) -> list[float]:
    """The best score among the trials up to each number; infinity before the first result."""
    best, curve = float("inf"), []
    for trial in history:
        best = min(best, trial.score)
        curve.append(best)
    return curve
