"""Gradients over time against closed forms and against torch's own Jacobians."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cellsearch import zoo
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.diagnostics.gradients import gradient_norms, memory_length, spectrum, step_jacobians
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome

H = 5


def cell(text: str, **options: int) -> CellModule:
    genome = Genome.from_text(text) if "=" in text else zoo.load(text)
    torch.manual_seed(0)
    return compile_cell(
        genome,
        **{"input_size": H, "hidden_size": H, **options},
        backend="reference",
        dtype=torch.float64,
    )


def inputs(length: int, batch: int = 3) -> Tensor:
    return torch.randn(
        length, batch, H, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


@pytest.mark.parametrize("a", [0.5, 0.9, 1.0, 1.3, -0.8])
def test_a_linear_cell_has_powers(a: float) -> None:
    norms = gradient_norms(cell(f"h[t] = {a} * h[t-1] + x[t]"), inputs(12))
    expected = torch.tensor([abs(a) ** k for k in range(1, 12)], dtype=torch.float64)
    assert torch.allclose(norms, expected[:, None].expand(-1, 3), rtol=1e-12)


def test_the_state_is_all_that_is_carried_and_paths_are_not_counted_twice() -> None:
    # h_T = c_T, c_t = 0.5 c_{t-1} + x_t; h_{t-1} is carried but nothing reads it beyond a factor of
    # 0.
    norms = gradient_norms(
        cell("c[t] = 0.5 * c[t-1] + x[t]\nh[t] = c[t] + 0.0 * h[t-1]"), inputs(6)
    )
    assert torch.allclose(
        norms[:, 0], torch.tensor([0.5**k for k in range(1, 6)], dtype=torch.float64)
    )


def whole_jacobian(module: CellModule, x: Tensor, distance: int) -> Tensor:
    """d h_T / d s_{T-k} of one sequence, by running the last k positions as a function of the state
    before them.
    """
    with torch.no_grad():
        _, state = module(x[:-distance])
    parts = (state,) if isinstance(state, Tensor) else state
    sizes = [part.numel() for part in parts]

    def run(flat: Tensor) -> Tensor:
        given = tuple(piece.view(parts[0].shape) for piece in flat.split(sizes))
        output, _ = module(x[-distance:], given[0] if len(given) == 1 else given)
        assert isinstance(output, Tensor)
        return output[-1, 0]

    return torch.autograd.functional.jacobian(run, torch.cat([part.flatten() for part in parts]))


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru", "lstm_peephole", "slstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_norms_are_those_of_torchs_jacobian(name: str, layers: int) -> None:
    module = cell(name, num_layers=layers)
    x = inputs(7, batch=2)
    norms = gradient_norms(module, x)
    for distance in (1, 3, 6):
        for example in range(2):
            jacobian = whole_jacobian(module, x[:, example : example + 1], distance)
            expected = jacobian.norm() / math.sqrt(H)
            assert norms[distance - 1, example].item() == pytest.approx(expected.item(), rel=1e-10)


def test_a_tanh_cell_is_the_product_of_its_jacobians() -> None:
    module = cell("rnn_tanh")
    x = inputs(5, batch=1)
    weight = module.state_dict()["l0.h.weight_h"]
    output, _ = module(x)
    product = torch.eye(H, dtype=torch.float64)
    for k, h in enumerate(reversed(output[1:, 0]), start=1):
        product = product @ (torch.diag(1 - h**2) @ weight)
        assert gradient_norms(module, x)[k - 1, 0].item() == pytest.approx(
            product.norm().item() / math.sqrt(H), rel=1e-12
        )


def test_the_estimate_comes_near_the_exact_norm_and_nearer_with_more_probes() -> None:
    module, x = cell("lstm"), inputs(6)
    exact = gradient_norms(module, x)
    errors = [
        (gradient_norms(module, x, probes=n, seed=3) / exact - 1).abs().max().item()
        for n in (4, 4000)
    ]
    assert errors[1] < 0.05 < errors[0]


def test_a_cell_that_forgets_has_no_gradient_beyond() -> None:
    norms = gradient_norms(cell("a[t] = tanh(linear(x[t]))\nh[t] = a[t-1] + a[t]"), inputs(5))
    assert (norms[0] > 0).all()
    assert torch.equal(norms[1:], torch.zeros_like(norms[1:]))


def test_one_position_has_no_gradient_over_time() -> None:
    with pytest.raises(ConfigError, match="2 positions"):
        gradient_norms(cell("gru"), inputs(1))


@pytest.mark.parametrize("tau", [1.0, 3.7, 20.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 50.0])
def test_the_memory_of_an_exponential_is_its_time_constant(tau: float, scale: float) -> None:
    assert memory_length([scale * math.exp(-k / tau) for k in range(1, 100)]) == pytest.approx(tau)


def test_memory_counts_until_the_gradient_stays_small() -> None:
    assert memory_length([1.0, 0.1, 1.0, 0.0, 0.0]) == 2.0
    assert memory_length([1.0, 0.9, 0.8]) is None
    assert memory_length([1.0, 2.0, 4.0]) is None


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
def test_the_jacobian_of_a_step_is_torchs(name: str) -> None:
    module = cell(name, num_layers=2)
    x = inputs(4, batch=2)
    _, state = module(x)
    parts = (state,) if isinstance(state, Tensor) else state
    found = step_jacobians(module, x[0], state)
    for b in range(2):
        own = torch.cat([part[:, b].flatten() for part in parts]).detach()

        def run(flat: Tensor, b: int = b) -> Tensor:
            given = tuple(piece.view(2, 1, H) for piece in flat.chunk(len(parts)))
            _, new = module.step(x[0, b : b + 1], given[0] if len(given) == 1 else given)
            return torch.cat(
                [part.flatten() for part in ((new,) if isinstance(new, Tensor) else new)]
            )

        assert torch.allclose(found[b], torch.autograd.functional.jacobian(run, own), atol=1e-12)


def test_the_spectrum_of_a_rotation_is_one_and_of_a_shrinking_one_its_factor() -> None:
    for factor in (1.0, 0.7):
        module = cell("h[t] = linear(h[t-1], bias=False) + x[t]")
        rotation, _ = torch.linalg.qr(torch.randn(H, H, dtype=torch.float64))
        with torch.no_grad():
            next(module.parameters()).copy_(factor * rotation)
        found = spectrum(module, inputs(9))
        assert found.singular_values == pytest.approx([factor] * H)
        assert found.moduli == pytest.approx([factor] * H)
        assert found.radius == pytest.approx(factor)


def test_singular_values_and_eigenvalues_differ_where_the_jacobian_is_not_normal() -> None:
    module = cell("h[t] = linear(h[t-1], bias=False) + x[t]")
    weight = 0.5 * torch.eye(H, dtype=torch.float64)
    weight[0, 1] = 3.0
    with torch.no_grad():
        next(module.parameters()).copy_(weight)
    found = spectrum(module, inputs(9))
    assert found.radius == pytest.approx(0.5)
    assert found.singular_values[0] > 3.0
