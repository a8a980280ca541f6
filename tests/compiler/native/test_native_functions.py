"""The functions of the runtime against float64, over their whole range, and at NaN, infinity and
zero.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cellsearch.compiler.module import compile_cell
from cellsearch.genome.graph import Genome

H = 16
EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "softplus": lambda a: torch.where(a > 20, a, torch.log1p(torch.exp(a))),
    "log_sigmoid": functional.logsigmoid,
    "silu": functional.silu,
    # Written out: torch's own is NaN at infinity where the processor has AVX-512.
    "gelu": lambda a: 0.5 * a * (1 + torch.erf(a * 0.5**0.5)),
    "sin": torch.sin,
    "cos": torch.cos,
    "sqrt": torch.sqrt,
    "relu": torch.relu,
    "leaky_relu": lambda a: functional.leaky_relu(a, 0.01),
    "hard_sigmoid": functional.hardsigmoid,
    "hard_tanh": functional.hardtanh,
    "softsign": functional.softsign,
    "square": torch.square,
    "abs": torch.abs,
}
# Relative to the exact value, and absolute: where a function crosses zero, or is a difference of
# two that cancel.
RELATIVE = {"sin": 0.0, "cos": 0.0, "gelu": 3e-7}
ABSOLUTE = {"sin": 2e-7, "cos": 2e-7, "gelu": 3e-6}


def native(op: str, values: Tensor) -> Tensor:
    """``op`` of a flat tensor, through a cell whose output is nothing else."""
    cell = Genome.from_text(f"s[t] = 0.5 * s[t-1]\ny[t] = {op}(x[t])\n")
    module = compile_cell(cell, input_size=H, hidden_size=H, backend="native", dtype=torch.float32)
    padded = torch.cat([values, values.new_zeros(-len(values) % H)]).view(-1, 1, H)
    return module(padded)[0].reshape(-1)[: len(values)]


@pytest.mark.parametrize("op", EXACT)
def test_accuracy(op: str) -> None:
    values = torch.cat(
        [
            torch.linspace(-12, 12, 20001),
            torch.linspace(-100, 100, 20001),
            torch.logspace(-30, 1, 5000),
            -torch.logspace(-30, 1, 5000),
        ]
    )
    values = values.abs() if op == "sqrt" else values
    exact = EXACT[op](values.double())
    got = native(op, values).double()
    normal = (exact.abs() > 1e-35) & (
        exact.abs() < 3.4e38
    )  # numbers below are subnormal, or come from subnormal ones
    allowed = RELATIVE.get(op, 6e-7) * exact.abs() + ABSOLUTE.get(op, 0.0)
    worst = ((got - exact).abs() - allowed)[normal].max()
    assert worst <= 0, f"{op} is off by {float(worst):.1e} more than allowed"
    assert (got[exact.abs() <= 1e-35].abs() <= 1.1e-35).all()
    assert got[exact.abs() > 3.5e38].isinf().all()


def test_far_angles_stay_right() -> None:
    values = torch.tensor([1e4, 1e6, -3e7, 8192.0, 8191.5])
    assert torch.allclose(native("sin", values).double(), torch.sin(values.double()), atol=1e-6)


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_angles_over_the_whole_range(op: str) -> None:
    """Up to 8192 by vectors; rows with a larger angle by the C library."""
    near = torch.linspace(-8192, 8192, 200001)
    far = torch.logspace(-38, 38, 20001)
    for values in (near, far, -far, near * 1e3):
        difference = native(op, values).double() - EXACT[op](values.double())
        assert difference.abs().max() < 2e-7
    mixed = torch.tensor([float("nan"), 1e30, float("inf"), 0.5, -float("inf"), -1e4, 8192.0])
    exact = EXACT[op](mixed.double())
    assert torch.allclose(native(op, mixed).double(), exact, rtol=0, atol=2e-7, equal_nan=True)


@pytest.mark.parametrize("op", EXACT)
def test_special_values(op: str) -> None:
    inf = float("inf")
    values = torch.tensor([float("nan"), inf, -inf, 0.0, -0.0])
    assert torch.equal(
        torch.nan_to_num(native(op, values), 77.0, 88.0, 99.0),
        torch.nan_to_num(EXACT[op](values), 77.0, 88.0, 99.0),
    )


def test_bounded_functions_stay_bounded() -> None:
    values = torch.linspace(-30, 30, 100001)
    assert native("tanh", values).abs().max() <= 1.0
    assert native("sigmoid", values).min() >= 0.0
    assert native("sigmoid", values).max() <= 1.0


@pytest.mark.parametrize("number", ["1e40", "-1e40", "3.5e38", "1e-60"])
def test_a_number_that_float32_does_not_hold_is_rounded_as_in_torch(number: str) -> None:
    values = torch.linspace(1, 2, 16)
    assert torch.equal(native(f"{number} * relu", values), float(number) * values)
