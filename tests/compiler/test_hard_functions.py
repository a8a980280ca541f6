"""hard_sigmoid, hard_tanh and softsign: torch's functions and derivatives on every backend."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from cellsearch import ops, zoo
from cellsearch.compiler import backends
from cellsearch.compiler.module import compile_cell
from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.ops import Op
from cellsearch.testing.backends import Case, build, compare, run_module
from cellsearch.testing.ops import OpContract
from cellsearch.training.quiet_start import quiet_values

TORCH = {
    "hard_sigmoid": functional.hardsigmoid,
    "hard_tanh": functional.hardtanh,
    "softsign": functional.softsign,
}
KINKS = [0.0, -0.0, 1.0, -1.0, 3.0, -3.0]
BACKENDS = [name for name in backends.names() if name != "scan"]
HARD = zoo.load("lstm").to_text().replace("sigmoid", "hard_sigmoid").replace("tanh", "hard_tanh")
CELLS = {
    "lstm": HARD,
    "gru": zoo.load("gru").to_text().replace("sigmoid", "hard_sigmoid").replace("tanh", "softsign"),
    "mixed": "a = hard_tanh(3 * linear(x[t], h[t-1]))\n"
    "h[t] = hard_sigmoid(4 * diag(h[t-1])) * softsign(a - 2 * linear(x[t])) + 0.5 * a\n",
}


class TestHardSigmoid(OpContract):
    op = ops.get("hard_sigmoid")


class TestHardTanh(OpContract):
    op = ops.get("hard_tanh")


class TestSoftsign(OpContract):
    op = ops.get("softsign")


@pytest.mark.parametrize("backend", [*BACKENDS, "scan"])
@pytest.mark.parametrize("op", TORCH)
def test_value_and_slope_are_those_of_torch_at_kinks_too(op: str, backend: str) -> None:
    dtype = torch.float32 if backend == "native" else torch.float64
    kinks = torch.tensor(KINKS, dtype=dtype)
    # 3 minus half a unit of 6 is rounded to 3 by a + 3, so neighbours are a few units away.
    near = [kinks * (1 + side * 4 * torch.finfo(dtype).eps) for side in (-1, 1)]
    others = torch.tensor([*(k / 8 for k in range(-40, 41)), 1e18, -1e18], dtype=dtype)
    points = torch.cat([kinks, *near, others])
    # Affine in its state, so that every backend takes it; what is looked at is op(x) alone.
    genome = Genome.from_text(f"h[t] = 0.5 * h[t-1] + diag({op}(x[t]))")
    n = len(points)
    module = compile_cell(genome, input_size=n, hidden_size=n, backend=backend, dtype=dtype)
    with torch.no_grad():
        next(module.parameters()).fill_(1.0)
    x, plain = points.clone().requires_grad_(), points.double().requires_grad_()
    got, expected = module(x.view(1, 1, n))[0].view(n), TORCH[op](plain)
    got.sum().backward()
    expected.sum().backward()
    assert x.grad is not None
    assert plain.grad is not None
    assert torch.allclose(got.double(), expected, rtol=3e-7, atol=1e-12)
    assert torch.allclose(
        x.grad.double(), plain.grad, rtol=3e-7, atol=1e-12
    )  # torch's 1/6 is a float32


@pytest.mark.parametrize("size", [1, 3, 63, 65])
@pytest.mark.parametrize("name", CELLS)
def test_cells_of_them_are_the_same_on_every_backend(name: str, size: int) -> None:
    genome = Genome.from_text(CELLS[name])
    for case in (
        Case(5, 3, size, size),
        Case(7, 2, size, size, num_layers=2, bidirectional=True, lengths=(7, 4)),
    ):
        expected = run_module(build(genome, case, "reference", torch.float64), case)
        for backend in BACKENDS:
            dtype, tolerance = (
                (torch.float32, 1e-4) if backend == "native" else (torch.float64, 1e-9)
            )
            compare(run_module(build(genome, case, backend, dtype), case), expected, tolerance, "")


def test_native_runs_them_itself() -> None:
    for text in CELLS.values():
        module = compile_cell(Genome.from_text(text), input_size=5, hidden_size=5)
        assert module.backend_report()["native"] == "taken"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hard_sigmoid(-a)", "1 - hard_sigmoid(a)"),
        ("hard_tanh(-a)", "-hard_tanh(a)"),
        ("softsign(-2 * a)", "-softsign(2 * a)"),
        ("relu(hard_sigmoid(a))", "hard_sigmoid(a)"),
        ("hard_tanh(tanh(a))", "tanh(a)"),
        ("hard_tanh(hard_tanh(a))", "hard_tanh(a)"),
        ("hard_tanh(hard_sigmoid(a))", "hard_sigmoid(a)"),
        ("a * hard_sigmoid(6)", "a"),
    ],
)
def test_rules(one: str, other: str) -> None:
    first, second = (
        search_key(Genome.from_text(f"a = linear(x[t], h[t-1])\nh[t] = 0.5 * a + {text}"))
        for text in (one, other)
    )
    assert first == second


def test_a_node_of_an_old_cell_may_be_called_like_one_of_them() -> None:
    text = "softsign = tanh(linear(x[t], h[t-1]))\nh[t] = softsign * softsign(x[t])"
    genome = Genome.from_text(text)
    assert Genome.from_text(genome.to_text()) == genome == Genome.from_json(genome.to_json())
    assert genome.parameters[0].name.startswith("softsign.")


def foreign(numeric: object) -> Op:
    return Op(
        "softsign",
        1,
        1,
        "{0} / (1 + torch.abs({0}))",
        ("g / square(1 + abs(a))",),
        "another package",
        numeric=numeric,  # type: ignore[arg-type]
    )


def test_the_same_op_of_another_package_is_ours_and_a_different_one_is_refused() -> None:
    assert ops.register(foreign(lambda a: a / (1 + abs(a)))) is ops.get("softsign")
    for other in (lambda a: a / (2 + abs(a)), None):
        with pytest.raises(ConfigError, match="taken"):
            ops.register(foreign(other))


def test_a_new_gate_starts_open_and_can_still_learn() -> None:
    parent = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
    for gate in ("sigmoid", "hard_sigmoid"):
        child = Genome.from_text(
            f"h[t] = tanh(linear(x[t], h[t-1])) * {gate}(linear(x[t], h[t-1]))"
        )
        bias = torch.tensor(
            next(v for k, v in quiet_values(child, parent).items() if k.endswith(".bias")),
            requires_grad=True,
        )
        opened = getattr(functional, gate.replace("_", ""))(bias)
        opened.backward()
        assert opened.item() == pytest.approx(0.982, abs=1e-3)
        assert bias.grad is not None
        assert bias.grad.item() > 0
