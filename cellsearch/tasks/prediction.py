"""Using a trained model: raw values or texts in, answers in the user's units and labels out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellsearch.errors import ConfigError, DataWarning
from cellsearch.tasks.interface import FeatureInputs, Interface, TokenInputs

__all__ = [
    "Predicted",
    "beside_of",
    "predict",
    "prepare",
    "run",
    "scores_of",
    "standardised",
]

BATCH = 256
"""Sequences that are read at once."""
_ONE = "one sequence [T, I]"


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model says of one sequence."""

    scores: NDArray[np.float64]
    """``[T, outputs]`` with an answer at every position, else ``[1, outputs]``: probabilities of
    classes, bits and tokens; values in the user's units."""
    interface: Interface
    """What they mean."""

    @property
    def answers(self) -> Any:
        """For each row a label, the values ``[C]`` or ``[horizon, C]``, the bits, or the next
        symbol; without the rows where there is one answer a sequence.
        """
        rows = self.rows
        return rows if self.interface.streams else rows[0]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """``[T, outputs]``, or ``[outputs]`` where there is one answer a sequence. Raises
        :class:`ConfigError` for values, which have none.
        """
        if self.interface.answer.kind == "values":
            raise ConfigError(
                "the model answers values, which have no probabilities",
                hint="leave probabilities out",
            )
        return self.scores if self.interface.streams else self.scores[0]

    @property
    def rows(self) -> Any:
        """The same, always with the rows."""
        answer = self.interface.answer
        if answer.kind == "bits":
            return self.scores > 0.5
        if answer.kind == "values":
            shape = (len(self.scores), answer.horizon, len(answer.names))
            return self.scores.reshape(shape) if answer.horizon > 1 else self.scores
        numbers = self.scores.argmax(-1)
        if answer.kind == "tokens":
            inputs = self.interface.inputs
            assert isinstance(inputs, TokenInputs)
            return [inputs.symbols[k] if inputs.symbols else str(k) for k in numbers.tolist()]
        return [answer.labels[number] for number in numbers.tolist()]


def prepare(interface: Interface, data: Any, where: str = "data") -> tuple[list[Any], bool]:
    """Checked sequences, token numbers ``[T]`` or raw values ``[T, I]`` in float64, and whether one
    alone was given.

    data: a text, token numbers ``[T]``, or ``[T, I]`` (``[T]`` for one feature) for one sequence;
        ``[N, T]``, ``[N, T, I]`` or a list of these for several.

    Raises :class:`ConfigError` for anything else, for columns that do not fit, and for numbers that
    are not finite; :class:`InputFileError` for unknown symbols.
    """
    if isinstance(interface.inputs, TokenInputs):
        return _tokens(interface.inputs, data, where)
    return _features(interface.inputs, data, where)


def _tokens(inputs: TokenInputs, data: Any, where: str) -> tuple[list[Any], bool]:
    if isinstance(data, str):
        return [_not_empty(inputs.encode(data, where=where), where)], True
    if isinstance(data, Sequence) and len(data) and all(isinstance(text, str) for text in data):
        texts = [inputs.encode(text, where=f"{where} {k}") for k, text in enumerate(data)]
        return [_not_empty(tokens, f"{where} {k}") for k, tokens in enumerate(texts)], False
    sequences, alone = _arrays(data, 1, where)
    for k, tokens in enumerate(sequences):
        _not_empty(tokens, f"{where} {k}")
        if tokens.dtype.kind not in "iu" or tokens.min() < 0 or tokens.max() >= inputs.vocabulary:
            raise ConfigError(
                f"sequence {k} of type {tokens.dtype} does not hold tokens of the model",
                where=where,
                hint=f"tokens are whole numbers from 0 to {inputs.vocabulary - 1}"
                + (", or give a text" if inputs.symbols else ""),
            )
    return [tokens.astype(np.int64) for tokens in sequences], alone


def _not_empty(sequence: NDArray[Any], where: str) -> NDArray[Any]:
    if not len(sequence):
        raise ConfigError("a sequence is empty", where=where, hint="give a position or more")
    return sequence


