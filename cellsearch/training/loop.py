"""Trains one candidate under one budget. Knows neither search nor store: a job goes in, a result
comes out.

AdamW, gradient clipping by global norm, truncated backpropagation through time with carried state,
validations spread over the budget of which the best counts, checkpoints from which a higher rung
goes on exactly as if training had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice

import torch
from torch import nn

from cellsearch import tasks
from cellsearch.compiler import backends
from cellsearch.compiler.cost import module_microseconds
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.errors import BackendError, ConfigError, GenomeError, TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square
from cellsearch.job import Job
from cellsearch.settings import Training
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Task
from cellsearch.training import gates
from cellsearch.training.connections import (
    ConnectionMeter,
    connection_weights,
    measure_perturbations,
)
from cellsearch.training.fused import FlatAdam, fused_linear_cross_entropy
from cellsearch.training.guard import Guard
from cellsearch.training.prefilter import check_job
from cellsearch.training.quiet_start import quiet_start
from cellsearch.training.state import Progress, detached, inherit, restore, store
from cellsearch.trial import Connection, Result

__all__ = ["cell_factory", "check_training", "evaluate", "make_task", "validation_steps"]

OnProgress = Callable[[int, float], None]
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_SALIENCY_SHARE = 5
"""Saliencies are averaged over the last fifth of the steps of a budget."""
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def evaluate(
    job: Job,
    arrays: Arrays,
    *,
    progress: OnProgress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """Train the candidate of a job and return what came out.

    ``arrays``: what ``Task.load`` gave. ``progress(step, loss)`` is called after every step. When
    ``should_stop()`` turns true, training ends after the present step as if the budget ended there:
    it is validated, a checkpoint is written, and ``Result.steps`` says how far it came. Uses one
    thread, and leaves torch's random generator and number of threads as they were; everything
    random comes from ``job.seed``. ``Result.checkpoint`` is the job's path.

    Raises :class:`TrainingError` with ``kind`` ``"nan"``, ``"diverged"``, ``"timeout"``,
    ``"memory"``, ``"invalid"`` (the cell cannot be built in these sizes), ``"prefilter"`` (the
    untrained cell failed a check) or ``"error"``; :class:`ConfigError` for options that no
    candidate could be trained with; :class:`CheckpointError` for a damaged or foreign checkpoint.
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        try:
            check_job(job)
            return _Run(job, arrays).train(progress, should_stop)
        except GenomeError as error:
            raise TrainingError(str(error), kind="invalid", hint=error.hint) from error
        except MemoryError as error:
            raise TrainingError(f"out of memory: {error}", kind="memory") from error
        except (RuntimeError, ValueError, ArithmeticError, IndexError) as error:
            kind = "memory" if any(text in str(error) for text in _NO_MEMORY) else "error"
            raise TrainingError(f"{type(error).__name__}: {error}", kind=kind) from error


def make_task(job: Job, arrays: Arrays) -> Task:
    """The job's task; sizes of the job's training go before those of the task's options.

    A task that always reads whole sequences has no ``tbptt``, so that of the training has no
    meaning for it.
    """
    kind = tasks.get(job.task)
    known = {field.name for field in fields(kind.Options)}
    options = dict(job.task_options)
    for name, size in (("batch_size", job.training.batch_size), ("tbptt", job.training.tbptt)):
        if size and name in known:
            options[name] = size
    return kind.create(options, arrays)


