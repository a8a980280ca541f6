"""CogScale (arXiv 2605.19758, 2026): fourteen small tasks at equal weights, beside the authors' own
runs of GRU, LSTM, xLSTM, Mamba, echo state networks and Transformers.

Each task is trained at each learning rate with each seed, which decides data and weights; the rate
with the best mean validation score counts, and of it the mean test score over the seeds. A failed
training counts 1, the worst error rate, which is also worse than always answering 0 in the four
tasks that are scored by squares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cellsearch import tasks
from cellsearch.benchmark.base import (
    Benchmark,
    BenchmarkOptions,
    BenchmarkReport,
    Contestant,
    Exercise,
    ExerciseResult,
    PrintedTable,
)
from cellsearch.benchmark.choice import WORST, choices, failures
from cellsearch.benchmark.published_cogscale import published
from cellsearch.options import above, at_least
from cellsearch.tasks.cogscale import CATEGORIES, Cogscale, variant_name
from cellsearch.training.budget import model_weights, size_within

__all__ = ["SEARCHED", "CogscaleBenchmark", "CogscaleBenchmarkOptions", "CogscaleRow"]

SEARCHED = (
    "simple_copy",
    "adding_problem",
    "sorting_problem",
    "cross_situation",
    "discrete_postcasting",
)
"""The tasks of the suite ``cogscale_search``; what a search has seen says nothing about it."""
RESAMPLES = 2000
"""Of the bootstrap."""
_SHOWN = 9
"""Cells of one table of all tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogscaleBenchmarkOptions(BenchmarkOptions):
    """Options of :class:`CogscaleBenchmark`; the defaults are the authors'."""

    seeds: Annotated[int, at_least(1)] = 10
    rates: Annotated[tuple[Annotated[float, above(0)], ...], at_least(1)] = (
        *(1e-2, 3e-3, 1e-3, 3e-4, 1e-4),
    )
    difficulty: Literal["small", "medium", "large"] = "small"
    """Of the tasks."""
    weights: Annotated[int, at_least(1)] = 1000
    """Of the whole model, within 15 %; they decide the hidden size."""


@dataclass(frozen=True, slots=True)
class CogscaleRow:
    """What one model reaches: the test scores of all seeds at each task."""

    name: str
    """What the model is called."""
    ours: bool
    """Whether we have trained it."""
    scores: Mapping[str, tuple[float, ...]]
    """By task, in the order of the seeds; at the rate that validation has chosen."""
    rates: Mapping[str, str]
    """That rate, by task."""
    weights: Mapping[str, int]
    """Of the whole model, by task."""
    failures: int = 0
    """Failed trainings, of all rates."""

    def mean(self, problems: Sequence[str]) -> float:
        """The mean over tasks of the mean over seeds; NaN where a task is missing."""
        if not problems or any(problem not in self.scores for problem in problems):
            return math.nan
        return float(np.mean([np.mean(self.scores[problem]) for problem in problems]))

    def interval(self, problems: Sequence[str]) -> tuple[float, float]:
        """Where the mean lies with 95 %: the percentiles of the bootstrap over seeds, the same
        seeds for all tasks (Efron & Tibshirani 1993, ch. 13). NaN as for the mean.
        """
        if math.isnan(self.mean(problems)):
            return math.nan, math.nan
        count = min(len(self.scores[problem]) for problem in problems)
        table: NDArray[np.float64] = np.array([self.scores[p][:count] for p in problems])
        drawn = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
        means = table.mean(0)[drawn].mean(1)
        low, high = np.percentile(means, [2.5, 97.5])
        return float(low), float(high)


