"""Who takes part in finals, and how all of them are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cellsearch.genome.device import DeviceLimits
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Limits, Training

__all__ = ["FIRST_SEED", "SWEEP_SEED", "Finalist", "Protocol", "make_job"]

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
WIDEST = 64.0
RATES_OF_BEFORE = (0.5, 1.0, 2.0)
"""What version 0.1 tried, with one seed, and no others."""
SWEEP_SEED, FIRST_SEED = 10_000, 20_000


@dataclass(frozen=True, slots=True)
class Finalist:
    """A cell that takes part."""

    name: str
    """What the table calls it."""
    genome: Genome | None
    """The cell; ``None`` for what is none."""
    baseline: bool = False
    """Whether found cells are compared against it."""
    body: str = ""
    """What it is in place of a cell, see :mod:`cellsearch.training.bodies`."""

    @property
    def form(self) -> str:
        """What is trained, as text: the JSON form of the cell, or the name of what is none."""
        return self.body if self.genome is None else self.genome.to_json()


@dataclass(frozen=True, slots=True)
class Protocol:
    """How all of them are trained."""

    task: str
    """Name of the task."""
    task_options: Mapping[str, Any]
    """Its options."""
    training: Training
    """Steps and all else; hidden size and learning rate are set for each cell."""
    limits: Limits
    """Bounds of each training."""
    seeds: int = 5
    """Trainings of each cell that count."""
    rates: tuple[float, ...] = RATES
    """Factors of the learning rate that the sweep tries first."""
    widest: float = WIDEST
    """The sweep goes on below the lowest and above the highest of them, while the best one is at
    the edge, up to this factor either way; 1: it does not."""
    sweep_seeds: int = 0
    """Trainings of each rate in the sweep; 0: one, and up to three where noise decides."""
    device: DeviceLimits | None = None
    """For which device costs are measured; with bounds, each cell is as large as fits them."""

    @property
    def as_before(self) -> Protocol:
        """The same with the sweep of version 0.1, so that finals which it began can go on."""
        return replace(self, rates=RATES_OF_BEFORE, widest=1.0, sweep_seeds=1)

    @property
    def is_as_before(self) -> bool:
        """Whether the sweep is that of version 0.1."""
        return self == self.as_before


def make_job(
    finalist: Finalist, protocol: Protocol, training: Training, seed: int, *, test: bool
) -> Job:
    """One training of a finalist."""
    return Job(
        trial=0,
        rung=0,
        genome="" if finalist.genome is None else finalist.genome.to_json(),
        task=protocol.task,
        task_options=protocol.task_options,
        training=training,
        steps=training.steps,
        seed=seed,
        limits=protocol.limits,
        test=test,
        device=None if finalist.body else protocol.device,
        body=finalist.body,
    )
