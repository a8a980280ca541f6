"""How large each cell is in finals: equally many weights, or as many as a device allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.genome.footprint import Footprint

__all__ = ["TOLERANCE", "equal_sizes", "fitting_sizes"]

TOLERANCE = 0.01
"""How far the weights of two models may differ and still count as equal."""
LARGEST = 1 << 16
"""No hidden size beyond this is tried."""


@checked_arguments
def equal_sizes(
    counts: Mapping[str, Callable[[int], int]],
    reference: str,
    hidden_size: int,
    tolerance: float = TOLERANCE,
) -> dict[str, int]:
    """Hidden sizes at which all models have equally many parameters.

    Sizes are whole numbers, so the target is moved by up to 10 % to where the largest difference is
    smallest. Raises :class:`ConfigError` where no target brings all of them within the tolerance.

    counts: for each cell its number of parameters as a function of H (growing).
    reference: the cell that has about ``hidden_size`` units.
    tolerance: how far the weights of two models may differ, as a share.
    """
    centre = counts[reference](hidden_size)
    best: tuple[float, dict[str, int]] = (math.inf, {})
    for percent in range(-100, 101):
        target = centre * (1 + percent / 1000)
        sizes = {name: _nearest(count, target) for name, count in counts.items()}
        actual = [counts[name](size) for name, size in sizes.items()]
        spread = max(actual) / min(actual) - 1
        if spread < best[0] - 1e-12:
            best = (spread, sizes)
    if best[0] > tolerance:
        raise ConfigError(
            f"no hidden sizes near {hidden_size} give equal model weights within "
            f"{tolerance:.0%}: the closest differ by {best[0]:.1%}",
            hint="use a larger hidden size (--hidden), or fewer finalists",
        )
    return best[1]


@checked_arguments
def fitting_sizes(
    costs: Mapping[str, Callable[[int], Footprint]], bounds: Mapping[str, int]
) -> dict[str, int]:
    """For each cell the largest hidden size with which it fits a device.

    costs: for each cell what it costs as a function of H (growing).
    bounds: limits by the names of :data:`cellsearch.genome.device.COSTS`.

    Raises :class:`ConfigError` for a cell that fits with none.
    """

    def fits(cost: Callable[[int], Footprint], size: int) -> bool:
        found = cost(size)
        return all(getattr(found, name) <= most for name, most in bounds.items())

    sizes = {}
    for name, cost in costs.items():
        if not fits(cost, 1):
            raise ConfigError(
                f"{name} does not fit the device with a single unit",
                where="device",
                hint="leave it out (--against), or allow more",
            )
        low, high = 1, 2
        while high <= LARGEST and fits(cost, high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(cost, middle) else (low, middle)
        sizes[name] = low
    return sizes


def _nearest(count: Callable[[int], int], target: float) -> int:
    low, high = 1, 2
    while count(high) < target:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return low if target - count(low) < count(high) - target else high
