"""Cells that tests take from the zoo."""

from __future__ import annotations

import torch
from torch import Tensor

from cellsearch import Genome, zoo

__all__ = ["beside", "cells_of_x", "plain_cells"]


def cells_of_x() -> tuple[str, ...]:
    """The names of the cells that read nothing but x of a step and say no sizes, which every form
    and size can give.
    """
    cells = {name: zoo.load(name) for name in zoo.names()}
    return tuple(n for n, cell in cells.items() if cell.inputs == ("x",) and not cell.sized)


def plain_cells() -> tuple[str, ...]:
    """The names of the cells whose values are all as wide as I or H, which every size fits."""
    return tuple(name for name in zoo.names() if not zoo.load(name).sized)


def beside(genome: Genome, x: Tensor) -> dict[str, Tensor]:
    """Random times and masks for ``x [T, B, I]``, where the cell reads them."""
    every = {"dt": torch.rand(x.shape[:2]) + 0.2, "mask": torch.rand(x.shape) > 0.3}
    return {name: every[name] for name in genome.inputs[1:]}
