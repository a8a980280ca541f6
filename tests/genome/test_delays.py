"""Delays and convolutions over time: sugar over states that hold earlier values."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from support.evaluate_plain import evaluate_plain, random_weights

from cellsearch import Genome, compile_cell
from cellsearch.compiler import backends
from cellsearch.errors import CellSyntaxError, GenomeError
from cellsearch.genome.identity import search_key

SIZE = 4


def past(series: np.ndarray, steps: int, before: float = 0.0) -> np.ndarray:
    """The series ``[T, ...]`` some steps ago, ``before`` at its beginning."""
    return np.concatenate([np.full_like(series[:steps], before), series[: len(series) - steps]])


def test_delays_of_the_input_are_its_earlier_values() -> None:
    genome = Genome.from_text("h[t] = x[t-3] + 10 * x[t-1] + 0 * h[t-1]")
    x = np.random.default_rng(0).normal(size=(7, 2, SIZE))
    output, _ = evaluate_plain(genome, {}, x)
    np.testing.assert_allclose(output, past(x, 3) + 10 * past(x, 1), atol=1e-12)


def test_delays_of_a_state_start_from_its_initial_value() -> None:
    genome = Genome.from_text("c[0] = 2\nc[t] = x[t] + 0.5 * c[t-3]\nh[t] = c[t] - c[t-2]")
    x = np.random.default_rng(1).normal(size=(9, 2, SIZE))
    c = [np.full((2, SIZE), 2.0)] * 3
    for step in x:
        c.append(step + 0.5 * c[-3])
    output, _ = evaluate_plain(genome, {}, x)
    np.testing.assert_allclose(output, np.stack(c[3:]) - np.stack(c[1:-2]), atol=1e-12)
    assert {state.initial for state in genome.states} == {2.0}


@pytest.mark.parametrize("width", [1, 2, 4, 16])
def test_a_convolution_is_a_sum_over_the_window_for_each_unit(width: int) -> None:
    genome = Genome.from_text(f"u = tanh(x[t])\nh[t] = conv(u, {width}) + 0 * h[t-1]")
    rng = np.random.default_rng(2)
    weights = random_weights(genome, rng, SIZE, SIZE)
    x = rng.normal(size=(20, 1, SIZE))
    kernel = np.stack(list(weights.values()))
    assert kernel.shape == (width, SIZE)
    expected = sum(kernel[k] * past(np.tanh(x), k) for k in range(width))
    np.testing.assert_allclose(evaluate_plain(genome, weights, x)[0], expected, atol=1e-12)


def test_a_convolution_is_that_of_torch() -> None:
    genome = Genome.from_text("h[t] = conv(x[t], 4) + 0 * h[t-1]")
    layer = compile_cell(genome, input_size=SIZE, hidden_size=SIZE).double()
    kernel = torch.stack(list(layer.parameters()), dim=1)
    x = torch.randn(11, 3, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    padded = torch.nn.functional.pad(x.permute(1, 2, 0), (3, 0))
    # torch correlates, so the latest value has the last weight
    expected = torch.nn.functional.conv1d(padded, kernel.flip(1)[:, None], groups=SIZE)
    assert torch.allclose(layer(x)[0], expected.permute(2, 0, 1), atol=1e-12)


@pytest.mark.parametrize(
    ("sugar", "written"),
    [
        (
            "h[t] = tanh(linear(x[t], h[t-3]))",
            "h[t] = tanh(linear(x[t], b[t-1]))\na[t] = h[t-1]\nb[t] = a[t-1]",
        ),
        (
            "h[t] = tanh(linear(x[t], x[t-2], h[t-1]))",
            "p[t] = x[t]\nq[t] = p[t-1]\nh[t] = tanh(linear(h[t-1], q[t-1], x[t]))",
        ),
        (
            "u = linear(x[t])\nh[t] = tanh(conv(u, 2) + conv(h[t-1], 2))",
            "u = linear(x[t])\nv[t] = u\nw[t] = h[t-1]\n"
            "h[t] = tanh(add(diag(h[t-1]), diag(w[t-1])) + add(diag(u), diag(v[t-1])))",
        ),
        (
            "c[t] = tanh(linear(x[t], c[t-1]))\nh[t] = conv(c[t], 3) + h[t-1]",
            "c[t] = tanh(linear(x[t], c[t-1]))\nd[t] = c[t-1]\n"
            "h[t] = add(diag(c[t]), diag(c[t-1]), diag(d[t-1])) + h[t-1]",
        ),
    ],
)
def test_identity_sees_through_the_sugar(sugar: str, written: str) -> None:
    assert Genome.from_text(sugar).key == Genome.from_text(written).key


def test_two_ways_to_hold_a_value_are_one_cell() -> None:
    once = Genome.from_text("h[t] = tanh(linear(x[t-2], x[t-1], h[t-1]))")
    twice = Genome.from_text(
        "p[t] = x[t]\nq[t] = p[t-1]\nh[t] = tanh(linear(q[t-1], x[t-1], h[t-1]))"
    )
    assert once.key != twice.key
    assert search_key(once) == search_key(twice)


NAMES = itertools.product((1, 2, 5), (1, 3), (2, 4))
CELLS = [
    f"u = tanh(linear(x[t], h[t-1]))\nh[t] = tanh(linear(x[t-{a}], h[t-{b}]) + conv(u, {c}))"
    for a, b, c in NAMES
]


@pytest.mark.parametrize("text", CELLS)
def test_every_form_reads_back_exactly(text: str) -> None:
    genome = Genome.from_text(text)
    assert Genome.from_text(genome.to_text()) == genome
    assert Genome.from_json(genome.to_json()) == genome
    assert Genome.from_networkx(genome.to_networkx()) == genome
    assert "[0]" not in genome.to_text()


def test_names_of_the_text_are_left_to_it() -> None:
    genome = Genome.from_text(
        "x_1 = linear(x[t])\nh_2[t] = tanh(x_1)\nh[t] = linear(x[t-1], x_1, h[t-2], h_2[t-1])"
    )
    assert set(genome.state_names) == {"h", "h_2", "x_1_", "h_2_"}
    assert Genome.from_text(genome.to_text()) == genome


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h[t] = x[t-17] + h[t-1]", "x[t-17] reaches further back than 16 steps"),
        ("h[t] = conv(x[t-3], 15) + h[t-1]", "x[t-17] reaches further back than 16 steps"),
        ("h[t] = x[t-0] + h[t-1]", "a step is [t], or [t-1] to [t-16]"),
        ("h[t] = x[t-True] + h[t-1]", "a step is [t], or [t-1] to [t-16]"),
        ("h[t] = x[t-1-1] + h[t-1]", "a step is [t], or [t-1] to [t-16]"),
        ("h[t] = h[t+1] + x[t]", "a step is [t], or [t-1] to [t-16]"),
        ("h[t] = q[t-2] + h[t-1]", "q[t-2] is read, but q[t] is never assigned"),
        ("q = tanh(x[t])\nh[t] = q[t-2]", "q[t-2] is read, but q[t] is never assigned"),
        ("h[t] = conv(x[t]) + h[t-1]", "conv takes a name and a number of steps from 1 to 16"),
        ("h[t] = conv(x[t], 0) + h[t-1]", "conv takes a name and a number of steps from 1 to 16"),
        ("h[t] = conv(x[t], 17) + h[t-1]", "conv takes a name and a number of steps from 1"),
        ("h[t] = conv(x[t], 2.0) + h[t-1]", "conv takes a name and a number of steps from 1"),
        ("h[t] = conv(x[t], True) + h[t-1]", "conv takes a name and a number of steps from 1"),
        ("h[t] = conv(tanh(x[t]), 2) + h[t-1]", "conv takes a name and a number of steps"),
        ("h[t] = conv(x[t], n=2) + h[t-1]", "conv takes a name and a number of steps"),
        ("h[t] = conv(q, 3) + h[t-1]", "q is not known here"),
        ("h[t] = conv(x, 3) + h[t-1]", "x is read without a step"),
        ("h[t] = conv(h[t], 3)", "h[t] is read before it is assigned"),
        ("h[t] = conv(x[t], 3)[t-1]", "only names carry a step"),
    ],
)
def test_a_slip_is_refused_with_its_line_and_a_way_out(text: str, message: str) -> None:
    with pytest.raises(CellSyntaxError, match=re.escape(message)) as caught:
        Genome.from_text(text)
    assert caught.value.where.startswith(f"<text>:{len(text.splitlines())}")
    assert caught.value.hint


def test_more_states_than_a_cell_may_have_are_counted() -> None:
    many = "\n".join(f"a{k}[t] = x[t-{k}] + a{k}[t-16]" for k in range(1, 6))
    with pytest.raises(GenomeError, match="at most 5000 and 64"):
        Genome.from_text(many + "\nh[t] = a1[t] + a2[t] + a3[t] + a4[t] + a5[t] + h[t-1]")


@pytest.mark.parametrize("size", [1, 3, 65])
@pytest.mark.parametrize(
    ("backend", "text"),
    [
        *((b, CELLS[0]) for b in ("aten", "native")),
        *((b, CELLS[-1]) for b in ("aten", "native")),
        (
            "scan",
            "u = linear(x[t], x[t-1])\nz = sigmoid(conv(u, 3))\n"
            "h[t] = blend(z, h[t-1], linear(u, x[t-4]))",
        ),
    ],
)
def test_every_backend_is_the_reference(backend: str, text: str, size: int) -> None:
    if backend not in backends.names():
        pytest.skip(f"there is no backend {backend} here")
    genome = Genome.from_text(text)
    results = []
    for name in ("reference", backend):
        torch.manual_seed(4)
        layer = compile_cell(genome, input_size=size, hidden_size=size, backend=name)
        x = torch.randn(6, 3, size, requires_grad=True)
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, [6, 4, 1])
        output, states = layer(packed)
        loss = output.data.square().sum() + sum(state.sin().sum() for state in states)
        found = torch.autograd.grad(loss, [x, *layer.parameters()])
        results.append([output.data, *states, *found])
    for expected, value in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=2e-4, atol=2e-4)
