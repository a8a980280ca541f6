"""What ``benchmarks/step.py`` and ``benchmarks/step_trials.py`` share: the candidate of the demo
experiment, steps of it in two ways, and where the time of one goes.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional

import cellsearch as cs
from cellsearch.compiler.module import CellModule
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.heads import SequenceModel
from cellsearch.training import evaluate
from cellsearch.training.fused import FlatAdam, fused_linear_cross_entropy

TRIAL_STEPS = 100


def demo_job(genome: Genome, hidden_size: int = 0, **options: Any) -> tuple[Job, Arrays]:
    """A candidate of the demo experiment, and its data."""
    experiment = cs.load_experiment("quickstart")
    size = hidden_size or experiment.training.hidden_size
    # Steps too small to diverge, and next to no validation: this is about the time of training
    # steps.
    training = replace(experiment.training, hidden_size=size, evaluations=1, learning_rate=1e-5)
    settings = {**experiment.task_options, "valid_tokens": 2048, **options}
    job = Job(0, 0, genome.to_json(), experiment.task, settings, training, TRIAL_STEPS, seed=1)
    return job, cs.tasks.get(job.task).load(job.task_options)


class Watch:
    """Adds up how long each part of a step takes, by timing the functions that ``evaluate`` calls;
    what is timed within another part is taken off it. Processor time, so that other work on the
    machine does not count.
    """

    def __init__(self) -> None:
        self.now: dict[str, float] = {}
        self.steps: list[dict[str, float]] = []
        self.inner = [0.0]
        self.last = math.nan

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed as this part."""

        def run(*given: Any, **options: Any) -> Any:
            self.inner.append(0.0)
            start = time.process_time()
            try:
                return function(*given, **options)
            finally:
                took = time.process_time() - start
                self.now[part] = self.now.get(part, 0.0) + took - self.inner.pop()
                self.inner[-1] += took

        return run

    def step(self, step: int, loss: float) -> None:
        """The end of a step, as ``evaluate`` reports it."""
        end = time.process_time()
        if self.now:
            self.steps.append({**self.now, WHOLE: end - self.last})
        self.now, self.last, self.inner = {}, end, [0.0]


WHOLE = "whole step in `evaluate`"
PARTS: tuple[tuple[type, str, str], ...] = (
    (CellModule, "run_tokens", "tokens and cell, forward"),
    (SequenceModel, "cross_entropy", "readout and loss, with their gradients"),
    (torch.Tensor, "backward", "cell and embedding, backward"),
    (FlatAdam, "clip", "norm and clipping"),
    (FlatAdam, "update", "AdamW"),
)


def watched(job: Job, arrays: Arrays) -> dict[str, float]:
    """Median milliseconds of processor time of each part of a step."""
    watch, kind = Watch(), cs.tasks.get(job.task)
    original = {(owner, name): getattr(owner, name) for owner, name, _ in PARTS}
    batches = kind.batches

    def timed_batches(self: Any, *given: Any) -> Any:
        following = batches(self, *given)
        advance = watch.timed("data", lambda: next(following, None))
        return iter(advance, None)

    try:
        for owner, name, part in PARTS:
            setattr(owner, name, watch.timed(part, original[owner, name]))
        kind.batches = timed_batches  # type: ignore[method-assign, assignment]
        evaluate(job, arrays, progress=watch.step)
    finally:
        for (owner, name), function in original.items():
            setattr(owner, name, function)
        kind.batches = batches  # type: ignore[method-assign]
    steps = watch.steps[5:-1]  # after the first ones, and without the one with the validation
    return {part: 1e3 * statistics.median(step[part] for step in steps) for part in steps[0]}


class Characters(nn.Module):
    """Embedding, recurrent layer, linear readout."""

    def __init__(self, cell: nn.Module, vocabulary: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden_size)
        self.cell = cell
        self.readout = nn.Linear(hidden_size, vocabulary)

    def plain_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The usual way."""
        return functional.cross_entropy(
            self.readout(self.cell(self.embedding(x))[0]).flatten(0, 1), y.flatten()
        )

    def fast_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The way of ``evaluate``."""
        output, _ = self.cell.run_tokens(x, self.embedding.weight)  # type: ignore[operator]
        return fused_linear_cross_entropy(
            output.flatten(0, 1), self.readout.weight, self.readout.bias, y.flatten()
        )


def torch_step(
    model: Characters, x: Tensor, y: Tensor, adam: type[torch.optim.Optimizer] = torch.optim.Adam
) -> Callable[[], object]:
    """A step with torch's own optimizer and clipping."""
    parameters = list(model.parameters())
    optimizer = adam(parameters, lr=1e-3)  # type: ignore[call-arg]

    def run() -> None:
        optimizer.zero_grad()
        model.plain_loss(x, y).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return run


def fast_step(model: Characters, x: Tensor, y: Tensor) -> Callable[[], object]:
    """A step as ``evaluate`` does it."""
    optimizer = FlatAdam(model.parameters(), 1e-3, max_norm=1.0)

    def run() -> None:
        optimizer.zero_grad()
        model.fast_loss(x, y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run
