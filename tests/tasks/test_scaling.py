"""Mean 0 and deviation 1 wherever the numbers lie; what cannot be told apart is said."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from cellsearch import tasks
from cellsearch.errors import ConfigError, DataWarning
from cellsearch.tasks.forecasting import ForecastTask
from cellsearch.tasks.sequences import pack

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5, 2))
Y = RNG.normal(size=(60, 2))
LABELS = np.arange(60) % 2


class _Forecast(ForecastTask):
    name: ClassVar[str] = "own_forecast"
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    values: ClassVar[NDArray[Any]]

    @classmethod
    def series(cls) -> tuple[NDArray[Any], tuple[int, int, int]]:
        return cls.values, (200, 250, 300)


def _inputs(x: NDArray[Any]) -> NDArray[Any]:
    return tasks.from_arrays(x, LABELS).arrays["x"]


def _targets(x: NDArray[Any]) -> NDArray[Any]:
    return tasks.from_arrays(X, x[:, 0], kind="regression").arrays["y"]


def _every_target(x: NDArray[Any]) -> NDArray[Any]:
    return tasks.from_arrays(X, x, kind="regression", readout="every").arrays["y"]


def _packed(x: NDArray[Any]) -> NDArray[Any]:
    return pack(list(x), LABELS, np.arange(60) // 40)["x"]


def _forecast(x: NDArray[Any]) -> NDArray[Any]:
    _Forecast.values = x.reshape(300, 2)
    return _Forecast.load({})["series"]


PLACES = (_inputs, _targets, _every_target, _packed, _forecast)


@pytest.mark.parametrize("standardised", PLACES)
@pytest.mark.parametrize("offset", [1e3, 1.7e9, -1.7e9, 1.7e12])
@pytest.mark.parametrize("unit", [1.0, 1e4])
def test_an_offset_changes_nothing(standardised: Any, offset: float, unit: float) -> None:
    plain = standardised(X)
    far = standardised(X * unit + offset)
    assert far.dtype == np.float32
    assert np.allclose(far, plain, rtol=1e-6, atol=1e-6 + 1e-15 * abs(offset) / unit)


@pytest.mark.parametrize("standardised", PLACES)
@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_whole_numbers_that_float64_cannot_hold_keep_their_differences(
    standardised: Any, kind: Any
) -> None:
    """Times in nanoseconds since 1970, a few of them apart."""
    apart = np.round(X * 100).astype(np.int64)
    plain = standardised(apart.astype(np.float64))
    assert np.allclose(standardised((apart + 1_700_000_000_000_000_123).astype(kind)), plain)


def test_ordinary_numbers_in_float64_have_the_digests_of_version_0_1() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 12, 3)), np.arange(100) % 2
    assert tasks.from_arrays(x, y).options["digest"] == "914a8ce9eaeb6635"
    far = tasks.from_arrays(3 * x - 20, x[:, -1, 0], kind="regression")
    assert far.options["digest"] == "76cce6d6c1cbcdc8"
    ragged = [sequence[: 5 + k % 6] for k, sequence in enumerate(x)]
    assert tasks.from_arrays(ragged, y, standardise=False).options["digest"] == "f3f0f59c3a06cafd"


def test_what_was_given_in_float32_already_is_as_it_was() -> None:
    """The digests of data in older runs."""
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(200, 9, 3)) * 50 + 100).astype(np.float32)
    y = (rng.normal(size=200) * 20 + 3).astype(np.float32)
    data = tasks.from_arrays(x, y, kind="regression")
    assert data.options["digest"] == "e6b46c0e5288a68c"


def test_ordinary_numbers_are_no_reason_to_warn() -> None:
    """Warnings are errors in these tests."""
    rng = np.random.default_rng(1)
    normal = rng.normal(size=(60, 50, 1))
    for x in (
        normal,
        np.exp(3 * normal),
        rng.integers(0, 2, (60, 50, 1)),
        np.sin(np.arange(3000) / 500).reshape(60, 50, 1) + 20,
        np.cumsum(normal, axis=1).astype(np.float16),
        1e-30 * normal,
        1e30 * normal,
        np.where(normal > 2, 1e6, normal),
        np.sign(normal) * 1e-16 + LABELS[:, None, None],
    ):
        tasks.from_arrays(x, LABELS)
        tasks.from_arrays(x, x[:, 0, 0], kind="regression")
        tasks.from_arrays(x.astype(np.float32), LABELS)
        tasks.from_arrays(x.astype(np.float64), LABELS, standardise=False)


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (X + 1.7e9, {"standardise": False}),
        (np.round(X * 100).astype(np.int64) + 1_700_000_000_000, {"standardise": False}),
        ((1000 * X + 1.7e9).astype(np.float32), {}),
        ((X + 3000).astype(np.float16), {}),
        (np.where(np.arange(60)[:, None, None] == 3, 1e12, X), {}),
    ],
)
def test_what_float32_cannot_tell_apart_is_said(x: NDArray[Any], options: Any) -> None:
    with pytest.warns(DataWarning, match="feature 0, 1: .*(float32|float16)"):
        tasks.from_arrays(x, LABELS, **options)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64, np.uint8])
@pytest.mark.parametrize("value", [0, 0.1, 1 / 3, 7, 200.1, -7e-5])
def test_a_constant_has_scale_1_and_is_said(value: float, kind: Any) -> None:
    if value != int(value) and not np.issubdtype(kind, np.floating):
        value = int(abs(value))
    x, y = X.astype(np.float32), Y.copy()
    x[:, :, 1] = value
    y = np.stack([RNG.integers(0, 9, 60), np.full(60, value)], 1).astype(kind)
    with pytest.warns(DataWarning) as said:
        data = tasks.from_arrays(x, y, kind="regression")
    assert [str(one.message).partition(":")[2] for one in said] == [
        " feature 1: one value in all training data: centred, and scaled by 1",
        " column 1: one value in all training data: centred, and scaled by 1",
    ]
    assert not data.arrays["x"][:, 1].any()
    assert not data.arrays["y"][:, 1].any()
    assert data.arrays["y_scale"][1] == 1
    assert data.arrays["y_mean"][1] == float(np.asarray(value, kind))


@pytest.mark.parametrize("standardised", PLACES)
@pytest.mark.parametrize("value", [0.1, 1.7e9 + 0.3, -1e-9])
def test_a_constant_is_known_everywhere(standardised: Any, value: float) -> None:
    x = X.copy()
    x[..., 0] = value
    if standardised is _every_target:
        x[..., 1] = value
    with pytest.warns(DataWarning, match="one value in all training data"):
        found = standardised(x)
    assert np.abs(found).max() < 10
    assert not found.reshape(len(found), -1)[:, 0].any()


def test_a_constant_but_for_rounding_is_one() -> None:
    x = X.copy()
    x[..., 0] = 0.3
    x[::2, :, 0] = 0.1 * 3
    with pytest.warns(DataWarning, match="feature 0: one value"):
        assert np.abs(_inputs(x)[:, 0]).max() < 1e-15


def test_another_value_outside_of_training_stays_finite_and_apart() -> None:
    with pytest.warns(DataWarning, match="one value"):
        data = tasks.from_arrays(
            X, np.full(60, 0.1), kind="regression", valid=(X[:9], np.full(9, 0.3))
        )
    assert np.allclose(data.arrays["y"][data.arrays["split"] == 1], 0.2)


@pytest.mark.parametrize("standardised", PLACES)
@pytest.mark.parametrize("unit", [1e160, 1e300, 1e-160, 1e-300])
def test_what_cannot_be_squared_is_refused(standardised: Any, unit: float) -> None:
    with pytest.raises(ConfigError, match=r"(feature|column|channel) 0 reaches from .*"):
        standardised(X * unit)


def test_what_float32_cannot_reach_is_refused() -> None:
    with pytest.raises(ConfigError, match="feature 0 reaches 1e\\+40"):
        tasks.from_arrays(np.full((60, 5, 1), 1e40), LABELS, standardise=False)
    with pytest.raises(ConfigError, match="feature 0 reaches"):
        tasks.from_arrays(X, LABELS, valid=(np.full((2, 5, 2), 1e200), [0, 1]))


@pytest.mark.parametrize("standardised", [_packed, _forecast])
def test_what_is_not_finite_is_refused_in_every_task(standardised: Any) -> None:
    x = X.copy()
    x[3, 2, 1] = np.nan
    with pytest.raises(ConfigError, match="1 reaches from nan to nan"):
        standardised(x)
