"""What is handed to the jobs of a task or a suite, and what is said while it is made ready: plain
values, free of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellsearch.errors import amount

if TYPE_CHECKING:
    from cellsearch.tasks.base import Arrays

__all__ = ["Data", "OnTraining", "ReferenceTraining"]


@dataclass(frozen=True, slots=True)
class Data:
    """All that jobs need besides what they say themselves."""

    arrays: Arrays
    """What ``Task.load`` gave; of a suite, those of all its tasks, as ``<number>/<name>``."""
    targets: tuple[float, ...] = ()
    """The score of each task of a suite that counts as 1; empty for a single task."""

    def __repr__(self) -> str:
        targets = f", {amount(len(self.targets), 'target')}" if self.targets else ""
        return f"<data: {amount(len(self.arrays), 'array')}{targets}>"


@dataclass(frozen=True, slots=True)
class ReferenceTraining:
    """A suite needs the score of a reference, which is trained now unless it is known."""

    cell: str
    """Name of the zoo cell."""
    task: str
    """What the task is called in the suite."""
    seed: int
    """Decides its weights and batches."""
    known: bool
    """Whether the result is in the cache already, so that nothing is trained."""


OnTraining = Callable[[ReferenceTraining], None]
"""Told before each."""