class CogscaleBenchmark(Benchmark):
    """See the module."""

    name: ClassVar[str] = "cogscale"
    summary: ClassVar[str] = (
        "14 tasks of memory and manipulation at 1k, 10k or 100k weights, beside GRU, LSTM, xLSTM, "
        "Mamba, ESN and Transformers as published"
    )
    source: ClassVar[str] = "arXiv 2605.19758, 2026; package cogscale (pip install cogscale)"
    Options: ClassVar[type[CogscaleBenchmarkOptions]] = CogscaleBenchmarkOptions
    options: CogscaleBenchmarkOptions

    @classmethod
    def problems(cls) -> tuple[str, ...]:
        """The authors' names of the fourteen."""
        return tuple(CATEGORIES)

    def exercises(self, contestant: Contestant) -> Sequence[Exercise]:
        """See :class:`Benchmark`; hidden sizes follow from the budget of weights."""
        return [
            exercise for problem in self.chosen for exercise in self._of_task(contestant, problem)
        ]

    def _of_task(self, contestant: Contestant, problem: str) -> list[Exercise]:
        name = variant_name(problem, self.options.difficulty)
        sizes = _task(name)
        count = model_weights(sizes, contestant.genome)
        hidden = size_within(count, self.options.weights, f"{contestant.name} on {name}")
        return [
            Exercise(
                contestant.name,
                problem,
                name,
                {"data_seed": seed},
                sizes.protocol(rate, hidden),
                seed,
            )
            for seed in range(self.options.seeds)
            for rate in self.options.rates
        ]

    def report(
        self, contestants: Sequence[Contestant], findings: Sequence[ExerciseResult]
    ) -> BenchmarkReport:
        """See :class:`Benchmark`."""
        ours = [_row(one.name, self.chosen, findings) for one in contestants]
        others = published(self.options.difficulty, self.options.weights)
        rows = ours + [
            CogscaleRow(f"{name} (published)", False, **found) for name, found in others.items()
        ]
        errors = [p for p in self.chosen if CATEGORIES[p] != "regression"]
        squares = [p for p in self.chosen if CATEGORIES[p] == "regression"]
        tables = [self._summary(rows, errors)]
        for first in range(0, len(ours), 3):
            shown = ours[first : first + 3] + rows[len(ours) :]
            tables.append(_by_task("test error", shown, errors, 3))
            tables.append(_by_task("mean squared error on test data", shown, squares, 5))
        document = {
            "benchmark": self.name,
            "options": asdict(self.options),
            "rows": [self._plain(row, errors) for row in rows],
        }
        return BenchmarkReport(tuple(table for table in tables if table.rows), document)

    def _groups(self, errors: Sequence[str]) -> dict[str, list[str]]:
        """Which tasks a mean is over, by what it is called."""
        return {
            "mean error": list(errors),
            "searched": [p for p in errors if p in SEARCHED],
            "not searched": [p for p in errors if p not in SEARCHED],
        }

    def _summary(self, rows: Sequence[CogscaleRow], errors: Sequence[str]) -> PrintedTable:
        groups = self._groups(errors)
        ordered = sorted(rows, key=lambda row: _last(row.mean(errors)))
        shown = [
            (
                row.name,
                _number(row.mean(errors), 3),
                "{} to {}".format(*(_number(bound, 3) for bound in row.interval(errors))),
                _number(row.mean(groups["searched"]), 3),
                _number(row.mean(groups["not searched"]), 3),
                _span([row.weights[p] for p in errors if p in row.weights]),
                str(row.failures) if row.ours else "–",
            )
            for row in ordered
            if errors and not math.isnan(row.mean(errors))
        ]
        options = self.options
        return PrintedTable(
            f"CogScale {options.difficulty}, {options.weights:,} weights: mean test error over "
            f"{len(errors)} classification tasks, {options.seeds} seeds",
            ("model", "error", "95 %", "searched", "others", "weights", "failed"),
            tuple(shown),
            (
                "Lower is better. 95 %: bootstrap over seeds. searched: the tasks of the suite "
                f"cogscale_search ({', '.join(p for p in errors if p in SEARCHED)}); others: those "
                "that it does not hold. A failed training counts as the error 1. The weights of "
                "the ESN are those of its read-out alone; xLSTM has 4.4k at the budget of 1k.",
            ),
        )

    def _plain(self, row: CogscaleRow, errors: Sequence[str]) -> dict[str, Any]:
        return {
            **asdict(row),
            **{name: row.mean(group) for name, group in self._groups(errors).items()},
            "interval": row.interval(errors),
            "means": {problem: row.mean([problem]) for problem in row.scores},
        }


@cache
def _task(name: str) -> Cogscale:
    """A task with any data: all have the same sizes."""
    kind = tasks.get(name)
    found = kind.create({}, kind.load({}))
    assert isinstance(found, Cogscale)
    return found


def _row(name: str, problems: Sequence[str], findings: Sequence[ExerciseResult]) -> CogscaleRow:
    """Of each task the seeds at the rate with the best mean validation score."""
    every = choices(name, findings)
    chosen = {problem: every[problem] for problem in problems}
    scores = {p: tuple(_test(finding) for finding in one.findings) for p, one in chosen.items()}
    rates = {problem: f"{one.training.learning_rate:g}" for problem, one in chosen.items()}
    weights = {problem: one.weights for problem, one in chosen.items()}
    return CogscaleRow(name, True, scores, rates, weights, failures(name, findings))


def _test(finding: ExerciseResult) -> float:
    return WORST if finding.result is None else finding.result.metrics["test_score"]


def _by_task(
    what: str, rows: Sequence[CogscaleRow], problems: Sequence[str], digits: int
) -> PrintedTable:
    """One row a task, one column a model."""
    shown = [row for row in rows if any(problem in row.scores for problem in problems)][:_SHOWN]
    return PrintedTable(
        f"{what[0].upper()}{what[1:]}, task by task",
        ("task", *(row.name.replace(" (published)", "*") for row in shown)),
        tuple(
            (
                problem,
                *(_number(row.mean([problem]), digits) for row in shown),
            )
            for problem in problems
        ),
        ("* as published",) if any(not row.ours for row in shown) else (),
    )


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _span(numbers: Sequence[int]) -> str:
    known = [number for number in numbers if number]
    return f"{min(known):,} to {max(known):,}" if known else "–"
