"""What crosses the border to a worker process, and what comes back: plain data only (DESIGN 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cellsearch.trial import Failure, Result

__all__ = ["Job", "Limits", "Outcome", "Training"]


@dataclass(frozen=True, slots=True)
class Training:
    """How every candidate and every baseline is trained; the same for all of them within a run.

    ``hidden_size`` H; ``tbptt``: positions a segment of truncated backpropagation through time (0: the task's own);
    ``clip_norm``: largest global gradient norm (0: no clipping); ``evaluations``: validations a budget, the last at its end;
    ``dtype``: ``"float32"`` or ``"float64"``; ``weight_decay``, ``dropout``: 0 to leave out; ``gate_penalty``: L1 on ``scale`` weights.
    """

    steps: int = 300
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    batch_size: int = 0
    tbptt: int = 0
    learning_rate: float = 4e-3
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    gate_penalty: float = 0.0
    evaluations: int = 4
    backend: str = "auto"
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one candidate; 0 means none. ``seconds``: wall clock; ``memory_mb``: resident memory added by the training."""

    seconds: float = 0.0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """Train one candidate under one budget. Everything in it is plain data: it can be written as JSON.

    ``genome``: JSON form; ``steps``: optimizer steps in total, including those of the checkpoint that ``resume`` names;
    ``checkpoint``: where to write one (``""``: nowhere); paths are absolute; ``inherit``: checkpoint of a parent whose equally
    named weights are taken over (``""``: none); ``connections``: whether gates and saliencies are wanted in the result; ``test``: whether
    the test split is read once at the end, with the weights that validation chose (``metrics["test_score"]``, ``metrics["test_metric"]``).
    """

    trial: int
    rung: int
    genome: str
    task: str
    task_options: Mapping[str, Any]
    training: Training
    steps: int
    seed: int
    limits: Limits = field(default_factory=Limits)
    checkpoint: str = ""
    resume: str = ""
    inherit: str = ""
    connections: bool = False
    test: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a result or a failure, never both. ``worker`` names who did it, ``wall_seconds`` how long it took."""

    trial: int
    rung: int
    result: Result | None = None
    failure: Failure | None = None
    worker: str = ""
    wall_seconds: float = 0.0
