"""A trained model for a command: read from a run's checkpoint, or trained now under a stated
protocol.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cellsearch.training import checkpoint
from cellsearch.runs.weights import has_weights
from cellsearch.errors import CheckpointError, ConfigError
from cellsearch.training.loop import cell_factory, evaluate, make_task
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.settings import Training
from cellsearch.training.gates import PREFIX as GATES

if TYPE_CHECKING:
    from torch import nn

    from cellsearch.runs.locate import Located
    from cellsearch.tasks.base import Arrays, Task
    from cellsearch.trial import Result

__all__ = ["Trained", "checkpoint_path", "load_arrays", "load_trained", "train", "trained_job"]


@dataclass(frozen=True)
class Trained:
    """A model with the weights of its best validation, and the task that it was trained for."""

    model: nn.Module
    task: Task
    job: Job


def checkpoint_path(located: Located) -> Path:
    """The file with the weights of a run's trial. Raises :class:`ConfigError` if the cell is no
    trial or its weights were not kept.
    """
    if located.run is None or located.trial is None:
        raise ConfigError(f"{located.label} is not a trial of a run, so it has no trained weights", hint="name a run folder, or RUN:TRIAL")
    folder = located.run.folder
    if not has_weights(located) or located.trial.result is None:
        raise ConfigError(
            f"the weights of trial {located.trial.number} were not kept",
            where=str(folder),
            hint=f"a run keeps those of its best trials (cellsearch ls {folder}); cellsearch evaluate trains any cell anew",
        )
    return folder / located.trial.result.checkpoint


def trained_job(path: Path, steps: int) -> Job:
    """What a checkpoint was trained for. Raises :class:`CheckpointError` if it does not say so."""
    identity = checkpoint.read(path).meta.get("identity")
    if not isinstance(identity, Mapping):
        raise CheckpointError("the checkpoint does not say what was trained", where=str(path), hint="train the cell again")
    known = {field.name for field in fields(Training)}
    try:
        training = Training(**{name: value for name, value in identity["training"].items() if name in known}, steps=steps)
        return Job(
            trial=0,
            rung=0,
            genome=identity["genome"],
            task=identity["task"],
            task_options=identity["task_options"],
            training=training,
            steps=steps,
            seed=identity["seed"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint does not say what was trained: {error}", where=str(path), hint="train the cell again"
        ) from error


def load_arrays(job: Job) -> Arrays:
    """The data of a job's task."""
    from cellsearch import tasks

    return tasks.get(job.task).load(job.task_options)


def load_trained(path: Path, job: Job, arrays: Arrays) -> Trained:
    """The model that :func:`cellsearch.training.loop.evaluate` has written to ``path``, ready to be
    used.

    Raises :class:`CheckpointError` for a damaged file and for one whose weights do not fit the job.
    """
    task = make_task(job, arrays)
    model = task.model(cell_factory(Genome.from_json(job.genome), job.training))
    try:
        weights = checkpoint.read(path).weights()
        # What trained the connection gates is not part of the model: their values are in the cell's
        # own weights.
        model.load_state_dict({name: tensor for name, tensor in weights.items() if not name.startswith(f"{GATES}.")})
    except RuntimeError as error:
        raise CheckpointError(f"the weights do not fit the cell: {error}", where=str(path), hint="train the cell again") from error
    return Trained(model.eval(), task, job)


def train(job: Job, arrays: Arrays, progress: Callable[[int, float], None] | None = None) -> tuple[Trained, Result]:
    """Train now, and return the model with its best weights."""
    with tempfile.TemporaryDirectory(prefix="cellsearch-") as folder:
        path = Path(folder) / "trained.safetensors"
        job = replace(job, checkpoint=str(path))
        result = evaluate(job, arrays, progress=progress)
        return load_trained(path, job, arrays), result
