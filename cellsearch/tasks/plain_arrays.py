"""Array files of others: an ``.npz`` with x and y, or with a pair for each part, as numpy.savez
writes it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, DataWarning, InputFileError, amount
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.own_arrays import arrays_of

__all__ = ["FORMS", "is_plain", "read_plain_arrays"]

FORMS = (
    "x [N, T, I] or [N, T] with y [N], [N, K] or [N, T] (x_train, y_train, x_valid, ... if you "
    "split them yourself); for different lengths also lengths [N], with x padded, or with all "
    "sequences one behind the other [sum of T, I]"
)
"""What a plain file may hold."""
_PARTS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
CLASSES = 50
"""So many different whole numbers at most are labels, more are values."""
_OF_PARTS = {
    f"{what}_{word}" for what in ("x", "y", "lengths") for part in _PARTS.values() for word in part
}
_Pair = tuple[Any, NDArray[Any]]


def is_plain(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the file holds x and y, in whatever case, and nothing else that may mean more."""
    names = {name.lower() for name in arrays}
    if {"x", "y"} <= names:
        return names <= {"x", "y", "lengths"}
    return {"x_train", "y_train"} <= names <= _OF_PARTS


def read_plain_arrays(held: Mapping[str, NDArray[Any]], where: str) -> Arrays:
    """The arrays of a task from those of a plain file. Raises :class:`InputFileError` for what does
    not fit together; a :class:`DataWarning` says how windows that overlap were split.
    """
    named = {name.lower(): array for name, array in held.items()}
    pairs = dict(_pairs(named, where))
    x, y = pairs.pop("train")
    first = x[0] if len(x) else np.zeros(0)
    every = y.ndim == 2 and all(len(s) == y.shape[1] for s in x) and first.shape[:1] != (1,)
    overlaps = not pairs and _overlap(x)
    if overlaps:
        warnings.warn(
            f"{where}: its sequences are windows that overlap, so they are split in their order, "
            "and not at random",
            DataWarning,
            stacklevel=3,
        )
    try:
        data = arrays_of(
            {"train": (x, y), "valid": pairs.get("valid"), "test": pairs.get("test")},
            kind="classification" if _is_labels(y) else "regression",
            readout="every" if every else "last",
            shuffle=not overlaps,
        )
    except ConfigError as error:
        place = f"{where}: {error.where}" if error.where else where
        hint = error.hint or f"it may hold {FORMS}"
        raise InputFileError(error.message, where=place, hint=hint) from error
    if not overlaps:
        return data
    return _apart(data, len(first) - 1)


def _pairs(named: Mapping[str, NDArray[Any]], where: str) -> Iterator[tuple[str, _Pair]]:
    if "x" in named and "y" in named:
        yield "train", _pair(named["x"], named["y"], named.get("lengths"), where)
        return
    for part, words in _PARTS.items():
        for word in words:
            if f"x_{word}" in named and f"y_{word}" in named:
                lengths = named.get(f"lengths_{word}")
                yield part, _pair(named[f"x_{word}"], named[f"y_{word}"], lengths, where)


def _pair(x: NDArray[Any], y: NDArray[Any], lengths: NDArray[Any] | None, where: str) -> _Pair:
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if lengths is None:
        if x.ndim not in (2, 3) or len(x) != len(y):
            raise InputFileError(
                f"x {list(x.shape)} and y {list(y.shape)} do not fit together",
                where=where,
                hint=f"it may hold {FORMS}",
            )
        return x, y
    known = lengths.ndim == 1 and lengths.dtype.kind in "iu" and len(lengths) == len(y)
    if known and len(y) and lengths.min() >= 1:
        if x.ndim > 1 and len(x) == len(y) and lengths.max() <= x.shape[1]:
            return [row[:length] for row, length in zip(x, lengths, strict=True)], y
        if len(x) == lengths.sum():
            return np.split(x, np.cumsum(lengths)[:-1]), y
    raise InputFileError(
        f"lengths {list(lengths.shape)} do not fit x {list(x.shape)} and y {list(y.shape)}",
        where=where,
        hint=f"it may hold {FORMS}",
    )


def _is_labels(y: NDArray[Any]) -> bool:
    if y.dtype.kind in "US" or y.dtype.kind == "b":
        return True
    whole = y.dtype.kind in "iu" or (y.dtype.kind == "f" and bool((y == np.floor(y)).all()))
    return whole and y.size > 0 and len(np.unique(y)) <= min(CLASSES, max(2, y.size // 4))


def _overlap(x: Any) -> bool:
    """Whether each sequence is the one before, moved by a step."""
    if not isinstance(x, np.ndarray) or len(x) < 3 or x.shape[1] < 3:
        return False
    return bool(np.array_equal(x[1:, :-1], x[:-1, 1:]) and not np.array_equal(x[1:], x[:-1]))


def _apart(arrays: Arrays, gap: int) -> Arrays:
    """Without the sequences at the ends of parts that share a position with the next part."""
    split, lengths = arrays["split"], arrays["lengths"]
    ends = [int(np.flatnonzero(split == part).max()) + 1 for part in (0, 1)]
    keep = np.ones(len(split), dtype=bool)
    for end in ends:
        keep[max(0, end - gap) : end] = False
    if any(not (keep & (split == part)).any() for part in range(3)):
        raise InputFileError(
            f"{amount(len(split), 'window')} that overlap leave no parts without a common row",
            where="x",
            hint="give more windows, or parts of your own (x_train, y_train, x_valid, ...)",
        )
    rows = np.repeat(keep, lengths)
    per_row = len(arrays["y"]) != len(split)
    kept = rows if per_row else keep
    return {
        **arrays,
        "x": arrays["x"][rows],
        "y": arrays["y"][kept],
        "lengths": lengths[keep],
        "split": split[keep],
    }
