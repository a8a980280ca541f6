"""What a trained model reads and answers, in the user's own terms: columns and units, symbols and
labels. All that is needed to use it where its data are not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, InputFileError
from cellsearch.genome.footprint import Surroundings

__all__ = [
    "Answer",
    "AnswerKind",
    "FeatureInputs",
    "Interface",
    "Level",
    "Readout",
    "TokenInputs",
    "features",
    "values",
]

Readout = Literal["every", "last", "mean"]
Level = Literal["character", "word", "number"]
AnswerKind = Literal["classes", "values", "tokens", "bits"]
LabelType = Literal["text", "int", "float", "bool"]
Floats = Sequence[float] | NDArray[np.float64]
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInputs:
    """Token numbers ``[T, B]``, and the text that they stand for.

    A text is read so: ``replace`` (a pattern of :mod:`re`, and what stands in its place), lower
    case, then cut into its characters, words or numbers.
    """

    symbols: tuple[str, ...] = ()
    """The text of each token; empty for numbers from 0 to ``count - 1``."""
    level: Level = "character"
    """What a symbol is: a character; a word; a number that stands for itself."""
    unknown: int | None = None
    """The token of every other symbol; ``None``: there is no other."""
    count: int = 0
    """How many tokens there are, where they have no symbols."""
    replace: tuple[str, str] | None = None
    """What is replaced first."""
    lower: bool = False
    """Whether case is ignored."""
    word: str = ""
    """Pattern of a word; ``""``: what white space separates."""
    end_of_line: str = ""
    """The word that stands for the end of a line; ``""``: it has none."""
    empty: str = ""
    """What is read in place of a text without a word."""

    @property
    def vocabulary(self) -> int:
        """V, how many tokens the model knows."""
        return len(self.symbols) or self.count

    def split(self, text: str) -> list[str]:
        """The symbols of a text, known or not."""
        if self.replace is not None:
            text = re.sub(*self.replace, text)
        text = text.lower() if self.lower else text
        if self.level == "character":
            return list(text)
        if self.word:
            found = re.findall(self.word, text)
        elif self.end_of_line:
            found = [
                word for line in text.splitlines() for word in (*line.split(), self.end_of_line)
            ]
        else:
            found = text.split()
        return found or ([self.empty] if self.empty else [])

    def encode(self, text: str, *, where: str = "text") -> NDArray[np.int64]:
        """The token numbers ``[T]`` of a text. Raises :class:`InputFileError` for a symbol that the
        model does not know.
        """
        parts = self.split(text)
        if self.level == "number":
            return self._numbers(parts, where)
        known = {symbol: number for number, symbol in enumerate(self.symbols)}
        tokens = [known.get(part, self.unknown) for part in parts]
        if None in tokens:
            raise InputFileError(
                f"the model does not know the {self.level} {parts[tokens.index(None)]!r}",
                where=where,
                hint=f"it knows {self._listed()}",
            )
        return np.array(tokens, dtype=np.int64)

    def _numbers(self, parts: Sequence[str], where: str) -> NDArray[np.int64]:
        for part in parts:
            if not re.fullmatch(r"\d+", part, re.ASCII) or int(part) >= self.vocabulary:
                raise InputFileError(
                    f"{part!r} is not a token of the model",
                    where=where,
                    hint=f"tokens are whole numbers from 0 to {self.vocabulary - 1}",
                )
        return np.array([int(part) for part in parts], dtype=np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        """What token numbers stand for, as text."""
        parts = [self.symbols[token] if self.symbols else str(token) for token in tokens]
        if self.level == "character":
            return "".join(parts)
        text = " ".join(parts)
        if not self.end_of_line:
            return text
        return "\n".join(line.strip() for line in text.split(self.end_of_line))

    def _listed(self) -> str:
        if len(self.symbols) > 100:
            return f"{len(self.symbols):,} {self.level}s of its training text"
        return repr(("" if self.level == "character" else " ").join(self.symbols))


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureInputs:
    """Real values ``[T, B, I]``. The model reads ``(raw - mean) / scale``, computed in float64."""

    names: tuple[str, ...]
    """What each of the I columns is called."""
    units: tuple[str, ...] = ()
    """The unit of each, ``""`` where it has none; empty: no column has one."""
    mean: tuple[float, ...]
    """What is subtracted from each."""
    scale: tuple[float, ...]
    """What it is divided by then."""
    relative: bool = False
    """Whether the last value of a window, as the model reads it, is subtracted from the whole
    window, and that of the C columns that are answered, which are the first of the inputs, added to
    each step that the model answers (forecasts)."""
    history: int | None = None
    """How many positions a window of the training has; ``None``: any number."""
    missing: bool = False
    """Whether values may be missing (NaN): they are read as the mean of their column, and as not
    observed by cells that read ``mask[t]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the numbers mean that the readout gives."""

    kind: AnswerKind
    """``classes``: softmax over names; ``values``: ``number * scale + mean``; ``tokens``: softmax
    over the symbol that comes next; ``bits``: a sigmoid each, independent."""
    names: tuple[str, ...] = ()
    """Of classes, of C value columns, or of bits; empty for tokens, whose symbols are those of the
    inputs."""
    units: tuple[str, ...] = ()
    """The unit of each value column; empty: no column has one."""
    mean: tuple[float, ...] = ()
    """For values: one an output (horizon * C, step after step)."""
    scale: tuple[float, ...] = ()
    """For values: likewise."""
    horizon: int = 1
    """How many steps of the C columns are answered at once."""
    label_type: LabelType = "text"
    """What the user's labels are; ``names`` are their texts."""

    @property
    def labels(self) -> list[Any]:
        """The classes as the user gave them."""
        if self.label_type == "bool":
            return [name == "True" for name in self.names]
        convert: Any = {"text": str, "int": int, "float": float}[self.label_type]
        return [convert(name) for name in self.names]

    @property
    def columns(self) -> list[str]:
        """A name for each value, bit or class, in the order of the outputs: ``NAME`` or, for
        several steps, ``NAME+STEP``.
        """
        if self.horizon == 1:
            return list(self.names)
        return [f"{name}+{step}" for step in range(1, self.horizon + 1) for name in self.names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What a trained model reads and answers."""

    inputs: TokenInputs | FeatureInputs
    """What goes in."""
    answer: Answer
    """What comes out."""
    readout: Readout = "every"
    """Whether it answers at ``every`` position, or once a sequence: from the ``last`` position, or
    the ``mean`` over all."""
    time_unit: float | None = None
    """What the time between two positions is divided by to become ``dt[t]``, which is 1 at the
    first one; ``None``: the model was trained without times."""

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise ConfigError(f"the interface of the model does not fit together: {wrong}")

    @property
    def outputs(self) -> int:
        """Width of the readout."""
        if self.answer.kind == "tokens":
            assert isinstance(self.inputs, TokenInputs)
            return self.inputs.vocabulary
        return len(self.answer.names) * self.answer.horizon

    @property
    def streams(self) -> bool:
        """Whether it answers at every position, so that its state can be carried on."""
        return self.readout == "every"

    def surroundings(self, *, tied: bool = False) -> Surroundings:
        """What the model has around its layers, for :func:`cellsearch.genome.footprint.footprint`;
        tied: whether the readout has the weights of the embedding.
        """
        inputs, answer = self.inputs, self.answer
        functions: dict[AnswerKind, Literal["", "softmax", "sigmoid"]] = {
            "classes": "softmax", "tokens": "softmax", "bits": "sigmoid", "values": "",
        }  # fmt: skip
        symbols, features, scaled, relative, missing = 0, 0, False, False, False
        if isinstance(inputs, TokenInputs):
            symbols = inputs.vocabulary
        else:
            features, relative = len(inputs.names), inputs.relative
            missing = inputs.missing
            scaled = _scales(inputs.mean, inputs.scale, relative=relative)
        return Surroundings(
            outputs=self.outputs,
            symbols=symbols,
            features=features,
            scaled_inputs=scaled,
            relative=relative,
            missing=missing,
            scaled_answers=_scales(answer.mean, answer.scale, relative=relative),
            function=functions[answer.kind],
            mean=self.readout == "mean",
            tied=tied,
        )

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON, exact, that :meth:`from_plain` reads back."""
        kind = "tokens" if isinstance(self.inputs, TokenInputs) else "features"
        inputs = {"kind": kind, **asdict(self.inputs)}
        if not inputs.get("missing"):  # as it was before there were such
            inputs.pop("missing", None)
        return {
            "format": FORMAT,
            "inputs": inputs,
            "answer": asdict(self.answer),
            "readout": self.readout,
            **({} if self.time_unit is None else {"time_unit": self.time_unit}),
        }

    @classmethod
    def from_plain(cls, plain: Any, *, where: str = "interface") -> Interface:
        """What :meth:`to_plain` gave, also after JSON. Raises :class:`InputFileError` for anything
        else.
        """
        try:
            if plain["format"] != FORMAT:
                raise InputFileError(
                    f"the interface has format {plain['format']!r}, this version reads {FORMAT}",
                    where=where,
                    hint="use a newer cellsearch",
                )
            inputs = _frozen(plain["inputs"])
            kind = {"tokens": TokenInputs, "features": FeatureInputs}[inputs.pop("kind")]
            return cls(
                inputs=kind(**inputs),
                answer=Answer(**_frozen(plain["answer"])),
                readout=plain["readout"],
                time_unit=plain.get("time_unit"),
            )
        except (KeyError, TypeError, AttributeError, ConfigError) as error:
            raise InputFileError(
                f"this is not the interface of a model: {error}", where=where
            ) from error


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }


