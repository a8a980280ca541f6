"""A trained model: read from a run's checkpoint, or trained now under a stated protocol."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import nn

from cellsearch.errors import CheckpointError, ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Training
from cellsearch.tasks.base import Arrays, CellFactory, Task
from cellsearch.tasks.heads import SequenceModel
from cellsearch.training import checkpoint, evaluate, prepare
from cellsearch.training.checkpoint import Checkpoint
from cellsearch.training.gates import PREFIX as GATES
from cellsearch.training.model import DTYPES, cell_factory, described_model, make_task
from cellsearch.trial import Result

__all__ = ["Trained", "load_arrays", "load_described", "load_trained", "train", "trained_job"]


@dataclass(frozen=True)
class Trained:
    """A model with the weights of its best validation."""

    model: nn.Module
    """Embedding, recurrent layer and readout, in evaluation mode."""
    task: Task
    """What it was trained for, with its data: ``task.score(model, "valid")``."""
    job: Job
    """How it was trained."""


def trained_job(path: Path, steps: int) -> Job:
    """What a checkpoint was trained for. Raises :class:`CheckpointError` if it does not say so."""
    identity = checkpoint.read(path).meta.get("identity")
    if not isinstance(identity, Mapping):
        raise CheckpointError(
            "the checkpoint does not say what was trained",
            where=str(path),
            hint="train the cell again",
        )
    known = {field.name for field in fields(Training)}
    try:
        said = {name: value for name, value in identity["training"].items() if name in known}
        return Job(
            trial=0,
            rung=0,
            genome=identity["genome"],
            task=identity["task"],
            task_options=identity["task_options"],
            training=Training(**said, steps=steps),
            steps=steps,
            seed=identity["seed"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint does not say what was trained: {error}",
            where=str(path),
            hint="train the cell again",
        ) from error


def load_arrays(job: Job) -> Arrays:
    """The data of a job's task."""
    return prepare(job.task, job.task_options).arrays


def load_trained(path: Path, job: Job, arrays: Arrays) -> Trained:
    """The model that :func:`cellsearch.training.evaluate` has written to ``path``, ready to be
    used.

    Raises :class:`CheckpointError` for a damaged file and for one whose weights do not fit the job.
    """
    task = make_task(job, arrays)
    model = task.model(_factory(job))
    if isinstance(model, SequenceModel):
        try:
            model.described = task.interface()
        except ConfigError as error:
            model.described = error  # what it computes is known, what it means is not
    _load_weights(model, checkpoint.read(path), job, path)
    return Trained(model, task, job)


def load_described(path: Path, job: Job) -> nn.Module | None:
    """The model of a checkpoint, without the data of its task; ``None`` where the checkpoint does
    not say what it takes: it was written by version 0.1, or the task has a model of its own.

    Raises :class:`CheckpointError` as :func:`load_trained` does.
    """
    stored = checkpoint.read(path)
    model = described_model(stored.meta, stored.weights(), _factory(job), str(path))
    if model is not None:
        _load_weights(model, stored, job, path)
    return model


def _factory(job: Job) -> CellFactory:
    """What builds the layers of a trained model. They compute in float32 whatever they were trained
    in: so does all that is written of the weights.
    """
    return cell_factory(Genome.from_json(job.genome), replace(job.training, precision="float32"))


def _load_weights(model: nn.Module, stored: Checkpoint, job: Job, path: Path) -> None:
    """Fill a model with its best weights, in evaluation mode."""
    model.to(DTYPES[job.training.dtype])
    # What trained the connection gates is not part of the model: their values are in the cell's own
    # weights.
    weights = {
        name: tensor
        for name, tensor in stored.weights().items()
        if not name.startswith(f"{GATES}.")
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights do not fit the cell: {error}",
            where=str(path),
            hint="train the cell again",
        ) from error
    model.eval()


def train(
    job: Job, arrays: Arrays, progress: Callable[[int, float], None] | None = None
) -> tuple[Trained, Result]:
    """Train now, and return the model with its best weights."""
    with tempfile.TemporaryDirectory(prefix="cellsearch-") as folder:
        path = Path(folder) / "trained.safetensors"
        job = replace(job, checkpoint=str(path))
        result = evaluate(job, arrays, progress=progress)
        return load_trained(path, job, arrays), result
