"""What every strategy is: a pure function from the history to the next proposal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from cellsearch.history import History
from cellsearch.options import check_options
from cellsearch.space import SearchSpace
from cellsearch.trial import Proposal

__all__ = ["Strategy"]


class Strategy(ABC):
    """Proposes genomes. Subclasses are frozen dataclasses: their fields are the options of the
    experiment, nothing else, and say in their annotations what they allow (see
    :mod:`cellsearch.options`).

    A strategy keeps nothing between calls: the same ``space``, ``history`` and state of ``rng``
    give the same proposal, so a run resumes by opening its store. ``name`` is what experiments call
    it; ``paper`` says where it comes from.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    wants_connections: ClassVar[bool] = False
    """Whether training returns gate and saliency of each connection."""
    starts_from_seeds: ClassVar[bool] = False
    """Whether the seed genomes of the space are proposed first."""
    quiet_start: ClassVar[bool] = False
    """Whether new weights of a cell that inherits start so that it computes what its parent did,
    where its ops allow that.
    """
    is_outside: ClassVar[bool] = False
    """Whether it proposes nothing itself: its cells are told the run (``cellsearch tell``)."""
    before: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """What options mean in runs that were begun before there were these options, where that is not
    their default.
    """

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def minimised(self) -> tuple[str, ...]:
        """What it minimises, by name: several for a strategy that keeps a Pareto front."""
        return ("score",)

    @property
    def perturbation(self) -> int:
        """On how many validation batches training removes each connection of a cell with
        connection gates; 0: not at all.
        """
        return 0

    # most have nothing to check
    def check(self, space: SearchSpace, tasks: Collection[str] = ()) -> None:  # noqa: B027
        """Raise :class:`ConfigError` for options that this space, or the suite of these tasks, does
        not allow.

        Called before a search begins, so that nothing is trained for one that cannot go on.
        """

    @abstractmethod
    def propose(
        self, space: SearchSpace, history: History, rng: np.random.Generator
    ) -> Proposal | None:
        """The next proposal; ``None`` when nothing can be proposed before a trial in flight ends,
        or ever again if none is.

        ``rng`` is ``default_rng([seed, trial_number, attempt])``: after a duplicate the strategy is
        asked again with the next attempt.
        """
