"""Does the trainings that a benchmark asks for: each once, then never again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from cellsearch import tasks
from cellsearch.benchmark.base import (
    Benchmark,
    BenchmarkReport,
    Contestant,
    Exercise,
    ExerciseResult,
)
from cellsearch.errors import ConfigError, TrainingError, checked_arguments
from cellsearch.executors.base import Executor, outcomes
from cellsearch.genome.graph import Genome
from cellsearch.job import Failure, Result
from cellsearch.tasks.base import Arrays
from cellsearch.training.results import ResultCache

__all__ = ["OnResult", "all_exercises", "run_benchmark"]

OnResult = Callable[[ExerciseResult], None]


@checked_arguments
def run_benchmark(
    benchmark: Benchmark,
    contestants: Sequence[Contestant],
    executor: Executor,
    cache: ResultCache | None = None,
    on_finding: OnResult | None = None,
) -> BenchmarkReport:
    """Train the cells and say what came out.

    Every training ends in the cache as soon as it is done, so that the same call goes on after an
    interruption, and a second one with further cells trains only these.

    executor: new, or done with its jobs.
    cache: where results are looked up and kept (default: the user's cache folder).
    on_finding: told of each training that is known or has ended.

    Raises :class:`ConfigError` for a cell that the benchmark cannot be asked of.
    """
    genomes = {one.name: one.genome for one in contestants}
    if len(genomes) < len(contestants) or not contestants:
        raise ConfigError(
            "a benchmark needs cells, each with a name of its own",
            where="cells",
            hint="name at least one, and none twice",
        )
    cache = ResultCache() if cache is None else cache
    findings: list[ExerciseResult] = []
    for group in _by_data(all_exercises(benchmark, contestants)):
        for finding in _train(group, genomes, executor, cache):
            findings.append(finding)
            if on_finding is not None:
                on_finding(finding)
    return benchmark.report(contestants, findings)


def all_exercises(benchmark: Benchmark, contestants: Sequence[Contestant]) -> list[Exercise]:
    """The trainings of all cells."""
    return [exercise for one in contestants for exercise in benchmark.exercises(one)]


def _by_data(exercises: Sequence[Exercise]) -> Iterator[list[Exercise]]:
    """Those that need the same data together."""

    def data(exercise: Exercise) -> tuple[str, str]:
        return exercise.task, repr(sorted(exercise.task_options.items()))

    for _, group in groupby(sorted(exercises, key=data), key=data):
        yield list(group)


def _train(
    group: Sequence[Exercise], genomes: Mapping[str, Genome], executor: Executor, cache: ResultCache
) -> Iterator[ExerciseResult]:
    task, options = group[0].task, group[0].task_options
    arrays = tasks.get(task).load(options)
    waiting: list[Exercise] = []
    for exercise in group:
        genome = genomes[exercise.cell]
        answer = cache.known(exercise.job(genome), arrays, genome=genome)
        if answer is None:
            waiting.append(exercise)
        else:
            yield _known(exercise, answer)
    if waiting:
        executor.start(task, options, arrays)
        yield from _run(waiting, genomes, executor, cache, arrays)


def _known(exercise: Exercise, answer: Result | TrainingError) -> ExerciseResult:
    if isinstance(answer, Result):
        return ExerciseResult(exercise, answer, None, known=True)
    return ExerciseResult(exercise, None, Failure(answer.kind, answer.message), known=True)


def _run(
    waiting: Sequence[Exercise],
    genomes: Mapping[str, Genome],
    executor: Executor,
    cache: ResultCache,
    arrays: Arrays,
) -> Iterator[ExerciseResult]:
    jobs = [replace(e.job(genomes[e.cell]), trial=k) for k, e in enumerate(waiting)]
    for outcome in outcomes(executor, jobs):
        exercise = waiting[outcome.trial]
        answer: Any = outcome.result
        if outcome.failure is not None:
            answer = TrainingError(outcome.failure.message, kind=outcome.failure.kind)
        genome = genomes[exercise.cell]
        cache.keep(exercise.job(genome), arrays, answer, genome=genome)
        yield ExerciseResult.of(exercise, outcome)
