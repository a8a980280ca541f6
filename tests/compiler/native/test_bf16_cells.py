"""Whole cells in bf16 on the native backend against the reference in float64, which rounds at the
same places.

A number that lies within an error of float32 of the middle between two numbers of bfloat16 may be
rounded up here and down there, and then differs by 1/256. That is rare (about one number in
100,000), so of three draws of small cells one must be free of it and equal to the tolerance of
float32; with large ones the error must stay far below the effect of rounding itself.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.bf16 import PATHS, QUICK, kernel_of, runtime
from support.cells import plain_cells

from cellsearch import Genome, zoo
from cellsearch.compiler.backends.native import backend, build
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.module import compile_cell
from cellsearch.testing.backends import Case, differences, run_module
from cellsearch.testing.backends import build as build_module

BLOCKS = """
g = sigmoid(linear(x[t], blocks=2) + linear(h[t-1], bias=False))
h[t] = g * h[t-1] + tanh(linear(g, blocks=3) + linear(h[t-1], bias=False, blocks=6))
"""
FIXED = """
q = linear(bias())
h[t] = tanh(linear(x[t], h[t-1], q) + q)
"""
"""Products of what depends on weights alone, once at the start; their gradients once at the end."""
SIZED = """
a[t] = tanh(linear(x[t], h[t-1], size=H/2) + bias(size=H/2))
h[t] = sigmoid(linear(a[t], x[t], a[t-1])) * h[t-1] + linear(linear(a[t-1], size=3*H/2, blocks=4))
"""
CASE = Case(4, 3, 5, 5, more_gradients=False, precision="bf16")


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "poison", True)


def wrong(genome: Genome, case: Case, tolerance: float, precision: str = "bf16") -> list[str]:
    """What differs from the reference in float64; ``precision``: of the native side."""
    expected = run_module(build_module(genome, case, "reference", torch.float64), case)
    given = replace(case, precision=precision)
    found = run_module(build_module(genome, given, "native", torch.float32), given)
    return differences(found, expected, tolerance)


def check(genome: Genome, case: Case, what: str, precision: str = "bf16") -> None:
    """One of three draws has no number that is rounded to another side."""
    found = [wrong(genome, replace(case, seed=seed), 1e-4, precision) for seed in range(3)]
    assert min(map(len, found)) == 0, f"{what}: {found}"


@pytest.mark.parametrize("name", plain_cells())
def test_every_cell_rounds_where_the_reference_does(name: str) -> None:
    case = replace(CASE, input_size=6, hidden_size=6)
    check(zoo.load(name), case, name)


@pytest.mark.parametrize("text", [BLOCKS, FIXED, SIZED], ids=["blocks", "fixed", "sized"])
@pytest.mark.parametrize("lengths", [None, (4, 1, 2)])
def test_blocks_sizes_and_what_is_computed_once(text: str, lengths: tuple[int, ...] | None) -> None:
    case = replace(CASE, input_size=8, hidden_size=24, lengths=lengths)
    check(Genome.from_text(text), case, text)


def test_another_rounding_is_seen() -> None:
    """Without any, every tensor of each draw differs, and none of it is near the tolerance."""
    with pytest.raises(AssertionError):
        check(zoo.load("gru"), CASE, "gru", "float32")
    assert len(wrong(zoo.load("gru"), CASE, 3e-4, "float32")) > 5


@pytest.mark.parametrize(
    "path", [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PATHS]
)
@pytest.mark.parametrize("name", ["lstm", "gru_cho", "darts_v2", "lstm_ln"])
def test_every_path_computes_the_same(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small cells exactly; ones of ugly sizes, packed too, to a tenth of what rounding changes."""
    library = runtime(path)
    monkeypatch.setattr(backend, "library", lambda: library)
    genome = zoo.load(name)
    check(genome, CASE, name)
    for shape in ((3, 65, 63, 63), (2, 17, 33, 33), (1, 40, 130, 130)):
        case = Case(*shape, more_gradients=False, precision="bf16")
        assert not wrong(genome, case, 0.02)
        lengths = tuple(max(1, shape[0] - k % 3) for k in range(shape[1]))
        assert not wrong(genome, replace(case, lengths=lengths), 0.02)


def test_a_stream_rounds_as_a_sequence_does() -> None:
    """Few rows take weights as they lie, many take packed ones."""
    torch.manual_seed(0)
    genome = zoo.load("lstm")
    module = compile_cell(genome, 19, 19, backend="native", precision="bf16")
    x = torch.randn(6, 2, 19)
    with torch.no_grad():
        whole, _ = module(x)
        state = None
        for t in range(6):
            output, state = module.step(x[t], state)
            assert torch.allclose(output, whole[t], atol=2e-3)
            if t == 0:
                assert torch.allclose(output, whole[t], atol=2e-6)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize("rows", [None, (5, 5, 4, 4, 3, 2, 2, 1, 1)])
def test_a_table_of_tokens_is_an_embedding_that_is_rounded(
    name: str, rows: tuple[int, ...] | None
) -> None:
    """The table rounds the embedding and the weights, and sums rounded gradients."""
    found = []
    for folded in (True, False):
        torch.manual_seed(1)
        kernel = kernel_of(zoo.load(name), build.library())
        embedding = torch.randn(4, 7, requires_grad=True)
        tokens = torch.randint(0, 4, (9, 5))
        weights = {
            spec.name: torch.randn(spec.sizes(7, 7)).div(3).requires_grad_()
            for spec in zoo.load(name).parameters
        }
        states = [torch.zeros(5, 7) for _ in zoo.load(name).states]
        assert kernel.at(7, 7).folding
        if folded:
            output, _ = kernel.run_tokens(tokens, embedding, states, weights, rows)
        else:
            output, _ = kernel(embedding[tokens], states, weights, rows)
        gradient = torch.randn(output.shape)
        inputs = (embedding, *weights.values())
        found.append([output.detach(), *torch.autograd.grad(output, inputs, gradient)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_rounding_is_that_of_the_program_alone() -> None:
    """Kernels of both precisions work beside each other, and float32 does not change."""
    torch.manual_seed(0)
    plain, rounding = (
        compile_cell(zoo.load("gru"), 9, 9, backend="native", precision=precision)
        for precision in ("float32", "bf16")
    )
    rounding.load_state_dict(plain.state_dict())
    x = torch.randn(5, 6, 9)
    before = plain(x)[0]
    assert not torch.equal(rounding(x)[0], before)
    assert torch.equal(plain(x)[0], before)
    assert torch.equal(rounding(x)[0], rounding(x)[0])
