"""A training that can be put down and taken up: what goes into a checkpoint, and how it comes
back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from cellsearch.errors import CheckpointError
from cellsearch.job import Job, Training
from cellsearch.optimizer import FlatAdam
from cellsearch.options import table_of
from cellsearch.training import checkpoint

__all__ = ["Progress", "detached", "identity", "inherit", "restore", "store"]

Carried = Tensor | tuple[Tensor, ...] | None
# How long training is, where it is validated and how the cell is run do not change what a step
# does.
_NOT_IDENTITY = frozenset({"steps", "evaluations", "patience", "backend"})
_TENSORS = ("best_weights", "state")


@dataclass
class Progress:
    """How far a training has come."""

    step: int = 0
    """Optimizer steps done."""
    seconds: float = 0.0
    """Wall clock of all sittings."""
    first_loss: float | None = None
    """Training loss of the first step."""
    train_loss: float = float("nan")
    """Training loss, averaged over the last steps."""
    inherited: int = 0
    """How many tensors came from a parent."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Step and score of each validation."""
    best_step: int = -1
    """Step of the best validation so far; -1 before the first."""
    best_score: float = float("inf")
    """Its score."""
    best_metric: float = float("nan")
    """Its metric."""
    best_weights: dict[str, Tensor] | None = None
    """The model's weights then; ``None`` before the first."""
    state: Carried = None
    """Recurrent state carried to the next segment, detached."""


_NUMBERS = tuple(f.name for f in fields(Progress) if f.name not in _TENSORS)
"""What of the progress stands in the description of a checkpoint, as it is."""


def identity(job: Job) -> dict[str, Any]:
    """What must be the same for a training to be taken up: the candidate, the data, and how a step
    is done.
    """
    training = {
        name: value for name, value in table_of(job.training).items() if name not in _NOT_IDENTITY
    }
    plain = {
        "genome": job.genome,
        "task": job.task,
        "task_options": dict(job.task_options),
        "training": training,
        "seed": job.seed,
    }
    return dict(json.loads(json.dumps(plain)))


def _with_defaults(found: Any) -> Any:
    """An identity from a checkpoint; settings that did not exist when it was written had the effect
    of their defaults.
    """
    if not isinstance(found, Mapping) or not isinstance(found.get("training"), Mapping):
        return found
    defaults = {
        name: value for name, value in table_of(Training()).items() if name not in _NOT_IDENTITY
    }
    return {**found, "training": {**defaults, **found["training"]}}


def detached(state: Any) -> Carried:
    """The carried state without its history, so that gradients end at the border of a segment."""
    if state is None:
        return None
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


def store(
    path: str,
    job: Job,
    model: nn.Module,
    optimizer: FlatAdam,
    progress: Progress,
    described: Mapping[str, Any],
) -> None:
    """Write everything that the next step depends on, and the best weights.

    described: what :func:`cellsearch.training.model.description` says of the model.

    The optimizer's part is named and shaped as that of ``torch.optim.AdamW``: one number of steps
    and two moments a weight.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if progress.best_weights is not None and progress.best_step != progress.step:
        tensors |= {f"best.{name}": tensor for name, tensor in progress.best_weights.items()}
    moments = optimizer.state
    for name, parameter in model.named_parameters():
        for key, value in moments[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    carried = progress.state
    parts = () if carried is None else (carried,) if isinstance(carried, Tensor) else carried
    tensors |= {f"state.{k}": part for k, part in enumerate(parts)}
    tensors["rng"] = torch.get_rng_state()
    meta = {
        "identity": identity(job),
        "environment": {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "device": "cpu",
        },
        "state": "none"
        if carried is None
        else "tensor"
        if isinstance(carried, Tensor)
        else "tuple",
        "progress": {name: getattr(progress, name) for name in _NUMBERS},
        **described,
    }
    checkpoint.write(path, tensors, meta)


def restore(path: str, job: Job, model: nn.Module, optimizer: FlatAdam) -> Progress:
    """Put model, optimizer and random generator back to where :func:`store` left them.

    Raises :class:`CheckpointError` for a damaged file, and for the checkpoint of another candidate,
    task or training.
    """
    stored = checkpoint.read(path)
    expected, found = identity(job), _with_defaults(stored.meta.get("identity"))
    if not isinstance(found, Mapping) or found != expected:
        other = [
            name
            for name in expected
            if not isinstance(found, Mapping) or found.get(name) != expected[name]
        ]
        raise CheckpointError(
            f"the checkpoint belongs to another training: {', '.join(other)} differ",
            where=path,
            hint="resume what was started, or train from scratch",
        )
    try:
        model.load_state_dict(stored.group("model."))
        _restore_optimizer(stored, model, optimizer)
        torch.set_rng_state(stored.tensors["rng"])
        parts = tuple(stored.tensors[f"state.{k}"] for k in range(len(stored.group("state."))))
        kind = stored.meta["state"]
        values = dict(stored.meta["progress"])
        values["curve"] = [(int(step), float(score)) for step, score in values["curve"]]
        progress = Progress(
            **values, state=None if kind == "none" else parts[0] if kind == "tensor" else parts
        )
        if progress.best_step >= 0:
            progress.best_weights = stored.weights()
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint does not hold what a training needs: {error}",
            where=path,
            hint="train the cell again",
        ) from error
    return progress


def _restore_optimizer(
    stored: checkpoint.Checkpoint, model: nn.Module, optimizer: FlatAdam
) -> None:
    tensors = stored.group("optimizer.")
    state: dict[nn.Parameter, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        found = {
            key.partition(".")[0]: value
            for key, value in tensors.items()
            if key.partition(".")[2] == name
        }
        if found:
            state[parameter] = found
    optimizer.load_state(state)


def inherit(parent: checkpoint.Checkpoint, model: nn.Module) -> int:
    """Take over the weights of another training (its best) that have the same name and shape here;
    returns how many tensors.
    """
    given = parent.weights()
    taken = 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in given and given[name].shape == parameter.shape:
                parameter.copy_(given[name])
                taken += 1
    return taken
