"""Products in bf16: what is rounded, and where; who computes it, and who says that he does not."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.evaluate_plain import Array
from support.rounded import cut, nearest, run_rounded
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from cellsearch import Genome, zoo
from cellsearch.compiler import backends
from cellsearch.compiler.backends.choice import choose, support_of
from cellsearch.compiler.backends.rounding import rounded, rounded_product
from cellsearch.compiler.gradient import gradient
from cellsearch.compiler.lower import lower
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.compiler.scheduling.recompute import recompute
from cellsearch.compiler.simplify import drop_dead, simplify_program
from cellsearch.errors import BackendError, ConfigError
from cellsearch.testing.backends import compare, differences

T, B, X, H = 5, 3, 8, 8
CPU = torch.device("cpu")
FIXED_PRODUCT = """
k = linear(tanh(bias()), bias=False)
h[t] = tanh(linear(x[t], h[t-1]) + k)
"""
"""A product of what depends on weights only, whose gradient is a sum over all steps."""
BLOCKS = "h[t] = tanh(linear(x[t], bias=False) + linear(h[t-1], blocks=4))"


def module_of(cell: str | Genome, **options: Any) -> CellModule:
    genome = zoo.load(cell) if isinstance(cell, str) and cell in zoo.names() else cell
    genome = Genome.from_text(genome) if isinstance(genome, str) else genome
    torch.manual_seed(0)
    settings = {"precision": "bf16", "dtype": torch.float64, "backend": "reference", **options}
    module = compile_cell(genome, X, H, **settings)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, dtype=torch.float64) * 0.5)
    return module


def both(
    cell: str, round_: Callable[[Array], Array] = nearest, precision: str = "bf16"
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What the reference computes, and the plain evaluation with the same numbers."""
    module = module_of(cell, precision=precision)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(T, B, X))
    states = [rng.normal(size=(B, size)) for size in module.state_sizes]
    d_output = rng.normal(size=(T, B, module.output_size))
    d_states = [rng.normal(size=(B, size)) for size in module.state_sizes]
    given = torch.from_numpy(x).requires_grad_()
    start = [torch.from_numpy(state)[None].requires_grad_() for state in states]
    output, final = module(given, start[0] if len(start) == 1 else tuple(start))
    finals = [final] if isinstance(final, torch.Tensor) else [*final]
    loss = (output * torch.from_numpy(d_output)).sum()
    loss = loss + sum(
        (f[0] * torch.from_numpy(d)).sum() for f, d in zip(finals, d_states, strict=True)
    )
    loss.backward()
    got = {"output": output, "gradient of x": given.grad}
    got |= {f"state {k}": value[0] for k, value in enumerate(finals)}
    got |= {f"gradient of initial state {k}": s.grad[0] for k, s in enumerate(start)}
    got |= {
        f"gradient of {name}": p.grad.reshape(p.shape or (1,))
        for name, p in module.named_parameters()
    }
    weights = {
        name.removeprefix("l0."): weight.detach().numpy()
        for name, weight in module.named_parameters()
    }
    found = run_rounded(module.program, weights, x, states, d_output, d_states, round_)
    expected = {name: torch.from_numpy(np.array(value)) for name, value in found.items()}
    return {name: value.detach() for name, value in got.items()}, expected


@pytest.mark.parametrize(
    "cell", ["lstm", "gru", "gru_cho", "darts_v2", "mrnn", "rnn_layer_norm", FIXED_PRODUCT, BLOCKS]
)
def test_the_reference_is_the_plain_evaluation(cell: str) -> None:
    got, expected = both(cell)
    compare(got, expected, 1e-10, cell)


def test_another_rounding_is_seen() -> None:
    """Towards zero, none, and one of forward alone: each is far outside what is allowed."""
    got, _ = both("gru")
    for other in (cut, lambda a: a):
        _, expected = both("gru", other)
        assert len(differences(got, expected, 1e-3)) > len(expected) / 2
    plain, expected = both("gru", precision="float32")
    assert len(differences(plain, expected, 1e-3)) > len(expected) / 2
    unrounded = both("gru", lambda a: a)[1]
    compare(plain, unrounded, 1e-10)  # the same evaluation without rounding is float32's


