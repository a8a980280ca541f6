"""Word language modelling: perplexity of encyclopaedia articles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split
from cellsearch.tasks.data import registry
from cellsearch.tasks.interface import TokenInputs
from cellsearch.tasks.language import LanguageModel, LanguageOptions
from cellsearch.tasks.later import adaptive, nn, torch
from cellsearch.tasks.options import parse_options

__all__ = ["WordLM", "WordLMOptions", "word_arrays"]

END_OF_LINE, UNKNOWN = "<eos>", "<unk>"


@dataclass(frozen=True, slots=True)
class WordLMOptions(LanguageOptions):
    """Options of :class:`WordLM`."""

    batch_size: Annotated[int, at_least(1)] = 20
    tbptt: Annotated[int, at_least(1)] = 35
    valid_tokens: Annotated[int, at_least(0)] = 16_384
    max_words: Annotated[int, at_least(0)] = 0
    """Rarer words become ``<unk>``, which makes a step cheaper and figures incomparable with
    published ones (0: all)."""
    softmax: Literal["full", "adaptive"] = "full"
    """``"full"``, with the decoder tied to the embedding, or ``"adaptive"``, which is as exact,
    several times cheaper a step, and not tied."""
    cutoffs: tuple[int, ...] = (2000, 10_000)
    """Where the clusters of the adaptive softmax begin, in words by frequency (those beyond the
    vocabulary do not count)."""


class WordLM(LanguageModel):
    """Predict the next word of Wikipedia articles.

    Source: WikiText-2 (Merity et al. 2017): 2,088,628, 217,646 and 245,569 tokens with one end mark
    a line, vocabulary of 33,278 words, official split (the articles of the training part may stand
    in another order). With the full softmax the decoder shares the weights of the embedding;
    ``softmax = "adaptive"`` makes a step several times cheaper
    (:class:`cellsearch.tasks.adaptive.AdaptiveModel`). Search validates on the first 16,384 tokens
    of the validation split (``valid_tokens = 0`` reads all). Score: cross-entropy in bits a word.
    Metric: perplexity. Published: AWD-LSTM 65.8 on the test (24 million weights), the LSTM of
    PyTorch's examples (H = 200) 130 to 142. A bigram model reaches 266.5.
    """

    name: ClassVar[str] = "word_lm"
    metric: ClassVar[str] = "perplexity"
    summary: ClassVar[str] = (
        "predict the next word of Wikipedia articles (vocabulary of 33,278 words)"
    )
    source: ClassVar[str] = "WikiText-2, Merity et al. 2017, arXiv 1609.07843"
    dataset: ClassVar[str] = "wikitext2"
    Options: ClassVar[type[WordLMOptions]] = WordLMOptions
    options: WordLMOptions
    evaluation_segment: ClassVar[int] = 16
    tied: ClassVar[bool] = True

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Word numbers of the three splits, the most frequent word first, and the words."""
        parsed = parse_options(cls.Options, options)
        return word_arrays(
            [registry.read_text(cls.dataset, number) for number in range(3)], parsed.max_words
        )

    def token_inputs(self) -> TokenInputs:
        """See :meth:`LanguageModel.token_inputs`; here words."""
        symbols = tuple(map(str, self.arrays["symbols"]))
        return TokenInputs(
            symbols=symbols,
            level="word",
            unknown=symbols.index(UNKNOWN),
            end_of_line=END_OF_LINE,
        )

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """Embedding of width H, the cell, and the softmax that the options ask for."""
        if self.options.softmax == "full":
            return super().model(cell_factory)
        cutoffs = [cutoff for cutoff in self.options.cutoffs if cutoff < self.vocabulary]
        return adaptive.AdaptiveModel(cell_factory, tokens=self.vocabulary, cutoffs=cutoffs)

    def evaluation_loss(
        self, model: nn.Module, batch: Batch, state: Any
    ) -> tuple[torch.Tensor, Any]:
        """See :meth:`LanguageModel.evaluation_loss`; an adaptive softmax computes only what the
        loss needs.
        """
        if isinstance(model, adaptive.AdaptiveModel):
            return model.cross_entropy(batch.x, batch.y, state)
        return super().evaluation_loss(model, batch, state)

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Bits a word, and perplexity."""
        nats = self.cross_entropy(model, split)
        return nats / math.log(2), math.exp(min(nats, 700.0))


def word_arrays(texts: Sequence[str], max_words: int) -> Arrays:
    """Number the words of the three texts; words that the first one does not hold, or that are too
    rare, are ``<unk>``.
    """
    words = [_words(text) for text in texts]
    counts = Counter(words[0])
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[: max_words or None]
    vocabulary = ranked if UNKNOWN in ranked else [*ranked, UNKNOWN]
    numbers = {word: n for n, word in enumerate(vocabulary)}
    unknown = numbers[UNKNOWN]
    train, valid, test = (
        np.array([numbers.get(word, unknown) for word in part], dtype=np.int32) for part in words
    )
    return {"train": train, "valid": valid, "test": test, "symbols": np.array(vocabulary)}


def _words(text: str) -> list[str]:
    return [word for line in text.splitlines() for word in (*line.split(), END_OF_LINE)]
