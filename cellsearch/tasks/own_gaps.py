"""Times and missing values of sequences that somebody brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, amount
from cellsearch.tasks.scaling import narrowed, standardised

__all__ = ["gaps_of", "masks_of", "scaled_where"]


def masks_of(
    observed: Any, xs: Sequence[NDArray[Any]], split: Sequence[int], parts: Sequence[str]
) -> list[NDArray[np.bool_]]:
    """What was observed of each sequence ``[T, I]``; ``parts``: the splits that were given."""
    if isinstance(observed, str) and observed == "infer":
        return [~np.isnan(x.astype(np.float64)) for x in xs]
    masks = []
    for k, (x, mask) in enumerate(
        zip(xs, _joined(observed, split, parts, "observed"), strict=True)
    ):
        mask = mask.reshape(len(mask), -1)
        if mask.shape != x.shape or not np.isin(mask, (0, 1)).all():
            raise ConfigError(
                f"of sequence {k} it has shape {list(mask.shape)}, not {list(x.shape)} of true and "
                "false",
                where="observed",
                hint='give it in the form of x, or observed="infer" where NaN is missing',
            )
        masks.append(mask.astype(bool) & ~np.isnan(x.astype(np.float64)))
    return masks


def gaps_of(
    times: Any,
    xs: Sequence[NDArray[Any]],
    split: Sequence[int],
    parts: Sequence[str],
    train: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], float]:
    """The time since the position before, ``[sum of T]``, in units of the mean of the sequences in
    ``train``, and that unit; 1 at the first position of each sequence.
    """
    gaps = []
    for k, (x, when) in enumerate(zip(xs, _joined(times, split, parts, "times"), strict=True)):
        if when.shape != (len(x),):
            raise ConfigError(
                f"of sequence {k} there are {list(when.shape)}, for {amount(len(x), 'position')}",
                where="times",
                hint="give one time a position",
            )
        between = np.diff(when.astype(np.float64))
        if not np.isfinite(between).all() or (between < 0).any():
            raise ConfigError(
                f"those of sequence {k} decrease or are not finite",
                where="times",
                hint="sort the positions by time",
            )
        gaps.append(between)
    known = np.concatenate([between for between, known in zip(gaps, train, strict=True) if known])
    mean = float(known.mean()) if known.size else 0.0
    if not mean > 0:
        raise ConfigError(
            "no time passes in the training sequences", where="times", hint="leave times out"
        )
    first = np.ones(1)
    made = np.concatenate([np.concatenate([first, gap / mean]) for gap in gaps])
    return made.astype(np.float32), mean


def scaled_where(
    x: NDArray[Any], mask: NDArray[np.bool_], in_train: NDArray[np.bool_], *, standardise: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Each feature of ``x [n, I]`` brought to mean 0 and deviation 1 of what was observed of it in
    training, what is missing 0; with mean and scale.
    """
    made = np.zeros(x.shape, dtype=np.float32)
    mean, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    for column, seen in enumerate(mask.T):
        known = in_train[seen]
        if not known.any():
            raise ConfigError(
                f"feature {column} was never observed in the training sequences",
                where="x",
                hint="leave the feature out",
            )
        values, what = x[seen, column], f"x: feature {column}, column"
        if standardise:
            made[seen, column], m, s = standardised(values, known, what)
            mean[column], scale[column] = m[0], s[0]
        else:
            made[seen, column] = narrowed(values, what)
    return made, mean, scale


def _joined(
    given: Any, split: Sequence[int], parts: Sequence[str], where: str
) -> list[NDArray[Any]]:
    """One array a sequence, those of all splits one behind the other."""
    by_split = given if isinstance(given, Mapping) else {parts[0]: given}
    if set(by_split) != set(parts):
        raise ConfigError(
            f"given for {', '.join(map(str, by_split))}, and sequences for {', '.join(parts)}",
            where=where,
            hint="give a mapping with one entry for each: "
            + ", ".join(f'"{name}": ...' for name in parts),
        )
    try:
        found = [np.asarray(one) for name in parts for one in by_split[name]]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"not a set of arrays: {error}", where=where) from error
    if len(found) != len(split):
        raise ConfigError(
            f"{amount(len(found), 'array')}, for {amount(len(split), 'sequence')}", where=where
        )
    return found
