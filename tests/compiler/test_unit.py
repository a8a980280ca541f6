"""unit(a) = a / |a|: 0 for 0 with a gradient of 0, the same everywhere, in every form."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.plain_layers import reference_and_plain

from cellsearch import Genome, compile_cell, ops
from cellsearch.compiler import backends
from cellsearch.compiler.backends.functions import function_of, unit, unit_gradient
from cellsearch.genome.identity import search_key

CELLS = [
    "k = unit(linear(x[t], h[t-1]))\nh[t] = tanh(k + 0.5 * h[t-1])",
    "h[t] = unit(h[t-1] * sigmoid(linear(x[t])) + unit(linear(x[t])))",
    "h[t] = tanh(linear(x[t], h[t-1])) + unit(bias()) + unit(-2)",
    "h[t] = h[t-1] + linear(x[t])\ny[t] = unit(h[t]) * unit(x[t])",
]


def test_the_gradient_is_that_of_the_function() -> None:
    a = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    g = torch.randn(3, 5, dtype=torch.float64)
    (expected,) = torch.autograd.grad(unit(a), a, g)
    assert torch.allclose(unit_gradient(g, a.detach()), expected, rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(unit, a)
    assert torch.autograd.gradgradcheck(unit, a)


def test_nothing_has_no_direction() -> None:
    a = torch.zeros(2, 3, requires_grad=True)
    assert torch.equal(unit(a), torch.zeros(2, 3))
    (found,) = torch.autograd.grad(unit(a).sum(), a)
    assert torch.equal(found, torch.zeros(2, 3))
    assert torch.equal(unit_gradient(torch.ones(2, 3), a.detach()), torch.zeros(2, 3))


@pytest.mark.parametrize("text", CELLS)
def test_the_reference_is_the_plain_evaluation(text: str) -> None:
    got, expected = reference_and_plain(Genome.from_text(text), 5, 5)
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("backend", ["aten", "native"])
@pytest.mark.parametrize("size", [1, 3, 63, 65])
@pytest.mark.parametrize("text", CELLS)
def test_every_backend_is_the_reference(backend: str, size: int, text: str) -> None:
    if backend not in backends.names():
        pytest.skip(f"there is no backend {backend} here")
    results = []
    for name in ("reference", backend):
        torch.manual_seed(1)
        layer = compile_cell(
            Genome.from_text(text), input_size=size, hidden_size=size, backend=name
        )
        x = torch.randn(5, 3, size)
        x[:, 1] = 0.0
        x.requires_grad_()
        output, state = layer(x)
        loss = (output * torch.linspace(-1, 1, size)).sum() + state.sin().sum()
        found = torch.autograd.grad(loss, [x, *layer.parameters()])
        results.append([output, state, *found])
    for expected, value in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("unit(3 * linear(x[t], h[t-1]))", "unit(linear(x[t], h[t-1]))"),
        ("unit(unit(h[t-1])) + x[t]", "unit(h[t-1]) + x[t]"),
        ("unit(-h[t-1]) + x[t]", "x[t] - unit(h[t-1])"),
        ("unit(h[t-1] * -2) + x[t]", "x[t] - unit(h[t-1])"),
        ("hard_tanh(unit(h[t-1])) + x[t]", "unit(h[t-1]) + x[t]"),
        ("unit(0) + x[t] + h[t-1]", "x[t] + h[t-1]"),
    ],
)
def test_what_is_the_same_is_one_cell(one: str, other: str) -> None:
    keys = {search_key(Genome.from_text(f"h[t] = {text}")) for text in (one, other)}
    assert len(keys) == 1
    assert search_key(Genome.from_text("h[t] = unit(2 + h[t-1]) + x[t]")) not in keys


def test_a_cell_with_it_has_the_next_json_format_and_a_node_may_be_called_so() -> None:
    genome = Genome.from_text("unit = linear(x[t])\nh[t] = unit(h[t-1] + unit)")
    assert json.loads(genome.to_json())["format"] == 2
    assert Genome.from_json(genome.to_json()) == genome
    named = Genome.from_text("unit = linear(x[t])\nh[t] = h[t-1] + unit")
    assert json.loads(named.to_json())["format"] == 1


def test_the_op_table_says_what_the_compiler_computes() -> None:
    a = torch.randn(4, 6, dtype=torch.float64)
    a[1] = 0.0
    written = function_of(ops.OPS["unit"].torch)
    assert torch.equal(written(a), unit(a))