def cell_factory(genome: Genome, training: Training) -> CellFactory:
    """What builds the recurrent layer of a candidate for a task's model."""

    def build(input_size: int) -> nn.Module:
        return compile_cell(
            genome,
            input_size=input_size,
            hidden_size=training.hidden_size,
            num_layers=training.num_layers,
            dropout=training.dropout,
            variational_dropout=training.variational_dropout,
            bidirectional=training.bidirectional,
            backend=training.backend,
            dtype=_DTYPES[training.dtype],
        )

    return CellFactory(
        build,
        hidden_size=training.hidden_size,
        directions=2 if training.bidirectional else 1,
        dropout=training.dropout,
        square=bool(requires_square(genome)),
        cross_entropy=fused_linear_cross_entropy,
    )


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

    def __init__(self, job: Job, arrays: Arrays) -> None:
        check_training(job.training, tasks.get(job.task))
        self.job = job
        self.guard = Guard(job.limits)
        self.started = time.perf_counter()
        self.task = make_task(job, arrays)
        genome = Genome.from_json(job.genome)
        dtype = _DTYPES[job.training.dtype]
        self.model = self.task.model(cell_factory(genome, job.training)).to(dtype)
        self.relaxed = gates.attach(self.model, genome, self._layer(), job.training.relaxation)
        self.parameters = list(self.model.parameters())
        self.guard.check_size(sum(p.numel() for p in self.parameters), dtype.itemsize)
        self.optimizer = FlatAdam(
            self.parameters,
            job.training.learning_rate,
            weight_decay=job.training.weight_decay,
            max_norm=job.training.clip_norm or None,
        )
        if job.resume:
            self.progress = restore(job.resume, job, self.model, self.optimizer)
        else:
            self.progress = Progress(
                inherited=inherit(job.inherit, self.model) if job.inherit else 0
            )
            if job.inherit and job.quiet:
                quiet_start(job.inherit, genome, self._layer())
            if job.inherit and self.relaxed is not None:
                self.relaxed.adopt()
        if job.steps < self.progress.step:
            raise ConfigError(
                f"{self.progress.step} steps are done already, {job.steps} are granted",
                where="steps",
                hint="grant more",
            )
        self.guard.first_loss = self.progress.first_loss
        self.seconds_before = self.progress.seconds
        window = max(1, (job.steps - self.progress.step) // _SALIENCY_SHARE)
        # With patience nobody knows which steps will be the last, so all count.
        first = self.progress.step + 1 if job.training.patience else job.steps - window + 1
        self.meter = ConnectionMeter(genome, self._layer(), first) if job.connections else None
        wanted = (
            connection_weights(genome, self._layer())
            if job.training.gate_penalty and self.relaxed is None
            else {}
        )
        self.gates = [
            weight
            for name, weights in wanted.items()
            if name.endswith(".scale")
            for weight in weights
        ]

    def _layer(self) -> nn.Module:
        layer = self.model.cell
        assert isinstance(layer, nn.Module)
        return layer

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
            store(job.checkpoint, job, self.model, self.optimizer, progress)
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
        if self.gates:
            # Backward on its own, after the meter has read the gradient of the loss alone.
            penalty = (
                job.training.gate_penalty * torch.stack([gate.abs() for gate in self.gates]).sum()
            )
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

    def _out_of_patience(self) -> bool:
        """Whether the last ``patience`` validations brought nothing better; decided by the curve,
        so the same after a resume.
        """
        patience, scores = self.job.training.patience, [score for _, score in self.progress.curve]
        return bool(patience and scores) and len(scores) - 1 - scores.index(min(scores)) >= patience

    def _validate(self) -> None:
        progress = self.progress
        if self.relaxed is not None:
            self.relaxed.settle()
        score, metric = self.task.score(self.model, "valid")
        self.guard.check_score(progress.step, score)
        self.guard.check_resources(progress.step)
        progress.curve.append((progress.step, score))
        if score <= progress.best_score:  # of equal scores the later one, which is trained longer
            progress.best_step, progress.best_score, progress.best_metric = (
                progress.step,
                score,
                metric,
            )
            progress.best_weights = {
                name: tensor.clone() for name, tensor in self.model.state_dict().items()
            }

    def _result(self) -> Result:
        progress = self.progress
        metrics = {
            "train_loss": progress.train_loss,
            "best_step": float(progress.best_step),
            "inherited": float(progress.inherited),
        }
        metrics |= _predicted(self._layer())
        if self.job.test:
            assert progress.best_weights is not None
            self.model.load_state_dict(progress.best_weights)
            metrics["test_score"], metrics["test_metric"] = self.task.score(self.model, "test")
        return Result(
            score=progress.best_score,
            metric=progress.best_metric,
            steps=progress.step,
            seconds=progress.seconds,
            parameters=sum(p.numel() for p in self.parameters),
            cell_parameters=sum(p.numel() for p in self._layer().parameters()),
            curve=tuple(progress.curve),
            metrics=metrics,
            connections=self._connections(),
            checkpoint=self.job.checkpoint,
        )

    def _connections(self) -> Mapping[str, Connection]:
        """What was learned about each connection, with the weights at the end of the training."""
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


def check_training(training: Training, task: type[Task] | None = None) -> None:
    """Raise :class:`ConfigError` for settings with which nothing can be trained (for this task),
    whatever the cell.
    """
    if training.relaxation not in gates.RELAXATIONS:
        allowed = "allowed: " + ", ".join(gates.RELAXATIONS)
        raise ConfigError(
            f"{training.relaxation!r} is no relaxation of gates",
            where="training.relaxation",
            hint=allowed,
        )
    if training.dtype not in _DTYPES:
        raise ConfigError(
            f"{training.dtype!r} is not a dtype for training",
            where="training.dtype",
            hint="allowed: " + ", ".join(_DTYPES),
        )
    least = {
        "hidden_size": 1,
        "num_layers": 1,
        "evaluations": 1,
        "clip_norm": 0,
        "weight_decay": 0,
        "gate_penalty": 0,
        "batch_size": 0,
        "tbptt": 0,
        "patience": 0,
    }
    for name, bound in least.items():
        value = getattr(training, name)
        if not value >= bound:
            raise ConfigError(
                f"{value} is too small", where=f"training.{name}", hint=f"use {bound} or more"
            )
    if not 0 < training.learning_rate < math.inf:
        raise ConfigError(
            f"{training.learning_rate} is no rate",
            where="training.learning_rate",
            hint="use a number above 0",
        )
    for name in ("dropout", "variational_dropout"):
        if not 0 <= getattr(training, name) < 1:
            raise ConfigError(
                f"{getattr(training, name)} is not a share",
                where=f"training.{name}",
                hint="use 0 to less than 1",
            )
    if training.backend not in ("auto", *backends.names()):
        hint = "allowed: " + ", ".join(("auto", *backends.names()))
        raise ConfigError(
            f"there is no backend {training.backend!r}", where="training.backend", hint=hint
        )
    if task is not None and training.bidirectional and not task.bidirectional:
        raise ConfigError(
            f"task {task.name} cannot be read in both directions",
            where="training.bidirectional",
            hint="set it to false",
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Results are bit-identical for one number of threads only, and workers share the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
