"""Synthetic streams with drift."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cellsearch.errors import ConfigError, checked_arguments

__all__ = ["drifting_filter"]


@checked_arguments
def drifting_filter(
    length: int,
    *,
    drift: int,
    seed: int = 0,
    taps: tuple[float, ...] = (0.0, 0.8, 0.0, -0.5),
    noise: float = 0.02,
) -> tuple[Tensor, Tensor]:
    """Inputs ``[length, 1]`` and targets ``[length, 1]``: a filter of the last inputs whose
    coefficients change sign at ``drift``.

    ``y_t = tanh(sum_k taps[k] x_{t-k}) + noise``, x uniform in [-1, 1]; from position ``drift`` on
    with the taps negated (abrupt concept drift: Gama et al. 2014, ACM Computing Surveys 46(4),
    section 2). Whoever predicts without memory cannot do better than the variance of y. Raises
    :class:`ConfigError` if the drift is not inside the stream.
    """
    if not 0 < drift < length:
        raise ConfigError(f"the drift at {drift} is not inside a stream of {length} positions")
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, length)
    sums = np.convolve(x, taps)[:length]
    sums[drift:] *= -1
    y = np.tanh(sums) + noise * rng.standard_normal(length)
    return torch.from_numpy(x).float().unsqueeze(1), torch.from_numpy(y).float().unsqueeze(1)
