"""Which cells have a state that is always zero, and which may explode: cells are run
with large weights to see whether that is so.
"""

from __future__ import annotations

import pytest
import torch

import cellsearch as cs
from cellsearch import zoo
from cellsearch.genome.graph import Genome
from cellsearch.space.stability import has_zero_state, may_explode

GATE = "sigmoid(linear(x[t], h[t-1]))"
ZERO = {
    f"h[t] = {GATE} * h[t-1]": True,
    f"c[t] = {GATE} * c[t-1]\nh[t] = linear(x[t]) * tanh(c[t]) + {GATE} * h[t-1]": True,
    f"c[t] = {GATE} * c[t-1]\nh[t] = tanh(linear(x[t], h[t-1])) * c[t]": True,
    f"c[t] = {GATE} * c[t-1]\nh[t] = blend({GATE}, h[t-1], c[t] - h[t-1])": True,
    f"c[t] = {GATE} * abs(silu(c[t-1]))\nh[t] = tanh(linear(x[t], h[t-1])) * c[t]": True,
    "c[t] = cos(c[t-1])\nh[t] = tanh(linear(x[t], h[t-1])) * c[t]": False,
    f"c[t] = {GATE} * h[t-1]\nh[t] = tanh(linear(x[t], c[t]))": False,
    f"h[t] = {GATE} * h[t-1] + tanh(linear(x[t]))": False,
    f"c[0] = 1\nc[t] = {GATE} * c[t-1]\nh[t] = tanh(c[t])": False,
}
WILD = {
    "h[t] = linear(x[t], h[t-1])": True,
    "h[t] = linear(x[t]) * h[t-1] + linear(x[t])": True,
    f"c[t] = {GATE} * c[t-1] + linear(x[t], c[t-1])\nh[t] = tanh(c[t])": True,
    f"c[t] = blend(linear(x[t]), c[t-1], tanh(linear(x[t])))\nh[t] = {GATE} * tanh(c[t])": True,
    f"h[t] = {GATE} * h[t-1] + tanh(linear(x[t], h[t-1]))": False,
    f"c[t] = {GATE} * c[t-1] + linear(x[t], h[t-1])\nh[t] = {GATE} * tanh(c[t])": False,
    f"c[t] = {GATE} * {GATE} * c[t-1] + linear(x[t])\nh[t] = {GATE} * tanh(c[t])": False,
}


def run(text: str, scale: float, steps: int) -> torch.Tensor:
    """The output of a cell ``[T, B, H]`` with weights so many times as large as they are drawn."""
    torch.manual_seed(0)
    layer = cs.compile_cell(Genome.from_text(text), 3, 8)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(scale)
        out, _ = layer(torch.randn(steps, 4, 3))
    assert isinstance(out, torch.Tensor)
    return out


@pytest.mark.parametrize("text", ZERO)
def test_a_state_that_stays_zero(text: str) -> None:
    assert has_zero_state(Genome.from_text(text)) is ZERO[text]


def test_what_puts_out_a_state_that_stays_zero_puts_out_nothing() -> None:
    silent = list(ZERO)[2]
    assert not run(silent, 3.0, 20).any()
    assert run("h[t] = tanh(linear(x[t], h[t-1]))", 3.0, 20).any()


@pytest.mark.parametrize("text", WILD)
def test_which_cells_may_explode(text: str) -> None:
    """With large weights these grow exponentially, and all others by one sum a step at most."""
    assert may_explode(Genome.from_text(text)) is WILD[text]
    read = text.replace("tanh(c[t])", "c[t]") if WILD[text] else text
    out = run(read, 8.0, 60)
    assert bool(out.abs().max() < 8 * 60 * 20) is not WILD[text]


def test_published_cells_with_gates_do_not_explode() -> None:
    names = ("lstm", "gru", "gru_cho", "ran", "mgu", "janet", "lstm_cifg", "mut1", "lem")
    assert not [name for name in names if may_explode(zoo.load(name))]
    assert may_explode(zoo.load("rnn_relu"))
    assert not [name for name in zoo.names() if has_zero_state(zoo.load(name))]
