"""Sentence sentiment: is a sentence of a review positive or negative."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from cellsearch.errors import InputFileError
from cellsearch.options import at_least, between
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import registry
from cellsearch.tasks.interface import Answer, TokenInputs
from cellsearch.tasks.options import TaskOptions, parse_options
from cellsearch.tasks.sequences import SequenceTask, join

__all__ = ["Sentiment", "SentimentOptions", "sentences"]

FOLDS = 10
UNKNOWN = "<unk>"
EMPTY = "?"
"""Read in place of a sentence without a word."""
_WORD = re.compile(r"[a-z]+|[0-9]+|[!?]")


@dataclass(frozen=True, slots=True)
class SentimentOptions(TaskOptions):
    """Options of :class:`Sentiment`."""

    fold: Annotated[int, between(0, FOLDS - 1)] = 0
    """Which tenth is the test; the next one is validation."""
    least_count: Annotated[int, at_least(1)] = 2
    """Rarer words become the unknown word."""
    readout: Literal["last", "mean"] = "last"
    """What the classifier reads: the last position, or the mean over all."""


class Sentiment(SequenceTask):
    """Positive or negative: single sentences from reviews of films, products and restaurants.

    Source: Kotzias et al. 2015 (KDD), UCI data set 331: 3 x 1,000 sentences, half of them positive.
    Repeated sentences are removed first (2,982 stay); ten folds at random but always the same: one
    test, the next validation, eight training. Words: lower case, letters, digits, "!" and "?";
    known are those that the training sentences hold twice. Metric: accuracy; score: error rate. A
    fold has 298 or 299 sentences, so one result is uncertain by about 2.5 points: average over
    folds. Reference: linear models on bags of words reach about .80.
    """

    name: ClassVar[str] = "sentiment"
    metric: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "is a sentence of a review positive or negative"
    source: ClassVar[str] = "UCI 331, Kotzias et al. 2015"
    dataset: ClassVar[str] = "sentences"
    bidirectional: ClassVar[bool] = True
    Options: ClassVar[type[SentimentOptions]] = SentimentOptions
    classes = 2

    def __init__(self, options: SentimentOptions, arrays: Arrays) -> None:
        self.tokens = int(arrays["vocabulary"])
        self.readout = "mean" if options.readout == "mean" else "last"
        super().__init__(options, arrays)

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Word numbers (0: unknown), labels, split."""
        parsed = parse_options(cls.Options, options)
        pairs = sentences()
        fold = np.random.default_rng(0).permutation(len(pairs)) % FOLDS
        split = np.select([fold == parsed.fold, fold == (parsed.fold + 1) % FOLDS], [2, 1], 0)
        words = [_WORD.findall(sentence.lower()) or [EMPTY] for sentence, _ in pairs]
        counts = Counter(
            word for k, sentence in enumerate(words) if split[k] == 0 for word in sentence
        )
        known = {
            word: n
            for n, word in enumerate(
                sorted(w for w, c in counts.items() if c >= parsed.least_count), start=1
            )
        }
        x, lengths = join(
            [
                np.array([known.get(word, 0) for word in sentence], dtype=np.int64)
                for sentence in words
            ]
        )
        y = np.array([label for _, label in pairs], dtype=np.int64)
        return {
            "x": x,
            "y": y,
            "lengths": lengths,
            "split": split.astype(np.uint8),
            "vocabulary": np.array(len(known) + 1),
            "words": np.array([UNKNOWN, *known]),
        }

    def inputs(self) -> TokenInputs:
        """Words, cut out of a text in lower case."""
        return TokenInputs(
            symbols=tuple(map(str, self.arrays["words"])),
            level="word",
            unknown=0,
            lower=True,
            word=_WORD.pattern,
            empty=EMPTY,
        )

    def answer(self) -> Answer:
        """What the labels 0 and 1 mean."""
        return Answer(kind="classes", names=("negative", "positive"))


def sentences() -> list[tuple[str, int]]:
    """All different sentences with their label, in order of the files."""
    pairs: dict[str, int] = {}
    for number in range(3):
        for line_number, line in enumerate(
            registry.read_text("sentences", number).split("\n"), start=1
        ):
            if line:
                sentence, _, label = line.rpartition("\t")
                if label not in ("0", "1"):
                    raise InputFileError(
                        f"no label at the end of {line[:40]!r}",
                        where=f"sentences, file {number}, line {line_number}",
                    )
                pairs.setdefault(sentence.strip(), int(label))
    return list(pairs.items())