def _features(inputs: FeatureInputs, data: Any, where: str) -> tuple[list[Any], bool]:
    width = len(inputs.names)
    if width == 1 and _depth(data) == 1:
        data = np.asarray(data)[:, None]
    elif width == 1 and _depth(data) == 2 and np.shape(data[0])[-1:] != (1,):
        data = [np.asarray(sequence)[:, None] for sequence in data]
    sequences, alone = _arrays(data, 2, where)
    for k, values in enumerate(sequences):
        if values.dtype.kind not in "iufb" or values.shape[1] != width:
            raise ConfigError(
                f"sequence {k} has shape {list(values.shape)} and type {values.dtype}",
                where=where,
                hint=f"the model reads {width} columns of numbers: {', '.join(inputs.names)}",
            )
        _not_empty(values, f"{where} {k}")
        exact = values.astype(np.float64)
        wrong = np.isinf(exact) if inputs.missing else ~np.isfinite(exact)
        if wrong.any():
            row, column = (int(place) for place in np.argwhere(wrong)[0])
            raise ConfigError(
                f"{int(wrong.sum())} values are not finite (NaN, infinite, missing), the first of "
                f"them {inputs.names[column]} at position {row} of sequence {k}",
                where=where,
                hint="fill them in as the training data were, or leave out the rows",
            )
    return [values.astype(np.float64) for values in sequences], alone


def _depth(data: Any) -> int:
    """How many dimensions nested data have, of which the first part decides."""
    depth = 0
    while not isinstance(data, str) and (np.ndim(data) if hasattr(data, "ndim") else True):
        if not hasattr(data, "__len__"):
            break
        depth += 1
        if not len(data):
            break
        data = data[0]
    return depth


def _arrays(data: Any, dimensions: int, where: str) -> tuple[list[NDArray[Any]], bool]:
    """Sequences of so many dimensions, and whether the data are one."""
    depth = _depth(data)
    if depth not in (dimensions, dimensions + 1):
        raise ConfigError(
            f"data of {depth} dimensions are not sequences that the model reads",
            where=where,
            hint=f"one sequence has {dimensions} ([T{', I' * (dimensions - 1)}]); several are a "
            "list of them, or an array with one dimension more",
        )
    alone = depth == dimensions
    try:
        sequences = [np.asarray(sequence) for sequence in ([data] if alone else data)]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the data are not sequences of numbers: {error}", where=where) from error
    for k, sequence in enumerate(sequences):
        if sequence.ndim != dimensions:
            raise ConfigError(
                f"sequence {k} has shape {list(sequence.shape)}",
                where=where,
                hint=f"each has {dimensions} dimensions",
            )
    return sequences, alone


def beside_of(
    model: nn.Module,
    interface: Interface,
    sequences: Sequence[Any],
    times: Any = None,
    resets: Any = None,
    *,
    alone: bool = False,
) -> list[dict[str, NDArray[Any]]]:
    """What each of the checked sequences has beside its values: ``times [T]`` in float64 and
    ``resets [T]``.

    times: when each position was, never decreasing; resets: where states start afresh before the
        position; both one array a sequence, or for one ``alone`` that array.

    Raises :class:`ConfigError` for those that do not fit the sequences, times where the model was
    trained without, and none where its cell reads them.
    """
    genome = getattr(getattr(model, "cell", None), "genome", None)
    reads = () if genome is None else genome.inputs
    if times is None and "dt" in reads and interface.time_unit is not None:
        raise ConfigError(
            "the cell reads the time between positions, and no times are given",
            where="times",
            hint="give when each position was: predict(x, times=...), or --times COLUMN",
        )
    if times is not None and interface.time_unit is None:
        raise ConfigError(
            "the model was trained without times", where="times", hint="leave them out"
        )
    found: list[dict[str, NDArray[Any]]] = [{} for _ in sequences]
    for name, given in (("times", times), ("resets", resets)):
        if given is None:
            continue
        rows = [given] if alone else given
        fits = len(rows) == len(sequences) and all(
            np.shape(row) == (len(x),) for row, x in zip(rows, sequences, strict=True)
        )
        if not fits:
            raise ConfigError(
                "they do not fit the sequences",
                where=name,
                hint="one for each position: [T] for one sequence, a list of [T] for several",
            )
        for place, row in zip(found, rows, strict=True):
            place[name] = np.asarray(row, dtype=np.float64 if name == "times" else bool)
            if name == "times" and not (np.diff(place[name]) >= 0).all():
                raise ConfigError(
                    "they decrease or are not finite", where=name, hint="sort the rows by time"
                )
    return found


def predict(
    model: nn.Module,
    interface: Interface,
    sequences: Sequence[Any],
    beside: Sequence[dict[str, NDArray[Any]]] | None = None,
) -> list[Predicted]:
    """What the model says of each of the sequences that :func:`prepare` gave, with what
    :func:`beside_of` gave.

    Of a forecast's sequences the last ``history`` positions are read, as in training.
    """
    beside = beside_of(model, interface, sequences) if beside is None else beside
    made: list[Predicted | None] = [None] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda k: len(sequences[k]))
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        scores = _batch(
            model, interface, [sequences[k] for k in chosen], [beside[k] for k in chosen]
        )
        for k, rows in zip(chosen, scores, strict=True):
            made[k] = Predicted(rows, interface)
    return [found for found in made if found is not None]


