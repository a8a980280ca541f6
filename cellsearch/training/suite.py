"""Trains and scores a cell on every task of a suite, against LSTM and GRU under the same protocol.

The share that a cell has of the reference's skill at one task is ``(chance - score) / (chance -
reference)``: 0 for who has learned nothing, 1 for who is as good as the reference, more for who is
better; what is worse than chance counts as 0. Jozefowicz et al. 2015 divide accuracies by the
GRU's; this is the same quotient for scores of which lower is better, measured from chance. A
quotient of the scores themselves would call a squared error of 0.002 twice as bad as one of 0.001,
where both have solved the task, and has no meaning for an error rate of 0. A suite makes one
fitness of the shares, and the score of a trial is 1 - fitness.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellsearch import zoo
from cellsearch.errors import ConfigError, GenomeError, TrainingError
from cellsearch.genome.device import COSTS
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import size_step
from cellsearch.job import Connection, Job, Limits, Prefilter, Result, Training
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.suite import SUITE, Member, Suite, part
from cellsearch.training.budget import cell_weights, model_weights, size_within
from cellsearch.training.data import OnTraining, ReferenceTraining
from cellsearch.training.loop import evaluate as train_one
from cellsearch.training.model import decoded, make_task
from cellsearch.training.results import ResultCache
from cellsearch.training.shares import OneTraining, Scored, fitness, scored, share

__all__ = [
    "REFERENCE_CELLS",
    "OneTraining",
    "Scored",
    "fitness",
    "member_job",
    "member_training",
    "references",
    "share",
    "targets",
    "train_suite",
]

REFERENCE_CELLS = ("lstm", "gru")
DIVERGED = frozenset({"nan", "diverged"})
"""Kinds of failure that count as a share of 0 where the suite wants it; others (time, memory, the
checks before training) are those of the trial.
"""


def references(
    suite: Suite, arrays: Arrays, cache: ResultCache, on_training: OnTraining | None = None
) -> NDArray[np.float64]:
    """Scores ``[tasks, 2, seeds]`` of LSTM and GRU, each at its best rate for the task, trained
    where the cache does not hold them.

    ``on_training`` is told before each. Raises :class:`ConfigError` if one of them cannot be
    trained; where several rates are tried, at none of them.
    """
    genomes = {name: zoo.load(name) for name in REFERENCE_CELLS}

    def score(number: int, member: Member, cell: str, rate: float, seed: int) -> float:
        def tell(known: bool) -> None:
            if on_training is not None:
                on_training(ReferenceTraining(cell, member.name, seed, known))

        genome = genomes[cell]
        whole = Job(0, 0, genome.to_json(), SUITE, {}, Training(), suite.steps, 0)
        job = member_job(whole, suite, member, seed, rate=rate)
        job = _sized(job, suite, genome, part(arrays, number))
        try:
            result, _ = cache.train(job, part(arrays, number), genome=genome, on_known=tell)
        except TrainingError as error:
            if error.kind in DIVERGED and len(suite.rates_of(member)) > 1:
                return math.inf
            raise ConfigError(
                f"{cell} cannot be trained: {error.message}",
                where=f"suite {suite.name}, task {member.name}",
                hint="change the training",
            ) from error
        return result.score

    def best(number: int, member: Member, cell: str) -> list[float]:
        tried = [
            [score(number, member, cell, rate, seed) for seed in suite.seeds]
            for rate in suite.rates_of(member)
        ]
        found = min(tried, key=sum)
        if not math.isfinite(sum(found)):
            raise ConfigError(
                f"{cell} diverges at each of the rates",
                where=f"suite {suite.name}, task {member.name}",
                hint="change the training",
            )
        return found

    return np.array(
        [
            [best(k, member, cell) for cell in REFERENCE_CELLS]
            for k, member in enumerate(suite.members)
        ]
    )


def targets(suite: Suite, scores: NDArray[np.float64] | None = None) -> tuple[float, ...]:
    """The score of each task that counts as 1, out of the ``scores`` of :func:`references`, which a
    suite that is measured against perfection does not need.
    """
    if suite.reference == "perfect":
        return (0.0,) * len(suite.members)
    assert scores is not None
    means = scores.mean(axis=2)
    if suite.reference == "best":
        return tuple(float(value) for value in means.min(axis=1))
    return tuple(float(value) for value in means[:, REFERENCE_CELLS.index(suite.reference)])


def member_training(suite: Suite, member: Member) -> Training:
    """How a task of a suite is trained."""
    return replace(Training(), **{**suite.training, **member.training}, steps=member.steps)


def member_job(job: Job, suite: Suite, member: Member, seed: int, *, rate: float = 1.0) -> Job:
    """The training of one task with ``rate`` times its learning rate, as part of the job of all; a
    job of fewer steps than the suite's trains each task less, in proportion.
    """
    steps = max(1, round(member.steps * job.steps / suite.steps))
    training = member_training(suite, member)
    training = replace(training, steps=steps, learning_rate=rate * training.learning_rate)
    return replace(
        job,
        rung=0,
        task=member.task,
        task_options=member.options,
        training=training,
        steps=steps,
        seed=seed,
        checkpoint="",
        resume="",
        inherit="",
        quiet=False,
        targets=(),
        repeat=0,
    )


def _sized(job: Job, suite: Suite, genome: Genome, arrays: Arrays) -> Job:
    """The training with the hidden size that follows from the weights that the suite allows. Raises
    :class:`TrainingError` of kind ``"invalid"`` for a cell that cannot have so many.
    """
    if not (suite.weights or suite.equal):
        return job
    named, task = job.training.sizes, make_task(job, arrays)
    if suite.equal:
        count = cell_weights(task, genome, named)
        budget = cell_weights(task, zoo.load(suite.equal))(job.training.hidden_size)
    else:
        count, budget = model_weights(task, genome, named), suite.weights
    try:
        step = size_step(genome, named)
        hidden = size_within(count, budget, f"the cell on {job.task}", step)
    except (ConfigError, GenomeError) as error:
        raise TrainingError(error.message, kind="invalid", hint=error.hint) from error
    return replace(job, training=replace(job.training, hidden_size=hidden))


def train_suite(
    job: Job,
    arrays: Arrays,
    *,
    seed: int | None = None,
    cache: ResultCache | None = None,
    on_task: Callable[[Scored], None] | None = None,
) -> tuple[Result, tuple[Scored, ...]]:
    """Train a cell on the tasks of a suite, in their order, until one is so bad that the others do
    not matter.

    ``job.targets``: the scores that count as 1. ``job.repeat`` says which of the suite's seeds
    (:meth:`Suite.seeds_of`), ``seed`` one in place of them; ``cache``: where results are looked up
    and kept (default: nowhere); ``on_task`` is told what came out of each task. A job of fewer
    steps than the suite's trains each task for the same share of its steps, from scratch: weights
    are neither kept nor inherited.

    ``Result.score`` is 1 - :func:`fitness`, ``metric`` the fitness, ``metrics`` holds
    ``share.TASK`` and ``score.TASK`` of the trained tasks, their number ``trained_tasks``, and the
    plain ``minimum`` and ``mean`` of the shares (NaN if not all were trained); where failures
    count, ``diverged`` is the share of the trainings that diverged. ``parameters`` are those of the
    first model.

    Raises :class:`TrainingError` as soon as one training fails; where failures count, for one that
    diverges only if all did.
    """
    suite = _comparable(job)
    started = time.perf_counter()
    genome = decoded(job)
    seeds = suite.seeds_of(job.repeat) if seed is None else (seed,)
    found: list[Scored] = []

    def one(k: int, member: Member, rate: float, seed: int, *, first: bool) -> OneTraining:
        asked = member_job(job, suite, member, seed, rate=rate)
        asked = replace(asked, limits=_left(job.limits, started))
        if not first:  # the cell has passed the checks, which are the same for each task
            asked = replace(asked, prefilter=Prefilter())
        try:
            asked = _sized(asked, suite, genome, part(arrays, k))
            if cache is None:
                result = train_one(asked, part(arrays, k), genome=genome)
            else:
                result, _ = cache.train(asked, part(arrays, k), genome=genome)
        except TrainingError as error:
            if suite.failures == "count" and error.kind in DIVERGED:
                return OneTraining(rate, seed, 0.0, failure=error, steps=asked.steps)
            message = f"task {member.name}: {error.message}"
            raise TrainingError(
                message, kind=error.kind, where=error.where, hint=error.hint
            ) from error
        skill = share(member.chance, result.score, job.targets[k], member.name)
        return OneTraining(rate, seed, skill, result, steps=asked.steps)

    for k, member in enumerate(suite.members):
        trainings: list[OneTraining] = []
        for rate in suite.rates_of(member):
            for number in seeds:
                first = not (found or trainings)
                trainings.append(one(k, member, rate, number, first=first))
        found.append(scored(suite, member, trainings))
        if on_task is not None:
            on_task(found[-1])
        if found[-1].share < suite.stop_below:
            break
    return _combined(suite, found), tuple(found)


def _comparable(job: Job) -> Suite:
    """The job's suite. Raises :class:`ConfigError` if nothing could be said of its score."""
    if job.test:
        raise ConfigError(
            "the test data of a suite cannot be read together",
            where="task",
            hint="evaluate its tasks one by one",
        )
    suite = Suite.parse(job.task_options)
    if len(job.targets) != len(suite.members):
        raise ConfigError(
            f"the job holds {len(job.targets)} scores of the references, and there are "
            f"{len(suite.members)} tasks",
            where=f"suite {suite.name}",
            hint="give the job the targets of cellsearch.training.prepare",
        )
    return suite


