"""rotate(a, angles): pairs of units as complex numbers; the same everywhere, in every form."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.plain_layers import reference_and_plain

from cellsearch import Genome, compile_cell, ops
from cellsearch.compiler.backends.functions import function_of, turn
from cellsearch.compiler.backends.recurrences import rotating_scan
from cellsearch.errors import ConfigError, GenomeError
from cellsearch.genome.identity import search_key
from cellsearch.genome.measures import recurrence_class

SCANNED = [
    "h[t] = 0.9 * rotate(h[t-1], 0.3) + linear(x[t])",
    "h[t] = exp(-exp(bias())) * rotate(h[t-1], bias(size=H/2)) + linear(x[t])",
    "a = sigmoid(linear(x[t]))\n"
    "h[t] = blend(a, rotate(h[t-1], linear(x[t], size=H/2)), linear(x[t]))",
    "h[t] = diag(rotate(diag(h[t-1]) - 2, -0.5)) / 2 + linear(x[t])",
    "h[t] = rotate(0.5 * h[t-1] - diag(rotate(h[t-1], 2)), bias(size=H/2)) - neg(linear(x[t]))",
    "p[t] = p[t-1] + 0.1 * linear(x[t], size=H/2)\nh[t] = rotate(h[t-1], p[t]) + linear(x[t])",
    "s[t] = rotate(s[t-1], linear(x[t])) + linear(x[t], size=2*H)\n"
    "h[t] = 0.5 * h[t-1] + linear(s[t])",
]
CELLS = [
    *SCANNED,
    "h[t] = tanh(rotate(h[t-1], linear(x[t], h[t-1], size=H/2)) + linear(x[t]))",
    "h[t] = tanh(rotate(linear(x[t], h[t-1]), 1.5))",
    "h[t] = tanh(linear(rotate(linear(h[t-1], size=H/2), bias(size=H/4)), x[t]))",
]


@pytest.mark.parametrize("text", CELLS)
def test_the_reference_is_a_product_of_complex_numbers(text: str) -> None:
    got, expected = reference_and_plain(Genome.from_text(text), 3, 8)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def results(text: str, backend: str, size: int, *, packed: bool, dtype: torch.dtype) -> list:
    """Output, final states and all gradients."""
    torch.manual_seed(1)
    layer = compile_cell(
        Genome.from_text(text), input_size=3, hidden_size=size, backend=backend, dtype=dtype
    )
    x = torch.randn(9, 3, 3, dtype=dtype, requires_grad=True)
    given = torch.nn.utils.rnn.pack_padded_sequence(x, [9, 4, 1]) if packed else x
    output, states = layer(given)
    output = output.data if packed else output
    states = states if isinstance(states, tuple) else (states,)
    loss = (output * torch.linspace(-1, 1, output.shape[-1], dtype=dtype)).sum()
    loss = loss + sum(state.sin().sum() for state in states)
    found = torch.autograd.grad(loss, [x, *layer.parameters()])
    return [output, *states, *found]


@pytest.mark.parametrize("size", [2, 4, 64, 66])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("text", SCANNED)
def test_a_scan_is_the_loop(text: str, packed: bool, size: int) -> None:
    expected = results(text, "reference", size, packed=packed, dtype=torch.float64)
    found = results(text, "scan", size, packed=packed, dtype=torch.float64)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["aten", "native"])
@pytest.mark.parametrize("text", CELLS)
def test_another_backend_is_the_reference(backend: str, text: str) -> None:
    found = results(text, backend, 8, packed=True, dtype=torch.float32)
    expected = results(text, "reference", 8, packed=True, dtype=torch.float32)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cuts", [False, True])
def test_the_scan_of_pairs_is_the_loop_over_them(cuts: bool) -> None:
    torch.manual_seed(2)
    scale, turned, b = (torch.randn(13, 2, 6, dtype=torch.float64) for _ in range(3))
    if cuts:
        scale[5], turned[5] = 0.0, 0.0
    parts = [part.requires_grad_() for part in (scale, turned, b)]
    start = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)

    def loop(scale, turned, b, start):
        states = [start]
        for k in range(len(b)):
            states.append(scale[k] * states[-1] + turned[k] * turn(states[-1]) + b[k])
        return torch.stack(states[1:])

    expected, found = loop(*parts, start), rotating_scan(*parts, start, cuts=cuts)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    one = torch.autograd.grad((expected * weight).sum(), [*parts, start])
    other = torch.autograd.grad((found * weight).sum(), [*parts, start])
    for a, c in zip(one, other, strict=True):
        torch.testing.assert_close(c, a, rtol=1e-9, atol=1e-9)


def test_a_reset_cuts_what_is_not_finite() -> None:
    genome = Genome.from_text(SCANNED[1])
    for backend in ("reference", "scan"):
        torch.manual_seed(3)
        layer = compile_cell(genome, input_size=3, hidden_size=4, backend=backend)
        x = torch.randn(6, 1, 3)
        x[1] = float("inf")
        reset = torch.zeros(6, 1, dtype=torch.bool)
        reset[3] = True
        output, _ = layer(x, reset=reset)
        assert not output[1:3].isfinite().any()
        torch.testing.assert_close(output[3:], layer(x[3:])[0])


def test_a_rotation_keeps_the_class() -> None:
    classes = [recurrence_class(Genome.from_text(text)) for text in CELLS]
    assert classes[:5] == ["affine-diagonal"] * 5
    assert classes[len(SCANNED) :] == ["dense"] * 3
    own_angle = "h[t] = tanh(rotate(diag(h[t-1]), 0.1)) + linear(x[t])"
    assert recurrence_class(Genome.from_text(own_angle)) == "elementwise"


def test_lengths_are_kept_and_turns_add_up() -> None:
    genome = Genome.from_text("h[0] = 1\nh[t] = rotate(h[t-1], bias(size=H/2)) + 0 * linear(x[t])")
    layer = compile_cell(genome, input_size=1, hidden_size=4, dtype=torch.float64)
    with torch.no_grad():
        layer.get_parameter("l0.h.bias").copy_(torch.tensor([2 * np.pi / 3, np.pi / 2]))
    output, _ = layer(torch.zeros(12, 1, 1, dtype=torch.float64))
    lengths = output.unflatten(-1, (2, 2)).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 2**0.5))
    torch.testing.assert_close(output[2, 0, :2], torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(output[3, 0, 2:], torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("rotate(h[t-1], h[t-1])", "h_<t-1> of size H, and h_<t-1> holds H angles", "size=H/2"),
        ("rotate(h[t-1], linear(x[t]))", "of size H, and h.1 holds H angles", "bias(size=H/2)"),
        ("rotate(x[t], bias(size=H/2)) + h[t-1]", "of size I, and h.1 holds H/2", "a matrix"),
        ("rotate(2, 1) + h[t-1]", "one number for all units", "no pairs"),
        ("rotate(h[t-1])", "takes exactly 2 operands, not 1", ""),
    ],
)
def test_what_cannot_be_turned_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(GenomeError) as caught:
        Genome.from_text(f"h[t] = {text}")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("angle", ["0.5", "bias(size=H/2)", "dt[t]"])
def test_an_odd_size_is_refused(angle: str) -> None:
    genome = Genome.from_text(f"h[t] = rotate(h[t-1], {angle}) + linear(x[t])")
    with pytest.raises((GenomeError, ConfigError), match=r"H = 7|7 is odd") as caught:
        compile_cell(genome, input_size=3, hidden_size=7)
    assert "6" in caught.value.hint
    assert "8" in caught.value.hint


def test_what_is_the_same_is_one_cell() -> None:
    def key(text: str) -> str:
        return search_key(Genome.from_text(f"h[t] = {text} + linear(x[t])"))

    angle = "bias(size=H/2)"
    assert key(f"rotate(h[t-1], {angle})") == key(f"rotate(h[t-1], -{angle})")
    assert key("rotate(h[t-1], 0)") == key("h[t-1]")
    twice = f"rotate(rotate(h[t-1], {angle}), linear(x[t], size=H/2))"
    assert key(twice) == key(f"rotate(h[t-1], {angle} + linear(x[t], size=H/2))")
    assert key(twice) == key("rotate(h[t-1], linear(x[t], size=H/2))")
    assert key("rotate(h[t-1], 1)") != key("rotate(h[t-1], 2)")


def test_a_rotation_of_what_is_a_number_after_all_is_left_as_it_is() -> None:
    genome = Genome.from_text(
        "a = h[t-1] - h[t-1] + 2\nh[t] = rotate(a, 0.5) + linear(x[t], h[t-1])"
    )
    assert genome.simplify().key == genome.key
    assert search_key(genome)


def test_every_form_reads_back_exactly() -> None:
    for text in CELLS:
        genome = Genome.from_text(text)
        assert Genome.from_text(genome.to_text()) == genome
        assert Genome.from_json(genome.to_json()) == genome
        assert Genome.from_networkx(genome.to_networkx()) == genome
        assert json.loads(genome.to_json())["format"] == 2


def test_the_op_table_says_what_the_compiler_computes() -> None:
    a, angle = torch.randn(4, 6, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    turned = torch.view_as_complex(a.unflatten(-1, (3, 2))) * torch.exp(1j * angle)
    written = function_of(ops.OPS["rotate"].torch)(a, angle)
    torch.testing.assert_close(written, torch.view_as_real(turned).flatten(-2))
