"""What the data of the task over your own sequences consist of, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.tasks.base import Arrays

__all__ = ["BESIDE", "DESCRIPTION", "MOST_TOKENS", "NAMES", "faults", "faults_of_description"]

MOST_TOKENS = 1 << 24
"""A model holds a vector for each number up to the largest token."""
NAMES = ("x", "y", "lengths", "split", "kind", "readout", "classes", "y_mean", "y_scale")
"""What the data of this task consist of: what is trained on, and what their digest is of."""
BESIDE = ("dt", "mask")
"""What they hold besides where steps lie at uneven times, or values are missing: trained on, and in
the digest."""
DESCRIPTION = (
    "x_mean",
    "x_scale",
    "x_names",
    "x_units",
    "y_names",
    "y_units",
    "horizon",
    "time_unit",
)
"""What they may hold besides: how raw inputs become x, and what inputs and targets are called.
Files of version 0.1 do not hold it.
"""


def faults(arrays: Arrays) -> Iterator[str]:
    """What is wrong with arrays of the right names, first things first."""
    x, y, lengths, split = (arrays[name] for name in ("x", "y", "lengths", "split"))
    kind, readout, classes = (arrays[name] for name in ("kind", "readout", "classes"))
    for name in ("x", "y", "classes"):
        if not arrays[name].ndim:
            yield f"{name} is a single value"
    if (kind.shape, str(kind)) not in (((), "classification"), ((), "regression")):
        yield f"kind is {str(kind)!r:.60}, not classification or regression"
    if (readout.shape, str(readout)) not in (((), "last"), ((), "mean"), ((), "every")):
        yield f"readout is {str(readout)!r:.60}, not last, mean or every"
    if lengths.dtype != np.int64 or lengths.ndim != 1 or not len(lengths):
        yield f"lengths is {_described(lengths)}, not int64 [N]"
    if not (lengths.min() >= 1 and lengths.max() <= len(x) and lengths.sum() == len(x)):
        yield f"lengths are 1 or more and add up to the {len(x)} positions of x, but do not here"
    if split.dtype != np.uint8 or split.shape != lengths.shape or split.max() > 2:
        yield f"split is {_described(split)}, not uint8 [N] of 0, 1 and 2"
    if x.dtype == np.int64 and x.ndim == 1:
        if x.min() < 0 or x.max() >= MOST_TOKENS:
            yield f"tokens of x go from {x.min()} to {x.max()}, not from 0 to {MOST_TOKENS - 1}"
    elif x.dtype != np.float32 or x.ndim != 2 or not x.size or not np.isfinite(x).all():
        yield f"x is {_described(x)}, not finite float32 [sum of T, I] or int64 [sum of T]"
    for name in ("y_mean", "y_scale"):
        values = arrays[name]
        if values.dtype != np.float64 or values.shape != (y.shape[1] if y.ndim == 2 else 1,):
            yield f"{name} is {_described(values)}, not float64, one a column of y"
        if not np.isfinite(values).all() or (name == "y_scale" and (values <= 0).any()):
            yield f"{name} is not finite, or not above 0"
    for name, shape in (("dt", x.shape[:1]), ("mask", x.shape)):
        given = arrays.get(name)
        if given is not None and (
            given.dtype != np.float32 or given.shape != shape or not np.isfinite(given).all()
        ):
            yield f"{name} is {_described(given)}, not finite float32 {list(shape)}"
    rows = len(x) if str(readout) == "every" else len(lengths)
    if str(kind) == "classification":
        if y.dtype != np.int64 or y.shape != (rows,) or y.min() < 0 or y.max() >= len(classes):
            yield f"y is {_described(y)}, not int64 [{rows}] of numbers of classes"
        if classes.ndim != 1 or len(classes) < 2 or classes.dtype.kind not in "iufbU":
            yield f"classes is {_described(classes)}, not two or more labels"
        return
    if y.dtype != np.float32 or y.ndim not in (1, 2) or len(y) != rows or not y.size:
        yield f"y is {_described(y)}, not float32 [{rows}] or [{rows}, K]"
    if not np.isfinite(y).all() or classes.shape != (0,):
        yield "targets of a regression are finite, and have no classes"


def faults_of_description(arrays: Arrays) -> Iterator[str]:
    """What is wrong with what describes arrays that are right themselves."""
    x, y = arrays["x"], arrays["y"]
    columns, targets = (part.shape[1] if part.ndim == 2 else 1 for part in (x, y))
    described = [name for name in ("x_mean", "x_scale", "x_names", "x_units") if name in arrays]
    if x.ndim == 1 and described:
        yield f"tokens have no {described[0]}"
    if ("x_mean" in arrays) != ("x_scale" in arrays):
        yield "x_mean and x_scale belong together"
    for name in ("x_mean", "x_scale"):
        values = arrays.get(name)
        if values is None:
            continue
        if values.dtype != np.float64 or values.shape != (columns,):
            yield f"{name} is {_described(values)}, not float64, one a column of x"
        if not np.isfinite(values).all() or (name == "x_scale" and (values <= 0).any()):
            yield f"{name} is not finite, or not above 0"
    horizon = arrays.get("horizon", np.array(1))
    if horizon.dtype.kind not in "iu" or horizon.shape or horizon < 1 or targets % int(horizon):
        yield f"horizon does not divide the {targets} columns of y"
    unit = arrays.get("time_unit", np.array(1.0))
    if unit.dtype != np.float64 or unit.shape or not 0 < float(unit) < float("inf"):
        yield f"time_unit is {_described(unit)}, not a float64 above 0"
    widths = {"x": columns, "y": targets // int(horizon)}
    for name in ("x_names", "x_units", "y_names", "y_units"):
        texts = arrays.get(name)
        if texts is not None and (texts.dtype.kind != "U" or texts.shape != (widths[name[0]],)):
            yield f"{name} is {_described(texts)}, not {widths[name[0]]} texts"
    if str(arrays["kind"]) == "classification" and {"y_names", "y_units", "horizon"} & set(arrays):
        yield "a classification has classes, and no names of targets"


def _described(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