def _left(limits: Limits, started: float) -> Limits:
    """What is left for the next task of the time that the job has for all."""
    if not limits.seconds:
        return limits
    return replace(limits, seconds=max(1e-3, limits.seconds - (time.perf_counter() - started)))


def _combined(suite: Suite, found: Sequence[Scored]) -> Result:
    shares = [one.share for one in found]
    value = fitness(suite, shares)
    trainings = [one for each in found for one in each.trainings]
    results = [one.result for one in trainings if one.result is not None]
    if not results:
        failure = trainings[0].failure
        assert failure is not None
        message = f"every training diverged; the first: {failure.message}"
        raise TrainingError(message, kind=failure.kind, where=failure.where, hint=failure.hint)
    metrics = {f"share.{one.member.name}": one.share for one in found} | {
        f"score.{one.member.name}": one.result.score for one in found
    }
    complete = len(found) == len(suite.members)
    metrics |= {
        "trained_tasks": float(len(found)),
        "minimum": min(shares) if complete else math.nan,
        "mean": sum(shares) / len(shares) if complete else math.nan,
    }
    if suite.failures == "count":
        metrics["diverged"] = sum(one.diverged for one in found) / len(trainings)
    steps = sum(one.result.steps for one in found)
    first = results[0]
    metrics |= {name: value for name, value in first.metrics.items() if name == "predicted_us"}
    metrics |= {
        name: max(result.metrics[name] for result in results)
        for name in COSTS
        if name in first.metrics
    }
    return Result(
        score=1.0 - value,
        metric=value,
        steps=steps,
        seconds=sum(one.result.seconds for one in found),
        parameters=first.parameters,
        cell_parameters=first.cell_parameters,
        curve=((steps, 1.0 - value),),
        metrics=metrics,
        connections=_joined(results),
    )


def _joined(results: Sequence[Result]) -> dict[str, Connection]:
    """What the trainings say of each connection: means; what is a difference of losses, in units of
    each training's largest, for losses differ.
    """
    found: defaultdict[str, list[Connection]] = defaultdict(list)
    for result in results:
        connections = result.connections
        saliency = max((c.saliency for c in connections.values()), default=0.0) or 1.0
        perturbation = (
            max(
                (abs(c.perturbation) for c in connections.values() if c.perturbation is not None),
                default=0.0,
            )
            or 1.0
        )
        for name, c in connections.items():
            lost = None if c.perturbation is None else c.perturbation / perturbation
            found[name].append(Connection(c.gate, c.saliency / saliency, lost))
    return {name: _mean(several) for name, several in found.items()}


def _mean(several: Sequence[Connection]) -> Connection:
    lost = [c.perturbation for c in several if c.perturbation is not None]
    return Connection(
        gate=sum(c.gate for c in several) / len(several),
        saliency=sum(c.saliency for c in several) / len(several),
        perturbation=sum(lost) / len(lost) if lost else None,
    )
