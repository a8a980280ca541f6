"""Is the found cell really better? Finalists and baselines, retrained from scratch at equal
parameters, with several seeds.

The protocol is the same for every cell: the hidden size is set so that the whole models have
equally many parameters; a small sweep of learning rates is decided by validation; then each seed is
trained once, and the test data is read once, at the end, with the weights that validation chose.
Answers what Li & Talwalkar 2019 and Yu et al. 2020 found missing in published searches.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cellsearch.errors import ConfigError, InputFileError, checked_arguments
from cellsearch.executors.base import Executor
from cellsearch.executors.longest_first import expected_work, longest_first
from cellsearch.finals.statistics import holm, mean_and_deviation, permutation_test, smallest_p
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Outcome
from cellsearch.settings import Limits, Training

__all__ = ["FinalRow", "FinalTable", "Finalist", "Protocol", "equal_sizes", "run_finals", "verdict"]

SIGNIFICANCE = 0.05
TOLERANCE = 0.01
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


@dataclass(frozen=True, slots=True)
class FinalRow:
    """One cell's final."""

    name: str
    """Of the finalist."""
    baseline: bool
    """Whether found cells are compared against it."""
    hidden_size: int
    """H at which the whole model has as many weights as the others."""
    parameters: int
    """Trainable weights of the whole model."""
    learning_rate: float
    """The one that the sweep chose."""
    scores: tuple[float, ...]
    """Test score of each seed, lower is better."""
    metrics: tuple[float, ...]
    """The task's own number on test data for each seed."""
    step_ms: float
    """Milliseconds of a training step."""
    failures: int
    """Trainings that failed."""
    p: float = math.nan
    """Corrected p-value of the comparison with the best baseline; NaN for baselines."""

    @property
    def mean(self) -> float:
        """Mean test score."""
        return mean_and_deviation(self.scores)[0]

    @property
    def deviation(self) -> float:
        """Standard deviation of the test score over the seeds."""
        return mean_and_deviation(self.scores)[1]


