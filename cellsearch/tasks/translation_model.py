"""The model of the task ``translation``: encoder and decoder of the same cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cellsearch.tasks.base import CellFactory
from cellsearch.tasks.translation_words import BEGIN, END, PAD

__all__ = ["TranslationModel"]

LONGEST_ANSWER = 20


class TranslationModel(nn.Module):
    """Encoder and decoder of the same cell, each with its own weights; ``.cell`` is the encoder.

    The encoder's final state is the decoder's first one (Sutskever, Vinyals & Le 2014). With
    attention, the decoder's output is compared with all outputs of the encoder by dot products, and
    their weighted mean joins it (Luong, Pham & Manning 2015, section 3.1).
    """

    def __init__(self, factory: CellFactory, *, source: int, target: int, attention: bool) -> None:
        super().__init__()
        width = factory.hidden_size
        self.source = nn.Embedding(source, width, padding_idx=PAD)
        self.target = nn.Embedding(target, width, padding_idx=PAD)
        self.cell = factory(width)
        self.decoder = factory(width)
        self.join = nn.Linear(2 * factory.width, width) if attention else None
        self.dropout = nn.Dropout(factory.dropout)
        self.readout = nn.Linear(width if attention else factory.width, target)

    def forward(
        self, x: torch.Tensor, state: Any = None, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Any]:
        """``x [2, T, B]``: source words, and the words that the decoder has said so far; ``lengths
        [B]``: of the sources.

        Returns the scores of the next target word ``[T, B, V]``. The state is not carried from
        batch to batch.
        """
        if lengths is None:
            raise ValueError("a translation model needs the lengths of the sources")
        memory, state = self.encode(x[0], lengths)
        return self.decode(x[1], state, memory, lengths)[0], None

    def encode(self, source: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """``source [T, B]`` -> outputs ``[T, B, width]`` and final state."""
        packed, state = self.cell(
            pack_padded_sequence(self.source(source), lengths, enforce_sorted=False)
        )
        memory, _ = pad_packed_sequence(packed, total_length=len(source))
        return memory, state

    def decode(
        self, words: torch.Tensor, state: Any, memory: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        """``words [T', B]`` -> scores of the next word ``[T', B, V]`` and state."""
        output, state = self.decoder(self.target(words), state)
        if self.join is not None:
            match = torch.einsum("tbh,sbh->tbs", output, memory)
            outside = torch.arange(len(memory)) >= lengths.unsqueeze(1)
            weights = match.masked_fill(outside, float("-inf")).softmax(-1)
            context = torch.einsum("tbs,sbh->tbh", weights, memory)
            output = torch.tanh(self.join(torch.cat([context, output], -1)))
        return self.readout(self.dropout(output)), state

    def translate(self, source: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
        """The most probable next word, one after the other, until the end mark: a list of word
        numbers for each source.
        """
        memory, state = self.encode(source, lengths)
        words = torch.full((1, source.shape[1]), BEGIN)
        said: list[torch.Tensor] = []
        for _ in range(LONGEST_ANSWER):
            scores, state = self.decode(words, state, memory, lengths)
            words = scores.argmax(-1)
            said.append(words[0])
        return [_until_end(column) for column in torch.stack(said, 1).tolist()]


def _until_end(words: Sequence[int]) -> list[int]:
    return list(words[: words.index(END)]) if END in words else list(words)
