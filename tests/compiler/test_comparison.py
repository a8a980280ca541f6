"""The comparison itself: it must find a wrong answer of every kind."""

import math

import pytest
import torch

from cellsearch import Genome
from cellsearch.testing.backends import Case, build, compare, differences, run_module

LSTM = """
i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1]))
c[t] = f * c[t-1] + i * g
h[t] = o * tanh(c[t])
"""
SWAPPED = LSTM.replace("c[t] = f * c[t-1] + i * g", "c[t] = i * c[t-1] + f * g")


@pytest.fixture
def right():
    return run_module(build(Genome.from_text(LSTM), Case(), "reference", torch.float64), Case())


def test_the_right_answer_passes(right):
    compare({name: value.clone() for name, value in right.items()}, right, 1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "output",
        "state 0",
        "state 1",
        "gradient of x",
        "gradient of initial state 1",
        "gradient of l0.i.weight_h",
    ],
)
def test_a_wrong_number_is_found(right, name):
    wrong = {k: v.clone() for k, v in right.items()}
    wrong[name].view(-1)[-1] *= 1.001
    assert (
        differences(wrong, right, 1e-5)
        == [found for found in differences(wrong, right, 1e-5) if found.startswith(name)]
        != []
    )
    with pytest.raises(AssertionError, match=name):
        compare(wrong, right, 1e-5)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -math.inf])
def test_a_constant_answer_is_found_everywhere(right, value):
    for name in right:
        wrong = {**right, name: torch.full_like(right[name], value)}
        assert [found.startswith(name) for found in differences(wrong, right, 1e-4)] == [True], name


def test_one_nan_is_found(right):
    wrong = {**right, "output": right["output"].clone()}
    wrong["output"][0, 0, 0] = math.nan
    assert differences(wrong, right, 1e-4)


def test_nan_expected_but_finite_is_found(right):
    expected = {**right, "output": torch.full_like(right["output"], math.nan)}
    assert differences(right, expected, 1e-4)


def test_infinity_of_the_other_sign_is_found(right):
    expected = {**right, "output": torch.full_like(right["output"], math.inf)}
    assert differences({**right, "output": -expected["output"]}, expected, 1e-4)
    assert not differences(expected, expected, 1e-4)


def test_swapped_gates_are_found():
    case = Case()
    swapped = build(Genome.from_text(SWAPPED), case, "reference", torch.float64)
    assert differences(
        run_module(swapped, case),
        run_module(build(Genome.from_text(LSTM), case, "reference", torch.float64), case),
        1e-4,
    )


def test_swapped_states_and_time_are_found(right):
    assert differences(
        {**right, "state 0": right["state 1"], "state 1": right["state 0"]}, right, 1e-4
    )
    assert differences({**right, "output": right["output"].flip(0)}, right, 1e-4)


def test_missing_superfluous_and_misshapen_values_are_found(right):
    fewer = {name: value for name, value in right.items() if name != "gradient of l0.f.bias"}
    assert differences(fewer, right, 1e-4) == ["gradient of l0.f.bias is missing"]
    assert differences(right, fewer, 1e-4) == ["gradient of l0.f.bias is not expected"]
    assert "shape" in differences({**right, "output": right["output"][:-1]}, right, 1e-4)[0]
