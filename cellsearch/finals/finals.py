"""Is the found cell really better? Finalists and baselines, retrained from scratch at equal
parameters, with several seeds.

The protocol is the same for every cell: the hidden size is set so that the whole models have
equally many parameters; a small sweep of learning rates is decided by validation; then each seed is
trained once, and the test data is read once, at the end, with the weights that validation chose.
Answers what Li & Talwalkar 2019 and Yu et al. 2020 found missing in published searches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.executors.base import Executor
from cellsearch.executors.longest_first import expected_work, longest_first
from cellsearch.finals.journal import Journal, journal_key
from cellsearch.finals.table import EQUAL_WEIGHTS, WITHIN_LIMITS, FinalRow, FinalTable, judge
from cellsearch.genome.device import COSTS, INT8, DeviceLimits
from cellsearch.genome.footprint import Footprint
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Limits, Outcome, Result, Training

__all__ = ["Finalist", "Protocol", "equal_sizes", "fitting_sizes", "run_finals"]

TOLERANCE = 0.01
LARGEST = 1 << 16
"""No hidden size beyond this is tried."""
RATES = (0.5, 1.0, 2.0)
SWEEP_SEED, FIRST_SEED = 10_000, 20_000


@dataclass(frozen=True, slots=True)
class Finalist:
    """A cell that takes part."""

    name: str
    """What the table calls it."""
    genome: Genome
    """The cell."""
    baseline: bool = False
    """Whether found cells are compared against it."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How all of them are trained."""

    task: str
    """Name of the task."""
    task_options: Mapping[str, Any]
    """Its options."""
    training: Training
    """Steps and all else; hidden size and learning rate are set for each cell."""
    limits: Limits
    """Bounds of each training."""
    seeds: int = 5
    """Trainings of each cell that count."""
    rates: tuple[float, ...] = RATES
    """Factors of the learning rate that the sweep tries."""
    device: DeviceLimits | None = None
    """For which device costs are measured; with bounds, each cell is as large as fits them."""


@checked_arguments
def equal_sizes(
    counts: Mapping[str, Callable[[int], int]], reference: str, hidden_size: int
) -> dict[str, int]:
    """Hidden sizes at which all models have equally many parameters.

    Sizes are whole numbers, so the target is moved by up to 10 % to where the largest difference is
    smallest. Raises :class:`ConfigError` where no target brings all of them within 1 %.

    counts: for each cell its number of parameters as a function of H (growing).
    reference: the cell that has about ``hidden_size`` units.
    """
    centre = counts[reference](hidden_size)
    best: tuple[float, dict[str, int]] = (math.inf, {})
    for percent in range(-100, 101):
        target = centre * (1 + percent / 1000)
        sizes = {name: _nearest(count, target) for name, count in counts.items()}
        actual = [counts[name](size) for name, size in sizes.items()]
        spread = max(actual) / min(actual) - 1
        if spread < best[0] - 1e-12:
            best = (spread, sizes)
    if best[0] > TOLERANCE:
        raise ConfigError(
            f"no hidden sizes near {hidden_size} give equal model weights within "
            f"{TOLERANCE:.0%}: the closest differ by {best[0]:.1%}",
            hint="use a larger hidden size (--hidden), or fewer finalists",
        )
    return best[1]


