"""The scan backend: which cells it takes, and that it equals the loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.cells import plain_cells

from cellsearch import zoo
from cellsearch.compiler import backends
from cellsearch.compiler.backends.scan import affine_scan, solving_order
from cellsearch.compiler.lower import lower
from cellsearch.compiler.module import compile_cell
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import BackendError
from cellsearch.genome.graph import Genome
from cellsearch.testing.backends import BackendContract, Case

AFFINE = [
    name
    for name in plain_cells()
    if solving_order(simplify_program(lower(zoo.load(name)))) is not None
]


def test_it_takes_the_affine_cells_and_no_others() -> None:
    assert {"sru_v1", "qrnn_f", "qrnn_fo", "mingru", "minlstm", "hgrn_real", "rg_lru"} <= set(
        AFFINE
    )
    assert not {"lstm", "gru", "indrnn_relu", "slstm", "sru"} & set(AFFINE)
    with pytest.raises(BackendError, match="side by side"):
        compile_cell(zoo.load("lstm"), input_size=3, hidden_size=3, backend="scan")


def test_auto_never_takes_it() -> None:
    report = compile_cell(zoo.load("mingru"), input_size=3, hidden_size=3).backend_report()
    assert report["scan"] != "taken"
    assert backends.names()[-1] == "scan"


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 64, 200])
def test_scan_equals_the_loop(steps: int) -> None:
    a = torch.rand(steps, 2, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(steps, 2, 3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    state, states = start, []
    for t in range(steps):
        state = a[t] * state + b[t]
        states.append(state)
    expected = torch.stack(states)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), (a, b, start))
    got = affine_scan(a, b, start)
    found = torch.autograd.grad((got * weights).sum(), (a, b, start))
    assert torch.allclose(got, expected)
    assert all(torch.allclose(x, y) for x, y in zip(found, wanted, strict=True))


def test_long_sequences_of_small_and_large_factors_stay_finite() -> None:
    a = torch.rand(5000, 1, 4)
    states = affine_scan(a, torch.ones(5000, 1, 4), torch.zeros(1, 4))
    assert states.isfinite().all()
    assert affine_scan(torch.zeros(100, 1, 1), torch.ones(100, 1, 1), torch.zeros(1, 1)).eq(1).all()


def test_a_state_may_follow_another() -> None:
    genome = Genome.from_text(
        "c[t] = sigmoid(linear(x[t])) * c[t-1] + linear(x[t])\nh[t] = tanh(c[t-1]) * "
        "h[t-1] + linear(c[t])\n"
    )
    contract = TestScan()
    contract.check(genome, Case(), "chained")
    contract.check(genome, Case(5, 4, 6, 6, lengths=(5, 2, 4, 1)), "chained, packed")


GAPS = Genome.from_text(
    "h[t] = exp(-softplus(linear(dt[t], x[t]))) * h[t-1] + dt[t] * linear(x[t], mask[t])"
)


def test_gaps_masks_and_resets() -> None:
    contract = TestScan()
    for resets in (False, True):
        for genome in (GAPS, zoo.load("mingru"), zoo.load("minlstm")):
            contract.check(genome, Case(9, 3, 5, 4, resets=resets), "gaps")
            packed = Case(5, 4, 5, 4, lengths=(5, 2, 4, 1), resets=resets)
            contract.check(genome, packed, "gaps, packed")


def test_what_is_not_finite_ends_at_a_reset() -> None:
    layer = compile_cell(GAPS, input_size=3, hidden_size=4, backend="scan")
    x, reset = torch.randn(6, 2, 3), torch.zeros(6, 2, dtype=torch.bool)
    reset[3, 0] = reset[0, 1] = True
    output, _ = layer(x, torch.full((1, 2, 4), float("inf")), reset=reset)
    assert output[:3, 0].isinf().all()
    assert output[3:, 0].isfinite().all()
    assert output[:, 1].isfinite().all()


class TestScan(BackendContract):
    backend = "scan"
    dtype = torch.float64
    tolerance = 1e-9

    def cells(self) -> Iterator[tuple[str, Genome]]:
        for name in AFFINE:
            yield name, zoo.load(name)

    # These parts of the contract are written with cells that a scan cannot run.
    test_random_cells = None  # type: ignore[assignment]
    test_more_inputs = None  # type: ignore[assignment]
    test_resets = None  # type: ignore[assignment]
    test_what_is_not_finite_ends_at_a_reset = None  # type: ignore[assignment]
    test_sizes = None  # type: ignore[assignment]
    test_layers_and_directions = None  # type: ignore[assignment]
    test_gradients_add_up = None  # type: ignore[assignment]
    test_second_backward_raises = None  # type: ignore[assignment]
    test_same_without_gradients = None  # type: ignore[assignment]
    test_nan_and_infinity_propagate = None  # type: ignore[assignment]
    test_deterministic = None  # type: ignore[assignment]
