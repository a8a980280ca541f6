"""Variational dropout: one mask for all positions, on what a layer reads, on what dense products
read of the states, and on the output.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.cells import plain_cells
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from cellsearch import zoo
from cellsearch.compiler import backends
from cellsearch.compiler.lower import lower
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.compiler.simplify import simplify_program
from cellsearch.compiler.variational import drop_units, masked_states, with_masks
from cellsearch.errors import ConfigError

T, B, X, H, SHARE = 7, 5, 6, 8, 0.4
BACKENDS = ["native", "aten", "reference"]


def module_of(name: str = "lstm", seed: int = 0, **options: Any) -> CellModule:
    torch.manual_seed(seed)
    size = H if name == "sru" else X
    settings: dict[str, Any] = {
        "input_size": size,
        "hidden_size": H,
        "variational_dropout": SHARE,
        "dtype": torch.float32,
        **options,
    }
    return compile_cell(zoo.load(name), **settings)


def gradients(module: CellModule, output: Tensor) -> list[Tensor]:
    weight = torch.linspace(-1, 1, output.numel()).view(output.shape)
    return list(torch.autograd.grad((output * weight).sum(), list(module.parameters())))


def masked_lstm(
    module: CellModule, x: Tensor, inputs: Tensor, states: Tensor, outputs: Tensor
) -> Tensor:
    """Gal & Ghahramani's LSTM, written down: every gate reads ``x_t * inputs`` and ``h *
    states``.
    """
    w = dict(module.named_parameters())
    h = c = torch.zeros(B, H)
    rows = []
    for x_t in x:
        gates = {
            name: (x_t * inputs) @ w[f"l0.{name}.weight_x"].T
            + (h * states) @ w[f"l0.{name}.weight_h"].T
            + w[f"l0.{name}.bias"]
            for name in "ifgo"
        }
        c = gates["f"].sigmoid() * c + gates["i"].sigmoid() * gates["g"].tanh()
        h = gates["o"].sigmoid() * c.tanh()
        rows.append(h * outputs)
    return torch.stack(rows)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_lstm_of_the_paper(backend: str) -> None:
    module = module_of(backend=backend)
    x = torch.randn(T, B, X)
    torch.manual_seed(3)
    output, _ = module(x)
    torch.manual_seed(3)
    inputs, states, outputs = (drop_units(x, B, width, share=SHARE) for width in (X, H, H))
    expected = masked_lstm(module, x, inputs, states, outputs)
    assert torch.allclose(output, expected, atol=1e-6)
    for got, wanted in zip(gradients(module, output), gradients(module, expected), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(
        output, masked_lstm(module, x, inputs, states.roll(1, 0), outputs), atol=1e-3
    )  # the comparison can fail


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_units_are_dropped_at_every_position(backend: str) -> None:
    module = module_of("gru", backend=backend)
    output, _ = module(torch.randn(T, B, X))
    dropped = output == 0
    assert dropped.any()
    assert not dropped.all()
    assert torch.equal(dropped, dropped[:1].expand(T, B, H))
    again = module(torch.randn(T, B, X))[0] == 0
    assert not torch.equal(dropped, again)  # each call draws anew


def test_the_expectation_of_a_mask_is_one() -> None:
    torch.manual_seed(0)
    mask = drop_units(torch.zeros(1), 400, 500, share=SHARE)
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.01)
    assert float((mask == 0).double().mean()) == pytest.approx(SHARE, abs=0.01)
    assert sorted(set(mask.flatten().tolist())) == pytest.approx([0.0, 1 / (1 - SHARE)])
    assert not drop_units(torch.zeros(1), 3, share=1.0).any()


@pytest.mark.parametrize(
    "name", ["lstm", "gru", "mi_rnn", "darts_v2", "lstm_ln", "indrnn_relu", "sru"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_backends_agree_through_layers_directions_and_lengths(name: str, packed: bool) -> None:
    x = torch.randn(T, B, H if name == "sru" else X)
    sequences = (
        pack_padded_sequence(x, torch.tensor([3, T, 1, 5, 2]), enforce_sorted=False)
        if packed
        else x
    )
    results = []
    for backend in ("reference", "native"):
        sizes = (
            {"input_size": H, "num_layers": 1}
            if name == "sru"
            else {"num_layers": 2, "bidirectional": True}
        )
        module = module_of(name, backend=backend, **sizes)
        torch.manual_seed(5)
        output, _ = module(sequences)
        output = output.data if isinstance(output, PackedSequence) else output
        results.append([output.detach(), *gradients(module, output)])
    for expected, got in zip(*results, strict=True):
        assert float((expected - got).abs().max()) <= 1e-4 * max(1e-3, float(expected.abs().max()))


def test_tokens_are_masked_like_any_input() -> None:
    module = module_of(num_layers=2)
    tokens, embedding = torch.randint(0, 9, (T, B)), torch.randn(9, X)
    torch.manual_seed(4)
    folded, _ = module.run_tokens(tokens, embedding)
    torch.manual_seed(4)
    plain, _ = module(embedding[tokens])
    assert torch.equal(folded, plain)


@pytest.mark.parametrize("name", plain_cells())
def test_masks_of_ones_change_nothing(name: str) -> None:
    """And only states that a dense product reads get one."""
    program = simplify_program(lower(zoo.load(name)))
    changed = with_masks(program)
    read = {
        instruction.inputs[0] for instruction in program.instructions if instruction.op == "dense"
    }
    assert len(changed.states) == len(program.states) + len(masked_states(program))
    assert [k + len(program.inputs) in read for k in range(len(program.states))] == [
        k in masked_states(program) for k in range(len(program.states))
    ]
    module = compile_cell(zoo.load(name), input_size=H, hidden_size=H, dtype=torch.float64)
    x = torch.randn(T, B, H, dtype=torch.float64)
    weights = next(module.layers())[1].weights()
    states = [torch.full((B, H), state.initial, dtype=torch.float64) for state in changed.states]
    reference = backends.get("reference")
    more = [torch.rand_like(x) for _ in program.inputs[1:]]
    plain, _ = reference.build(program)(x, states[: len(program.states)], weights, None, more)
    masked, _ = reference.build(changed)(x, states, weights, None, more)
    assert torch.equal(plain, masked)


def test_without_training_nothing_is_dropped() -> None:
    module, plain = module_of(), module_of(variational_dropout=0.0)
    x = torch.randn(T, B, X)
    assert torch.equal(module.eval()(x)[0], plain(x)[0])


def test_a_share_that_is_none_is_refused() -> None:
    for share in (-0.1, 1.1, True, float("nan")):
        with pytest.raises(ConfigError, match=r"not a probability|of type bool"):
            module_of(variational_dropout=share)
