"""Cells that tests take from the zoo."""

from __future__ import annotations

import torch
from torch import Tensor

from cellsearch import Genome, zoo
from cellsearch.genome.parameters import fits_any_size

__all__ = ["beside", "cells_of_x", "plain_cells"]


def cells_of_x() -> tuple[str, ...]:
    """The names of the cells that read nothing but x of a step, which every form can give."""
    return tuple(name for name in plain_cells() if zoo.load(name).inputs == ("x",))


def plain_cells() -> tuple[str, ...]:
    """The names of the cells for which every H will do."""
    return tuple(name for name in zoo.names() if fits_any_size(zoo.load(name)))


def beside(genome: Genome, x: Tensor) -> dict[str, Tensor]:
    """Random times and masks for ``x [T, B, I]``, where the cell reads them."""
    every = {"dt": torch.rand(x.shape[:2]) + 0.2, "mask": torch.rand(x.shape) > 0.3}
    return {name: every[name] for name in genome.inputs[1:]}
