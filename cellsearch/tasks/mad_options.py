"""Options of the six tasks of MAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cellsearch.errors import ConfigError
from cellsearch.options import at_least, between
from cellsearch.tasks.mad_data import MadShape
from cellsearch.tasks.options import TaskOptions

__all__ = [
    "MadCompressionOptions",
    "MadCopyOptions",
    "MadFuzzyOptions",
    "MadMemoryOptions",
    "MadNoisyOptions",
    "MadOptions",
]


@dataclass(frozen=True, slots=True)
class MadOptions(TaskOptions):
    """Options of a :class:`MadTask`; the defaults are the baseline of the authors."""

    batch_size: Annotated[int, at_least(1)] = 128
    """B, sequences in a training batch."""
    vocabulary: Annotated[int, at_least(8)] = 16
    """V, tokens of all kinds."""
    length: Annotated[int, at_least(8)] = 128
    """Positions of a sequence; recall asks for the next of them, so its model sees one less."""
    examples: Annotated[int, at_least(1)] = 12_800
    """Sequences to train with, over and over."""
    evaluation_size: Annotated[int, at_least(1)] = 1280
    """Sequences of the validation data, and of the test data."""
    data_seed: Annotated[int, at_least(0)] = 12_345
    """All sequences follow from it."""

    @property
    def shape(self) -> MadShape:
        """For the generators."""
        return MadShape(self.vocabulary, self.length)


@dataclass(frozen=True, slots=True)
class MadMemoryOptions(MadOptions):
    """Options of :class:`MadMemorization`."""

    vocabulary: Annotated[int, at_least(8)] = 256
    length: Annotated[int, at_least(8)] = 32
    examples: Annotated[int, at_least(1)] = 256


@dataclass(frozen=True, slots=True)
class MadCompressionOptions(MadOptions):
    """Options of :class:`MadCompression`."""

    length: Annotated[int, at_least(8)] = 32


@dataclass(frozen=True, slots=True)
class MadFuzzyOptions(MadOptions):
    """Options of :class:`MadFuzzyRecall`."""

    motif: Annotated[int, between(1, 3)] = 3
    """The most tokens of a key, and of a value."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if self.length < 6 * self.motif or self.vocabulary < 2 * self.motif + 1:
            raise ConfigError(
                f"keys and values of {self.motif} tokens do not fit",
                where="motif",
                hint="length at least 6 times as much, vocabulary at least twice and one",
            )

    @property
    def shape(self) -> MadShape:
        """For the generators."""
        return MadShape(self.vocabulary, self.length, motif=self.motif)


@dataclass(frozen=True, slots=True)
class MadNoisyOptions(MadOptions):
    """Options of :class:`MadNoisyRecall`."""

    vocabulary: Annotated[int, at_least(8)] = 32
    noise_vocabulary: Annotated[int, at_least(1)] = 16
    """How many of the tokens mean nothing."""
    noise: Annotated[float, between(0, 1, open_high=True)] = 0.2
    """Share of pairs that are noise."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if self.vocabulary - self.noise_vocabulary < 4:
            raise ConfigError(
                "no tokens are left for keys and values",
                where="noise_vocabulary",
                hint=f"at most vocabulary - 4, which is {self.vocabulary - 4}",
            )

    @property
    def shape(self) -> MadShape:
        """For the generators."""
        return MadShape(self.vocabulary, self.length, self.noise_vocabulary, self.noise)


@dataclass(frozen=True, slots=True)
class MadCopyOptions(MadOptions):
    """Options of :class:`MadSelectiveCopying`."""

    length: Annotated[int, at_least(8)] = 256
    copied: Annotated[int, at_least(1)] = 16
    """Tokens to copy."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if self.length < 2 * self.copied + 2:
            raise ConfigError(
                f"{self.copied} tokens to copy in {self.length} positions",
                where="length",
                hint=f"at least {2 * self.copied + 2}",
            )

    @property
    def shape(self) -> MadShape:
        """For the generators."""
        return MadShape(self.vocabulary, self.length, copied=self.copied)
