"""Pixels: which digit is in a picture that is read pixel by pixel, in reading order or in a fixed
disorder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import registry
from cellsearch.tasks.options import TaskOptions, parse_options
from cellsearch.tasks.sequences import SequenceTask, carve

__all__ = ["Pixels", "PixelsOptions", "permutation"]

SIDE = 28
TRAIN, TEST = 60_000, 10_000
SHARE = 12
"""One picture in so many of the official 60,000 is validation."""
PERMUTATION_SEED = 0


@dataclass(frozen=True, slots=True)
class PixelsOptions(TaskOptions):
    """Options of :class:`Pixels`."""

    permuted: bool = False
    """Pixels in a fixed disorder."""
    pool: Annotated[int, at_least(1)] = 4
    """Side of the squares that are averaged first."""
    per_step: Annotated[int, at_least(1)] = 1
    """Pixels read at once."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if SIDE % self.pool:
            raise ConfigError(
                f"{self.pool} does not divide {SIDE}", where="pool", hint="use 1, 2, 4, 7 or 14"
            )
        pixels = (SIDE // self.pool) ** 2
        if pixels % self.per_step:
            raise ConfigError(
                f"{self.per_step} pixels at once do not divide a picture of {pixels}",
                where="per_step",
                hint=f"use 1, or {SIDE // self.pool} for a row at once",
            )


class Pixels(SequenceTask):
    """Which of ten digits is in a picture of 28 x 28 pixels, read one pixel after the other.

    Source: MNIST (LeCun et al. 1998); sequential and permuted: Le, Jaitly & Hinton 2015. ``pool =
    1`` is the task as published, with 784 positions; by default squares of 4 x 4 pixels are
    averaged, which leaves 49 positions and trains in half a minute. ``permuted``: the order is that
    of :func:`permutation`, the same for all pictures. ``pool = 1, per_step = 28`` reads a row at
    once. Split: 10,000 test (official); of the official 60,000 for training one in twelve (5,000)
    is validation. Metric: accuracy; score: error rate. Reference: rows, width 64, one epoch: about
    .97 on the test. Published for 784 positions after long training: LSTM about .98 to .99 in order
    and .88 to .90 permuted (Arjovsky, Shah & Bengio 2016; Cooijmans et al. 2017).
    """

    name: ClassVar[str] = "pixels"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = (
        "which digit is in a picture read pixel by pixel (49 pixels; 784 with pool=1), "
        "also permuted"
    )
    source: ClassVar[str] = "MNIST, LeCun et al. 1998; Le, Jaitly & Hinton 2015, arXiv 1504.00941"
    dataset: ClassVar[str] = "mnist"
    bidirectional: ClassVar[bool] = True
    Options: ClassVar[type[PixelsOptions]] = PixelsOptions
    options: PixelsOptions
    classes = 10

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Standardised pixels (one mean and deviation for all, of the training part), labels,
        split.
        """
        given = parse_options(cls.Options, options)
        images = np.concatenate(
            [
                registry.read_idx(cls.dataset, 0, (TRAIN, SIDE, SIDE)),
                registry.read_idx(cls.dataset, 2, (TEST, SIDE, SIDE)),
            ]
        )
        labels = np.concatenate(
            [
                registry.read_idx(cls.dataset, 1, (TRAIN,)),
                registry.read_idx(cls.dataset, 3, (TEST,)),
            ]
        )
        x = _averaged(images, given.pool)
        if given.permuted:
            x = x[:, permutation(x.shape[1])]
        split = carve(TRAIN, TEST, SHARE)
        seen = x[split == 0]
        mean = seen.mean(dtype=np.float64).astype(np.float32)
        scale = seen.std(dtype=np.float64).astype(np.float32)
        x -= mean
        x /= scale
        steps = x.shape[1] // given.per_step
        lengths = np.full(len(x), steps, dtype=np.int64)
        return {
            "x": x.reshape(-1, given.per_step),
            "y": labels.astype(np.int64),
            "lengths": lengths,
            "split": split,
            "x_mean": np.full(given.per_step, mean, dtype=np.float64),
            "x_scale": np.full(given.per_step, scale, dtype=np.float64),
        }


def permutation(pixels: int) -> NDArray[np.int64]:
    """The disorder of the permuted task: position t reads pixel ``permutation(pixels)[t]``. Always
    the same: numpy's default, seed 0.
    """
    return np.random.default_rng(PERMUTATION_SEED).permutation(pixels)


def _averaged(images: NDArray[np.uint8], pool: int) -> NDArray[np.float32]:
    """Pictures ``[N, 28, 28]`` -> ``[N, (28 / pool) ** 2]``, row by row, between 0 and 255."""
    side = SIDE // pool
    squares = images.reshape(-1, side, pool, side, pool)
    rows = np.zeros((len(squares), side, side, pool), dtype=np.uint16)
    for k in range(pool):  # much faster than one sum over two short axes
        rows += squares[:, :, k]
    x: NDArray[np.float32] = rows.sum(-1, dtype=np.uint16) / np.float32(pool**2)
    return x.reshape(-1, side * side)
