"""What a search needs of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cellsearch.schedules import Schedule
from cellsearch.settings import Allowance, Limits, Prefilter, Training
from cellsearch.space import SearchSpace
from cellsearch.strategies.base import Strategy

__all__ = ["SearchedExperiment"]


class SearchedExperiment(Protocol):
    """The side of :class:`cellsearch.experiment.Experiment` that a search sees."""

    @property
    def name(self) -> str:
        """What the experiment is called."""

    @property
    def space(self) -> SearchSpace:
        """Which genomes are legal."""

    @property
    def strategy(self) -> Strategy:
        """What proposes them."""

    @property
    def schedule(self) -> Schedule:
        """What grants them training."""

    @property
    def task(self) -> str:
        """Name of the task."""

    @property
    def task_options(self) -> Mapping[str, Any]:
        """Options of the task."""

    @property
    def training(self) -> Training:
        """How every candidate is trained; its ``steps`` are the full budget."""

    @property
    def limits(self) -> Limits:
        """Bounds of each candidate."""

    @property
    def prefilter(self) -> Prefilter:
        """Checks of untrained candidates."""

    @property
    def allowance(self) -> Allowance:
        """What the search may use up."""

    @property
    def trials(self) -> int:
        """How many trials there shall be in all, baselines and duplicates included, those that a
        check before training rejects not.
        """

    @property
    def seed(self) -> int:
        """Decides everything random."""

    @property
    def deterministic(self) -> bool:
        """Whether the outcome must not depend on the number of workers, nor on interruptions."""

    @property
    def lookahead(self) -> int:
        """In a deterministic search, the number of trials that may be under way at the same
        time.
        """

    @property
    def baselines(self) -> Sequence[str]:
        """Names of zoo cells that are the first trials."""

    def to_toml(self) -> str:
        """The resolved text."""
