"""Trains one candidate on one task under one budget. Knows neither search nor store: a job goes
in, a result comes out.

AdamW, gradient clipping by global norm, truncated backpropagation through time with carried state,
validations spread over the budget of which the best counts, checkpoints from which a higher rung
goes on exactly as if training had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Literal

import torch
from torch import nn

from cellsearch import tasks
from cellsearch.compiler.cost import module_microseconds
from cellsearch.compiler.module import CellModule
from cellsearch.errors import BackendError, ConfigError, GenomeError, TrainingError
from cellsearch.genome.device import INT8
from cellsearch.genome.graph import Genome
from cellsearch.job import Connection, Job, Result, plain_number
from cellsearch.optimizer import FlatAdam
from cellsearch.tasks.base import Arrays, Batch, Task
from cellsearch.training import checkpoint
from cellsearch.training.bodies import body_factory, check_body_job
from cellsearch.training.connections import ConnectionMeter, gate_weights, measure_perturbations
from cellsearch.training.device import costs, rounded
from cellsearch.training.gates import attach
from cellsearch.training.guard import Guard
from cellsearch.training.model import (
    DTYPES,
    cell_factory,
    check_fits,
    decoded,
    description,
    fewest_weights,
    make_task,
)
from cellsearch.training.precision import check_precision
from cellsearch.training.prefilter import check_job
from cellsearch.training.quiet_start import quiet_start
from cellsearch.training.state import Progress, detached, inherit, restore, store

__all__ = ["OnProgress", "evaluate", "validation_steps"]

OnProgress = Callable[[int, float], None]
"""Told after each step: its number, counted from 1, and its loss."""
_SALIENCY_SHARE = 5
"""Saliencies are averaged over the last fifth of the steps of a budget."""
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def evaluate(
    job: Job,
    arrays: Arrays,
    *,
    genome: Genome | None = None,
    progress: OnProgress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """Train the candidate of a job and return what came out.

    ``arrays``: what ``Task.load`` gave. ``genome``: the job's, where the caller has decoded it.
    ``progress`` is told of every step. When ``should_stop()`` turns true, training ends after the
    present step as if the budget ended there: it is validated, a checkpoint is written, and
    ``Result.steps`` says how far it came. Uses one thread, and leaves torch's random generator and
    number of threads as they were; everything random comes from ``job.seed``.
    ``Result.checkpoint`` is the job's path.

    Raises :class:`TrainingError` with ``kind`` ``"nan"``, ``"diverged"``, ``"timeout"``,
    ``"memory"``, ``"invalid"`` (the cell cannot be built in these sizes), ``"prefilter"`` (the
    untrained cell failed a check) or ``"error"``; :class:`ConfigError` for options that no
    candidate could be trained with; :class:`CheckpointError` for a damaged or foreign checkpoint.
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        try:
            cell = genome
            if job.body:
                check_body_job(job)
            else:
                cell = decoded(job) if genome is None else genome
                check_fits(cell, job.training)
                check_job(job, cell)
            return _Run(job, cell, arrays).train(progress, should_stop)
        except GenomeError as error:
            raise TrainingError(str(error), kind="invalid", hint=error.hint) from error
        except MemoryError as error:
            raise TrainingError(f"out of memory: {error}", kind="memory") from error
        except (RuntimeError, ValueError, ArithmeticError, IndexError) as error:
            kind = "memory" if any(text in str(error) for text in _NO_MEMORY) else "error"
            raise TrainingError(f"{type(error).__name__}: {error}", kind=kind) from error


def validation_steps(done: int, steps: int, evaluations: int) -> frozenset[int]:
    """After which steps the model is validated: ``evaluations`` times between ``done`` and
    ``steps``, the last time at the end.
    """
    granted = steps - done
    return frozenset(
        {done + max(1, round(granted * k / evaluations)) for k in range(1, evaluations + 1)}
        if granted > 0
        else ()
    )


