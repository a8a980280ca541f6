"""Recall across episodes: sequences that start afresh at places that x does not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cellsearch.options import at_least, between
from cellsearch.tasks.base import Split
from cellsearch.tasks.options import TaskOptions
from cellsearch.tasks.synthetic import NOTHING, Example, RecallTask

__all__ = ["Episodes", "EpisodesOptions"]

SYMBOLS = 8


@dataclass(frozen=True, slots=True)
class EpisodesOptions(TaskOptions):
    """Options of :class:`Episodes`."""

    length: Annotated[int, at_least(2)] = 40
    """T of the sequences, which hold several episodes each."""
    ends: Annotated[float, between(0, 1)] = 0.15
    """Probability that an episode ends before a step."""
    evaluation_size: Annotated[int, at_least(1)] = 500
    """Examples of each evaluation set."""


class Episodes(RecallTask):
    """Which symbol did this episode begin with?

    Own definition, after the segments of reinforcement learning, which hold several episodes
    (Kapturowski et al. 2019, R2D2): a random symbol of 8 at each step; before each step the episode
    ends with probability ``ends``, which x does not show, only ``reset`` does. The target at every
    other step of an episode is the symbol that it began with. Score: cross-entropy there, in nats.
    Metric: accuracy there; guessing gives 1/8, and so does a state that is not reset, but for the
    first episode.
    """

    name: ClassVar[str] = "episodes"
    metric: ClassVar[str] = "recall accuracy"
    summary: ClassVar[str] = "recall what each episode of a sequence began with (resets, T = 40)"
    source: ClassVar[str] = "own definition, segments as in Kapturowski et al. 2019, ICLR"
    Options: ClassVar[type[EpisodesOptions]] = EpisodesOptions
    options: EpisodesOptions
    tokens = SYMBOLS
    symbols = tuple("abcdefgh")

    @classmethod
    def generate(
        cls, rng: np.random.Generator, options: EpisodesOptions, count: int, length: int
    ) -> Example:
        """``x [T, B]``, ``y [T, B]`` and the resets."""
        x = rng.integers(0, SYMBOLS, (length, count))
        reset = rng.random((length, count)) < options.ends
        reset[0] = True
        begun = np.maximum.accumulate(np.where(reset, np.arange(length)[:, None], 0))
        y = np.where(reset, NOTHING, np.take_along_axis(x, begun, 0))
        return x, y, {"reset": reset}

    @classmethod
    def evaluation_lengths(cls, options: EpisodesOptions, split: Split) -> tuple[int, ...]:
        """One length for all."""
        return (options.length,)

    def training_length(self, rng: np.random.Generator) -> int:
        """The same length."""
        return self.options.length
