"""Reads data sets in the form in which their home, or a package of the registries, holds them.

Each function takes the paths of the files, and returns the bytes or arrays of our own form.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import InputFileError
from cellsearch.tasks.data.archives import of_zip

__all__ = ["pen_digits", "sentence_pairs", "sunspots", "vowels_of_ts", "vowels_of_uci", "whole"]

Arrays = dict[str, NDArray[Any]]
_TABLE = 1 << 22
"""Bytes that a table inside an archive may have."""
_VOWEL_SCALE = 8192
_PAIRS, _ALL_PAIRS = 5000, 1 << 25


def whole(path: Path) -> bytes:
    """The file as it is."""
    return path.read_bytes()


def pen_digits(path: Path) -> Arrays:
    """UCI 81 (zip): 16 coordinates and the digit a line."""
    parts = [
        _numbers(of_zip(path, name, _TABLE).decode("ascii", "replace").replace(",", " "), 17, path)
        for name in ("pendigits.tra", "pendigits.tes")
    ]
    rows = np.concatenate(parts)
    return {
        "x": rows[:, :16].reshape(-1, 8, 2).transpose(1, 2, 0).astype(np.uint8),
        "y": rows[:, 16].astype(np.uint8),
        "n_train": np.array(len(parts[0]), dtype=np.int32),
    }


def vowels_of_uci(path: Path) -> Arrays:
    """UCI 128 (zip): 12 coefficients a line, an empty line after each utterance; how many
    utterances each speaker has is in files of their own.
    """
    utterances: list[NDArray[np.float64]] = []
    labels: list[NDArray[Any]] = []
    for part in ("train", "test"):
        text = of_zip(path, f"ae.{part}", _TABLE).decode("ascii", "replace")
        blocks = text.replace("\r", "").strip().split("\n\n")
        utterances += [_numbers(block, 12, path) for block in blocks if block.strip()]
        sizes = of_zip(path, f"size_ae.{part}", _TABLE).decode("ascii", "replace")
        counts = _numbers(" ".join(sizes.split()), 9, path)[0].astype(int)
        labels.append(np.repeat(np.arange(9), counts))
    return _vowels(utterances, np.concatenate(labels), len(labels[0]), path)


def vowels_of_ts(train: Path, test: Path) -> Arrays:
    """The two files of the time series archive (``.ts``): an utterance a line, coefficient by
    coefficient, the speaker (from 1) at its end.
    """
    utterances: list[NDArray[np.float64]] = []
    labels: list[int] = []
    ends = []
    for path in (train, test):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line and line[0] not in "#@":
                *series, label = line.split(":")
                rows = "\n".join(series).replace(",", " ")
                utterances.append(_numbers(rows, rows.partition("\n")[0].count(" ") + 1, path).T)
                labels.append(int(label) - 1 if label.strip().isdecimal() else -1)
        ends.append(len(utterances))
    return _vowels(utterances, np.array(labels), ends[0], train)


def _vowels(
    utterances: Sequence[NDArray[np.float64]], labels: NDArray[Any], train: int, path: Path
) -> Arrays:
    """``utterances``: each ``[frames, 12]``."""
    if len(utterances) != len(labels) or {part.shape[1] for part in utterances} != {12}:
        raise InputFileError(
            f"{len(utterances)} utterances and {len(labels)} labels", where=str(path)
        )
    frames = np.concatenate(utterances).T
    return {
        "x": np.rint(frames * _VOWEL_SCALE).astype(np.int16),
        "scale": np.array(1 / _VOWEL_SCALE, dtype=np.float32),
        "length": np.array([len(part) for part in utterances], dtype=np.uint8),
        "y": labels.astype(np.uint8),
        "n_train": np.array(train, dtype=np.int32),
    }


def sunspots(path: Path) -> Arrays:
    """The table of the NOAA: a year and its twelve monthly numbers a line, among lines of text."""
    values: list[float] = []
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        year, *months = line.split() or [""]
        if len(year) == 4 and year.isdecimal():
            values += _numbers(" ".join(months), len(months), path)[0].tolist()
    return {
        "x": np.rint(np.array(values) * 10).astype(np.uint16),
        "scale": np.array(0.1, dtype=np.float32),
    }


def sentence_pairs(path: Path) -> bytes:
    """The first 5,000 lines of the pairs in a zip file (``fra-eng/fra.txt``)."""
    lines = of_zip(path, "fra-eng/fra.txt", _ALL_PAIRS).replace(b"\r\n", b"\n").split(b"\n", _PAIRS)
    return b"".join(line + b"\n" for line in lines[:_PAIRS])


def _numbers(text: str, columns: int, path: Path) -> NDArray[np.float64]:
    """The table of numbers that a text holds, ``[rows, columns]``."""
    try:
        rows = [[float(field) for field in line.split()] for line in text.splitlines()]
        table = np.array([row for row in rows if row])
    except ValueError as error:
        raise InputFileError(f"not a table of numbers: {error}", where=str(path)) from error
    if table.ndim != 2 or table.shape[1] != columns:
        raise InputFileError(
            f"not a table of {columns} columns: its shape is {table.shape}", where=str(path)
        )
    return table
