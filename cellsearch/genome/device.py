"""What a cell may cost on a small device; :mod:`cellsearch.genome.footprint` says what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cellsearch.options import at_least, check_options

__all__ = ["COSTS", "INT8", "DeviceLimits"]

Count = Annotated[int, at_least(0)]
COSTS = ("flash_bytes", "ram_bytes", "macs_per_step", "state_bytes")
"""What a cell costs on a small device, see :mod:`cellsearch.genome.footprint`: names of limits, of
objectives, and of numbers in ``Result.metrics``."""
INT8 = "int8"
"""The score on validation data with weights rounded to int8, in ``Result.metrics``."""


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """What every found cell must fit, with readout, as ``export --to c`` writes it; 0 means no
    bound. A cell that does not fit is never trained.
    """

    flash_bytes: Count = 0
    """Weights and other constants."""
    ram_bytes: Count = 0
    """States and scratch memory of a step."""
    macs_per_step: Count = 0
    """Multiply-adds."""
    state_bytes: Count = 0
    """States alone: what is kept between steps for each stream."""
    int8: bool = False
    """The weights will be stored as int8: flash counts so, and each trial has a second score, with
    its weights rounded (``int8``)."""

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def bounds(self) -> dict[str, int]:
        """The limits that there are, by name."""
        return {name: most for name in COSTS if (most := getattr(self, name))}

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return self.int8 or bool(self.bounds)
