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
    steps: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Hidden sizes at which all models have equally many parameters.

    Sizes are whole numbers, so the target is moved by up to 10 % to where the largest difference is
    smallest. Raises :class:`ConfigError` where no target brings all of them within the tolerance.

    counts: for each cell its number of parameters as a function of H (growing).
    reference: the cell that has about ``hidden_size`` units.
    tolerance: how far the weights of two models may differ, as a share.
    steps: of what the hidden size of a cell is a multiple (default: 1), see
        :func:`cellsearch.genome.parameters.size_step`.
    """
    steps = dict(steps or {})
    step = steps.get(reference, 1)
    centre = counts[reference](max(step, round(hidden_size / step) * step))
    best: tuple[float, dict[str, int]] = (math.inf, {})
    for percent in range(-100, 101):
        target = centre * (1 + percent / 1000)
        sizes = {
            name: _nearest(count, target, steps.get(name, 1)) for name, count in counts.items()
        }
        actual = [counts[name](size) for name, size in sizes.items()]
        spread = max(actual) / min(actual) - 1
        if spread < best[0] - 1e-12:
            best = (spread, sizes)
    if best[0] > tolerance:
        coarse = [f"that of {name} is a multiple of {n}" for name, n in steps.items() if n > 1]
        raise ConfigError(
            f"no hidden sizes near {hidden_size} give equal model weights within "
            f"{tolerance:.0%}: the closest differ by {best[0]:.1%}"
            + (f" ({', '.join(coarse)}, as its sizes and blocks ask)" if coarse else ""),
            hint="use a larger hidden size (--hidden), or fewer finalists",
        )
    return best[1]


@checked_arguments
def fitting_sizes(
    costs: Mapping[str, Callable[[int], Footprint]],
    bounds: Mapping[str, int],
    steps: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """For each cell the largest hidden size with which it fits a device.

    costs: for each cell what it costs as a function of H (growing).
    bounds: limits by the names of :data:`cellsearch.genome.device.COSTS`.
    steps: as of :func:`equal_sizes`.

    Raises :class:`ConfigError` for a cell that fits with none.
    """

    def fits(cost: Callable[[int], Footprint], size: int) -> bool:
        found = cost(size)
        return all(getattr(found, name) <= most for name, most in bounds.items())

    sizes = {}
    for name, cost in costs.items():
        step = (steps or {}).get(name, 1)
        if not fits(cost, step):
            least = "a single unit" if step == 1 else f"{step} units, the fewest that it can have"
            raise ConfigError(
                f"{name} does not fit the device with {least}",
                where="device",
                hint="leave it out (--against), or allow more",
            )
        low, high = step, 2 * step
        while high <= LARGEST and fits(cost, high):
            low, high = high, 2 * high
        while high - low > step:
            middle = (low + high) // (2 * step) * step
            low, high = (middle, high) if fits(cost, middle) else (low, middle)
        sizes[name] = low
    return sizes


def _nearest(count: Callable[[int], int], target: float, step: int) -> int:
    low, high = step, 2 * step
    while count(high) < target:
        low, high = high, high * 2
    while high - low > step:
        middle = (low + high) // (2 * step) * step
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return low if target - count(low) < count(high) - target else high
