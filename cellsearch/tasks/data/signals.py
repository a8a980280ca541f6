"""MNIST-1D, made here: signals of 40 values, each one of ten templates, moved, scaled, sheared and
noisy.

The recipe of Greydanus & Kobak 2024 (arXiv 2011.14439) and their package ``mnist1d`` (Apache-2.0),
which holds no data but makes them, with its numbers and its seed, and in its order of random
numbers. The result is the published data set: 0 of its 200,000 values, stored in eight bits, and 0
of its labels differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mnist1d"]

SEED, SIGNALS, TRAIN = 42, 5000, 4000
_LONG, _SHORT = 72, 40
_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def mnist1d() -> dict[str, NDArray[Any]]:
    """``x [5000, 40]`` in steps of ``(hi - lo) / 255`` from ``lo`` on, ``y [5000]``, ``n_train``;
    half a second.
    """
    # The stream of RandomState never changes, as numpy promises.
    random = np.random.RandomState(SEED)
    templates = np.array(_TEMPLATES)
    templates -= templates.mean(1, keepdims=True)
    templates /= templates.std(1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6
    each = SIGNALS // len(templates)
    signals = np.stack([_signal(row, random) for row in templates for _ in range(each)])
    order = random.permutation(SIGNALS)
    x = signals[order]
    x = (x - x.mean()) / x.std()
    lo, hi = np.float32(x.min()), np.float32(x.max())
    steps = np.rint((x - float(lo)) / (float(hi) - float(lo)) * 255)
    return {
        "x": steps.astype(np.uint8),
        "lo": np.array(lo),
        "hi": np.array(hi),
        "y": np.repeat(np.arange(len(templates)), each)[order].astype(np.uint8),
        "n_train": np.array(TRAIN, dtype=np.int32),
    }


def _signal(template: NDArray[np.float64], random: np.random.RandomState) -> NDArray[np.float64]:
    padded = np.concatenate([template + 1e-8, np.zeros(36 + int(random.rand() * 25))])
    x = _resampled(padded, _LONG) * (1 + 0.4 * (random.rand() - 0.5))
    x = np.roll(x, random.choice(48))
    filled = x != 0
    x = np.where(filled, x, _smoothed(0.25 * random.randn(_LONG)))
    x = x + 0.02 * random.randn(_LONG)
    x = x - 0.75 * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, _LONG)
    return _resampled(x, _SHORT)


def _resampled(x: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    places: NDArray[np.float64] = np.linspace(0, 1, length)
    return np.interp(places, np.linspace(0, 1, len(x)), x)


def _smoothed(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian of deviation 2, cut at four deviations, mirrored at the ends."""
    weights = np.exp(-0.5 * (np.arange(-8, 9) / 2) ** 2)
    return np.convolve(np.pad(x, 8, mode="symmetric"), weights / weights.sum(), "valid")
