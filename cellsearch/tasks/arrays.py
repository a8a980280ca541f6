"""Data of your own: sequences as arrays, and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.files import replacing
from cellsearch.tasks.array_faults import BESIDE
from cellsearch.tasks.char_lm import CharLM
from cellsearch.tasks.distil import DistilOptions, Loss, Where, answered
from cellsearch.tasks.interface import Readout
from cellsearch.tasks.later import nn
from cellsearch.tasks.own_arrays import Kind, arrays_of
from cellsearch.tasks.own_sequences import (
    DESCRIPTION,
    NAMES,
    ArraysOptions,
    ArraysTask,
    digest,
    read,
)
from cellsearch.tasks.registry import TaskData

__all__ = [
    "ArraysOptions",
    "ArraysTask",
    "digest",
    "from_arrays",
    "from_teacher",
    "from_text_file",
    "read",
    "save",
]


@checked_arguments
def from_arrays(
    x: ArrayLike | Sequence[ArrayLike],
    y: ArrayLike | Sequence[ArrayLike],
    *,
    kind: Kind = "classification",
    readout: Readout = "last",
    valid: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    shuffle: bool = True,
    standardise: bool = True,
    batch_size: int = 32,
    names: Sequence[str] = (),
    units: Sequence[str] = (),
    target_names: Sequence[str] = (),
    target_units: Sequence[str] = (),
    horizon: int = 1,
    times: Any = None,
    observed: Any = None,
) -> TaskData:
    """A task from your own data.

    ``x``: N sequences, as an array ``[N, T, I]`` or ``[N, T]``, or as a list of arrays ``[T, I]``
    or ``[T]`` of different lengths; whole numbers in ``[N, T]`` or ``[T]`` form are tokens. ``y``:
    N labels (numbers or strings) or N targets (``[N]`` or ``[N, K]``); with ``readout="every"`` one
    a position, in the form of x. ``valid``, ``test``: pairs like ``(x, y)``; what is not given is
    taken from x: 10 % each, at random but always the same, or from its end with ``shuffle=False``.
    ``standardise``: each input feature is brought to mean 0 and deviation 1 of the training
    sequences; regression targets always are. Numbers are centred in float64, so that a feature may
    lie far from 0 (times in seconds since 1970). ``names``, ``units``: of the I features;
    ``target_names``, ``target_units``: of the targets, whose K columns are ``horizon`` steps of
    them, step after step. Predictions and exports use them; training does not.

    ``times``: when each position was, never decreasing, in the form of ``[N, T]`` or a list of
    ``[T]``; a cell that reads ``dt[t]`` is given the time since the position before, in units of
    the mean of the training sequences, and 1 at the first position. ``observed``: what of x was
    observed, in the form of x, or ``"infer"``: all but NaN; a cell that reads ``mask[t]`` is given
    it. Numbers that are missing become the mean of their feature, 0. Both belong to ``x``; where
    ``valid`` or ``test`` is given too, a mapping by split: ``{"train": ..., "valid": ...}``.

    Raises :class:`ConfigError` for data that do not fit together or are not finite; a
    :class:`DataWarning` says what is constant, or cannot be told apart in float32.
    """
    if kind not in ("classification", "regression"):
        raise ConfigError(
            f"{kind!r} is not a kind of task",
            where="kind",
            hint="allowed: classification, regression",
        )
    if readout not in ("every", "last", "mean"):
        raise ConfigError(
            f"{readout!r} is not a readout", where="readout", hint="allowed: every, last, mean"
        )
    arrays = arrays_of(
        {"train": (x, y), "valid": valid, "test": test},
        kind=kind,
        readout=readout,
        shuffle=shuffle,
        standardise=standardise,
        names={
            "x_names": names,
            "x_units": units,
            "y_names": target_names,
            "y_units": target_units,
        },
        horizon=horizon,
        times=times,
        observed=observed,
    )
    return TaskData("arrays", {"batch_size": batch_size, "digest": digest(arrays)}, arrays)


@checked_arguments
def from_teacher(
    teacher: Callable[..., Any],
    x: NDArray[Any] | Sequence[ArrayLike],
    *,
    loss: Loss = "mse",
    readout: Where = "every",
    batch_first: bool = False,
    batch_size: int = 32,
) -> TaskData:
    """A task of imitating a trained module, from sequences without labels.

    teacher: any module (``nn.LSTM``, an exported cell, a compiled one) or function that takes
        ``[T, B, I]`` (``batch_first``: ``[B, T, I]``) or token numbers ``[T, B]``, and gives
        ``[T, B, K]``, alone or first in a tuple, or ``[B, K]``.
    x: N sequences, as in :func:`cellsearch.tasks.from_arrays`; the teacher reads them as they are.
    loss: ``"mse"`` for values, ``"kl"`` where the K answers are logits of classes.
    readout: whether its answers at every position are learned, or the last.

    Raises :class:`ConfigError` for sequences or answers that do not fit.
    """
    options = DistilOptions(
        batch_size=batch_size, loss=loss, readout=readout, batch_first=batch_first
    )
    training = teacher.training if isinstance(teacher, nn.Module) else False
    if isinstance(teacher, nn.Module):
        teacher.eval()
    try:
        arrays = answered(teacher, [np.asarray(one) for one in x], options, "teacher")
    finally:
        if isinstance(teacher, nn.Module):
            teacher.train(training)
    made = digest(arrays)
    said = {"batch_size": batch_size, "loss": loss, "readout": readout, "digest": made}
    return TaskData("distil", said, arrays)


@checked_arguments
def save(data: TaskData, path: str | Path) -> None:
    """Write the data to one ``.npz`` file, for ``task = "arrays"`` with ``path`` in an experiment
    or on the command line.
    """
    with replacing(Path(path), what="data file") as temporary, open(temporary, "wb") as file:
        # Without allow_pickle=False, which numpy before 2.1 would take for an array of this name;
        # none of these arrays holds objects.
        arrays: dict[str, Any] = {name: data.arrays[name] for name in NAMES}
        more = (*DESCRIPTION, *BESIDE)
        arrays |= {name: data.arrays[name] for name in more if name in data.arrays}
        np.savez_compressed(file, **arrays)


@checked_arguments
def from_text_file(
    path: str | Path,
    *,
    batch_size: int = 32,
    tbptt: int = 64,
    valid_tokens: int = 32_768,
    max_symbols: int = 512,
) -> TaskData:
    """Character language modelling on a UTF-8 text file of your own, split 90/5/5 in the order of
    the text.

    Raises :class:`ConfigError` if the file is not there or too short, :class:`InputFileError` if it
    is not text.
    """
    options = {
        "text": str(Path(path).resolve()),
        "batch_size": batch_size,
        "tbptt": tbptt,
        "valid_tokens": valid_tokens,
        "max_symbols": max_symbols,
    }
    data = TaskData(CharLM.name, options, CharLM.load(options))
    data.create()
    return data
