"""What is done once before the jobs of a task or a suite, and what is done with each job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cellsearch import tasks
from cellsearch.errors import ConfigError
from cellsearch.job import Job, Naive, Result, Training
from cellsearch.later import Later
from cellsearch.space import LayerSizes
from cellsearch.tasks.base import Arrays, Split, Task
from cellsearch.tasks.suite import SUITE, Suite, load_suite_data, part
from cellsearch.training.data import Data, OnTraining

# They load torch, and who only hands the data of a task to workers needs none.
if TYPE_CHECKING:
    from cellsearch.training import loop, model, precision, results, suite
else:
    loop, model = Later("cellsearch.training.loop"), Later("cellsearch.training.model")
    precision = Later("cellsearch.training.precision")
    results, suite = Later("cellsearch.training.results"), Later("cellsearch.training.suite")

__all__ = ["check_precision", "evaluate", "get_ready", "layer_sizes", "naive", "prepare"]


def prepare(
    task: str,
    task_options: Mapping[str, Any],
    *,
    on_training: OnTraining | None = None,
    cache: results.ResultCache | None = None,
) -> Data:
    """Load the data of a task or a suite; train the references of a suite whose results are not in
    the cache, once, so that all workers compare with the same numbers.

    ``on_training`` is told before each reference; ``cache``: where their results are kept (default:
    the user's). Raises :class:`ConfigError` for options that make no sense, and for a reference
    that cannot be trained.
    """
    if task != SUITE:
        return Data(tasks.get(task).load(task_options))
    parsed = Suite.parse(task_options)
    arrays = load_suite_data(parsed)
    if parsed.reference == "perfect":
        return Data(arrays, suite.targets(parsed))
    scores = suite.references(parsed, arrays, cache or results.ResultCache(), on_training)
    return Data(arrays, suite.targets(parsed, scores))


def check_precision(training: Training) -> None:
    """Raise :class:`ConfigError` where this machine has nothing fast that computes in the precision
    of a training; in float32 nothing is loaded for that.
    """
    if training.precision != "float32":
        precision.check_precision(training)


def naive(
    task: str, task_options: Mapping[str, Any], arrays: Arrays, split: Split
) -> tuple[Naive, ...]:
    """What is reached on a split of a task without a cell; nothing for a suite.

    ``arrays``: from :func:`prepare`.
    """
    if task == SUITE or tasks.get(task).naive is Task.naive:
        return ()
    return tasks.get(task).create(task_options, arrays).naive(split)


def layer_sizes(
    task: str, task_options: Mapping[str, Any], training: Training, arrays: Arrays
) -> tuple[LayerSizes, ...]:
    """The sizes of the recurrent layers that are trained for a task, or for each task of a suite.

    ``training``: of a single task; a suite brings its own. ``arrays``: from :func:`prepare`.
    """
    if task != SUITE:
        return (model.trained_sizes(tasks.get(task).create(task_options, arrays), training),)
    parsed = Suite.parse(task_options)
    sizes = []
    for k, member in enumerate(parsed.members):
        kind = tasks.get(member.task)
        one = kind.create(member.options, part(arrays, k))
        sizes.append(model.trained_sizes(one, suite.member_training(parsed, member)))
    return tuple(dict.fromkeys(sizes))


def get_ready() -> None:
    """Load what trainings need, so that the first one does not wait for it."""
    for module in (loop, suite):
        import_module(module.__name__)


def evaluate(
    job: Job,
    arrays: Arrays,
    *,
    progress: loop.OnProgress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """Train the candidate of a job, on one task or on every task of a suite with the suite's first
    seeds, and return what came out.

    ``arrays``: from :func:`prepare`, whose ``targets`` stand in the job of a suite. ``progress``
    and ``should_stop`` (one task only) and what is raised: see
    :func:`cellsearch.training.loop.evaluate`.
    """
    if job.task != SUITE:
        return loop.evaluate(job, arrays, progress=progress, should_stop=should_stop)
    if progress is not None or should_stop is not None:
        raise ConfigError(
            "the steps of a suite cannot be followed",
            where="task",
            hint="evaluate its tasks one by one, or use train_suite(on_task=...)",
        )
    return suite.train_suite(job, arrays)[0]
