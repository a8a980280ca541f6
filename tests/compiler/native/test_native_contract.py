"""The native backend against the reference backend in float64: the contract that every backend keeps, with poisoned memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from support.cells import plain_cells

from cellsearch import ops, zoo
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.module import compile_cell
from cellsearch.errors import BackendError
from cellsearch.genome.graph import Genome
from cellsearch.testing.backends import BackendContract, Case
from cellsearch.testing.genomes import MODERATE_NUMBERS, random_genome


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer begins as NaN, so a result that depends on memory that nobody wrote is NaN."""
    monkeypatch.setattr(Pool, "poison", True)


REGULAR = tuple(name for name in ops.OPS if name not in ("sqrt", "div"))
"""Ops without poles: there, 0 times infinity depends on how a gradient is written."""


class TestNative(BackendContract):
    backend = "native"
    dtype = torch.float32
    tolerance = 1e-4
    more_gradients = False
    random_genomes = 60

    @pytest.mark.slow
    def test_a_thousand_random_cells(self) -> None:
        for seed in range(1000):
            rng = np.random.default_rng([77, seed])
            genome = random_genome(
                rng, max_nodes=int(rng.integers(3, 30)), op_names=REGULAR, numbers=MODERATE_NUMBERS
            )
            size = int(rng.choice((1, 3, 16, 17, 63, 65)))
            steps, batch = int(rng.choice((1, 2, 7, 40))), int(rng.choice((1, 2, 5, 17)))
            lengths = (
                tuple(int(n) for n in rng.integers(1, steps + 1, size=batch))
                if seed % 3 == 0
                else None
            )
            lengths = (steps, *lengths[1:]) if lengths else None
            case = Case(
                steps, batch, size, size, lengths=lengths, given_states=seed % 5 != 0, seed=seed
            )
            self.check(genome, case, f"random cell {seed}")

    @pytest.mark.parametrize(("steps", "batch", "size"), [(1, 5, 63), (70, 1, 3), (3, 17, 65)])
    def test_more_inputs_at_ugly_sizes(self, steps: int, batch: int, size: int) -> None:
        """Values of dt at both widths, and I other than H."""
        text = (
            "g = exp(-softplus(linear(dt[t])))\n"
            "z = sigmoid(linear(x[t] * dt[t], h[t-1], mask[t] * exp(-dt[t])) + scale(dt[t]))\n"
            "h[t] = blend(z, g * h[t-1], tanh(linear(x[t], h[t-1]))) / (1 + dt[t])\n"
        )
        genome = Genome.from_text(text)
        for lengths in (None, tuple(1 + k * (steps - 1) // batch for k in range(1, batch + 1))):
            case = Case(steps, batch, 5, size, lengths=lengths, resets=True)
            self.check(genome, case, "ugly sizes")

    def test_auto_gives_gradients_of_times(self) -> None:
        genome = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1])) * exp(-dt[t])")
        x, dt = torch.randn(5, 2, 3), torch.rand(5, 2, requires_grad=True)
        module = compile_cell(genome, input_size=3, hidden_size=4)
        assert module.backend_report()["native"] == "taken"
        module(x, dt=dt)[0].sum().backward()
        assert dt.grad is not None
        assert dt.grad.count_nonzero() == 10
        named = compile_cell(genome, input_size=3, hidden_size=4, backend="native")
        with pytest.raises(BackendError, match="no gradients with respect to dt and mask"):
            named(x, dt=dt)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", plain_cells())
    def test_ugly_sizes(self, name: str) -> None:
        genome = zoo.load(name)
        for steps, batch, size in ((1, 65, 63), (200, 3, 3), (3, 63, 65), (65, 1, 3), (40, 20, 16)):
            self.check(genome, Case(steps, batch, size, size), name)

    @pytest.mark.parametrize("text", [
        "b = scale(1.0)\nh[t] = tanh(linear(x[t], h[t-1])) * b + sigmoid(b) * h[t-1]\n",
        "h[t] = linear(x[t], h[t-1])\n",
        "a[t] = b[t-1]\nb[t] = tanh(linear(x[t], a[t-1]))\nh[t] = a[t-1] + b[t-1]\n",
        "s[t] = tanh(linear(x[t], s[t-1]))\ny[t] = sigmoid(linear(s[t]) + linear(x[t])) * s[t-1]\n",
        "s[t] = tanh(linear(x[t], s[t-1]))\ny[t] = x[t]\n",
        "h[t] = x[t] + 0.5 * h[t-1]\n",
        "h[t] = tanh(linear(linear(linear(h[t-1], x[t]))))\n",
        "q = linear(bias())\nh[t] = tanh(linear(x[t], h[t-1]) + q * sigmoid(q))\n",
        "q = linear(scale(2.0))\nh[t] = tanh(linear(x[t], h[t-1], q))\n",
        "h[t] = sigmoid(bias()) * h[t-1] + x[t]\n",
        "c[t] = 0.5\nh[t] = tanh(linear(x[t], h[t-1])) * c[t-1]\n",
        "a = linear(x[t], h[t-1])\nb = linear(a, x[t], h[t-1])\nh[t] = a + b * linear(a + h[t-1]) + h[t-1]\n",
        "a = linear(h[t-1])\nh[t] = tanh(a + linear(x[t])) + sigmoid(a) * a\n",
        "n[0] = -1e30\nn[t] = max(n[t-1], linear(x[t]))\nh[t] = tanh(linear(x[t],h[t-1])) * exp(n[t-1]-n[t])\n",
    ])  # fmt: skip
    def test_unusual_graphs(self, text: str) -> None:
        """Aliases, swapped states, outputs that are not states, sums of sums, weights of numbers."""
        genome = Genome.from_text(text)
        for case in (Case(6, 3, 7, 7), Case(5, 4, 6, 6, lengths=(5, 2, 4, 1))):
            self.check(genome, case, text)

    @pytest.mark.parametrize(
        "name", ["lstm", "gru_cho", "lstm_ln", "sru", "rwkv4", "fastgrnn", "darts_v2", "slstm"]
    )
    def test_stepping_equals_a_sequence(self, name: str) -> None:
        """A stream takes the path that uses weights as they lie; it must give what the packed weights give."""
        torch.manual_seed(0)
        module = compile_cell(
            zoo.load(name), input_size=19, hidden_size=19, backend="native", dtype=torch.float32
        )
        x = torch.randn(6, 2, 19)
        with torch.no_grad():
            whole, final = module(x)
            state = None
            for t in range(6):
                output, state = module.step(x[t], state)
                assert torch.allclose(output, whole[t], atol=2e-6)
        assert state is not None
        for got, expected in zip(as_tuple(state), as_tuple(final), strict=True):
            assert torch.allclose(got, expected, atol=1e-5, rtol=1e-5)

    def test_threads_do_not_disturb_each_other(self) -> None:
        module = compile_cell(
            zoo.load("gru"), input_size=17, hidden_size=17, backend="native", dtype=torch.float32
        )
        inputs = [torch.randn(20, 3, 17) for _ in range(8)]
        with torch.no_grad():
            expected = [module(x)[0] for x in inputs]

            def run(k: int) -> bool:
                return all(torch.equal(module(inputs[k])[0], expected[k]) for _ in range(20))

            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(run, range(8)))

    @pytest.mark.parametrize("batch", [1, 20, 65])
    def test_weights_that_do_not_fit_the_cache(self, batch: int) -> None:
        """Their products fetch panels ahead, and sums that are far away; 130 is not a multiple of a panel."""
        for name in ("lstm", "darts_v2"):
            self.check(zoo.load(name), Case(6, batch, 130, 130), name)

    def test_a_weight_of_another_size_is_refused(self) -> None:
        """The runtime is handed addresses, so a tensor that is too small would be read beyond its end."""
        module = compile_cell(
            zoo.load("gru"), input_size=3, hidden_size=3, backend="native", dtype=torch.float32
        )
        x = torch.randn(4, 2, 3)
        output = module(x)[0]
        weight = next(p for name, p in module.named_parameters() if name.endswith("weight_h"))
        weight.data = torch.zeros(2, 2)
        with pytest.raises(ValueError, match="has 4 elements, not 9"):
            module(x)
        with pytest.raises((ValueError, RuntimeError)):
            output.sum().backward()

    def test_the_default_dtype_does_not_matter(self) -> None:
        module = compile_cell(
            zoo.load("gru"), input_size=3, hidden_size=3, backend="native", dtype=torch.float32
        )
        x = torch.randn(4, 2, 3, requires_grad=True)
        expected = torch.autograd.grad(module(x)[0].sum(), x)[0]
        torch.set_default_dtype(torch.float64)
        try:
            output, _ = module(x)
            got = torch.autograd.grad(output.sum(), x)[0]
        finally:
            torch.set_default_dtype(torch.float32)
        assert output.dtype == got.dtype == torch.float32
        assert torch.equal(got, expected)

    def test_double_backward_is_refused(self) -> None:
        module = compile_cell(
            zoo.load("gru"), input_size=3, hidden_size=3, backend="native", dtype=torch.float32
        )
        x = torch.randn(4, 2, 3, requires_grad=True)
        with pytest.raises(RuntimeError, match="first derivatives only"):
            torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)

    def test_a_weight_changed_before_backward_is_noticed(self) -> None:
        module = compile_cell(
            zoo.load("gru"), input_size=3, hidden_size=3, backend="native", dtype=torch.float32
        )
        output = module(torch.randn(4, 2, 3))[0]
        with torch.no_grad():
            next(module.parameters()).add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()


def as_tuple(state: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (state,) if isinstance(state, torch.Tensor) else state
