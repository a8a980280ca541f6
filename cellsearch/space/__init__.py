"""Search spaces: which genomes are legal, and how they are sampled, mutated, crossed, grown and
pruned.
"""

from cellsearch.space.declaration import (
    Constraints,
    Edit,
    FullCell,
    LayerSizes,
    SizeLimits,
    Violation,
    layer_footprint,
    layer_weights,
)
from cellsearch.space.space import SearchSpace

Limits = SizeLimits
"""The name in version 0.1."""

__all__ = [
    "Constraints",
    "Edit",
    "FullCell",
    "LayerSizes",
    "SearchSpace",
    "SizeLimits",
    "Violation",
    "layer_footprint",
    "layer_weights",
]
