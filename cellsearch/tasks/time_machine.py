"""The Time Machine: a short novel in 27 symbols."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cellsearch.tasks.base import Arrays
from cellsearch.tasks.char_lm import encode
from cellsearch.tasks.data import registry
from cellsearch.tasks.language import LanguageModel
from cellsearch.tasks.options import parse_options

__all__ = ["TimeMachine"]


class TimeMachine(LanguageModel):
    """Predict the next character of H. G. Wells' novel, in lower case without punctuation.

    Source: Wells 1895; prepared as in Zhang et al. 2023 (Dive into Deep Learning, section 9.2):
    every run of other characters than letters becomes one blank, 27 symbols. Split: first 80 %
    training, next 10 % validation, last 10 % test, in order. Metric and score: bits per character.
    Reference: GRU, LSTM and tanh RNN of width 64 reach 2.21, 2.34 and 2.35 bits (1.533, 1.621,
    1.628 nats) after 8 epochs; n-grams of order 0 to 2 reach 4.06, 3.26 and 2.68 bits.
    """

    name: ClassVar[str] = "time_machine"
    metric: ClassVar[str] = "bits per character"
    summary: ClassVar[str] = "predict the next letter of a novel (27 symbols)"
    source: ClassVar[str] = "Wells 1895; Zhang et al. 2023, Dive into Deep Learning, section 9.2"
    dataset: ClassVar[str] = "timemachine"

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Token numbers of the three splits, and the symbols."""
        parse_options(cls.Options, options, cls.name)
        text = re.sub("[^A-Za-z]+", " ", registry.read_text(cls.dataset)).lower()
        symbols = np.array(sorted(ord(c) for c in set(text)), dtype=np.int32)
        a, b = len(text) * 80 // 100, len(text) * 90 // 100
        return {
            "train": encode(text[:a], symbols),
            "valid": encode(text[a:b], symbols),
            "test": encode(text[b:], symbols),
            "symbols": symbols,
        }