class _Run:
    """One training from start, checkpoint or inherited weights to the end of its budget."""

    def __init__(self, job: Job, genome: Genome | None, arrays: Arrays) -> None:
        """``genome``: ``None`` where the job's body is trained."""
        tasks.get(job.task).check_training(job.training)
        check_precision(job.training)
        self.job, self.genome = job, genome
        self.guard = Guard(job.limits)
        self.started = time.perf_counter()
        dtype = DTYPES[job.training.dtype]
        if genome is not None:
            self.guard.check_size(fewest_weights(genome, job.training), dtype.itemsize)
            factory = cell_factory(genome, job.training)
        else:
            factory = body_factory(job.body, job.training)
        self.task = make_task(job, arrays)
        self.model = self.task.model(factory).to(dtype)
        layer = self.model.cell
        assert isinstance(layer, nn.Module)
        self.layer = layer
        relaxed = job.training.relaxation == "l0"
        self.relaxed = attach(self.model, genome, layer) if genome and relaxed else None
        self.parameters = list(self.model.parameters())
        self.guard.check_size(sum(p.numel() for p in self.parameters), dtype.itemsize)
        self.optimizer = FlatAdam(
            self.parameters,
            job.training.learning_rate,
            weight_decay=job.training.weight_decay,
            max_norm=job.training.clip_norm or None,
        )
        self.progress = self._begin()
        if job.steps < self.progress.step:
            raise ConfigError(
                f"{self.progress.step} steps are done already, {job.steps} are granted",
                where="steps",
                hint="grant more",
            )
        self.guard.first_loss = self.progress.first_loss
        self.seconds_before = self.progress.seconds
        self.meter = self._meter(genome) if genome and job.connections else None
        penalised = job.training.gate_penalty and self.relaxed is None
        self.penalised = gate_weights(genome, layer) if genome and penalised else []

    def _begin(self) -> Progress:
        """Go on from the job's own checkpoint, or start from a parent's weights or random ones."""
        job = self.job
        if job.resume:
            return restore(job.resume, job, self.model, self.optimizer)
        if not job.inherit:
            return Progress()
        parent = checkpoint.read(job.inherit)
        progress = Progress(inherited=inherit(parent, self.model))
        if job.quiet and self.genome is not None:
            quiet_start(parent, self.genome, self.layer, source=job.inherit)
        if self.relaxed is not None:
            self.relaxed.adopt()
        return progress

    def _meter(self, genome: Genome) -> ConnectionMeter:
        """Looks at the last steps of the budget; with patience nobody knows which these will be,
        so at all.
        """
        done, steps = self.progress.step, self.job.steps
        last = max(1, (steps - done) // _SALIENCY_SHARE)
        first = done + 1 if self.job.training.patience else steps - last + 1
        return ConnectionMeter(genome, self.layer, first)

    def train(
        self, on_progress: OnProgress | None, should_stop: Callable[[], bool] | None
    ) -> Result:
        """Train to the end of the budget."""
        job, progress = self.job, self.progress
        self.model.train()
        validations = validation_steps(progress.step, job.steps, job.training.evaluations)
        granted = 0 if self._out_of_patience() else job.steps - progress.step
        for batch in islice(self.task.batches("train", job.seed, progress.step), granted):
            loss = self._step(batch)
            progress.step += 1
            stop = should_stop is not None and should_stop()
            if stop or progress.step in validations:
                self._validate()
            if on_progress is not None:
                on_progress(progress.step, loss)
            if stop or (progress.step in validations and self._out_of_patience()):
                break
        if progress.best_step < 0:  # a budget of zero steps, or a checkpoint that holds all of them
            self._validate()
        progress.seconds = self.seconds_before + time.perf_counter() - self.started
        if job.checkpoint:
            described = description(self.task, self.model)
            store(job.checkpoint, job, self.model, self.optimizer, progress, described)
        return self._result()

    def _step(self, batch: Batch) -> float:
        """One optimizer step; the loss that it started from."""
        job, progress, number = self.job, self.progress, self.progress.step + 1
        self.guard.check_resources(number)
        carried = None if batch.first else progress.state
        if self.relaxed is not None:
            self.relaxed.sample(job.seed, number)
        loss, state = self.task.training_loss(self.model, batch, carried)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.meter is not None:
            self.meter.observe(number)
        if self.relaxed is not None:
            self.relaxed.backward(job.training.gate_penalty)
        if self.penalised:
            # Backward on its own, after the meter has read the gradient of the loss alone.
            sizes = torch.stack([gate.abs() for gate in self.penalised])
            penalty = job.training.gate_penalty * sizes.sum()
            penalty.backward()  # type: ignore[no-untyped-call]
        norm = self.optimizer.clip()
        value = float(loss.detach())
        self.guard.check_numbers(number, value, float(norm))
        self.optimizer.update()
        progress.state = detached(state)
        if progress.first_loss is None:
            progress.first_loss, progress.train_loss = value, value
        # Exponential average over about 20 steps: one batch alone says little.
        progress.train_loss += 0.05 * (value - progress.train_loss)
        return value

    def _validate(self) -> None:
        """Add a point to the curve, and keep the weights if they are the best so far."""
        progress = self.progress
        if self.relaxed is not None:
            self.relaxed.settle()
        score, metric = self._score("valid")
        self.guard.check_score(progress.step, score)
        self.guard.check_resources(progress.step)
        progress.curve.append((progress.step, score))
        # Of equal scores the later one, which is trained longer; unless a protocol wants the first.
        equal = score == progress.best_score and not self.task.keeps_first
        if score < progress.best_score or equal or progress.best_weights is None:
            progress.best_step = progress.step
            progress.best_score, progress.best_metric = score, metric
            progress.best_weights = {
                name: tensor.clone() for name, tensor in self.model.state_dict().items()
            }

    def _score(self, part: Literal["valid", "test"]) -> tuple[float, float]:
        """Score and metric as plain numbers: a checkpoint that holds others cannot be read."""
        score, metric = self.task.score(self.model, part)
        return plain_number(score, "the task's score"), plain_number(metric, "the task's metric")

    def _out_of_patience(self) -> bool:
        """Whether the last ``patience`` validations brought nothing better; decided by the curve,
        so the same after a resume.
        """
        patience, scores = self.job.training.patience, [score for _, score in self.progress.curve]
        return bool(patience and scores) and len(scores) - 1 - scores.index(min(scores)) >= patience

    def _result(self) -> Result:
        progress = self.progress
        metrics = {
            "train_loss": progress.train_loss,
            "best_step": float(progress.best_step),
            "inherited": float(progress.inherited),
            **_predicted(self.layer),
        }
        device = self.job.device
        if device is not None and self.genome is not None:
            metrics |= costs(self.task, self.genome, self.model, device)
        measures = type(self.task).errors is not Task.errors
        if self.job.test or measures:
            self._take_best()
        if measures:
            metrics |= self.task.errors(self.model, "valid")
        if self.job.test:
            metrics["test_score"], metrics["test_metric"] = self._score("test")
            found = self.task.errors(self.model, "test")
            metrics |= {f"test {name}": number for name, number in found.items()}
        if device is not None and device.int8:
            metrics |= self._rounded()
        return Result(
            score=progress.best_score,
            metric=progress.best_metric,
            steps=progress.step,
            seconds=progress.seconds,
            parameters=sum(p.numel() for p in self.parameters),
            cell_parameters=sum(p.numel() for p in self.layer.parameters()),
            curve=tuple(progress.curve),
            metrics=metrics,
            connections=self._connections(),
            checkpoint=self.job.checkpoint,
        )

    def _take_best(self) -> None:
        """Give the model the weights that validation chose."""
        assert self.progress.best_weights is not None
        self.model.load_state_dict(self.progress.best_weights)

    def _rounded(self) -> dict[str, float]:
        """The scores of the best weights in int8."""
        now = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        self._take_best()
        with rounded(self.model):
            found = {INT8: self._score("valid")[0]}
            if self.job.test:
                found[f"test_{INT8}"] = self._score("test")[0]
        self.model.load_state_dict(now)
        return found

    def _connections(self) -> Mapping[str, Connection]:
        """What was learned about each connection."""
        if self.meter is None:
            return {}
        learned = self.meter.result()
        if not self.job.perturbation:
            return learned
        return measure_perturbations(
            learned, self.meter.weights, self.model, self.task, self.job.perturbation
        )


def _predicted(layer: nn.Module) -> dict[str, float]:
    """Predicted microseconds of a position (see :mod:`cellsearch.compiler.cost`), the same on every
    machine; nothing without a runtime.
    """
    if not isinstance(layer, CellModule):
        return {}
    try:
        return {"predicted_us": module_microseconds(layer)}
    except BackendError:
        return {}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Results are bit-identical for one number of threads only, and workers share the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
