"""Data of your own: sequences as arrays, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellsearch.errors import ConfigError
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.char_lm import CharLM
from cellsearch.tasks.heads import Readout
from cellsearch.tasks.own_sequences import NAMES, ArraysOptions, ArraysTask, digest, read
from cellsearch.tasks.registry import TaskData
from cellsearch.tasks.sequences import SPLITS, join

__all__ = ["ArraysOptions", "ArraysTask", "digest", "from_arrays", "from_text_file", "read", "save"]

Kind = Literal["classification", "regression"]


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
) -> TaskData:
    """A task from your own data.

    ``x``: N sequences, as an array ``[N, T, I]`` or ``[N, T]``, or as a list of arrays ``[T, I]``
    or ``[T]`` of different lengths; whole numbers in ``[N, T]`` or ``[T]`` form are tokens. ``y``:
    N labels (numbers or strings) or N targets (``[N]`` or ``[N, K]``); with ``readout="every"`` one
    a position, in the form of x. ``valid``, ``test``: pairs like ``(x, y)``; what is not given is
    taken from x: 10 % each, at random but always the same, or from its end with ``shuffle=False``.
    ``standardise``: each input feature is brought to mean 0 and deviation 1 of the training
    sequences; regression targets always are.

    Raises :class:`ConfigError` for data that do not fit together or are not finite.
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
    given = {"train": (x, y), "valid": valid, "test": test}
    xs: list[NDArray[Any]] = []
    ys: list[NDArray[Any]] = []
    split: list[int] = []
    for number, name in enumerate(SPLITS):
        pair = given[name]
        if pair is not None:
            a, b = _sequences(pair[0], f"{name} x"), _targets(pair[1], readout, f"{name} y")
            _check_pairs(a, b, readout, name)
            xs, ys, split = xs + a, ys + b, split + [number] * len(a)
    members = _carve(np.array(split), valid is None, test is None, shuffle)
    arrays = _arrays(xs, ys, members, kind, readout, standardise)
    return TaskData("arrays", {"batch_size": batch_size, "digest": digest(arrays)}, arrays)


def _sequences(x: Any, where: str) -> list[NDArray[Any]]:
    try:
        sequences = [np.asarray(s) for s in x]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"x is not a set of sequences: {error}", where=where) from error
    if not sequences:
        raise ConfigError("there are no sequences", where=where)
    for k, s in enumerate(sequences):
        if (
            s.ndim not in (1, 2)
            or not len(s)
            or s.dtype.kind not in "iufb"
            or s.shape[1:] != sequences[0].shape[1:]
        ):
            raise ConfigError(
                f"sequence {k} has shape {list(s.shape)} and type {s.dtype}, the first "
                f"one {list(sequences[0].shape)}",
                where=where,
                hint="each sequence is an array [T, I] or [T] of numbers, with T at least 1 "
                "and the same I",
            )
        if s.dtype.kind == "f" and not np.isfinite(s).all():
            raise ConfigError(
                f"sequence {k} holds a value that is not finite",
                where=where,
                hint="fill in or remove it",
            )
    if all(s.ndim == 1 and s.dtype.kind in "iu" for s in sequences):
        if min(int(s.min()) for s in sequences) < 0:
            raise ConfigError(
                "tokens are numbers from 0 on", where=where, hint="give real inputs as floats"
            )
        return [s.astype(np.int64) for s in sequences]
    return [s.astype(np.float32).reshape(len(s), -1) for s in sequences]


def _targets(y: Any, readout: Readout, where: str) -> list[NDArray[Any]]:
    try:
        targets = [np.asarray(t) for t in y]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"y is not a set of targets: {error}", where=where) from error
    least = 1 if readout == "every" else 0
    for k, t in enumerate(targets):
        if t.dtype.kind not in "iufbU" or not least <= t.ndim <= least + 1:
            raise ConfigError(
                f"target {k} has shape {list(t.shape)} and type {t.dtype}",
                where=where,
                hint="use numbers or strings",
            )
        if t.dtype.kind == "f" and not np.isfinite(t).all():
            raise ConfigError(f"target {k} is not finite", where=where, hint="fill in or remove it")
    return targets