def test_only_products_with_matrices_are_rounded() -> None:
    module = module_of("h[t] = tanh(diag(x[t]) + diag(h[t-1]) + bias())")
    full = module_of("h[t] = tanh(diag(x[t]) + diag(h[t-1]) + bias())", precision="float32")
    x = torch.randn(T, B, X, dtype=torch.float64)
    assert torch.equal(module(x)[0], full(x)[0])


def test_rounding_is_to_the_nearest_and_halfway_to_even() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=4000).astype(np.float32) * 10.0 ** rng.integers(-38, 38, 4000)
    halfway = (rng.integers(0, 2**15, 4000).astype(np.uint32) << 16) + np.uint32(0x8000)
    for given in (numbers.astype(np.float32), halfway.view(np.float32)):
        given = given[np.isfinite(given)]
        for dtype in (torch.float32, torch.float64):
            got = rounded(torch.from_numpy(given).to(dtype))
            assert got.dtype == dtype
            expected = nearest(given)
            assert np.array_equal(got.double().numpy(), expected)
    special = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, 3.4e38])
    assert str(rounded(special).tolist()) == "[inf, -inf, nan, 0.0, inf]"


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_gradients_of_higher_order_and_transforms() -> None:
    """The rounding is seen through, in each kind of differentiation that torch has."""
    a, w = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)

    def product(a: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return rounded_product(lambda p, q: p @ q.T, a, w)

    a.requires_grad_()
    (first,) = torch.autograd.grad(product(a, w).square().sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), a)
    assert second.abs().sum() > 0
    rows = torch.func.vmap(product, (0, None))(a.detach()[:, None], w)[:, 0]
    assert torch.equal(rows, product(a, w))
    _, tangent = torch.func.jvp(
        lambda v: product(v, w), (a.detach(),), (torch.ones(3, 4).double(),)
    )
    assert torch.allclose(tangent, torch.ones(3, 4).double() @ rounded(w).T)


# -- programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "lstmp", "minimalrnn"])
def test_every_pass_keeps_the_precision_and_the_widths(cell: str) -> None:
    program = lower(zoo.load(cell), "bf16")
    backward = gradient(program)
    passes = [simplify_program(program), drop_dead(program), backward.program]
    for made in [*passes, recompute(backward).program]:
        assert made.precision == "bf16"
        assert made.state_widths == program.state_widths
    assert lower(zoo.load(cell)).precision == "float32"
    assert replace(program, precision="float32") == lower(zoo.load(cell))


def test_recomputed_gradients_know_the_sizes_of_states() -> None:
    """Of a state that is not as wide as H, in a cell whose backward pass computes values again."""
    cell = Genome.from_text(
        "z = sigmoid(linear(x[t], h[t-1], size=P))\n"
        "q = tanh(linear(x[t], h[t-1], size=P))\n"
        "h[t] = z * h[t-1] + (1 - z) * q * (1 - q) * z"
    )
    backward = gradient(simplify_program(lower(cell)))
    again = recompute(backward)
    assert len(again.saved) < len(backward.saved)
    assert again.program.state_widths == ("P",)
    assert again.program.shapes


