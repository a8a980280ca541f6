"""Zoo cells where all gates are shut or open: finite, forward and backward."""

import pytest
import torch
from support.cells import plain_cells

from cellsearch import Genome, compile_cell, zoo
from cellsearch.genome.checks import static_checks
from cellsearch.runs.facts import relatives

INPUTS = {
    "1000": torch.full((6, 3, 8), 1e3),
    "-1000": torch.full((6, 3, 8), -1e3),
    "both": 1e3 * torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(0)),
    "-100": torch.full((6, 3, 8), -100.0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", plain_cells())
def test_every_cell_is_finite_far_from_zero(name: str, dtype: torch.dtype) -> None:
    for label, values in INPUTS.items():
        torch.manual_seed(0)
        module = compile_cell(
            zoo.load(name), input_size=8, hidden_size=8, dtype=dtype, backend="reference"
        )
        x = values.clone().to(dtype).detach().requires_grad_()
        output, _ = module(x)
        output.float().sum().backward()
        assert output.isfinite().all(), label
        assert x.grad is not None
        assert x.grad.isfinite().all(), label
        for key, weight in module.named_parameters():
            assert weight.grad is None or weight.grad.isfinite().all(), (label, key)


@pytest.mark.parametrize("name", ["minlstm", "rg_lru", "slstm", "rwkv4", "lem"])
def test_the_default_backend_is_finite_too(name: str) -> None:
    for label, values in INPUTS.items():
        torch.manual_seed(0)
        module = compile_cell(zoo.load(name), input_size=8, hidden_size=8)
        x = values.clone().requires_grad_()
        output, _ = module(x)
        output.sum().backward()
        assert output.isfinite().all(), label
        assert all(w.grad is None or w.grad.isfinite().all() for w in module.parameters()), label


@pytest.mark.parametrize("name", zoo.earlier_forms())
def test_the_form_of_0_1_0_is_recognised_and_computes_the_same(name: str) -> None:
    old, new = zoo.earlier_forms()[name], zoo.load(name.split()[0])
    assert name in relatives(Genome.from_json(old.to_json()))["equals"]
    sizes = {"input_size": 4, "hidden_size": 4, "dtype": torch.float64, "backend": "reference"}
    before, after = compile_cell(old, **sizes), compile_cell(new, **sizes)
    after.load_state_dict(before.state_dict(), strict=True)
    x = torch.randn(7, 3, 4, dtype=torch.float64)
    assert torch.allclose(before(x)[0], after(x)[0], atol=1e-12)


def test_no_zoo_cell_divides_by_gates() -> None:
    codes = {n: {f.code for f in static_checks(zoo.load(n))} for n in plain_cells()}
    assert not [n for n, c in codes.items() if c & {"divides-by-gates", "divides-by-zero"}]
    old = {n: {f.code for f in static_checks(g)} for n, g in zoo.earlier_forms().items()}
    assert "divides-by-gates" in old["minlstm (as in 0.1.0)"]
