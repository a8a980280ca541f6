"""Translation: an encoder and a decoder made of the same cell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, InputFileError
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task
from cellsearch.tasks.bleu import corpus_bleu
from cellsearch.tasks.char_lm import read_text, text_digest
from cellsearch.tasks.data import registry
from cellsearch.tasks.interface import Interface
from cellsearch.tasks.later import heads, nn, torch, translation_model
from cellsearch.tasks.options import DataPath, TaskOptions, parse_options
from cellsearch.tasks.sequences import POOL, SPLITS, join
from cellsearch.tasks.translation_words import BEGIN, END, PAD, SPECIAL, UNKNOWN

if TYPE_CHECKING:
    from cellsearch.tasks.translation_model import TranslationModel

__all__ = ["Translation", "TranslationModel", "TranslationOptions"]

_WORD = re.compile(r"\w+'?|[^\w\s]")


def __getattr__(name: str) -> object:
    """The model is loaded on first use, as torch is."""
    if name == "TranslationModel":
        return translation_model.TranslationModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class TranslationOptions(TaskOptions):
    """Options of :class:`Translation`."""

    attention: bool = True
    """The decoder looks back at all positions of the source."""
    least_count: Annotated[int, at_least(1)] = 2
    """Rarer words become the unknown word."""
    pairs: Annotated[str, DataPath(digest=text_digest)] = ""
    """A UTF-8 file of your own: a source, a tab and its translation a line; after a second tab
    maybe its part: train, valid or test (on all lines or on none: then drawn as for Tatoeba)."""


class Translation(Task):
    """Translate short English sentences into French.

    Source: Tatoeba through manythings.org, the first 5,000 pairs: 2,597 different English sentences
    of 2 to 6 tokens with one or more translations. Split by English sentence (so no source is in
    two parts): 15 % test, 15 % validation, at random but always the same. Words in lower case,
    punctuation apart; words that training holds once are unknown. Score: cross-entropy of a target
    word (with its end mark) given the right words before it, in nats. Metric: BLEU-4 of the most
    probable words against all translations of the sentence
    (:func:`cellsearch.tasks.bleu.corpus_bleu`, on these tokens). What is downloaded is another
    edition of the pairs, that of Dive into Deep Learning: its first 5,000 give other figures, and a
    warning says so.
    """

    name: ClassVar[str] = "translation"
    hands_state_on = True
    metric: ClassVar[str] = "BLEU"
    summary: ClassVar[str] = (
        "translate short English sentences into French (encoder and decoder of the same cell)"
    )
    source: ClassVar[str] = (
        "Tatoeba, manythings.org/anki; protocol of Sutskever et al. 2014 and Luong et al. 2015"
    )
    dataset: ClassVar[str] = "eng_fra"
    Options: ClassVar[type[TranslationOptions]] = TranslationOptions
    options: TranslationOptions

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Word numbers of all pairs, one behind the other, the split, and the words. Raises
        :class:`ConfigError` or :class:`InputFileError` for a file of pairs that cannot be used.
        """
        parsed = parse_options(cls.Options, options)
        if parsed.pairs:
            pairs = _own_pairs(parsed.pairs)
        else:
            lines = registry.read_text(cls.dataset).split("\n")
            pairs = [line.split("\t")[:2] for line in lines if line]
        english, french = (
            [_WORD.findall(pair[side].lower()) for pair in pairs] for side in range(2)
        )
        keys = [" ".join(words) for words in english]
        groups = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        order = np.random.default_rng(0).permutation(len(groups)) / len(groups)
        part = np.select([order < 0.15, order < 0.3], [2, 1], 0)
        group = np.array([groups[key] for key in keys])
        split = part[group]
        if len(pairs[0]) > 2:
            split = np.array([SPLITS.index(pair[2]) for pair in pairs])
        if len(set(split)) < len(SPLITS):
            raise InputFileError(
                f"of {len(pairs)} pairs there are none in one of the parts {', '.join(SPLITS)}",
                where=parsed.pairs or cls.dataset,
                hint="give more pairs, or say which part each belongs to",
            )
        arrays: dict[str, NDArray[Any]] = {"split": split.astype(np.uint8), "group": group}
        for name, sentences in (("source", english), ("target", french)):
            counts = Counter(
                word for words, s in zip(sentences, split, strict=True) if s == 0 for word in words
            )
            vocabulary = [
                *SPECIAL,
                *sorted(word for word, count in counts.items() if count >= parsed.least_count),
            ]
            numbers = {word: n for n, word in enumerate(vocabulary)}
            arrays[name], arrays[f"{name}_lengths"] = join(
                [
                    np.array([numbers.get(w, UNKNOWN) for w in words], dtype=np.int64)
                    for words in sentences
                ]
            )
            arrays[f"{name}_words"] = np.array(vocabulary)
        arrays["references"] = np.array([" ".join(words) for words in french])
        return arrays

    def __init__(self, options: TranslationOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        sources, targets = (
            _apart(arrays[name], arrays[f"{name}_lengths"]) for name in ("source", "target")
        )
        begin, end = torch.tensor([BEGIN]), torch.tensor([END])
        heard = nn.utils.rnn.pad_sequence(
            [*sources, *(torch.cat([begin, target]) for target in targets)], padding_value=PAD
        )
        # All pairs as a batch holds them: sources and what the decoder hears [2, T, N], what it is
        # to say [T, N].
        self._x = torch.stack([heard[:, : len(sources)], heard[:, len(sources) :]])
        self._y = torch.full_like(self._x[0], PAD)
        answers = nn.utils.rnn.pad_sequence(
            [torch.cat([target, end]) for target in targets], padding_value=PAD
        )
        self._y[: len(answers)] = answers
        self._lengths = np.stack([arrays["source_lengths"], arrays["target_lengths"] + 1])
        self._members = {
            name: np.flatnonzero(arrays["split"] == k) for k, name in enumerate(SPLITS)
        }
        self._evaluation = {split: self._batch(self._members[split]) for split in ("valid", "test")}

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`."""
        if split != "train":
            yield self._evaluation[split]
            return
        members, size = self._members["train"], self.options.batch_size
        an_epoch = len(members) // size
        number = start
        while True:
            epoch, first = divmod(number, an_epoch)
            for chosen in self._epoch(members, size, np.random.default_rng([seed, epoch]))[first:]:
                yield self._batch(chosen)
                number += 1

    def _epoch(
        self, members: NDArray[Any], size: int, rng: np.random.Generator
    ) -> list[NDArray[Any]]:
        """Batches of an epoch: translations of similar length side by side, so that the decoder is
        hardly padded.
        """
        order = rng.permutation(members)[: len(members) // size * size]
        batches: list[NDArray[Any]] = []
        for pool in range(0, len(order), size * POOL):
            chosen = order[pool : pool + size * POOL]
            batches.extend(
                np.split(
                    chosen[np.argsort(self._lengths[1, chosen], kind="stable")], len(chosen) // size
                )
            )
        return [batches[k] for k in rng.permutation(len(batches))]

    def _batch(self, chosen: NDArray[Any]) -> Batch:
        columns, lengths = torch.from_numpy(chosen), self._lengths[:, chosen]
        longest = int(lengths.max())
        return Batch(
            self._x[:, :longest, columns], self._y[:longest, columns], torch.from_numpy(lengths[0])
        )

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """See :class:`TranslationModel`."""
        sizes = {name: len(self.arrays[f"{name}_words"]) for name in ("source", "target")}
        return translation_model.TranslationModel(
            cell_factory, **sizes, attention=self.options.attention
        )

    def interface(self) -> Interface:
        """Refused: two sequences, one of them written by the model, do not fit the description.

        Raises :class:`ConfigError`.
        """
        raise ConfigError(
            "a translation model is an encoder and a decoder, which writes its answer word by "
            "word: it cannot be described as a layer with a readout",
            where=f"task {self.name}",
            hint="use RunTrial.trained() and its model's translate(); the bare cell can be "
            "exported with --to source",
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy of a target word, in nats."""
        return nn.functional.cross_entropy(
            prediction.flatten(0, 1), batch.y.flatten(), ignore_index=PAD
        )

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Cross-entropy of a target word, and BLEU."""
        (batch,) = self.batches(split, 0)
        with heads.evaluation(model):
            loss = float(self.loss(model(batch.x, None, batch.lengths)[0], batch))
        return loss, corpus_bleu(*self.translations(model, split))

    def translations(
        self, model: nn.Module, split: Split
    ) -> tuple[list[list[str]], list[list[list[str]]]]:
        """For each source sentence of a split the model's translation, and all that the data
        hold.
        """
        assert isinstance(model, translation_model.TranslationModel)
        members = self._members[split]
        _, first = np.unique(self.arrays["group"][members], return_index=True)
        batch = self._evaluation[split]
        assert batch.lengths is not None
        columns = torch.from_numpy(first)
        with heads.evaluation(model):
            said = model.translate(batch.x[0][:, columns], batch.lengths[columns])
        words = self.arrays["target_words"]
        references: dict[int, list[list[str]]] = {}
        for k in members:
            references.setdefault(int(self.arrays["group"][k]), []).append(
                str(self.arrays["references"][k]).split(" ")
            )
        groups = [int(self.arrays["group"][members[k]]) for k in first]
        return [[str(words[n]) for n in answer] for answer in said], [
            references[group] for group in groups
        ]


def _own_pairs(path: str) -> list[list[str]]:
    """The fields of each line: source, target, and on all lines or on none the part. Raises
    :class:`ConfigError` if there is no such file, :class:`InputFileError` for what it says.
    """
    lines = [line.split("\t") for line in read_text(path).splitlines()]
    numbered = [(n, fields) for n, fields in enumerate(lines, start=1) if any(fields)]
    if not numbered:
        raise InputFileError("there are no pairs", where=path, hint="write a pair a line")
    width = len(numbered[0][1])
    for number, fields in numbered:
        if len(fields) != width or width not in (2, 3) or not all(map(_WORD.search, fields[:2])):
            raise InputFileError(
                f"line {number} is not a sentence, a tab and its translation",
                where=path,
                hint="a third field, the part, is on all lines or on none",
            )
        if fields[2:] and fields[2] not in SPLITS:
            raise InputFileError(
                f"line {number} has the unknown part {fields[2]!r}",
                where=path,
                hint="allowed: " + ", ".join(SPLITS),
            )
    return [fields for _, fields in numbered]


def _apart(values: NDArray[Any], lengths: NDArray[Any]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(part)) for part in np.split(values, np.cumsum(lengths)[:-1])]
