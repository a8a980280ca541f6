"""One training: how and within which bounds, as an experiment says it for all candidates, what
crosses the border to a worker process, and what comes back. Plain data only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, cast

from cellsearch.errors import ConfigError, TrainingError
from cellsearch.genome.device import DeviceLimits
from cellsearch.genome.sizes import check_named
from cellsearch.options import OR_INFINITY, UNSAID, above, at_least, between, check_options

__all__ = [
    "MEMORY",
    "SUITE",
    "Allowance",
    "Budget",
    "Connection",
    "Failure",
    "Job",
    "JobId",
    "Limits",
    "Naive",
    "Outcome",
    "Precision",
    "Prefilter",
    "Reevaluation",
    "Result",
    "Training",
    "checked_result",
    "plain_number",
    "plain_text",
]


SUITE = "suite"
"""What the task of an experiment with a suite is called; ``suite:NAME`` in an experiment file names
the suite.
"""
MEMORY = 4
"""Positions over which the gradient of an untrained cell must not vanish altogether. With relu half
of the units may be off at each of them.
"""

Count = Annotated[int, at_least(0)]
Size = Annotated[int, at_least(1)]
Amount = Annotated[float, at_least(0)]
Bound = Annotated[float, at_least(0), OR_INFINITY]
Share = Annotated[float, between(0, 1, open_high=True)]
Precision = Literal["float32", "bf16"]


@dataclass(frozen=True, slots=True)
class Training:
    """How every candidate and every baseline is trained; the same for all of them within a run."""

    steps: Count = 300
    """Optimizer steps of a full training."""
    hidden_size: Size = 64
    """H, of one direction."""
    num_layers: Size = 1
    """Layers on top of each other."""
    bidirectional: bool = False
    """Whether each layer reads in both directions."""
    dropout: Share = 0.0
    """Between layers and before the readout."""
    variational_dropout: Share = 0.0
    """The same units at every position of a segment, recurrent ones too."""
    batch_size: Count = 0
    """B (0: the task's own)."""
    tbptt: Count = 0
    """Positions of a segment of truncated backpropagation through time (0: the task's own)."""
    learning_rate: Annotated[float, above(0)] = 4e-3
    """Of AdamW."""
    clip_norm: Bound = 1.0
    """Largest global gradient norm (0: no clipping)."""
    weight_decay: Amount = 0.0
    """Of AdamW: a step takes this share of a weight, times the learning rate."""
    gate_penalty: Amount = 0.0
    """Added to the loss for each connection gate (``scale`` weight): times its size, or, with
    ``relaxation = "l0"``, times the probability that it is open."""
    relaxation: Literal["none", "l0"] = "none"
    """``"l0"``: hard-concrete gates (:mod:`cellsearch.training.gates`)."""
    evaluations: Size = 4
    """Validations a budget, the last at its end."""
    patience: Count = 0
    """Training ends after so many validations in a row without a better score (0: it does not)."""
    backend: str = "auto"
    """See :mod:`cellsearch.compiler.backends`."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of weights and computation."""
    precision: Annotated[Precision, UNSAID] = "float32"
    """``"bf16"``: both operands of each product of the cell with a matrix are rounded to bfloat16,
    and the products summed in ``dtype``; all else is as it was."""
    sizes: Mapping[str, int | str] | None = None
    """The numbers of the sizes that cells have names for (``size=P``), or fractions of H:
    ``{"P": "H/2", "R": 8}``."""

    def __post_init__(self) -> None:
        check_options(self)
        check_named(self.sizes or {})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one candidate; 0 means none."""

    seconds: Bound = 0.0
    """Wall clock."""
    memory_mb: Count = 0
    """Resident memory added by the training."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Prefilter:
    """Cheap checks of an untrained cell, each off unless asked for; one that fails becomes a failed
    trial of kind ``"prefilter"`` in milliseconds. Measured in :mod:`cellsearch.training.prefilter`.
    """

    gradient: bool = False
    """The norm of the gradient of the output with respect to the states ``positions`` before lies
    within ``gradient_min`` and ``gradient_max``; :data:`MEMORY` positions back it does not vanish.
    """
    growth: bool = False
    """With all weights multiplied by ``growth_scale``, which is where some steps of training may
    take them, no number exceeds ``growth_max`` (exponential growth stays far below it)."""
    output: bool = False
    """The standard deviation of a unit over different inputs exceeds ``output_min`` (a dead cell
    puts out the same whatever it reads)."""
    positions: Annotated[int, at_least(MEMORY + 1)] = 100
    """How far back the gradient is looked at."""
    gradient_min: Amount = 0.0
    """Smallest norm of the gradient."""
    gradient_max: Bound = 1e8
    """Largest norm of the gradient."""
    growth_scale: Annotated[float, at_least(1)] = 4.0
    """What the weights are multiplied by."""
    growth_max: Annotated[float, at_least(1), OR_INFINITY] = 1e100
    """Largest number that may come out then."""
    output_min: Amount = 1e-6
    """Smallest standard deviation of a unit."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.gradient_max < self.gradient_min:
            raise ConfigError(
                f"{self.gradient_max:g} is out of range",
                where="gradient_max",
                hint=f"allowed: a number, at least gradient_min, which is {self.gradient_min:g}",
            )

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return self.gradient or self.growth or self.output


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a whole search may use up, besides its number of trials; 0 means no bound. It can be
    raised when a run is resumed. When one is used up, nothing new begins; what is under way ends.
    """

    hours: Bound = 0.0
    """Wall clock, of all sittings together."""
    steps: Count = 0
    """Optimizer steps of all trials together, as granted; a candidate that fails on the way counts
    in full, so that the sum follows from the decisions alone."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Reevaluation:
    """Who is trained again, with the same budget and new seeds, before it ranks: chance makes the
    best of many trainings look better than its cell is.
    """

    trainings: Size = 1
    """Trainings in all of a cell that leads, and of each baseline; its score is their mean (1: none
    is repeated)."""
    top: Size = 3
    """A cell leads that is among so many best."""
    confidence: Amount = 1.0
    """How many standard errors better than its mean a cell may be, to be taken for one that
    leads."""

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def any(self) -> bool:
        """Whether any training is repeated."""
        return self.trainings > 1


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
    was_under_way: bool = False
    """Whether a process died while it did this job: perhaps the job is why."""
    device: DeviceLimits | None = None
    """For which device costs are wanted in the result; ``None``: they are not."""
    targets: tuple[float, ...] = ()
    """Over a suite, the score of each task that counts as 1."""
    repeat: int = 0
    """Which of several trainings of the same candidate with the same budget, each from scratch and
    with seeds of its own; over a suite it says which of the suite's seeds (0: the first)."""
    body: str = ""
    """What is trained in place of a cell (:mod:`cellsearch.training.bodies`), ``genome`` being
    empty then; ``""``: the cell."""

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
class Naive:
    """What is reached without a cell: by repeating the last value, for example."""

    name: str
    """How, in a few words."""
    score: float
    """As a cell's, on the same data."""
    metric: float
    """The task's own number."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Further numbers by name, as those of :attr:`Result.metrics`."""


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


def checked_result(result: object) -> Result:
    """The result in plain numbers and text, which every store can hold and give back: numbers of
    numpy, tensors of one number and decimals are converted.

    Scores and metrics may be infinite or NaN. Raises :class:`TrainingError` for everything else
    that an evaluation might return.
    """
    if not isinstance(result, Result):
        raise TrainingError(
            f"the evaluation returned a {type(result).__name__}",
            hint="return a cellsearch.job.Result",
        )
    seconds = plain_number(result.seconds, "seconds")
    if not math.isfinite(seconds):
        raise TrainingError(f"seconds is {seconds}", hint="return a finite number")
    if not isinstance(result.checkpoint, str):
        raise TrainingError(
            f"checkpoint is a {type(result.checkpoint).__name__}", hint="return a path as text"
        )
    if plain_text(result.checkpoint) != result.checkpoint:
        raise TrainingError("checkpoint is not valid Unicode", hint="use another path")
    try:
        points = [(step, score) for step, score in result.curve]
        metrics, connections = dict(result.metrics), dict(result.connections)
    except Exception as error:
        raise TrainingError(
            f"curve, metrics or connections of the result cannot be read: {error}",
            hint="return pairs (step, score), and numbers and connections by name",
        ) from error
    return Result(
        score=plain_number(result.score, "score"),
        metric=plain_number(result.metric, "metric"),
        steps=_count(result.steps, "steps"),
        seconds=seconds,
        parameters=_count(result.parameters, "parameters"),
        cell_parameters=_count(result.cell_parameters, "cell_parameters"),
        curve=tuple((_count(n, "curve"), plain_number(score, "curve")) for n, score in points),
        metrics={_name(k): plain_number(v, f"metrics[{k!r}]") for k, v in metrics.items()},
        connections={_name(k): _connection(v) for k, v in connections.items()},
        checkpoint=result.checkpoint,
    )


def plain_number(value: object, name: str) -> float:
    """The value as a float. Raises :class:`TrainingError` for what is not one real number."""
    if type(value) is float:
        return value
    try:
        if isinstance(value, str | bytes | bytearray):
            raise TypeError("text is not a number")
        return float(cast(float, value))
    except Exception as error:
        raise TrainingError(
            f"{name} is a {type(value).__name__} that is not one real number: {error}",
            hint="return a float",
        ) from error


def plain_text(text: str) -> str:
    """The text with lone surrogates, which cannot be stored, as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _count(value: object, name: str) -> int:
    if type(value) is int and 0 <= value < 2**53:
        return value
    number = plain_number(value, name)
    if not (number.is_integer() and 0 <= number < 2**53):
        raise TrainingError(f"{name} is {number}", hint="return a whole number from 0 to 2**53")
    return int(number)


def _name(name: object) -> str:
    if not isinstance(name, str) or plain_text(name) != name:
        raise TrainingError(
            f"the name {name!r} of a metric or connection is not valid text", hint="use plain text"
        )
    return str(name)


def _connection(value: object) -> Connection:
    if not isinstance(value, Connection):
        raise TrainingError(
            f"a connection is a {type(value).__name__}", hint="return cellsearch.job.Connection"
        )
    return Connection(
        plain_number(value.gate, "gate"),
        plain_number(value.saliency, "saliency"),
        None if value.perturbation is None else plain_number(value.perturbation, "perturbation"),
    )
