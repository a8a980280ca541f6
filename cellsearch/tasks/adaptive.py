"""A language model with an adaptive softmax: what makes a step with a large vocabulary
affordable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cellsearch.errors import ConfigError
from cellsearch.tasks.base import CellFactory
from cellsearch.tasks.heads import SequenceModel

__all__ = ["AdaptiveModel"]

DIVISORS = (4.0, 2.0, 1.0)
"""Each cluster of rarer words is computed from a projection so many times narrower than the one
before; the first that leaves any width.
"""


class AdaptiveModel(SequenceModel):
    """Embedding, cell, a linear layer ``[H, H]``, adaptive softmax over V tokens, the most frequent
    first.

    The softmax is exact, in training and evaluation: the probability of a rare token is that of its
    cluster times that within the cluster, so only the clusters that a batch holds are computed
    (Grave et al. 2017, arXiv 1609.04309, section 4; torch's ``AdaptiveLogSoftmaxWithLoss``).
    ``cutoffs``: the first token of each cluster after the head. The prediction is
    log-probabilities. Embedding and softmax share no weights. Raises :class:`ConfigError` for
    cutoffs that are not increasing, or not below V.
    """

    def __init__(self, factory: CellFactory, *, tokens: int, cutoffs: Sequence[int]) -> None:
        if (
            list(cutoffs) != sorted(set(cutoffs))
            or not cutoffs
            or cutoffs[0] < 1
            or cutoffs[-1] >= tokens
        ):
            raise ConfigError(
                f"{list(cutoffs)} do not cut {tokens} words into clusters",
                where="task_options.cutoffs",
                hint=f"use increasing numbers from 1 to {tokens - 1}",
            )
        width = factory.output_size
        super().__init__(factory, tokens=tokens, outputs=width)
        divisor = next(divisor for divisor in DIVISORS if width // divisor ** len(cutoffs) >= 1)
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(
            width, tokens, list(cutoffs), div_value=divisor
        )

    def forward(
        self,
        x: torch.Tensor,
        state: Any = None,
        lengths: torch.Tensor | None = None,
        beside: Mapping[str, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, Any]:
        """``x [T, B]`` -> log-probabilities of every token ``[T, B, V]``, final state."""
        hidden, state = super().forward(x, state, lengths, beside)
        return self.logarithms(hidden), state

    def logarithms(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the linear layer gives ``[..., H]`` as log-probabilities ``[..., V]``."""
        found: torch.Tensor = self.softmax.log_prob(hidden.flatten(0, -2))
        return found.view(*hidden.shape[:-1], -1)

    def cross_entropy(
        self, x: torch.Tensor, y: torch.Tensor, state: Any = None
    ) -> tuple[torch.Tensor, Any]:
        """See :meth:`SequenceModel.cross_entropy`; the same number as from the log-probabilities,
        without computing all of them.
        """
        hidden, state = super().forward(x, state)
        return self.softmax(hidden.flatten(0, -2), y.flatten()).loss, state
