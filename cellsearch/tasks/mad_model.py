"""The model of the task ``mad_compression``: everything is told from the last output."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from cellsearch.tasks.base import CellFactory

__all__ = ["Autoencoder"]


class Autoencoder(nn.Module):
    """Embedding, the cell, and a perceptron that tells each token from the last output."""

    def __init__(self, factory: CellFactory, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, factory.hidden_size)
        self.cell = factory(factory.hidden_size)
        width = factory.output_size
        self.decoder = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.LayerNorm(width),
            nn.Linear(width, vocabulary),
        )

    def forward(
        self, x: torch.Tensor, state: Any = None, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Any]:
        """``x [T, B]`` -> (``[T, B, V]``, final state)."""
        output, state = self.cell(self.embedding(x), state)
        code = _positions(len(x), output.shape[-1]).to(output)
        return self.decoder(output[-1] + code[:, None]), state


def _positions(length: int, width: int) -> torch.Tensor:
    """``[T, width]``: sines and cosines of wavelengths from 2 pi to 10,000 times that."""
    half = (width + 1) // 2
    rates = torch.exp(-math.log(10_000.0) * torch.arange(half) / max(half - 1, 1))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
