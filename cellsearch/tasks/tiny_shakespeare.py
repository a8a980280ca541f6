"""Tiny Shakespeare: characters of plays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cellsearch.tasks.base import Arrays
from cellsearch.tasks.char_lm import encode
from cellsearch.tasks.data import registry
from cellsearch.tasks.language import LanguageModel
from cellsearch.tasks.options import parse_options

__all__ = ["TinyShakespeare"]


class TinyShakespeare(LanguageModel):
    """Predict the next character of Shakespeare's plays.

    Source: Karpathy 2015 (char-rnn), 1,115,394 characters, 65 symbols. Split: last 10 % test (the
    customary one); of the first 90 % the last 5 % of all characters are validation, the rest
    training. Metric and score: bits per character. Reference: GRU, LSTM and tanh RNN of width 128
    reach 2.38, 2.59 and 2.54 bits (1.652, 1.797, 1.763 nats) after 4 epochs; n-grams of order 0 to
    2 reach 4.83, 3.60 and 2.97 bits.
    """

    name: ClassVar[str] = "tiny_shakespeare"
    metric: ClassVar[str] = "bits per character"
    summary: ClassVar[str] = "predict the next character of Shakespeare's plays"
    source: ClassVar[str] = "Karpathy 2015, char-rnn"
    dataset: ClassVar[str] = "tinyshakespeare"

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Token numbers of the three splits, and the symbols."""
        parse_options(cls.Options, options, cls.name)
        text = registry.read_text(cls.dataset)
        symbols = np.array(sorted(ord(c) for c in set(text)), dtype=np.int32)
        a, b = len(text) * 85 // 100, len(text) * 90 // 100
        return {
            "train": encode(text[:a], symbols),
            "valid": encode(text[a:b], symbols),
            "test": encode(text[b:], symbols),
            "symbols": symbols,
        }
