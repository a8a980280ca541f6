"""Models that are no cells: what may stand in place of the recurrent layer of a task's model, and
is trained by the same loop. A body has nn.LSTM's calling convention; it has no genome, so nothing
that asks for one (gates, connections, prefilters, inherited weights, costs on a device) applies.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from cellsearch import tasks
from cellsearch.errors import ConfigError
from cellsearch.job import Job, Training
from cellsearch.tasks.base import CellFactory
from cellsearch.training.fused import fused_linear_cross_entropy

__all__ = [
    "BODIES",
    "CausalTransformer",
    "body_factory",
    "body_note",
    "check_body",
    "check_body_job",
]

TRANSFORMER = "transformer"
BODIES = (TRANSFORMER,)
"""Names of the bodies there are."""
DEPTH = 2
"""Transformer layers for each recurrent one: the second can look for what the first has joined,
which one alone cannot (Olsson et al. 2022)."""
MOST_HEADS = 4
_BASE = 10_000.0
"""Of the wavelengths of the positions."""


class CausalTransformer(nn.Module):
    """torch's own encoder layers behind a causal mask, with sinusoidal positions (Vaswani et al.
    2017) and the norm first (Xiong et al. 2020), which needs no warm-up.

    It carries no state: each position sees those before it in its own segment or sequence. Trained
    on segments of longer sequences (truncated BPTT), it reads longer ones in segments of the length
    that it was trained on, for it knows no positions beyond.

    size: H. The width is the nearest multiple of 4, and the feed-forward part makes up for what
    that lacks, so that the layers have about as many weights as of width H with four times as wide
    a feed-forward part, ``12 H^2`` each.
    """

    def __init__(
        self, input_size: int, size: int, *, layers: int = DEPTH, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width, heads, wide = shape(size)
        self.projection = (
            nn.Linear(input_size, self.width) if input_size != self.width else nn.Identity()
        )
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                self.width, heads, wide, dropout, activation="gelu", norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(self.width)
        self.longest = 0
        """Positions of the longest sequence of the training."""
        self.continues = False
        """Whether the training was on segments of longer sequences."""

    def forward(self, x: Any, state: torch.Tensor | None = None) -> tuple[Any, torch.Tensor]:
        """``x [T, B, I]`` or a packed sequence -> output ``[T, B, H]`` in the same form, and a
        state that holds nothing. A state that is given says that this is not the first segment.
        """
        if isinstance(x, PackedSequence):
            padded, lengths = pad_packed_sequence(x)
            output, nothing = self.forward(padded, state)
            # Padding stands behind, where no position looks at it.
            return pack_padded_sequence(output, lengths, enforce_sorted=False), nothing
        if self.training:
            self.longest = max(self.longest, len(x))
            self.continues = self.continues or state is not None
        most = self.longest if self.continues and not self.training else len(x)
        output = torch.cat([self._read(part) for part in x.split(max(1, most))])
        return output, x.new_zeros(0)

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        """``[T, B, I]`` -> ``[T, B, H]``."""
        hidden = self.projection(x)
        hidden = hidden + _positions(len(x), self.width).to(hidden).unsqueeze(1)
        mask = nn.Transformer.generate_square_subsequent_mask(
            len(x), device=hidden.device, dtype=hidden.dtype
        )
        for layer in self.layers:
            hidden = layer(hidden, src_mask=mask, is_causal=True)
        return self.norm(hidden)  # type: ignore[no-any-return]


def shape(size: int) -> tuple[int, int, int]:
    """Width, heads and width of the feed-forward part for this H."""
    width = 4 * max(1, round(size / 4))
    heads = next(h for h in (MOST_HEADS, 2, 1) if width % h == 0 and width // h >= h)
    asked = 12 * size * size + 13 * size  # weights of a layer of width H
    wide = round((asked - 4 * width * width - 9 * width) / (2 * width + 1))
    return width, heads, max(1, wide)


def _positions(count: int, width: int) -> torch.Tensor:
    """Sines and cosines of each position ``[count, width]``."""
    position = torch.arange(count, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(_BASE) / width))
    return torch.stack([torch.sin(position * rate), torch.cos(position * rate)], 2).flatten(1)


def body_factory(name: str, training: Training) -> CellFactory:
    """What builds a body for a task's model, as :func:`cellsearch.training.model.cell_factory` does
    for a cell.
    """
    if name not in BODIES:
        raise ConfigError(
            f"there is no model body {name!r}", where="body", hint=f"allowed: {', '.join(BODIES)}"
        )
    dropout = max(training.dropout, training.variational_dropout)
    layers = DEPTH * training.num_layers

    def build(input_size: int) -> nn.Module:
        return CausalTransformer(input_size, training.hidden_size, layers=layers, dropout=dropout)

    return CellFactory(
        build,
        hidden_size=shape(training.hidden_size)[0],
        dropout=training.dropout,
        cross_entropy=fused_linear_cross_entropy,
    )


def body_note(name: str, training: Training) -> str:
    """What is to be known of a body beside its numbers."""
    width, heads, wide = shape(training.hidden_size)
    return (
        f"{name} is {DEPTH * training.num_layers} causal layers of "
        f"torch.nn.TransformerEncoderLayer, width {width}, {heads} heads, feed-forward {wide}; it "
        "carries no state, and sees its segment or sequence only"
    )


def check_body(name: str, task: str, training: Training) -> None:
    """Raise :class:`ConfigError` where a body cannot be trained on a task."""
    body_factory(name, training)
    if training.bidirectional:
        raise ConfigError(
            f"{name} is causal and reads in one direction",
            where="training.bidirectional",
            hint=f"leave {name} out, or set it to false",
        )
    if training.precision != "float32":
        raise ConfigError(
            f"{name} has no products in {training.precision}, which are those of a cell",
            where="training.precision",
            hint=f"leave {name} out, or train in float32",
        )
    if tasks.get(task).hands_state_on:
        raise ConfigError(
            f"{name} has no state, which the model of the task {task} hands from one layer to "
            "another",
            where=f"task {task}",
            hint=f"leave {name} out",
        )


def check_body_job(job: Job) -> None:
    """Raise :class:`ConfigError` for a job that asks for what only a cell has."""
    check_body(job.body, job.task, job.training)
    asked = {
        "connections": job.connections,
        "inherit": bool(job.inherit),
        "device": job.device is not None,
    }
    wrong = [key for key, said in asked.items() if said]
    if wrong:
        raise ConfigError(
            f"{job.body} is no cell, so {' and '.join(wrong)} cannot be asked for",
            where="job",
            hint="leave it out",
        )
