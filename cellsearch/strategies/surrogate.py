"""Small models that predict a score from features: a Gaussian process and an ensemble of ridge
regressions, in numpy alone.

Both get scores that are standardised robustly (median and median absolute deviation, far outliers
pulled in), because a cell that diverges is worse by orders of magnitude and would leave no room for
the differences that matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GaussianProcess", "RidgeEnsemble", "standardised"]

Array = NDArray[np.float64]
OUTLIER = 3.0


def standardised(scores: Array) -> Array:
    """``[n]`` scores with median 0 and unit spread; beyond three spreads they are pulled in,
    infinities to the worst of the others.
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return np.zeros_like(scores)
    middle = float(np.median(finite))
    spread = 1.4826 * float(np.median(np.abs(finite - middle))) or float(finite.std()) or 1.0
    return np.clip(
        np.where(np.isfinite(scores), (scores - middle) / spread, OUTLIER), -OUTLIER, OUTLIER
    )


def _scaled(train: Array, other: Array) -> tuple[Array, Array]:
    """Both tables with columns of zero mean and unit deviation over ``train``; columns that never
    change there count little.
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # The computed deviation of a constant is that of rounding, and rarely 0.
    constant = train.max(axis=0) == train.min(axis=0)
    mean, deviation = np.where(constant, train[0], mean), np.where(constant, 1.0, deviation)
    return (train - mean) / deviation, (other - mean) / deviation


@dataclass(frozen=True)
class GaussianProcess:
    """RBF kernel over scaled features; length and noise are those of greatest marginal likelihood
    on a small grid.

    Rasmussen & Williams 2006, algorithm 2.1. Lengths are in units of the median distance between
    training points.
    """

    lengths: tuple[float, ...] = (0.5, 1.0, 2.0)
    noises: tuple[float, ...] = (0.05, 0.3)

    def predict(self, x: Array, y: Array, candidates: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at ``[m, d]`` candidates after ``[n, d]`` points with ``[n]``
        standardised scores.
        """
        x, candidates = _scaled(x, candidates)
        near, far = _squared_distances(x, x), _squared_distances(x, candidates)
        unit = float(np.median(near[near > 1e-9])) if np.any(near > 1e-9) else 1.0
        fits = [
            self._fit(np.exp(-near / (2 * length**2 * unit)), y, noise)
            for length in self.lengths
            for noise in self.noises
        ]
        settings = [(length, noise) for length in self.lengths for noise in self.noises]
        best = max(range(len(fits)), key=lambda k: fits[k][2])
        length, _ = settings[best]
        factor, weights, _ = fits[best]
        cross = np.exp(-far / (2 * length**2 * unit))
        solved = np.linalg.solve(factor, cross)
        variance = np.maximum(1.0 - (solved**2).sum(axis=0), 1e-12)
        return cross.T @ weights, np.sqrt(variance)

    @staticmethod
    def _fit(kernel: Array, y: Array, noise: float) -> tuple[Array, Array, float]:
        """Cholesky factor, weights, log marginal likelihood (up to a constant)."""
        factor: Array = np.asarray(
            np.linalg.cholesky(kernel + (noise + 1e-8) * np.eye(len(y))), dtype=np.float64
        )
        weights = np.linalg.solve(factor.T, np.linalg.solve(factor, y))
        return factor, weights, float(-0.5 * y @ weights - np.log(np.diag(factor)).sum())


@dataclass(frozen=True)
class RidgeEnsemble:
    """Ridge regressions on bootstrap samples; their spread is the uncertainty."""

    members: int = 10
    penalty: float = 3.0

    def predict(
        self, x: Array, y: Array, candidates: Array, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Mean and standard deviation over the members at ``[m, d]`` candidates."""
        x, candidates = _scaled(x, candidates)
        kernel, cross = x @ x.T, candidates @ x.T  # n x n: there are more features than points
        guesses = []
        for _ in range(self.members):
            drawn = rng.integers(len(y), size=len(y))
            mean = float(y[drawn].mean())
            weights = np.linalg.solve(
                kernel[np.ix_(drawn, drawn)] + self.penalty * np.eye(len(y)), y[drawn] - mean
            )
            guesses.append(mean + cross[:, drawn] @ weights)
        return np.mean(guesses, axis=0), np.std(guesses, axis=0)


def _squared_distances(a: Array, b: Array) -> Array:
    """``[n, m]``: squared Euclidean distance of each row of ``a`` to each of ``b``."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0), dtype=np.float64)