# -- modules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2, "dropout": 0.5},
        {"bidirectional": True},
        {"variational_dropout": 0.4},
        {"batch_first": True},
    ],
)
def test_a_module_rounds_however_it_is_stacked(options: dict[str, Any]) -> None:
    outputs = []
    for precision in ("bf16", "float32"):
        module = module_of("gru", precision=precision, **options)
        torch.manual_seed(1)
        outputs.append(module(torch.randn(T, B, X, dtype=torch.float64))[0].detach())
    share = float((outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max())
    assert 1e-4 < share < 0.1


def test_tokens_packed_sequences_and_resets() -> None:
    module = module_of("gru")
    table = torch.randn(6, X, dtype=torch.float64)
    tokens = torch.randint(6, (T, B))
    plain, _ = module(table[tokens])
    assert torch.equal(module.run_tokens(tokens, table)[0], plain)
    lengths = torch.tensor([5, 2, 3])
    packed = pack_padded_sequence(table[tokens], lengths, enforce_sorted=False)
    output, _ = module(packed)
    assert isinstance(output, PackedSequence)
    unpacked, _ = torch.nn.utils.rnn.pad_packed_sequence(output, total_length=T)
    assert torch.allclose(unpacked[:2], plain[:2])
    reset = torch.zeros(T, B)
    reset[2] = 1
    again, _ = module(table[tokens], reset=reset)
    afresh, _ = module(table[tokens[2:]])
    assert torch.allclose(again[2:], afresh)
    state = None
    for t in range(T):
        y, state = module.step(table[tokens[t]], state)
    assert torch.allclose(y, plain[-1])


def test_times_and_masks() -> None:
    module = module_of("gru_d")
    x = torch.randn(T, B, X, dtype=torch.float64)
    dt, mask = torch.rand(T, B).double(), torch.randint(2, (T, B, X)).double()
    given = {"dt": dt, "mask": mask}
    given = {name: value for name, value in given.items() if name in module.reads}
    got, _ = module(x, **given)
    plain, _ = module_of("gru_d", precision="float32")(x, **given)
    assert not torch.equal(got, plain)
    assert torch.allclose(got, plain, atol=0.2)


def test_what_is_stored_of_a_module() -> None:
    full, module = module_of("gru", precision="float32"), module_of("gru")
    assert "precision" not in repr(full)
    assert "precision=bf16" in repr(module)
    assert list(full.state_dict()) == list(module.state_dict())
    full.load_state_dict(module.state_dict())
    x = torch.randn(T, B, X, dtype=torch.float64)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    for other in [*copies, torch.load(file, weights_only=False)]:
        assert torch.equal(other(x)[0], module(x)[0])
        assert other.precision == "bf16"
    old = full.__getstate__()
    del old["precision"]  # as it was written before there was one
    again = CellModule.__new__(CellModule)
    again.__setstate__(old)
    assert torch.equal(again(x)[0], full(x)[0])
    assert again.precision == "float32"


# -- backends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["aten", "scan"])
def test_a_backend_that_cannot_says_so(backend: str) -> None:
    with pytest.raises(BackendError, match="does not compute products in bf16"):
        compile_cell(zoo.load("mingru"), X, X, precision="bf16", backend=backend)


def test_auto_takes_one_that_can_and_says_why_not_the_others() -> None:
    for dtype in (torch.float32, torch.float64):
        module = compile_cell(zoo.load("gru"), X, H, precision="bf16", dtype=dtype)
        report = module.backend_report()
        assert "taken" in report.values()
    assert report["reference"] == "taken"  # in float64 no other can
    assert "does not compute products in bf16" in report["aten"]
    for name in backends.names():
        assert "float32" in backends.get(name).precisions
    program = lower(zoo.load("gru"))
    assert choose("auto", program, CPU, torch.float32).report["reference"] != "taken"
    assert support_of("aten", program, CPU, torch.float32).ok


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no precision 'bfloat16'") as caught:
        compile_cell(zoo.load("gru"), X, H, precision="bfloat16")  # type: ignore[arg-type]
    assert "float32, bf16" in str(caught.value.hint)


@pytest.mark.filterwarnings("ignore")
def test_transforms_take_the_reference() -> None:
    module = compile_cell(zoo.load("gru"), X, H, precision="bf16")
    x = torch.randn(T, B, X)
    expected = module(x)[0]
    weights = dict(module.named_parameters())

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, weights, (x,))[0].sum()

    found = torch.func.grad(loss)(weights, x)
    expected.sum().backward()
    for name, weight in module.named_parameters():
        assert torch.allclose(found[name], weight.grad, rtol=0.02, atol=0.02)
    assert torch.allclose(
        torch.func.vmap(module, 1, 1)(x[:, :, None])[0][:, :, 0], expected, atol=0.02
    )
    traced = torch.jit.trace(module, (x,), check_trace=False)
    assert torch.allclose(traced(x)[0], expected, atol=0.02)
    exported = torch.export.export(module, (x,)).module()
    assert torch.allclose(exported(x)[0], expected, atol=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(x)[0].dtype is torch.bfloat16
