"""Sizes, blocks and heads in compiled layers: the reference against a second evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.diagnostics.trace import trace
from cellsearch.errors import ConfigError, GenomeError
from cellsearch.genome import Genome
from cellsearch.streaming import Stepper
from tests.genome.test_shapes import HEADS, LOW_RANK, LSTMP

CELLS = {
    "lstmp": (LSTMP, {"P": 3}),
    "heads": (HEADS, {}),
    "low rank": (LOW_RANK, {}),
    "wide": ("h[t] = linear(silu(linear(x[t], h[t-1], size=2*H, blocks=2)), blocks=4)", {}),
    "a number is put out": ("h[t] = tanh(linear(x[t], h[t-1], size=P))\ny[t] = 2", {"P": 5}),
}


def compiled(name: str, hidden: int = 8, **arguments) -> CellModule:
    text, sizes = CELLS[name]
    torch.manual_seed(1)
    return compile_cell(
        Genome.from_text(text), input_size=4, hidden_size=hidden, sizes=sizes, **arguments
    )


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_are_as_wide_as_the_cell_says(name: str, bidirectional: bool) -> None:
    module = compiled(name, num_layers=2, bidirectional=bidirectional)
    x = torch.randn(5, 2, 4)
    output, final = module(x)
    states = (final,) if isinstance(final, torch.Tensor) else final
    directions = 2 if bidirectional else 1
    assert output.shape == (5, 2, module.output_size * directions)
    assert [s.shape for s in states] == [(2 * directions, 2, size) for size in module.state_sizes]
    whole, _ = module(x, final)
    halves, half = module(x[:2], final)
    if not bidirectional:
        rest, _ = module(x[2:], half)
        torch.testing.assert_close(torch.cat([halves, rest]), whole)


@pytest.mark.parametrize("name", CELLS)
def test_a_stepper_and_a_trace_do_the_same(name: str) -> None:
    module = compiled(name, dtype=torch.float64)
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    expected, _ = module(x)
    stepper = Stepper(module, precision="float64")
    state = stepper.start(2)
    for t in range(5):
        output, state = stepper(x[t], state)
        torch.testing.assert_close(output, expected[t])
    values = trace(module, x)[0][module.genome.output]
    torch.testing.assert_close(values.expand(5, 2, module.output_size), expected)


def test_packed_and_unbatched_sequences_keep_the_sizes() -> None:
    module = compiled("lstmp", num_layers=2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [6, 4, 1])
    output, (h, c) = module(packed)
    assert h.shape == (4, 3, 3)
    assert c.shape == (4, 3, 8)
    alone, (h1, _) = module(x[:4, 1])
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(output)
    torch.testing.assert_close(padded[:4, 1], alone)
    torch.testing.assert_close(h[:, 1], h1)


def test_lstmp_is_the_lstm_of_torch_with_a_projection() -> None:
    module = compiled("lstmp", dtype=torch.float64)
    theirs = torch.nn.LSTM(4, 8, proj_size=3, dtype=torch.float64)
    own = dict(module.named_parameters())
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.cat([own[f"l0.{n}.weight_x"] for n in "ifgo"]))
        theirs.weight_hh_l0.copy_(torch.cat([own[f"l0.{n}.weight_h"] for n in "ifgo"]))
        theirs.bias_ih_l0.copy_(torch.cat([own[f"l0.{n}.bias"] for n in "ifgo"]))
        theirs.bias_hh_l0.zero_()
        theirs.weight_hr_l0.copy_(own["l0.h.weight_0"])
    x = torch.randn(7, 2, 4, dtype=torch.float64)
    for mine, other in zip(_flat(module(x)), _flat(theirs(x)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-14)
    assert module.proj_size == theirs.proj_size


def _flat(result):
    output, states = result
    return output, *states


def test_blocks_are_a_matrix_with_zeros_between_them() -> None:
    module = compiled("heads", dtype=torch.float64)
    own = {name: value.detach().numpy() for name, value in module.named_parameters()}
    whole = np.zeros((8, 8))
    for k, block in enumerate(own["l0.h_2.weight_h"]):
        whole[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = block
    x = torch.randn(6, 1, 4, dtype=torch.float64)
    h = np.zeros(8)
    for t in range(6):
        a = np.tanh(own["l0.h.weight_x"] @ x[t, 0].numpy() + own["l0.h.bias"] + whole @ h)
        parts = a.reshape(4, 2)
        deviation = np.sqrt(parts.var(1, keepdims=True) + 1e-5)
        h = ((parts - parts.mean(1, keepdims=True)) / deviation).reshape(-1)
    output, _ = module(x)
    np.testing.assert_allclose(output[-1, 0].detach().numpy(), h, rtol=1e-10)


def test_gaps_and_resets_have_the_size_of_what_reads_them() -> None:
    genome = Genome.from_text(LSTMP.replace("f * c[t-1]", "exp(-dt[t]) * c[t-1]") + "k = h[t]")
    genome = Genome.from_text(genome.to_text().replace("size=P)", "size=P) * exp(-dt[t])"))
    module = compile_cell(
        genome, input_size=4, hidden_size=8, sizes={"P": 3}, num_layers=2, dtype=torch.float64
    )
    x = torch.randn(6, 2, 4, dtype=torch.float64)
    dt = torch.rand(6, 2, dtype=torch.float64)
    reset = torch.zeros(6, 2, dtype=torch.bool)
    reset[3] = True
    output, _ = module(x, dt=dt, reset=reset)
    afresh, _ = module(x[3:], dt=dt[3:])
    torch.testing.assert_close(output[3:], afresh)
    assert not torch.allclose(output[3:], module(x, dt=dt)[0][3:])


def test_variational_dropout_knows_the_size_of_each_state() -> None:
    module = compiled("lstmp", variational_dropout=0.5)
    output, (h, c) = module(torch.randn(3, 2, 4))
    assert output.shape[-1] == h.shape[-1] == 3
    assert c.shape[-1] == 8


def test_names_of_sizes_must_be_bound_and_be_the_cells() -> None:
    with pytest.raises(ConfigError, match="P, which is not bound"):
        compile_cell(Genome.from_text(LSTMP), input_size=4, hidden_size=8)
    with pytest.raises(ConfigError, match="the cell has no size 'Q'"):
        compile_cell(Genome.from_text(LSTMP), input_size=4, hidden_size=8, sizes={"P": 3, "Q": 1})
    with pytest.raises(GenomeError, match="4 blocks do not divide H = 66"):
        compile_cell(Genome.from_text(HEADS), input_size=4, hidden_size=66)
    with pytest.raises(GenomeError, match="2 blocks do not divide I = 5"):
        compile_cell(
            Genome.from_text("h[t] = tanh(linear(x[t], h[t-1], blocks=2))"),
            input_size=5,
            hidden_size=6,
        )
