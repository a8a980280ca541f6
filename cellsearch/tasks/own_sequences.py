"""The task over your own sequences: classification and regression of any (x, y) arrays.

:mod:`cellsearch.tasks.arrays` makes its data from arrays and writes them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from cellsearch.errors import ConfigError, InputFileError, checked_arguments
from cellsearch.files import file_state
from cellsearch.tasks.array_faults import (
    BESIDE,
    DESCRIPTION,
    NAMES,
    faults,
    faults_of_description,
)
from cellsearch.tasks.base import Arrays, Split
from cellsearch.tasks.data.npz import kind_of_file, read_npz
from cellsearch.tasks.interface import (
    Answer,
    FeatureInputs,
    LabelType,
    Readout,
    TokenInputs,
    values,
)
from cellsearch.tasks.later import nn
from cellsearch.tasks.options import DataPath, TaskOptions, parse_options
from cellsearch.tasks.plain_arrays import is_plain, read_plain_arrays
from cellsearch.tasks.sequences import SequenceTask

__all__ = [
    "DESCRIPTION",
    "NAMES",
    "ArraysOptions",
    "ArraysTask",
    "digest",
    "faults_of_description",
    "read",
]

_WRITE = (
    "read your data with what wrote them, cut them into sequences x and targets y (for a forecast: "
    "windows, and what follows them), and write them with cellsearch.tasks.arrays.save(cellsearch."
    'tasks.from_arrays(x, y), "mine.npz") or numpy.savez("mine.npz", x=x, y=y); a list of arrays '
    'of different lengths with numpy.savez("mine.npz", x=numpy.concatenate(sequences), y=y, '
    "lengths=[len(s) for s in sequences]); for a table write cellsearch search --csv FILE "
    "--predict COLUMN; docs/own_data.md shows it"
)
"""What to do about a file that :func:`read` cannot take."""
_LABELS: dict[str, LabelType] = {"i": "int", "u": "int", "f": "float", "b": "bool", "U": "text"}


_looked_at: dict[tuple[object, ...], Arrays] = {}
"""The arrays whose digest was asked for last, until they are loaded: a search looks whether the
data are its own and then trains on these, so they are read once. The key is their file as it was.
"""


def _file_digest(path: Path) -> str:
    key = file_state(path)
    arrays = read(path)
    _looked_at.clear()
    _looked_at[key] = arrays
    return digest(arrays)


_FILE = DataPath(digest=_file_digest, stated="digest")


@dataclass(frozen=True, slots=True)
class ArraysOptions(TaskOptions):
    """``path``: file written by :func:`cellsearch.tasks.arrays.save`; ``digest``: checksum that the
    data must have (set by :func:`cellsearch.tasks.arrays.from_arrays`; ``""``: any).
    """

    path: Annotated[str, _FILE] = ""
    digest: str = ""


class ArraysTask(SequenceTask):
    """Classify or predict numbers from sequences that you bring.

    Made by :func:`cellsearch.tasks.arrays.from_arrays`, or read from an ``.npz`` that holds x [N,
    T, I] and y [N] (with lengths [N] where they differ): ``cellsearch search --npz mine.npz``;
    ``docs/own_data.md`` shows it.
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
                "the data are not those that this task was made from: their digest is "
                f"{digest(arrays)}, it was {options.digest}",
                where="task_options.digest",
                hint="give the same arrays, or the file that holds them (--data, or data=), or "
                "start a new run",
            )
        self.classes = len(arrays["classes"])
        self.tokens = int(arrays["x"].max()) + 1 if arrays["x"].ndim == 1 else 0
        self.readout: Readout = str(arrays["readout"])  # type: ignore[assignment]
        self.targets = 1 if arrays["y"].ndim == 1 else int(arrays["y"].shape[1])
        super().__init__(options, arrays)
        self.columns = self._texts("x_names")  # type: ignore[misc]

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
        path = Path(parsed.path)
        known = _looked_at.pop(file_state(path), None)
        return read(path) if known is None else known

    def inputs(self) -> TokenInputs | FeatureInputs:
        """See :meth:`SequenceTask.inputs`, with the names that the user gave."""
        found = super().inputs()
        if isinstance(found, TokenInputs):
            return found
        return replace(found, units=self._texts("x_units"))

    def answer(self) -> Answer:
        """The user's own labels, or values in the user's own unit."""
        arrays = self.arrays
        if self.classes:
            labels = arrays["classes"]
            return Answer(
                kind="classes",
                names=tuple(map(str, labels.tolist())),
                label_type=_LABELS[labels.dtype.kind],
            )
        horizon = int(arrays.get("horizon", 1))
        count = self.targets // horizon
        names = self._texts("y_names") or (
            ("y",) if count == 1 else tuple(f"y{k}" for k in range(count))
        )
        units = self._texts("y_units")
        return values(names, arrays["y_mean"], arrays["y_scale"], units=units, horizon=horizon)

    def scaling_unknown(self) -> ConfigError:
        """See :meth:`SequenceTask.scaling_unknown`."""
        return ConfigError(
            "the data do not say how their inputs were scaled: they were made by version 0.1",
            where="task_options.path",
            hint="make them again from the raw data with cellsearch.tasks.from_arrays and save "
            "them with cellsearch.tasks.arrays.save (they stay the same data), then say where they "
            "are with --data PATH (in Python, data=)",
        )

    def _texts(self, name: str) -> tuple[str, ...]:
        return tuple(map(str, self.arrays.get(name, ())))

    @classmethod
    def metric_name(cls, score: float, metric: float) -> str:
        """The accuracy is what the error rate, which is the score, leaves of 1."""
        return "accuracy" if math.isclose(metric, 1 - score, abs_tol=1e-6) else "RMSE"

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """See the class."""
        score, metric = super().score(model, split)
        if self.classes:
            return score, metric
        return score, float(np.sqrt(score) * np.sqrt(np.mean(np.square(self.arrays["y_scale"]))))


def digest(arrays: Arrays) -> str:
    """Checksum of the data."""
    sha = hashlib.sha256()
    for name in (*NAMES, *(name for name in BESIDE if name in arrays)):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]


@checked_arguments
def read(path: str | Path) -> Arrays:
    """Read what :func:`cellsearch.tasks.arrays.save` wrote, or a plain file with x and y. Raises
    :class:`ConfigError` where there is no file, :class:`InputFileError` that says what is wrong
    with another one.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", where="task_options.path", hint=_WRITE)
    kind = kind_of_file(path)
    if kind:
        raise InputFileError(f"the file holds {kind}", where=str(path), hint=_WRITE)
    arrays = read_npz(path, hint=_WRITE)
    if set(arrays) - set(DESCRIPTION) - set(BESIDE) != set(NAMES):
        if is_plain(arrays):
            return read_plain_arrays(arrays, str(path))
        raise InputFileError(
            f"the file holds {', '.join(sorted(arrays)) or 'no arrays'}, and not what save writes: "
            f"{', '.join(NAMES)}; nor x and y alone",
            where=str(path),
            hint=_WRITE,
        )
    wrong = next(faults(arrays), "") or next(faults_of_description(arrays), "")
    if wrong:
        raise InputFileError(f"the arrays do not fit: {wrong}", where=str(path), hint=_WRITE)
    return arrays
