"""Whether products are computed in the precision that a training asks for, at the speed that a
search needs.
"""

from __future__ import annotations

import torch

from cellsearch.compiler.backends.choice import support_of
from cellsearch.compiler.lower import lower
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.job import Training
from cellsearch.training.model import DTYPES

__all__ = ["check_precision"]

_FAST = "native"
"""The backend that computes fast what is not float32."""
_SMALL = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")


def check_precision(training: Training, *, where: str = "training.precision") -> None:
    """Raise :class:`ConfigError` where this machine has nothing fast that computes in the precision
    of a training, unless a backend is named; and where the one that is named does not.

    where: what asks for it.
    """
    if training.precision == "float32":
        return
    backend = _FAST if training.backend == "auto" else training.backend
    program = lower(_SMALL, training.precision)
    support = support_of(backend, program, torch.device("cpu"), DTYPES[training.dtype])
    if not support.ok:
        raise ConfigError(
            f"the backend {backend} cannot compute in {training.precision} here: {support.reason}",
            where=where,
            hint='train in float32, or say training.backend = "reference", which computes the same '
            "by plain torch and many times slower",
        )
