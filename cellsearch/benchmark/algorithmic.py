"""What the benchmarks of state tracking, formal languages and MAD have in common: tasks with a
right answer, trained on short sequences, asked on what was not trained.

Each task is trained at each setting (learning rate, weight decay) with each seed; the setting with
the best mean validation score counts, and of it the test accuracy of all seeds. A failed training
counts as accuracy 0 (scaled: 0, chance). Nothing is averaged over the seeds that ended alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

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
from cellsearch.benchmark.choice import choices, failures
from cellsearch.job import Training
from cellsearch.options import at_least
from cellsearch.tasks.base import Task
from cellsearch.training.budget import model_weights, size_within

__all__ = [
    "AlgorithmicBenchmark",
    "AlgorithmicOptions",
    "AlgorithmicRow",
    "Problem",
    "PublishedModel",
]

SOLVED = 0.9
"""Accuracy above which a training has solved a task (Merrill et al. 2024; Deletang et al. 2023)."""
_COLUMNS = 4
"""Cells of one table."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A task of a benchmark, and which of its numbers counts."""

    task: str
    """Its name in cellsearch."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the task."""
    counts: Literal["accuracy", "scaled", "last"] = "accuracy"
    """``accuracy`` of the test data; ``scaled`` so that chance is 0 and 1 stays 1; that at the
    ``last`` position of the longest test sequences."""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """What a paper says of a model: numbers by problem, of the best of several trainings."""

    name: str
    accuracy: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmicOptions(BenchmarkOptions):
    """Options of an :class:`AlgorithmicBenchmark`."""

    seeds: Annotated[int, at_least(1)] = 3
    hidden: Annotated[int, at_least(1)] = 64
    """Hidden size, where ``weights`` is 0."""
    weights: Annotated[int, at_least(0)] = 0
    """Of the whole model, within 15 %; they decide the hidden size (0: ``hidden`` does)."""
    steps: Annotated[int, at_least(1)] = 5000
    """Optimizer steps of a training."""
    batch_size: Annotated[int, at_least(1)] = 128
    """Sequences of a training batch."""
    evaluations: Annotated[int, at_least(1)] = 8
    """Validations of a training; the weights of the best one count."""


@dataclass(frozen=True, slots=True)
class AlgorithmicRow:
    """What a cell reaches: the accuracies of all seeds at each problem."""

    name: str
    """Of the cell."""
    accuracy: Mapping[str, tuple[float, ...]]
    """By problem, in the order of the seeds."""
    settings: Mapping[str, str]
    """Learning rate and weight decay that validation has chosen, by problem."""
    weights: Mapping[str, int]
    """Of the whole model, by problem; 0 where every training failed."""
    failures: int
    """Failed trainings, of all settings."""

    def solved(self, problem: str) -> int:
        """How many seeds solve it."""
        return sum(value > SOLVED for value in self.accuracy[problem])

    def mean(self, problem: str) -> float:
        """Over all seeds."""
        return float(np.mean(self.accuracy[problem]))


