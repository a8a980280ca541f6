"""Bounds of one training: time, memory, and numbers that are not finite."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from pathlib import Path

from cellsearch.errors import TrainingError
from cellsearch.job import Limits

__all__ = ["DIVERGED_FACTOR", "Guard", "resident_mb"]

DIVERGED_FACTOR = 20.0
"""A loss above this many times the first loss (or above this number, whichever is larger) counts as
diverged.
"""
_STATM = Path("/proc/self/statm")
_BYTES_A_WEIGHT = 4
"""Weight, gradient and the two moments of Adam: four numbers each."""


def resident_mb() -> float:
    """Resident memory of this process in MiB; where the system does not tell, the largest so
    far.
    """
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class Guard:
    """Looks at every step of a training and raises :class:`TrainingError` when a bound is crossed.

    ``kind`` of the error: ``"nan"`` (loss or gradient is not finite), ``"diverged"``,
    ``"timeout"``, ``"memory"``.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.started = time.monotonic()
        self.resident = resident_mb() if limits.memory_mb else 0.0
        self.first_loss: float | None = None

    def check_size(self, weights: int, bytes_each: int) -> None:
        """Refuse a model whose weights, gradients and moments alone would not fit."""
        needed = weights * bytes_each * _BYTES_A_WEIGHT / 2**20
        if self.limits.memory_mb and needed > self.limits.memory_mb:
            raise TrainingError(
                f"the model has {weights} weights, which need {needed:.0f} MiB in "
                f"training; {self.limits.memory_mb} MiB are allowed",
                kind="memory",
            )

    def check_resources(self, step: int) -> None:
        """Raise if time or memory is used up."""
        seconds = time.monotonic() - self.started
        if self.limits.seconds and seconds > self.limits.seconds:
            raise TrainingError(
                f"{seconds:.1f} s at step {step}; {self.limits.seconds:g} s are allowed",
                kind="timeout",
            )
        if self.limits.memory_mb:
            added = resident_mb() - self.resident
            if added > self.limits.memory_mb:
                raise TrainingError(
                    f"{added:.0f} MiB more at step {step}; {self.limits.memory_mb} MiB are allowed",
                    kind="memory",
                )

    def check_numbers(self, step: int, loss: float, gradient_norm: float) -> None:
        """Raise if the loss of a step (counted from 1) or the norm of its gradient is not finite,
        or the loss is far too large.
        """
        for what, value in (("loss", loss), ("norm of the gradient", gradient_norm)):
            if not math.isfinite(value):
                raise TrainingError(f"the {what} is {value} at step {step}", kind="nan")
        if self.first_loss is None:
            self.first_loss = loss
        bound = DIVERGED_FACTOR * max(1.0, self.first_loss)
        if loss > bound:
            raise TrainingError(
                f"the loss is {loss:.4g} at step {step}, after {self.first_loss:.4g} at first",
                kind="diverged",
            )

    def check_score(self, step: int, score: float) -> None:
        """Raise if a validation score is not finite."""
        if not math.isfinite(score):
            raise TrainingError(f"the validation score is {score} at step {step}", kind="nan")