def _wrong(interface: Interface) -> str:
    """What does not fit, in words; ``""``: all does."""
    inputs, answer = interface.inputs, interface.answer
    if interface.readout not in get_args(Readout):
        return f"readout is {interface.readout!r}"
    if answer.kind not in get_args(AnswerKind) or answer.label_type not in get_args(LabelType):
        return f"the answer is {answer.kind!r} of {answer.label_type!r}"
    unit = interface.time_unit
    if unit is not None and not (isinstance(unit, (int, float)) and 0 < unit < math.inf):
        return f"the unit of time is {unit!r:.40}"
    if answer.horizon < 1 or (answer.kind != "tokens" and not answer.names):
        return "the answer has no names, or no horizon"
    if answer.units and len(answer.units) != len(answer.names):
        return f"{len(answer.units)} units for {len(answer.names)} answers"
    if answer.kind == "values":
        numbers = (answer.mean, answer.scale)
        if any(len(values) != len(answer.names) * answer.horizon for values in numbers):
            return "the answer needs a mean and a scale for each output"
        if not _usable(*numbers):
            return "mean or scale of the answer is not finite, or the scale not above 0"
    if isinstance(inputs, TokenInputs):
        if inputs.level not in get_args(Level) or inputs.vocabulary < 1:
            return "the inputs have no symbols"
        for pattern in (inputs.word, *(inputs.replace or ())[:1]):
            try:
                re.compile(pattern)
            except re.error as error:
                return f"{pattern!r} is not a pattern: {error}"
        if inputs.unknown is not None and not 0 <= inputs.unknown < inputs.vocabulary:
            return f"the unknown token is {inputs.unknown}"
        return ""
    if answer.kind == "tokens":
        return "the answer is tokens, the inputs are not"
    widths = {len(inputs.names), len(inputs.mean), len(inputs.scale)}
    if len(widths) > 1 or not inputs.names or len(inputs.units) not in (0, len(inputs.names)):
        return "the inputs need a name, a mean and a scale for each column"
    if not _usable(inputs.mean, inputs.scale):
        return "mean or scale of the inputs is not finite, or the scale not above 0"
    if inputs.relative and inputs.missing:
        return "relative inputs have no values that may be missing"
    if inputs.relative and (
        answer.kind != "values" or answer.names != inputs.names[: len(answer.names)]
    ):
        return "relative inputs are answered by values of the first of their columns"
    return ""