def _batch(
    model: nn.Module,
    interface: Interface,
    sequences: Sequence[NDArray[Any]],
    beside: Sequence[dict[str, NDArray[Any]]],
) -> list[NDArray[np.float64]]:
    """Scores of each sequence, run side by side."""
    inputs = interface.inputs
    if isinstance(inputs, FeatureInputs):
        windows = [_window(inputs, values) for values in sequences]
    else:
        windows = list(sequences)
    parts = [
        standardised(interface, values, **{k: v[-len(values) :] for k, v in given.items()})
        for values, given in zip(windows, beside, strict=True)
    ]
    lengths = torch.tensor([len(values) for values in windows])
    longest = int(lengths.max())

    def padded(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.stack(
            [np.concatenate([v, np.repeat(v[-1:], longest - len(v), 0)]) for v in rows], axis=1
        )

    x = padded([values for values, _ in parts])
    names = parts[0][1]
    more = {k: torch.from_numpy(padded([given[k] for _, given in parts])) for k in names}
    same = bool((lengths == longest).all())
    output, _, last = run(model, interface, x, None, None if same else lengths, more)
    scores = scores_of(interface, output, last)
    if not interface.streams:
        return [scores[k : k + 1] for k in range(len(windows))]
    return [scores[: len(values), k] for k, values in enumerate(windows)]


def standardised(
    interface: Interface,
    values: NDArray[Any],
    times: NDArray[Any] | None = None,
    resets: NDArray[Any] | None = None,
    gaps: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """A sequence as the model reads it, and what it is given beside: ``dt``, ``mask``, ``reset``.

    gaps: the time since the position before, in place of ``times``; NaN at a first position.
    """
    inputs, beside = interface.inputs, {}
    if isinstance(inputs, FeatureInputs):
        if inputs.missing:
            beside["mask"] = (~np.isnan(values)).astype(np.float32)
        values = (values - inputs.mean) / inputs.scale
        values = np.nan_to_num(values, nan=0.0) if inputs.missing else values
    if times is not None:
        gaps = np.concatenate([[np.nan], np.diff(times)])
    if gaps is not None:
        made = gaps / (interface.time_unit or 1.0)
        beside["dt"] = np.where(np.isnan(made), 1.0, made).astype(np.float32)
    if resets is not None:
        beside["reset"] = resets
    return values, beside


def _window(inputs: FeatureInputs, values: NDArray[Any]) -> NDArray[Any]:
    if inputs.history is None:
        return values
    if len(values) < inputs.history:
        warnings.warn(
            f"{len(values)} positions are fewer than the {inputs.history} of each window that the "
            "model was trained on: its answers may be poor",
            DataWarning,
            stacklevel=5,
        )
    return values[-inputs.history :]


def run(
    model: nn.Module,
    interface: Interface,
    standard: NDArray[Any],
    state: Any,
    lengths: Tensor | None = None,
    beside: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, Any, NDArray[np.float64] | None]:
    """The model's prediction, its state, and what relative inputs are relative to ``[B, I]``.

    standard: tokens ``[T, B]`` or standardised values ``[T, B, I]``, float64.
    beside: what a step is given beside, as of :class:`cellsearch.tasks.base.Batch`.
    """
    last = None
    if isinstance(interface.inputs, FeatureInputs):
        # As the task rounds: to float32 first, then the difference.
        standard = standard.astype(np.float32 if _single(model) else np.float64)
        if interface.inputs.relative:
            ends = np.full(standard.shape[1], len(standard)) if lengths is None else lengths.numpy()
            last = standard[ends - 1, np.arange(standard.shape[1])]
            standard = standard - last
            last = last.astype(np.float64)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            more = (beside,) if beside else ()
            output, state = model(torch.from_numpy(standard), state, lengths, *more)
    finally:
        model.train(was_training)
    return output, state, last


def _single(model: nn.Module) -> bool:
    return next((p.dtype for p in model.parameters()), torch.float32) != torch.float64


def scores_of(
    interface: Interface, output: Tensor, last: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Probabilities, or values in the user's units, from what the readout gives."""
    answer = interface.answer
    if answer.kind == "bits":
        return np.asarray(torch.sigmoid(output.double()).numpy())
    if answer.kind != "values":
        return np.asarray(torch.softmax(output.double(), -1).numpy())
    numbers = output.double().numpy()
    if last is not None:
        numbers = numbers + np.tile(last[:, : len(answer.names)], answer.horizon)
    return np.asarray(numbers * answer.scale + answer.mean)
