"""A projection of the input of a layer, for cells that read x elementwise and so need I = H
(``compile_cell(..., project_input=True)``): ``W x + b`` of width H is what the cell reads as x.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import Sizes, requires_square

__all__ = ["projected", "projection_for", "projection_name", "projection_of", "read_width"]


def projection_name(layer: str) -> str:
    """What the projection of a layer is called among its module's children: ``l0_projection``."""
    return f"{layer}_projection"


def read_width(genome: Genome, sizes: Sizes, *, project: bool) -> int:
    """How wide the x is that the cell reads: H where its input is projected. Raises
    :class:`ConfigError` for a cell that reads ``mask[t]``, which is about the numbers of x itself.
    """
    if not project or not requires_square(genome) or sizes["I"] == sizes["H"]:
        return sizes["I"]
    if "mask" in genome.inputs:
        raise ConfigError(
            "the cell reads mask[t], which says what of x was observed, so x cannot be projected",
            hint="leave project_input out and use input_size = hidden_size",
        )
    return sizes["H"]


def projection_for(
    width: int, read: int, *, device: torch.device | None, dtype: torch.dtype
) -> nn.Linear | None:
    """The projection of an input of this width to what the cell reads, started as
    ``torch.nn.Linear`` does; ``None`` where they are alike.
    """
    return None if width == read else nn.Linear(width, read, device=device, dtype=dtype)


def projection_of(module: nn.Module, layer: str) -> nn.Linear | None:
    """The projection in front of a layer of a module, if there is one."""
    found = module._modules.get(projection_name(layer))
    return found if isinstance(found, nn.Linear) else None


def projected(module: nn.Module, layer: str, x: Tensor) -> Tensor:
    """The x that a layer's cell reads."""
    projection = projection_of(module, layer)
    return x if projection is None else projection(x)
