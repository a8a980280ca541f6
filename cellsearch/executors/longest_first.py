"""Longest first: in which order waiting jobs start, where the order is free.

A list of jobs on several workers ends earlier when the long ones start first (Graham 1969, SIAM J.
Appl. Math. 17: at most 4/3 of the best possible time, instead of 2). Where jobs wait in a list (a
final, a resumed run) they are sorted; a search proposes one trial whenever a worker is free, so
there nothing waits, and a deterministic search keeps its order of decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from cellsearch.compiler import cost
from cellsearch.errors import BackendError
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import multiply_adds
from cellsearch.job import Training

__all__ = ["expected_work", "longest_first"]

Item = TypeVar("Item")


def longest_first(items: Iterable[Item], work: Callable[[Item], float]) -> list[Item]:
    """The items by falling work, equal ones in the order given."""
    return sorted(items, key=work, reverse=True)


def expected_work(genome: Genome, training: Training, steps: int) -> float:
    """How long so many steps take, in units that compare jobs of one task: predicted time, or
    multiply-adds where there is no runtime.

    One layer of the cell stands for the model: the rest of a step is about the same for all jobs of
    a task.
    """
    size = training.hidden_size
    try:
        return steps * cost.position_microseconds(
            genome, input_size=size, hidden_size=size, sizes=training.sizes
        )
    except BackendError:
        return float(steps * multiply_adds(genome, size, size, training.sizes))