def _scales(mean: Sequence[float], scale: Sequence[float], *, relative: bool) -> bool:
    """Whether it is anything to scale; the mean of relative values is nothing to them."""
    return any(number != 1 for number in scale) or (not relative and any(mean))


def _usable(mean: Sequence[float], scale: Sequence[float]) -> bool:
    return all(map(math.isfinite, (*mean, *scale))) and all(number > 0 for number in scale)


def features(
    names: Sequence[str],
    mean: Floats | None = None,
    scale: Floats | None = None,
    *,
    units: Sequence[str] = (),
    relative: bool = False,
    history: int | None = None,
    missing: bool = False,
) -> FeatureInputs:
    """Inputs of these columns; without mean and scale the model reads the values as they are."""
    count = len(names)
    return FeatureInputs(
        names=tuple(names),
        units=tuple(units),
        mean=tuple(np.zeros(count).tolist() if mean is None else np.asarray(mean).tolist()),
        scale=tuple(np.ones(count).tolist() if scale is None else np.asarray(scale).tolist()),
        relative=relative,
        history=history,
        missing=missing,
    )


def values(
    names: Sequence[str],
    mean: Floats | None = None,
    scale: Floats | None = None,
    *,
    units: Sequence[str] = (),
    horizon: int = 1,
) -> Answer:
    """Values of these columns, ``horizon`` steps of them; mean and scale: one a column, or one an
    output; without them the readout gives the values as they are.
    """
    count = len(names) * horizon
    mean, scale = (
        np.full(count, default) if given is None else np.asarray(given, dtype=np.float64)
        for given, default in ((mean, 0.0), (scale, 1.0))
    )
    return Answer(
        kind="values",
        names=tuple(names),
        units=tuple(units),
        mean=tuple(np.resize(mean, count).tolist()),
        scale=tuple(np.resize(scale, count).tolist()),
        horizon=horizon,
    )
