"""What every benchmark is: the trainings that it asks of a cell, and the tables that it makes of
what came out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.job import Failure, Job, Outcome, Result, Training
from cellsearch.options import above, at_least, check_options

__all__ = [
    "Benchmark",
    "BenchmarkOptions",
    "BenchmarkReport",
    "Contestant",
    "Exercise",
    "ExerciseResult",
    "PrintedTable",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """Options that every benchmark has; subclasses add their own. See :mod:`cellsearch.options`."""

    seeds: Annotated[int, at_least(1)] = 5
    """Trainings of a cell at each setting; the first is seed 0."""
    rates: Annotated[tuple[Annotated[float, above(0)], ...], at_least(1)] = (1e-2, 3e-3, 1e-3)
    """Learning rates that are tried."""
    tasks: tuple[str, ...] = ()
    """Tasks of the benchmark (none: all)."""

    def __post_init__(self) -> None:
        check_options(self)
        self.check()

    def check(self) -> None:
        """Raise :class:`ConfigError` for what annotations cannot say; here nothing."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A cell that takes part."""

    name: str
    """What the tables call it."""
    genome: Genome
    """The cell."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """One training of one cell."""

    cell: str
    """Name of the contestant."""
    problem: str
    """The benchmark's name of the task."""
    task: str
    """The task's name in cellsearch."""
    task_options: Mapping[str, Any]
    """Its options."""
    training: Training
    """How it is trained; what is tried is in here: the learning rate, the hidden size."""
    seed: int
    """Of weights and batches."""

    def job(self, genome: Genome) -> Job:
        """The training itself; the test data are read once, at its end."""
        return Job(
            trial=0,
            rung=0,
            genome=genome.to_json(),
            task=self.task,
            task_options=self.task_options,
            training=self.training,
            steps=self.training.steps,
            seed=self.seed,
            test=True,
        )


@dataclass(frozen=True, slots=True)
class ExerciseResult:
    """What came out of an exercise: a result or a failure."""

    exercise: Exercise
    """The exercise."""
    result: Result | None
    """What was reached; ``metrics["test_score"]`` is that of the test data."""
    failure: Failure | None
    """Why nothing was."""
    known: bool = False
    """Whether it was trained for before."""

    @classmethod
    def of(cls, exercise: Exercise, outcome: Outcome) -> ExerciseResult:
        """The finding of a training that ended just now."""
        return cls(exercise, outcome.result, outcome.failure)


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """A table for people; the first column is left, all others right."""

    title: str
    """What it shows, in a line."""
    headers: tuple[str, ...]
    """Of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells as text."""
    notes: tuple[str, ...] = ()
    """Sentences below it."""


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """What a benchmark says of the cells."""

    tables: tuple[PrintedTable, ...]
    """For people."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """The same and more as plain data."""


class Benchmark(ABC):
    """A published benchmark. ``name``: what the command line calls it; a class of its own in
    :mod:`cellsearch.benchmark.registry`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for people."""
    source: ClassVar[str]
    """Paper and data that define it."""
    Options: ClassVar[type[BenchmarkOptions]] = BenchmarkOptions

    def __init__(self, options: BenchmarkOptions | None = None) -> None:
        self.options: Any = self.Options() if options is None else options
        unknown = [task for task in self.options.tasks if task not in self.problems()]
        if unknown:
            raise ConfigError(
                f"the benchmark {self.name} has no task {unknown[0]!r}",
                where="tasks",
                hint=f"allowed: {', '.join(self.problems())}",
            )

    @classmethod
    @abstractmethod
    def problems(cls) -> tuple[str, ...]:
        """The names of its tasks."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """The tasks that are asked for."""
        return self.options.tasks or self.problems()

    @abstractmethod
    def exercises(self, contestant: Contestant) -> Sequence[Exercise]:
        """All trainings of a cell, those of one task and data one after the other. Raises
        :class:`ConfigError` for a cell that the benchmark cannot be asked of.
        """

    @abstractmethod
    def report(
        self, contestants: Sequence[Contestant], findings: Sequence[ExerciseResult]
    ) -> BenchmarkReport:
        """What the findings say. A failed training counts as the worst score."""
