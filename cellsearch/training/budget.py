"""The hidden size that a budget of weights allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import parameter_count
from cellsearch.job import Training
from cellsearch.tasks.base import Task
from cellsearch.training.model import cell_factory
from cellsearch.training.shapes import shapes_only

__all__ = ["TOLERANCE", "cell_weights", "model_weights", "size_within"]

TOLERANCE = 0.15
"""A model may have so much more or fewer weights than the budget."""
LARGEST = 1 << 16
"""No hidden size beyond this is tried."""


def model_weights(
    task: Task, genome: Genome, sizes: Mapping[str, int | str] | None = None
) -> Callable[[int], int]:
    """How many weights the task's whole model has with one layer of a cell, as a function of H.

    sizes: of the names that the cell has. The function raises :class:`CellsearchError` for an H
    that the cell cannot have.
    """
    counts = _counts(task, genome, sizes)
    return lambda hidden_size: sum(counts(hidden_size))


def cell_weights(
    task: Task, genome: Genome, sizes: Mapping[str, int | str] | None = None
) -> Callable[[int], int]:
    """How many of them are the cell's own: likewise, without what the model has around it."""
    counts = _counts(task, genome, sizes)
    return lambda hidden_size: counts(hidden_size)[1]


def _counts(
    task: Task, genome: Genome, sizes: Mapping[str, int | str] | None
) -> Callable[[int], tuple[int, int]]:
    """Weights around the cell and of the cell, as a function of H."""
    factory = cell_factory(genome, Training(sizes=sizes))

    def count(hidden_size: int) -> tuple[int, int]:
        widths: list[int] = []

        def build(input_size: int) -> nn.Module:
            widths.append(input_size)
            return nn.Identity()

        with shapes_only():
            model = task.model(replace(factory, build=build, hidden_size=hidden_size))
        around = sum(weight.numel() for weight in model.parameters())
        return around, parameter_count(genome, widths[0], hidden_size, sizes)

    return count


def size_within(count: Callable[[int], int], budget: int, cell: str, step: int = 1) -> int:
    """The largest hidden size whose model has at most ``budget`` weights; the next where that
    leaves too much of the budget unused.

    count: weights as a function of H (growing).
    cell: its name, for the error.
    step: the hidden size is a multiple of it (:func:`cellsearch.genome.parameters.size_step`).

    Raises :class:`ConfigError` where no size comes within 15 % of the budget.
    """
    low, high = 0, step
    while high <= LARGEST and count(high) <= budget:
        low, high = high, 2 * high
    while high - low > step:
        middle = (low + high) // (2 * step) * step
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    for size in (low, low + step):
        if size and abs(count(size) - budget) <= TOLERANCE * budget:
            return size
    raise ConfigError(
        f"{cell} cannot have {budget:,} weights within {TOLERANCE:.0%}: with H = {low} its model "
        f"has {count(low) if low else 0:,}, with H = {low + step} {count(low + step):,}",
        where="weights",
        hint="allow more weights",
    )
