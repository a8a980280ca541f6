"""Language modelling on texts of one file each: a novel, plays."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cellsearch.tasks.base import Arrays
from cellsearch.tasks.char_lm import encode
from cellsearch.tasks.data import registry
from cellsearch.tasks.interface import TokenInputs
from cellsearch.tasks.language import LanguageModel
from cellsearch.tasks.options import parse_options

__all__ = ["Corpus", "TimeMachine", "TinyShakespeare"]

NO_LETTERS = ("[^A-Za-z]+", " ")


class Corpus(LanguageModel):
    """Predict the next character of a text, split in its order. Metric and score: bits per
    character.
    """

    metric: ClassVar[str] = "bits per character"
    ends: ClassVar[tuple[int, int]]
    """Where training and validation end, in percent of the text; the rest is the test."""

    @classmethod
    def prepared(cls, text: str) -> str:
        """The text in the symbols that are predicted."""
        return text

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Token numbers of the three splits, and the symbols."""
        parse_options(cls.Options, options)
        text = cls.prepared(registry.read_text(cls.dataset))
        symbols = np.array(sorted(ord(c) for c in set(text)), dtype=np.int32)
        a, b = (len(text) * percent // 100 for percent in cls.ends)
        parts = {"train": text[:a], "valid": text[a:b], "test": text[b:]}
        return {name: encode(part, symbols) for name, part in parts.items()} | {"symbols": symbols}


class TimeMachine(Corpus):
    """Predict the next character of H. G. Wells' novel, in lower case without punctuation.

    Source: Wells 1895; prepared as in Zhang et al. 2023 (Dive into Deep Learning, section 9.2):
    every run of other characters than letters becomes one blank, 27 symbols. Split: first 80 %
    training, next 10 % validation, last 10 % test, in order. Metric and score: bits per character.
    Reference: GRU, LSTM and tanh RNN of width 64 reach 2.21, 2.34 and 2.35 bits (1.533, 1.621,
    1.628 nats) after 8 epochs; n-grams of order 0 to 2 reach 4.06, 3.26 and 2.68 bits.
    """

    name: ClassVar[str] = "time_machine"
    summary: ClassVar[str] = "predict the next letter of a novel (27 symbols)"
    source: ClassVar[str] = "Wells 1895; Zhang et al. 2023, Dive into Deep Learning, section 9.2"
    dataset: ClassVar[str] = "timemachine"
    ends = (80, 90)

    @classmethod
    def prepared(cls, text: str) -> str:
        """Lower case; every run of other characters than letters is one blank."""
        return re.sub(*NO_LETTERS, text).lower()

    def token_inputs(self) -> TokenInputs:
        """See :meth:`LanguageModel.token_inputs`."""
        return dataclasses.replace(super().token_inputs(), replace=NO_LETTERS, lower=True)


class TinyShakespeare(Corpus):
    """Predict the next character of Shakespeare's plays.

    Source: Karpathy 2015 (char-rnn), 1,115,394 characters, 65 symbols. Split: last 10 % test (the
    customary one); of the first 90 % the last 5 % of all characters are validation, the rest
    training. Metric and score: bits per character. Reference: GRU, LSTM and tanh RNN of width 128
    reach 2.38, 2.59 and 2.54 bits (1.652, 1.797, 1.763 nats) after 4 epochs; n-grams of order 0 to
    2 reach 4.83, 3.60 and 2.97 bits.
    """

    name: ClassVar[str] = "tiny_shakespeare"
    summary: ClassVar[str] = "predict the next character of Shakespeare's plays"
    source: ClassVar[str] = "Karpathy 2015, char-rnn"
    dataset: ClassVar[str] = "tinyshakespeare"
    ends = (85, 90)
