"""What crosses the border to a worker process, and what comes back: plain data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cellsearch.settings import Limits, Prefilter, Training
from cellsearch.trial import Failure, Result

__all__ = ["Job", "Outcome"]


@dataclass(frozen=True, slots=True)
class Job:
    """Train one candidate under one budget. Everything in it is plain data: it can be written as
    JSON.

    ``genome``: JSON form; ``steps``: optimizer steps in total, including those of the checkpoint
    that ``resume`` names; ``checkpoint``: where to write one (``""``: nowhere); paths are absolute;
    ``inherit``: checkpoint of a parent whose equally named weights are taken over (``""``: none);
    ``quiet``: whether weights that the parent does not have start so that the cell computes what
    the parent did, where its ops allow that; ``connections``: whether gates and saliencies are
    wanted in the result; ``perturbation``: on how many validation batches each connection is
    removed for a moment (0: not at all); ``test``: whether the test split is read once at the end,
    with the weights that validation chose (``metrics["test_score"]``, ``metrics["test_metric"]``);
    ``prefilter``: what the untrained cell must pass.
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
    quiet: bool = False
    connections: bool = False
    perturbation: int = 0
    test: bool = False
    prefilter: Prefilter = field(default_factory=Prefilter)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a result or a failure, never both. ``worker`` names who did it,
    ``wall_seconds`` how long it took.
    """

    trial: int
    rung: int
    result: Result | None = None
    failure: Failure | None = None
    worker: str = ""
    wall_seconds: float = 0.0