class AlgorithmicBenchmark(Benchmark):
    """See the module; a subclass says which problems there are and what is published."""

    Options: ClassVar[type[AlgorithmicOptions]] = AlgorithmicOptions
    options: AlgorithmicOptions
    questions: ClassVar[Mapping[str, Problem]]
    """By name."""
    others: ClassVar[tuple[PublishedModel, ...]] = ()
    """Published rows."""
    remarks: ClassVar[tuple[str, ...]] = ()
    """What to know of the published rows and of differences to the paper."""
    decays: ClassVar[tuple[float, ...]] = (0.0,)
    """Weight decays that are tried."""

    def __init__(self, options: BenchmarkOptions | None = None) -> None:
        super().__init__(options)
        self._small: dict[str, Task] = {}

    @classmethod
    def problems(cls) -> tuple[str, ...]:
        """See :class:`Benchmark`."""
        return tuple(cls.questions)

    def steps(self, problem: str) -> int:
        """Optimizer steps of a training."""
        return self.options.steps

    def exercises(self, contestant: Contestant) -> Sequence[Exercise]:
        """See :class:`Benchmark`."""
        return [one for problem in self.chosen for one in self._of_problem(contestant, problem)]

    def _of_problem(self, contestant: Contestant, problem: str) -> list[Exercise]:
        question, options = self.questions[problem], self.options
        table = {**question.options, "batch_size": options.batch_size}
        hidden = options.hidden
        if options.weights:
            count = model_weights(self._task(problem), contestant.genome)
            hidden = size_within(count, options.weights, f"{contestant.name} on {problem}")
        settings = [
            Training(
                steps=self.steps(problem),
                hidden_size=hidden,
                learning_rate=rate,
                weight_decay=decay,
                evaluations=min(options.evaluations, self.steps(problem)),
            )
            for rate in options.rates
            for decay in self.decays
        ]
        return [
            Exercise(contestant.name, problem, question.task, table, training, seed)
            for seed in range(options.seeds)
            for training in settings
        ]

    def _task(self, problem: str) -> Task:
        """A problem's task with few data, for the sizes of its model: made once."""
        if problem not in self._small:
            question = self.questions[problem]
            kind, small = tasks.get(question.task), {**question.options, "evaluation_size": 1}
            self._small[problem] = kind.create(small, kind.load(small))
        return self._small[problem]

    def report(
        self, contestants: Sequence[Contestant], findings: Sequence[ExerciseResult]
    ) -> BenchmarkReport:
        """See :class:`Benchmark`."""
        rows = [self.row(one.name, findings) for one in contestants]
        tables = [self._summary(rows)]
        tables += [
            self._by_problem(rows[first : first + _COLUMNS])
            for first in range(0, len(rows), _COLUMNS)
        ]
        document = {
            "benchmark": self.name,
            "options": asdict(self.options),
            "chance": {problem: self.chance(problem) for problem in self.chosen},
            "rows": [asdict(row) for row in rows],
            "published": [asdict(model) for model in self.others],
        }
        return BenchmarkReport(tuple(tables), document)

    def chance(self, problem: str) -> float:
        """The accuracy of who does not look, of what counts there."""
        return 0.0 if self.questions[problem].counts == "scaled" else self._unscaled(problem)

    def _unscaled(self, problem: str) -> float:
        """The accuracy of who does not look, as the task says it."""
        question = self.questions[problem]
        kind: Any = tasks.get(question.task)
        return float(kind.chance(kind.Options(**question.options)))

    def row(self, name: str, findings: Sequence[ExerciseResult]) -> AlgorithmicRow:
        """What the findings say of the cell of that name."""
        chosen = choices(name, findings)
        accuracy, settings = {}, {}
        for problem in self.chosen:
            training = chosen[problem].training
            accuracy[problem] = tuple(self._counted(problem, f) for f in chosen[problem].findings)
            decay = f", decay {training.weight_decay:g}" if len(self.decays) > 1 else ""
            settings[problem] = f"{training.learning_rate:g}{decay}"
        weights = {problem: chosen[problem].weights for problem in self.chosen}
        return AlgorithmicRow(name, accuracy, settings, weights, failures(name, findings))

    def _counted(self, problem: str, finding: ExerciseResult) -> float:
        """What a training has reached; a failed one nothing."""
        if finding.result is None:
            return 0.0
        question, metrics = self.questions[problem], finding.result.metrics
        if question.counts == "last":
            return 1.0 - metrics[f"test length {max(question.options['test_lengths'])}"]
        reached = metrics["test_metric"]
        if question.counts == "accuracy":
            return reached
        chance = self._unscaled(problem)
        return (reached - chance) / (1.0 - chance)

    def _summary(self, rows: Sequence[AlgorithmicRow]) -> PrintedTable:
        seeds, problems = self.options.seeds, self.chosen
        shown = [
            (
                row.name,
                f"{np.mean([row.mean(p) for p in problems]):.3f}",
                str(sum(row.solved(p) > 0 for p in problems)),
                str(sum(row.solved(p) == seeds for p in problems)),
                _span(tuple(row.weights.values())),
                str(row.failures),
            )
            for row in sorted(rows, key=lambda r: -float(np.mean([r.mean(p) for p in problems])))
        ]
        return PrintedTable(
            f"{self.name}: {len(problems)} tasks, {seeds} seeds, "
            f"{len(self.options.rates) * len(self.decays)} settings",
            ("cell", "mean", "solved by a seed", "solved by all", "weights", "failed"),
            tuple(shown),
            (
                "mean: accuracy over tasks and seeds, at the setting that validation chose; "
                f"solved: tasks above {SOLVED:.0%}; failed: trainings, which count as accuracy 0.",
            ),
        )

    def _by_problem(self, rows: Sequence[AlgorithmicRow]) -> PrintedTable:
        seeds = self.options.seeds
        others = [m for m in self.others if any(problem in m.accuracy for problem in self.chosen)]
        body = [
            (
                problem,
                f"{self.chance(problem):.3f}",
                *(
                    f"{row.mean(problem):.3f} {max(row.accuracy[problem]):.3f} "
                    f"{row.solved(problem)}/{seeds}"
                    for row in rows
                ),
                *(_number(model.accuracy.get(problem)) for model in others),
            )
            for problem in self.chosen
        ]
        starred = ("* as published, the best of several trainings.",) if others else ()
        return PrintedTable(
            f"{self.name}, task by task: mean over seeds, best seed, seeds that solve it",
            ("task", "chance", *(row.name for row in rows), *(f"{m.name}*" for m in others)),
            tuple(body),
            (*starred, *self.remarks),
        )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _span(numbers: Sequence[int]) -> str:
    known = sorted({number for number in numbers if number})
    if not known:
        return "–"
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
