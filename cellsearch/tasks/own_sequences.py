"""The task over your own sequences: classification and regression of any (x, y) arrays.

:mod:`cellsearch.tasks.arrays` makes its data from arrays and writes them.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from cellsearch.errors import ConfigError, InputFileError
from cellsearch.tasks.base import Arrays, Split
from cellsearch.tasks.heads import Readout
from cellsearch.tasks.options import TaskOptions, parse_options
from cellsearch.tasks.sequences import SequenceTask

__all__ = ["NAMES", "ArraysOptions", "ArraysTask", "digest", "read"]

NAMES = ("x", "y", "lengths", "split", "kind", "readout", "classes", "y_mean", "y_scale")
"""What the data of this task consist of."""


@dataclass(frozen=True, slots=True)
class ArraysOptions(TaskOptions):
    """``path``: file written by :func:`cellsearch.tasks.arrays.save`; ``digest``: checksum that the
    data must have (set by :func:`cellsearch.tasks.arrays.from_arrays`; ``""``: any).
    """

    path: str = ""
    digest: str = ""


class ArraysTask(SequenceTask):
    """Classify or predict numbers from sequences that you bring.

    Made by :func:`cellsearch.tasks.arrays.from_arrays`; ``docs/own_data.md`` shows it.
    Classification: score is the error rate, metric the accuracy. Regression: score is the mean
    squared error divided by the variance of the training targets (1 is what the mean reaches),
    metric the root mean squared error in your own unit.
    """

    name: ClassVar[str] = "arrays"
    metric: ClassVar[str] = "accuracy, or root mean squared error"
    summary: ClassVar[str] = "your own sequences: classification or regression of (x, y) arrays"
    source: ClassVar[str] = "your own data"
    bidirectional: ClassVar[bool] = True
    Options: ClassVar[type[ArraysOptions]] = ArraysOptions

    def __init__(self, options: ArraysOptions, arrays: Arrays) -> None:
        if options.digest and options.digest != digest(arrays):
            raise ConfigError(
                "the data are not those that this task was made from",
                where="task_options.digest",
                hint="give the same arrays, or start a new run",
            )
        self.classes = len(arrays["classes"])
        self.tokens = int(arrays["x"].max()) + 1 if arrays["x"].ndim == 1 else 0
        self.readout: Readout = str(arrays["readout"])  # type: ignore[assignment]
        self.targets = 1 if arrays["y"].ndim == 1 else int(arrays["y"].shape[1])
        super().__init__(options, arrays)

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Read the file named ``path``. Raises :class:`ConfigError` without one,
        :class:`InputFileError` for a damaged one.
        """
        parsed = parse_options(cls.Options, options)
        if not parsed.path:
            raise ConfigError(
                "the arrays of this task were given in memory and are not stored anywhere",
                where="task_options.path",
                hint="give them again with cellsearch.tasks.from_arrays, or write them with "
                "cellsearch.tasks.arrays.save",
            )
        return read(parsed.path)

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """See the class."""
        score, metric = super().score(model, split)
        if self.classes:
            return score, metric
        return score, float(np.sqrt(score) * np.sqrt(np.mean(np.square(self.arrays["y_scale"]))))


def digest(arrays: Arrays) -> str:
    """Checksum of the data."""
    sha = hashlib.sha256()
    for name in NAMES:
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]


def read(path: str | Path) -> Arrays:
    """Read what :func:`cellsearch.tasks.arrays.save` wrote."""
    if not Path(path).is_file():
        raise ConfigError(
            f"there is no file {path}",
            where="task_options.path",
            hint="write it with cellsearch.tasks.arrays.save",
        )
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputFileError(
            f"the file is damaged or no .npz file: {error}", where=str(path)
        ) from error
    if sorted(arrays) != sorted(NAMES):
        raise InputFileError(
            f"the file holds {sorted(arrays)}",
            where=str(path),
            hint="write it with cellsearch.tasks.arrays.save: " + ", ".join(NAMES),
        )
    return arrays
