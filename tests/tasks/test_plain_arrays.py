"""Array files that numpy.savez wrote: x and y in all their usual forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellsearch.errors import DataWarning, InputFileError
from cellsearch.tasks.own_sequences import ArraysTask
from cellsearch.tasks.own_sequences import read as read_arrays

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(3, 9, 40)
RAGGED = [RNG.normal(size=(n, 2)) for n in LENGTHS]
PADDED = np.stack([np.pad(s, ((0, 9 - len(s)), (0, 0))) for s in RAGGED])
LABELS = np.arange(40) % 3
X = RNG.normal(size=(40, 6, 2))

FORMS: dict[str, tuple[dict[str, Any], str, str, int]] = {
    "labels": ({"x": X, "y": LABELS}, "classification", "last", 6),
    "words": ({"x": X, "y": np.array(["a", "b"])[LABELS % 2]}, "classification", "last", 6),
    "labels as a column": ({"X": X, "Y": LABELS[:, None]}, "classification", "last", 6),
    "values": ({"x": X, "y": X.mean((1, 2))}, "regression", "last", 6),
    "several values": ({"x": X, "y": X[:, -1] * 2}, "regression", "last", 6),
    "a label at every position": (
        {"x": X, "y": (X[:, :, 0] > 0) * 1},
        "classification",
        "every",
        6,
    ),
    "one number at a time": ({"x": X[:, :, 0], "y": LABELS}, "classification", "last", 6),
    "padded": ({"x": PADDED, "y": LABELS, "lengths": LENGTHS}, "classification", "last", 0),
    "one behind the other": (
        {"x": np.concatenate(RAGGED), "y": LABELS, "lengths": LENGTHS},
        "classification",
        "last",
        0,
    ),
    "parts": (
        {
            "X_train": X,
            "y_train": LABELS,
            "X_val": X[:9],
            "y_val": LABELS[:9],
            "X_test": X[:8],
            "y_test": LABELS[:8],
        },
        "classification",
        "last",
        6,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_plain_files_are_read(form: str, tmp_path: Path) -> None:
    held, kind, readout, length = FORMS[form]
    np.savez(tmp_path / "mine.npz", **held)
    arrays = read_arrays(tmp_path / "mine.npz")
    assert (str(arrays["kind"]), str(arrays["readout"])) == (kind, readout)
    if length:
        assert (arrays["lengths"] == length).all()
    else:
        assert np.array_equal(arrays["lengths"], LENGTHS)
        raw = arrays["x"] * arrays["x_scale"] + arrays["x_mean"]
        assert np.allclose(raw, np.concatenate(RAGGED), atol=1e-5)
    counts = [int((arrays["split"] == k).sum()) for k in range(3)]
    assert counts == ([40, 9, 8] if form == "parts" else [32, 4, 4])
    ArraysTask.create({}, arrays)


def test_windows_that_overlap_lie_in_one_part_each(tmp_path: Path) -> None:
    series = RNG.normal(size=200)
    x = np.lib.stride_tricks.sliding_window_view(series[:-1], 5)
    np.savez(tmp_path / "mine.npz", x=x[:, :, None], y=series[5:])
    with pytest.warns(DataWarning, match="overlap"):
        arrays = read_arrays(tmp_path / "mine.npz")
    raw = (arrays["x"] * arrays["x_scale"] + arrays["x_mean"]).reshape(-1, 5)
    parts = [set(np.round(raw[arrays["split"] == k].ravel(), 4).tolist()) for k in range(3)]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[1] & parts[2]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "objects": ({"x": np.array([*RAGGED, None], dtype=object), "y": LABELS}, "Python objects"),
    "other names": ({"data": X, "target": LABELS}, "nor x and y alone"),
    "other numbers": ({"x": X, "y": LABELS[:-1]}, "do not fit"),
    "wrong lengths": ({"x": PADDED, "y": LABELS, "lengths": LENGTHS * 2}, "lengths"),
    "gaps": ({"x": np.where(X > 2, np.nan, X), "y": LABELS}, "not finite"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_with_what_to_write(kind: str, tmp_path: Path) -> None:
    held, message = REFUSED[kind]
    np.savez(tmp_path / "mine.npz", **held)
    with pytest.raises(InputFileError, match=message) as caught:
        read_arrays(tmp_path / "mine.npz")
    assert caught.value.hint
    if kind == "objects":
        assert "numpy.concatenate" in caught.value.hint
        assert "lengths=" in caught.value.hint
        assert "allow_pickle" not in caught.value.hint
