"""Sequences and targets that somebody brings, checked and joined: the data of ``arrays``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, amount
from cellsearch.tasks.array_faults import MOST_TOKENS, faults_of_description
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.interface import Readout
from cellsearch.tasks.own_gaps import gaps_of, masks_of, scaled_where
from cellsearch.tasks.scaling import SHOWN, narrowed, standardised
from cellsearch.tasks.sequences import SPLITS, join

__all__ = ["Kind", "arrays_of"]

Kind = Literal["classification", "regression"]
FINE = 1e-5
"""A step between numbers in float32 that is so small, in units of the deviation, loses nothing."""


def arrays_of(
    given: Mapping[str, tuple[Any, Any] | None],
    *,
    kind: Kind,
    readout: Readout,
    shuffle: bool = True,
    standardise: bool = True,
    names: Mapping[str, Sequence[str]] = MappingProxyType({}),
    horizon: int = 1,
    times: Any = None,
    observed: Any = None,
) -> Arrays:
    """The data of :func:`cellsearch.tasks.from_arrays`, whose arguments these are.

    given: pairs ``(x, y)`` by split; what is not given is taken from ``train``.
    names: what features and targets are called, by the names of the arrays that say so.
    """
    xs: list[NDArray[Any]] = []
    ys: list[NDArray[Any]] = []
    split: list[int] = []
    missing = observed is not None
    for number, name in enumerate(SPLITS):
        pair = given.get(name)
        if pair is not None:
            a = _sequences(pair[0], f"{name} x", missing=missing)
            b = _targets(pair[1], readout, f"{name} y")
            _check_pairs(a, b, readout, name)
            xs, ys, split = xs + a, ys + b, split + [number] * len(a)
    valid, test = (given.get(name) is None for name in ("valid", "test"))
    members = _carve(np.array(split), valid, test, shuffle)
    parts = [name for name in SPLITS if given.get(name) is not None]
    masks = None if observed is None else masks_of(observed, xs, split, parts)
    arrays = _arrays(xs, ys, members, kind, readout, standardise, masks)
    if times is not None:
        gaps, unit = gaps_of(times, xs, split, parts, members == 0)
        arrays = {**arrays, "dt": gaps, "time_unit": np.array(unit)}
    return _described(arrays, names, horizon)


def _sequences(x: Any, where: str, *, missing: bool = False) -> list[NDArray[Any]]:
    """Checked sequences: tokens ``[T]`` as int64, others ``[T, I]`` in the type that they have.
    ``missing``: NaN is allowed.
    """
    try:
        sequences = [_plain(s) for s in x]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"x is not a set of sequences: {error}", where=where) from error
    if not sequences:
        raise ConfigError("there are no sequences", where=where)
    for k, s in enumerate(sequences):
        if (
            s.ndim not in (1, 2)
            or not s.size
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
    if all(s.ndim == 1 and s.dtype.kind in "iu" for s in sequences):
        return _tokens(sequences, where)
    sequences = [s.reshape(len(s), -1) for s in sequences]
    known = [np.nan_to_num(s, nan=0.0, posinf=np.inf) for s in sequences] if missing else sequences
    _check_finite(known, "feature", "sequence", where)
    return sequences


def _tokens(sequences: list[NDArray[Any]], where: str) -> list[NDArray[Any]]:
    if min(int(s.min()) for s in sequences) < 0:
        raise ConfigError(
            "tokens are numbers from 0 on", where=where, hint="give real inputs as floats"
        )
    largest = max(int(s.max()) for s in sequences)
    if largest >= MOST_TOKENS:
        raise ConfigError(
            f"the largest token is {largest}, and the model would hold a vector for each number "
            f"up to it; at most {MOST_TOKENS - 1}",
            where=where,
            hint="number the tokens that occur from 0 on, for example with numpy.unique(..., "
            "return_inverse=True); give real inputs as floats",
        )
    return [s.astype(np.int64) for s in sequences]


def _plain(values: Any) -> NDArray[Any]:
    """An array; what a masked one hides is not a number."""
    if isinstance(values, np.ma.MaskedArray) and values.mask.any():
        return np.asarray(np.ma.filled(values.astype(np.float64), np.nan))
    return np.asarray(values)


def _check_finite(parts: list[NDArray[Any]], column: str, part: str, where: str) -> None:
    """Raise :class:`ConfigError` that says which columns of which of the arrays ``[..., C]`` hold
    how many values that are not finite.
    """
    counts: Counter[int] = Counter()
    bad: list[int] = []
    for k, values in enumerate(parts):
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        wrong = ~np.isfinite(values)
        bad.append(k)
        counts.update({c: int(n) for c, n in enumerate(wrong.reshape(-1, _width(values)).sum(0))})
    if bad:
        listed = [f"{column} {c}: {n}" for c, n in sorted(counts.items()) if n]
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        raise ConfigError(
            f"not finite (NaN, infinite, masked): {counts.total()} of the values, in {len(bad)} of "
            f"the {len(parts)} {part}s, the first of them {part} {bad[0]}; "
            f"{', '.join(listed[:SHOWN])}{more}",
            where=where,
            hint=f'fill them in, leave out the {part}s, or say observed="infer" where NaN in x is '
            "what was not observed",
        )


def _width(values: NDArray[Any]) -> int:
    return values.shape[-1] if values.ndim else 1


def _targets(y: Any, readout: Readout, where: str) -> list[NDArray[Any]]:
    try:
        targets = [_plain(t) for t in y]
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
    rows = [t[..., None] if t.ndim == least else t for t in targets]
    part = "sequence" if readout == "every" else "target"
    _check_finite(rows, "column", part, where)
    return targets


def _check_pairs(
    x: list[NDArray[Any]], y: list[NDArray[Any]], readout: Readout, where: str
) -> None:
    if len(x) != len(y):
        raise ConfigError(
            f"{amount(len(x), 'sequence')}, but {amount(len(y), 'target')}", where=where
        )
    if readout == "every":
        for k, (a, b) in enumerate(zip(x, y, strict=True)):
            if len(a) != len(b):
                raise ConfigError(
                    f"sequence {k} has {amount(len(a), 'position')}, "
                    f"but {amount(len(b), 'target')}",
                    where=where,
                )


def _carve(split: NDArray[Any], valid: bool, test: bool, shuffle: bool) -> NDArray[np.uint8]:
    """Move 10 % of the training sequences to each split that is wanted."""
    split = split.astype(np.uint8)
    n = int((split == 0).sum())
    if (valid or test) and n < 10:
        raise ConfigError(
            f"{amount(n, 'sequence')} cannot be split",
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
    masks: list[NDArray[np.bool_]] | None,
) -> Arrays:
    if len({s.ndim for s in xs}) > 1 or len({s.shape[1:] for s in xs}) > 1:
        raise ConfigError("the sequences of the splits differ in width", where="x")
    if len({t.shape[least:] for least in [1 if readout == "every" else 0] for t in ys}) > 1:
        raise ConfigError("the targets differ in width", where="y")
    x, lengths = join(xs)
    every = readout == "every"
    y = np.concatenate(ys) if every else np.stack(ys)
    in_train = np.repeat(split == 0, lengths)
    scaled: dict[str, NDArray[Any]] = {}
    if masks is not None:
        if x.ndim != 2:
            raise ConfigError("tokens are all observed", where="observed", hint="leave it out")
        mask = np.concatenate(masks)
        x, x_mean, x_scale = scaled_where(x, mask, in_train, standardise=standardise)
        scaled = {"x_mean": x_mean, "x_scale": x_scale, "mask": mask.astype(np.float32)}
    elif x.ndim == 2:
        x = _as_ever(x, in_train)
        x_mean, x_scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
        if standardise:
            x, x_mean, x_scale = standardised(x, in_train, "x: feature")
        else:
            x = narrowed(x, "x: feature")
        scaled = {"x_mean": x_mean, "x_scale": x_scale}
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
        known = in_train if every else split == 0
        y, y_mean, y_scale = standardised(y, known, "y: column")
    return {
        "x": x,
        "y": y,
        "lengths": lengths,
        "split": split,
        "kind": np.array(kind),
        "readout": np.array(readout),
        "classes": classes,
        "y_mean": y_mean,
        "y_scale": y_scale,
        **scaled,
    }


def _described(arrays: Arrays, names: Mapping[str, Sequence[str]], horizon: int) -> Arrays:
    """The arrays with what they are called. Raises :class:`ConfigError` for names that do not fit
    them.
    """
    told: dict[str, NDArray[Any]] = {
        name: np.array([str(text) for text in texts]) for name, texts in names.items() if len(texts)
    }
    if horizon != 1:
        told["horizon"] = np.array(horizon)
    whole = {**arrays, **told}
    wrong = next(faults_of_description(whole), "")
    if wrong:
        raise ConfigError(
            f"the description of the data does not fit: {wrong}",
            where="names",
            hint="names and units: one a feature of x; target_names and target_units: one a column "
            "of y, or of one step of the horizon",
        )
    return whole


def _as_ever(x: NDArray[Any], in_train: NDArray[np.bool_]) -> NDArray[Any]:
    """Numbers that float32 holds well, in float32: as version 0.1 took all numbers, so that the
    same data have the digest by which its runs know them.
    """
    largest = np.abs(x).max(0, initial=0)
    if x.dtype != np.float64 or not (largest < np.finfo(np.float32).max).all():
        return x
    steps = np.spacing(largest.astype(np.float32))
    with np.errstate(over="ignore", invalid="ignore"):
        fine = steps <= FINE * x[in_train].std(0)
    return x.astype(np.float32) if fine.all() else x
