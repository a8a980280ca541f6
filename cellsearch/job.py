"""What crosses the border to a worker process, and what comes back: plain data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cellsearch.settings import Limits, Prefilter, Training

__all__ = ["Budget", "Connection", "Failure", "Job", "JobId", "Outcome", "Result"]


class JobId(NamedTuple):
    """Which training of which candidate."""

    trial: int
    """Number of the trial."""
    rung: int
    """Which of its budgets."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much training is granted."""

    steps: int
    """Optimizer steps in total, those of earlier rungs included."""
    rung: int = 0
    """Which rung this is."""


@dataclass(frozen=True, slots=True)
class Job:
    """Train one candidate under one budget. Everything in it is plain data: it can be written as
    JSON. Paths are absolute.
    """

    trial: int
    """Number of the trial."""
    rung: int
    """Which of its budgets."""
    genome: str
    """JSON form of the candidate."""
    task: str
    """Name of the task."""
    task_options: Mapping[str, Any]
    """Options of the task."""
    training: Training
    """How candidates are trained."""
    steps: int
    """Optimizer steps in total, those of the checkpoint that ``resume`` names included."""
    seed: int
    """Decides weights and batches."""
    limits: Limits = field(default_factory=Limits)
    """Bounds of this training."""
    checkpoint: str = ""
    """Where to write the weights; ``""``: nowhere."""
    resume: str = ""
    """Checkpoint of the rung below, to go on from; ``""``: none."""
    inherit: str = ""
    """Checkpoint of a parent whose equally named weights are taken over; ``""``: none."""
    quiet: bool = False
    """Whether weights that the parent does not have start so that the cell computes what the parent
    did, where its ops allow that.
    """
    connections: bool = False
    """Whether gates and saliencies are wanted in the result."""
    perturbation: int = 0
    """On how many validation batches each connection is removed for a moment; 0: not at all."""
    test: bool = False
    """Whether the test split is read once at the end, with the weights that validation chose
    (``metrics["test_score"]``, ``metrics["test_metric"]``).
    """
    prefilter: Prefilter = field(default_factory=Prefilter)
    """What the untrained cell must pass."""
    targets: tuple[float, ...] = ()
    """Over a suite, the score of each task that counts as 1."""

    @property
    def id(self) -> JobId:
        """Which job this is."""
        return JobId(self.trial, self.rung)


@dataclass(frozen=True, slots=True)
class Connection:
    """What training learned about one connection; :class:`Result` keys it by the weight's name."""

    gate: float
    """Size of its weight: |scale| of a gated candidate, root mean square of a dense block."""
    saliency: float
    """First-order Taylor estimate of the loss added by removing it, |sum of w * dL/dw| (Molchanov
    et al. 2017, eq. 8).
    """
    perturbation: float | None = None
    """Validation loss without it minus that with it (Wang et al. 2021, section 4); ``None``: was
    not measured.
    """


@dataclass(frozen=True, slots=True)
class Result:
    """What training returns."""

    score: float
    """Lower is better."""
    metric: float
    """The task's own number."""
    steps: int
    """Optimizer steps done."""
    seconds: float
    """Training time."""
    parameters: int
    """Trainable weights of the whole model."""
    cell_parameters: int
    """Trainable weights of the recurrent layers."""
    curve: tuple[tuple[int, float], ...] = ()
    """(step, validation score) of each validation."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Further numbers by name, finite or not."""
    connections: Mapping[str, Connection] = field(default_factory=dict)
    """What was learned about each connection, by the name of its weight."""
    checkpoint: str = ""
    """Path of the weights, relative to the run; ``""`` for none."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial has no result."""

    kind: str
    """nan, diverged, timeout, memory, crash, invalid, prefilter or error."""
    message: str
    """The same for people."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a result or a failure, never both."""

    trial: int
    """Number of the trial."""
    rung: int
    """Which of its budgets."""
    result: Result | None = None
    """What training gave."""
    failure: Failure | None = None
    """Why it gave nothing."""
    worker: str = ""
    """Who did it."""
    wall_seconds: float = 0.0
    """How long it took."""

    @property
    def id(self) -> JobId:
        """The job that this is the outcome of."""
        return JobId(self.trial, self.rung)
