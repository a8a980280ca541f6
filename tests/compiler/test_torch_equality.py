"""LSTM and GRU genomes equal torch.nn.LSTM and torch.nn.GRU: outputs, final states, all gradients,
weights both ways.
"""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from cellsearch import Genome, zoo
from cellsearch.compiler import (
    compile_cell,
    load_torch_gru,
    load_torch_lstm,
    to_torch_gru,
    to_torch_lstm,
)
from cellsearch.errors import ConfigError

KINDS = {
    "lstm": (nn.LSTM, load_torch_lstm, to_torch_lstm),
    "gru": (nn.GRU, load_torch_gru, to_torch_gru),
}
LENGTHS = {"none": None, "sorted": (5, 3, 3, 1), "unsorted": (2, 5, 1, 4)}
BATTERY = list(
    itertools.product(
        (1, 2, 3),
        (False, True),
        (False, True),
        ("none", "sorted", "unsorted", "unbatched"),
        (False, True),
    )
)


def leaves(value):
    return [value] if isinstance(value, torch.Tensor) else list(value)


def run(module, x, hx, lengths, batch_first):
    """Output, final states and the gradients with respect to x, hx and all weights."""
    x = x.clone().requires_grad_()
    hx = [h.clone().requires_grad_() for h in hx]
    given = x
    if lengths is not None:
        given = pack_padded_sequence(
            x,
            torch.tensor(lengths),
            batch_first=batch_first,
            enforce_sorted=sorted(lengths, reverse=True) == list(lengths),
        )
    output, final = module(given, None if not hx else hx[0] if len(hx) == 1 else tuple(hx))
    if lengths is not None:
        assert isinstance(output, PackedSequence)
        output = output.data
    module.zero_grad()
    total = sum(
        (k + 1.5) * (value * torch.arange(1, value.numel() + 1).view(value.shape).cos()).sum()
        for k, value in enumerate([output, *leaves(final)])
    )
    total.backward()
    return [output, *leaves(final), x.grad, *(h.grad for h in hx)]


