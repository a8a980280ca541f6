"""Sizes, blocks and heads in compiled layers: the reference against a second evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellsearch import zoo
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.compiler.torch_rnn import load_torch_lstm, to_torch_lstm
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


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_an_lstm_of_torch_with_a_projection_loads_both_ways(
    bidirectional: bool, bias: bool
) -> None:
    theirs = torch.nn.LSTM(
        4, 8, 2, bias=bias, bidirectional=bidirectional, proj_size=3, dtype=torch.float64
    )
    module = load_torch_lstm(theirs)
    assert module.proj_size == 3
    assert module.sizes == {"P": 3}
    x = torch.randn(7, 2, 4, dtype=torch.float64)
    back = to_torch_lstm(module)
    assert back.proj_size == 3
    for given in (x, torch.nn.utils.rnn.pack_padded_sequence(x, [7, 3]), x[:, 0]):
        expected = _flat(theirs(given))
        for found in (module(given), back(given), load_torch_lstm(module, back)(given)):
            for mine, other in zip(_flat(found), expected, strict=True):
                torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-13)
    with pytest.raises(ConfigError, match="proj_size is 3 in the cell and 5"):
        load_torch_lstm(module, torch.nn.LSTM(4, 8, 2, bidirectional=bidirectional, proj_size=5))
    other = compile_cell(Genome.from_text(LOW_RANK), input_size=4, hidden_size=8)
    with pytest.raises(ConfigError, match="not the LSTM with a projection"):
        to_torch_lstm(other)


def _flat(result):
    output, states = result
    data = output.data if isinstance(output, torch.nn.utils.rnn.PackedSequence) else output
    return data, *states


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


# -- a projection of the input ---------------------------------------------------------------------


READS_X = {
    **{name: zoo.load(name) for name in ("sru", "rg_lru", "intersection")},
    "delay": Genome.from_text("h[t] = tanh(linear(h[t-1]) + x[t-2] * x[t])"),
    "window": Genome.from_text("h[t] = tanh(linear(h[t-1]) + conv(x[t], 3))"),
}


@pytest.mark.parametrize("name", READS_X)
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_cell_that_reads_x_elementwise_takes_any_input(
    name: str, backend: str, bidirectional: bool
) -> None:
    genome = READS_X[name]
    with pytest.raises(GenomeError, match="without a linear") as found:
        compile_cell(genome, input_size=3, hidden_size=6)
    assert "project_input=True" in found.value.hint
    layer = compile_cell(
        genome, 3, 6, 2, bidirectional=bidirectional, project_input=True, backend=backend
    )
    x = torch.randn(5, 2, 3)
    output, _ = layer(x)
    assert {name for name, _ in layer.named_parameters() if "projection" in name} == {
        f"{part}_projection.{weight}"
        for part in [name for name, _ in layer.layers()]
        if part.startswith("l0") or bidirectional
        for weight in ("weight", "bias")
    }
    square = compile_cell(genome, 6, 6, backend="reference")
    square.load_state_dict(
        {k: v for k, v in layer.state_dict().items() if k in square.state_dict()}
    )
    one = compile_cell(genome, 3, 6, project_input=True, backend=backend)
    one.load_state_dict({k: v for k, v in layer.state_dict().items() if k in one.state_dict()})
    read = torch.nn.functional.linear(x, *layer._modules["l0_projection"].parameters())
    torch.testing.assert_close(one(x)[0], square(read)[0])
    torch.testing.assert_close(one.run_tokens(torch.zeros(4, 2, dtype=torch.long), x[0])[0],
                               one(x[0][torch.zeros(4, 2, dtype=torch.long)])[0])  # fmt: skip
    output.sum().backward()
    assert all(
        w.grad is not None and w.grad.abs().sum() > 0
        for w in layer._modules["l0_projection"].parameters()
    )
    if not bidirectional:
        stepper = Stepper(layer)
        state = stepper.start(2)
        for t in range(5):
            y, state = stepper(x[t], state)
            torch.testing.assert_close(y, output[t], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(trace(layer, x)[-1][genome.output], output)


def test_where_no_projection_is_needed_there_is_none() -> None:
    for input_size, name in ((6, "sru"), (3, "lstm")):
        layer = compile_cell(zoo.load(name), input_size, 6, project_input=True)
        plain = compile_cell(zoo.load(name), input_size, 6)
        assert [n for n, _ in layer.named_parameters()] == [n for n, _ in plain.named_parameters()]
    with pytest.raises(ConfigError, match=r"the cell reads mask\[t\]"):
        compile_cell(
            Genome.from_text("h[t] = tanh(x[t] * mask[t] + h[t-1])"), 3, 6, project_input=True
        )


def test_a_module_of_before_sizes_is_read(tmp_path) -> None:
    layer = compile_cell(zoo.load("lstm"), 3, 6)
    state = dict(layer.__getstate__())
    for name in ("sizes", "output_size", "state_sizes", "project_input"):
        del state[name]
    old = CellModule.__new__(CellModule)
    old.__setstate__(state)
    x = torch.randn(4, 2, 3)
    torch.testing.assert_close(old(x)[0], layer(x)[0])