@checked_arguments
def fitting_sizes(
    costs: Mapping[str, Callable[[int], Footprint]], bounds: Mapping[str, int]
) -> dict[str, int]:
    """For each cell the largest hidden size with which it fits a device.

    costs: for each cell what it costs as a function of H (growing).
    bounds: limits by the names of :data:`cellsearch.genome.device.COSTS`.

    Raises :class:`ConfigError` for a cell that fits with none.
    """

    def fits(cost: Callable[[int], Footprint], size: int) -> bool:
        found = cost(size)
        return all(getattr(found, name) <= most for name, most in bounds.items())

    sizes = {}
    for name, cost in costs.items():
        if not fits(cost, 1):
            raise ConfigError(
                f"{name} does not fit the device with a single unit",
                where="device",
                hint="leave it out (--against), or allow more",
            )
        low, high = 1, 2
        while high <= LARGEST and fits(cost, high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(cost, middle) else (low, middle)
        sizes[name] = low
    return sizes


def _nearest(count: Callable[[int], int], target: float) -> int:
    low, high = 1, 2
    while count(high) < target:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return low if target - count(low) < count(high) - target else high


@checked_arguments
def run_finals(
    executor: Executor,
    finalists: Sequence[Finalist],
    sizes: Mapping[str, int],
    protocol: Protocol,
    on_outcome: Callable[[str, Outcome], None] | None = None,
    *,
    journal: Journal | None = None,
) -> FinalTable:
    """Sweep, train all seeds, test once.

    executor: ready for the task.
    sizes: hidden size by name, see :func:`equal_sizes`.
    on_outcome: learns of each training, with the name of its cell.
    journal: keeps the outcomes; those that it holds already are not trained for again.
    """
    if not any(f.baseline for f in finalists):
        raise ConfigError(
            "a final needs at least one baseline", hint="add a zoo cell, for example lstm"
        )
    train = partial(_run, executor, on_outcome=on_outcome, journal=journal)
    rates = _sweep(train, finalists, sizes, protocol)
    jobs: dict[str, list[Job]] = {}
    for finalist in finalists:
        training = replace(
            protocol.training, hidden_size=sizes[finalist.name], learning_rate=rates[finalist.name]
        )
        jobs[finalist.name] = [
            _job(finalist, protocol, training, FIRST_SEED + k, test=True)
            for k in range(protocol.seeds)
        ]
    outcomes = train(jobs)
    rows = [_row(f, sizes[f.name], rates[f.name], outcomes[f.name]) for f in finalists]
    bounded = protocol.device is not None and protocol.device.bounds
    return judge(rows, WITHIN_LIMITS if bounded else EQUAL_WEIGHTS)


def _sweep(
    train: Callable[[Mapping[str, Sequence[Job]]], dict[str, list[Outcome]]],
    finalists: Sequence[Finalist],
    sizes: Mapping[str, int],
    protocol: Protocol,
) -> dict[str, float]:
    """The learning rate of each cell that gives the best validation score with one seed of
    its own.
    """
    rates = [factor * protocol.training.learning_rate for factor in protocol.rates]
    if len(rates) == 1:
        return {f.name: rates[0] for f in finalists}
    jobs = {
        f.name: [
            _job(
                f,
                protocol,
                replace(protocol.training, hidden_size=sizes[f.name], learning_rate=rate),
                SWEEP_SEED,
                test=False,
            )
            for rate in rates
        ]
        for f in finalists
    }
    outcomes = train(jobs)
    chosen = {}
    for name, results in outcomes.items():
        scores = [o.result.score if o.result is not None else math.inf for o in results]
        chosen[name] = rates[min(range(len(rates)), key=lambda k: scores[k])]
    return chosen


def _job(
    finalist: Finalist, protocol: Protocol, training: Training, seed: int, *, test: bool
) -> Job:
    return Job(
        trial=0,
        rung=0,
        genome=finalist.genome.to_json(),
        task=protocol.task,
        task_options=protocol.task_options,
        training=training,
        steps=training.steps,
        seed=seed,
        limits=protocol.limits,
        test=test,
        device=protocol.device,
    )


def _run(
    executor: Executor,
    jobs: Mapping[str, Sequence[Job]],
    *,
    on_outcome: Callable[[str, Outcome], None] | None,
    journal: Journal | None,
) -> dict[str, list[Outcome]]:
    """Run all jobs that the journal does not know, as many at once as the executor takes; outcomes
    in the order of the jobs.
    """
    every = [(name, k, job) for name, group in jobs.items() for k, job in enumerate(group)]
    work = {
        name: expected_work(Genome.from_json(group[0].genome), group[0].training, group[0].steps)
        for name, group in jobs.items()
    }
    done: dict[str, list[Outcome | None]] = {
        name: [None] * len(group) for name, group in jobs.items()
    }

    def end(name: str, k: int, outcome: Outcome) -> None:
        done[name][k] = outcome
        if on_outcome is not None:
            on_outcome(name, outcome)

    known = journal.outcomes if journal is not None else {}
    waiting = []
    for name, k, job in every:
        outcome = known.get(journal_key(name, k, job))
        if outcome is None:
            waiting.append((name, k, job))
        else:
            end(name, k, outcome)
    queue = longest_first(waiting, lambda item: work[item[0]])
    # The order is the same each time, so the first were under way when finals were interrupted.
    begun = executor.capacity if journal is not None and journal.was_interrupted else 0
    jobs_left: Iterator[Job] = iter(
        [
            replace(job, trial=number, was_under_way=number < begun)
            for number, (_, _, job) in enumerate(queue)
        ]
    )
    under_way, remaining = 0, len(queue)
    while remaining:
        while under_way < executor.capacity and (further := next(jobs_left, None)) is not None:
            executor.submit(further)
            under_way += 1
        for outcome in executor.events():
            name, k, job = queue[outcome.trial]
            if journal is not None:
                journal.add(journal_key(name, k, job), outcome)
            end(name, k, outcome)
            under_way -= 1
            remaining -= 1
    return {name: [o for o in outcomes if o is not None] for name, outcomes in done.items()}


def _row(
    finalist: Finalist, hidden_size: int, rate: float, outcomes: Sequence[Outcome]
) -> FinalRow:
    tested = [o.result for o in outcomes if o.result is not None and _is_tested(o.result)]
    seconds = sum(r.seconds for r in tested)
    steps = sum(r.steps for r in tested)
    return FinalRow(
        name=finalist.name,
        baseline=finalist.baseline,
        hidden_size=hidden_size,
        parameters=tested[0].parameters if tested else 0,
        learning_rate=rate,
        scores=tuple(r.metrics["test_score"] for r in tested),
        metrics=tuple(r.metrics["test_metric"] for r in tested),
        step_ms=1000 * seconds / steps if steps else math.nan,
        failures=len(outcomes) - len(tested),
        cell_parameters=tested[0].cell_parameters if tested else 0,
        errors=_errors(tested),
        device=_device(tested),
    )


def _errors(tested: Sequence[Result]) -> dict[str, float]:
    """The mean of each further error on test data, as training wrote them down."""
    names = [name for r in tested[:1] for name in r.metrics if name.startswith("test ")]
    return {
        name.removeprefix("test "): sum(r.metrics[name] for r in tested) / len(tested)
        for name in names
    }


def _device(tested: Sequence[Result]) -> dict[str, float]:
    """What the cell costs on a device, and the mean test score with int8 weights, as far as they
    were measured.
    """
    if not tested:
        return {}
    found = {name: tested[0].metrics[name] for name in COSTS if name in tested[0].metrics}
    rounded = [r.metrics[key] for r in tested if (key := f"test_{INT8}") in r.metrics]
    return found | ({INT8: sum(rounded) / len(rounded)} if rounded else {})


def _is_tested(result: Result) -> bool:
    """Whether the training gave a test score; NaN and infinity are none."""
    return math.isfinite(result.metrics.get("test_score", math.nan))