def _check_pairs(
    x: list[NDArray[Any]], y: list[NDArray[Any]], readout: Readout, where: str
) -> None:
    if len(x) != len(y):
        raise ConfigError(f"{len(x)} sequences, but {len(y)} targets", where=where)
    if readout == "every":
        for k, (a, b) in enumerate(zip(x, y, strict=True)):
            if len(a) != len(b):
                raise ConfigError(
                    f"sequence {k} has {len(a)} positions, but {len(b)} targets", where=where
                )


def _carve(split: NDArray[Any], valid: bool, test: bool, shuffle: bool) -> NDArray[np.uint8]:
    """Move 10 % of the training sequences to each split that is wanted."""
    split = split.astype(np.uint8)
    n = int((split == 0).sum())
    if (valid or test) and n < 10:
        raise ConfigError(
            f"{n} sequences cannot be split",
            where="x",
            hint="give at least 10, or give valid and test",
        )
    order = np.random.default_rng(0).permutation(n) if shuffle else np.arange(n)
    end = n
    for wanted, number in ((test, 2), (valid, 1)):
        if wanted:
            split[order[end - n // 10 : end]] = number
            end -= n // 10
    return split


def _arrays(
    xs: list[NDArray[Any]],
    ys: list[NDArray[Any]],
    split: NDArray[np.uint8],
    kind: Kind,
    readout: Readout,
    standardise: bool,
) -> Arrays:
    if len({s.ndim for s in xs}) > 1 or len({s.shape[1:] for s in xs}) > 1:
        raise ConfigError("the sequences of the splits differ in width", where="x")
    if len({t.shape[least:] for least in [1 if readout == "every" else 0] for t in ys}) > 1:
        raise ConfigError("the targets differ in width", where="y")
    x, lengths = join(xs)
    every = readout == "every"
    y = np.concatenate(ys) if every else np.stack(ys)
    in_train = np.repeat(split == 0, lengths)
    if x.ndim == 2 and standardise:
        mean, scale = x[in_train].mean(0, dtype=np.float64), x[in_train].std(0, dtype=np.float64)
        x = ((x - mean) / np.where(scale > 0, scale, 1.0)).astype(np.float32)
    classes: NDArray[Any] = np.array([])
    y_mean, y_scale = np.zeros(1), np.ones(1)
    if kind == "classification":
        classes, numbers = np.unique(y, return_inverse=True)
        if y.ndim != 1 or len(classes) < 2:
            raise ConfigError(
                f"labels of shape {list(y.shape)} with {len(classes)} classes",
                where="y",
                hint="one label each, two or more classes",
            )
        y = numbers.astype(np.int64)
    elif y.dtype.kind == "U":
        raise ConfigError(
            "targets of a regression are numbers, not strings",
            where="y",
            hint='use kind="classification"',
        )
    else:
        known = y[in_train if every else split == 0].astype(np.float64)
        y_mean, y_scale = known.mean(0), known.std(0)
        y_scale = np.where(y_scale > 0, y_scale, 1.0)
        y = ((y - y_mean) / y_scale).astype(np.float32)
    return {
        "x": x,
        "y": y,
        "lengths": lengths,
        "split": split,
        "kind": np.array(kind),
        "readout": np.array(readout),
        "classes": classes,
        "y_mean": np.atleast_1d(y_mean),
        "y_scale": np.atleast_1d(y_scale),
    }


def save(data: TaskData, path: str | Path) -> None:
    """Write the data to one ``.npz`` file, for ``task = "arrays"`` with ``path`` in an experiment
    or on the command line.
    """
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{name: data.arrays[name] for name in NAMES})


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