def close(got, expected, dtype):
    if dtype is torch.float64:
        return (got - expected).abs().max() <= 1e-12 * max(1.0, expected.abs().max())
    return (got - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("backend", ["reference", "aten", "auto"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_whole_battery(name, backend, dtype):
    kind, load, to = KINDS[name]
    battery = (
        BATTERY if dtype is torch.float64 else BATTERY[::5]
    )  # 5 shares no factor with the battery: every value of each argument occurs
    for number, (layers, both, batch_first, shape, with_hx) in enumerate(battery):
        torch.manual_seed(number)
        theirs = kind(
            3, 4, layers, batch_first=batch_first, bidirectional=both, dropout=0.0, dtype=dtype
        )
        ours = load(theirs, backend=backend)
        x = torch.randn(
            *((5, 3) if shape == "unbatched" else (4, 5, 3) if batch_first else (5, 4, 3)),
            dtype=dtype,
        )
        rows = layers * (2 if both else 1)
        state = (rows, 4) if shape == "unbatched" else (rows, 4, 4)
        hx = [torch.randn(state, dtype=dtype) for _ in ours.genome.states] if with_hx else []
        arguments = (x, hx, LENGTHS.get(shape), batch_first)
        what = (
            f"{name} {backend} layers={layers} both={both} batch_first={batch_first} "
            f"{shape} hx={with_hx}"
        )
        for k, (got, expected) in enumerate(
            zip(run(ours, *arguments), run(theirs, *arguments), strict=True)
        ):
            assert got.shape == expected.shape, what
            assert close(got, expected, dtype), (
                f"{what}: value {k} differs by {(got - expected).abs().max()}"
            )
        check_weight_gradients(ours, theirs, load, to, dtype, what)


def check_weight_gradients(ours, theirs, load, to, dtype, what):
    """The gradients of torch, carried over like weights, are the gradients of ours."""
    carrier = kind_of(theirs)
    with torch.no_grad():
        for weight, source in zip(carrier.parameters(), theirs.parameters(), strict=True):
            weight.copy_(source.grad)
        for name, weight in carrier.named_parameters():
            if name.startswith(
                "bias_hh"
            ):  # ours is one bias, whose gradient both of torch's biases have
                n = theirs.hidden_size
                weight[: 2 * n if isinstance(theirs, nn.GRU) else None] = 0
    expected = dict(load(carrier).named_parameters())
    for name, parameter in ours.named_parameters():
        assert close(parameter.grad, expected[name], dtype), (
            f"{what}: gradient of {name} differs by {(parameter.grad - expected[name]).abs().max()}"
        )


def kind_of(theirs):
    return type(theirs)(
        theirs.input_size,
        theirs.hidden_size,
        theirs.num_layers,
        bidirectional=theirs.bidirectional,
        dtype=theirs.weight_ih_l0.dtype,
    )


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_weights_go_both_ways(name):
    kind, load, to = KINDS[name]
    theirs = kind(3, 4, 2, bidirectional=True, batch_first=True, dropout=0.3).eval()
    ours = load(theirs)
    assert (ours.batch_first, ours.dropout, ours.bidirectional, ours.training) == (
        True,
        0.3,
        True,
        False,
    )
    back = to(ours)
    assert (back.batch_first, back.dropout, back.bidirectional, back.training) == (
        True,
        0.3,
        True,
        False,
    )
    x = torch.randn(2, 5, 3)
    assert torch.allclose(back(x)[0], theirs(x)[0], atol=1e-6)
    again = load(back)
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.state_dict().values(), ours.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_weights_are_copied_into_a_compiled_cell(name):
    kind, load, _ = KINDS[name]
    theirs = kind(3, 4)
    ours = compile_cell(zoo.load(name), input_size=3, hidden_size=4)
    assert load(ours, theirs) is ours
    x = torch.randn(5, 2, 3)
    assert torch.allclose(ours(x)[0], theirs(x)[0], atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_modules_without_bias_load(name):
    kind, load, _ = KINDS[name]
    theirs = kind(3, 4, bias=False)
    x = torch.randn(5, 2, 3)
    assert torch.allclose(load(theirs)(x)[0], theirs(x)[0], atol=1e-6)


def test_what_does_not_fit_is_refused():
    cell = compile_cell(zoo.load("lstm"), input_size=3, hidden_size=4)
    with pytest.raises(ConfigError, match="not the LSTM with a projection"):
        load_torch_lstm(cell, nn.LSTM(3, 4, proj_size=2))
    with pytest.raises(ConfigError, match="hidden_size is 4 in the cell and 5"):
        load_torch_lstm(cell, nn.LSTM(3, 5))
    with pytest.raises(ConfigError, match=r"expected a torch\.nn\.LSTM"):
        load_torch_lstm(nn.GRU(3, 4))
    with pytest.raises(ConfigError, match="expected a compiled cell"):
        load_torch_lstm(nn.LSTM(3, 4), nn.LSTM(3, 4))
    with pytest.raises(ConfigError, match="not the zoo's gru"):
        to_torch_gru(cell)


def test_swapped_names_are_refused_and_another_order_is_not():
    text = zoo.load("lstm").to_text()
    swapped = Genome.from_text(text.replace("f * c[t-1] + i * g", "i * c[t-1] + f * g"))
    with pytest.raises(ConfigError, match="not the zoo's lstm"):
        to_torch_lstm(compile_cell(swapped, input_size=3, hidden_size=4))
    turned = Genome.from_text(
        text.replace("f * c[t-1] + i * g", "g * i + c[t-1] * f").replace(
            "linear(x[t], h[t-1])", "linear(h[t-1], x[t])"
        )
    )
    assert isinstance(to_torch_lstm(compile_cell(turned, input_size=3, hidden_size=4)), nn.LSTM)