@dataclass(frozen=True, slots=True)
class FinalTable:
    """What finals found."""

    rows: tuple[FinalRow, ...]
    """One a cell, best first."""
    sentence: str
    """What they mean, in words."""

    def to_document(self) -> dict[str, Any]:
        """Plain data; ``None`` for numbers that do not exist."""
        rows = [{**asdict(row), "mean": row.mean, "deviation": row.deviation} for row in self.rows]
        return {"rows": _plain(rows), "sentence": self.sentence}

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.to_document(), allow_nan=False)

    @classmethod
    @checked_arguments
    def read(cls, path: Path) -> FinalTable:
        """Read a file that holds :meth:`to_json`. Raises :class:`InputFileError` for another."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(tuple(map(_stored, document["rows"])), str(document["sentence"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputFileError(
                f"this is not a table of finals ({error})",
                where=str(path),
                hint="delete it, or run finals again",
            ) from error


def _stored(row: Mapping[str, Any]) -> FinalRow:
    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    return FinalRow(
        name=str(row["name"]),
        baseline=bool(row["baseline"]),
        hidden_size=int(row["hidden_size"]),
        parameters=int(row["parameters"]),
        learning_rate=number(row["learning_rate"]),
        scores=tuple(map(number, row["scores"])),
        metrics=tuple(map(number, row["metrics"])),
        step_ms=number(row["step_ms"]),
        failures=int(row["failures"]),
        p=number(row["p"]),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


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
            f"no hidden sizes near {hidden_size} give equal parameters within "
            f"{TOLERANCE:.0%}: the closest differ by {best[0]:.1%}",
            hint="use a larger hidden size (--hidden), or fewer finalists",
        )
    return best[1]


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
) -> FinalTable:
    """Sweep, train all seeds, test once.

    executor: ready for the task.
    sizes: hidden size by name, see :func:`equal_sizes`.
    on_outcome: learns of each training, with the name of its cell.
    """
    if not any(f.baseline for f in finalists):
        raise ConfigError(
            "a final needs at least one baseline", hint="add a zoo cell, for example lstm"
        )
    rates = _sweep(executor, finalists, sizes, protocol, on_outcome)
    jobs: dict[str, list[Job]] = {}
    for finalist in finalists:
        training = replace(
            protocol.training, hidden_size=sizes[finalist.name], learning_rate=rates[finalist.name]
        )
        jobs[finalist.name] = [
            _job(finalist, protocol, training, FIRST_SEED + k, test=True)
            for k in range(protocol.seeds)
        ]
    outcomes = _run(executor, jobs, on_outcome)
    rows = [_row(f, sizes[f.name], rates[f.name], outcomes[f.name]) for f in finalists]
    return _judge(rows)


def _sweep(
    executor: Executor,
    finalists: Sequence[Finalist],
    sizes: Mapping[str, int],
    protocol: Protocol,
    on_outcome: Callable[[str, Outcome], None] | None,
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
    outcomes = _run(executor, jobs, on_outcome)
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
    )


def _run(
    executor: Executor,
    jobs: Mapping[str, Sequence[Job]],
    on_outcome: Callable[[str, Outcome], None] | None,
) -> dict[str, list[Outcome]]:
    """Run all jobs, as many at once as the executor takes; outcomes in the order of the jobs."""
    every = [(name, k, job) for name, group in jobs.items() for k, job in enumerate(group)]
    work = {
        name: expected_work(Genome.from_json(group[0].genome), group[0].training, group[0].steps)
        for name, group in jobs.items()
    }
    queue = longest_first(every, lambda item: work[item[0]])
    done: dict[str, list[Outcome | None]] = {
        name: [None] * len(group) for name, group in jobs.items()
    }
    numbered = {number: (name, k) for number, (name, k, _) in enumerate(queue)}
    waiting: Iterator[Job] = iter(
        [replace(job, trial=number) for number, (_, _, job) in enumerate(queue)]
    )
    under_way = 0
    remaining = len(queue)
    while remaining:
        while under_way < executor.capacity and (job := next(waiting, None)) is not None:
            executor.submit(job)
            under_way += 1
        for outcome in executor.events():
            name, k = numbered[outcome.trial]
            done[name][k] = outcome
            under_way -= 1
            remaining -= 1
            if on_outcome is not None:
                on_outcome(name, outcome)
    return {name: [o for o in outcomes if o is not None] for name, outcomes in done.items()}


def _row(
    finalist: Finalist, hidden_size: int, rate: float, outcomes: Sequence[Outcome]
) -> FinalRow:
    results = [o.result for o in outcomes if o.result is not None]
    seconds = sum(r.seconds for r in results)
    steps = sum(r.steps for r in results)
    return FinalRow(
        name=finalist.name,
        baseline=finalist.baseline,
        hidden_size=hidden_size,
        parameters=results[0].parameters if results else 0,
        learning_rate=rate,
        scores=tuple(r.metrics["test_score"] for r in results),
        metrics=tuple(r.metrics["test_metric"] for r in results),
        step_ms=1000 * seconds / steps if steps else math.nan,
        failures=len(outcomes) - len(results),
    )


def _judge(rows: Sequence[FinalRow]) -> FinalTable:
    """Compare each found cell with the best baseline and correct for the number of comparisons."""
    baselines = [row for row in rows if row.baseline and row.scores]
    if not baselines:
        return FinalTable(tuple(rows), "No baseline could be trained, so nothing can be said.")
    best = min(baselines, key=lambda row: row.mean)
    found = [row for row in rows if not row.baseline and row.scores]
    adjusted = holm([permutation_test(row.scores, best.scores) for row in found])
    by_name = {row.name: p for row, p in zip(found, adjusted, strict=True)}
    judged = [replace(row, p=by_name.get(row.name, math.nan)) for row in rows]
    judged.sort(key=lambda row: row.mean if row.scores else math.inf)
    winner = min(
        (row for row in judged if row.name in by_name), key=lambda row: row.mean, default=None
    )
    sentence = (
        verdict(winner, best, len(found))
        if winner is not None
        else "No found cell could be trained."
    )
    return FinalTable(tuple(judged), sentence)


@checked_arguments
def verdict(found: FinalRow, baseline: FinalRow, comparisons: int = 1) -> str:
    """One plain sentence: better, worse, or equal within noise."""
    difference = (found.mean / baseline.mean - 1) * 100 if baseline.mean else math.nan
    numbers = (
        f"{found.mean:.4f} against {baseline.mean:.4f} ({difference:+.2f} %, p = "
        f"{found.p:.3f} after correction)"
    )
    if found.p <= SIGNIFICANCE:
        word = "better" if found.mean < baseline.mean else "worse"
        return (
            f"{found.name} is {word} than {baseline.name} at equal parameters: "
            f"{numbers}.{_unstable(found)}"
        )
    text = (
        f"{found.name} and {baseline.name} are equal within noise at equal parameters: {numbers}."
    )
    least = min(1.0, comparisons * smallest_p(len(found.scores), len(baseline.scores)))
    if least > SIGNIFICANCE:
        text += (
            f" With so few seeds no difference could have been significant (smallest "
            f"possible p = {least:.3f}): use more seeds."
        )
    return text + _unstable(found)


def _unstable(row: FinalRow) -> str:
    """What to say of a cell whose trainings failed: its mean is over those that did not."""
    if not row.failures:
        return ""
    total = row.failures + len(row.scores)
    return (
        f" But {row.failures} of {total} trainings of {row.name} failed, and its mean "
        f"leaves them out: it is not stable."
    )
