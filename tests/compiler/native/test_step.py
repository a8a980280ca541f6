"""Token inputs, fused loss and flat optimizer against the plain torch way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cellsearch import zoo
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.module import compile_cell
from cellsearch.compiler.step import FlatAdam, fused_linear_cross_entropy, run_tokens
from cellsearch.errors import ConfigError

V, X, H, T, B = 7, 5, 9, 6, 4


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_cho", "lstm_ln", "sru", "qrnn_fo", "darts_v2", "mi_rnn"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_tokens_equal_embedded_inputs(name: str, batch_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "poison", True)
    size = H if name == "sru" else X
    module = compile_cell(zoo.load(name), input_size=size, hidden_size=H, batch_first=batch_first, dtype=torch.float32, backend="native")
    embedding = torch.randn(V, size, requires_grad=True)
    tokens = torch.randint(0, V, (B, T) if batch_first else (T, B))

    def gradients(output: Tensor) -> dict[str, Tensor]:
        module.zero_grad()
        embedding.grad = None
        (output * torch.linspace(-1, 1, output.numel()).view(output.shape)).sum().backward()
        assert embedding.grad is not None
        return {"embedding": embedding.grad, **{n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}}

    plain, _ = module(functional.embedding(tokens, embedding))
    folded, _ = run_tokens(module, tokens, embedding)
    assert torch.allclose(plain, folded, atol=1e-6)
    expected, got = gradients(plain), gradients(folded)
    assert expected.keys() == got.keys()
    for key in expected:
        assert torch.allclose(expected[key], got[key], atol=1e-5, rtol=1e-4), key


def test_tokens_are_really_looked_up() -> None:
    module = compile_cell(zoo.load("lstm"), input_size=X, hidden_size=H, dtype=torch.float32, backend="native")
    kernel = module._choose(torch.device("cpu"), torch.float32).kernel
    run_tokens(module, torch.randint(0, V, (T, B)), torch.randn(V, X))
    assert any("tokens" in kind for kind in kernel.at(X, H).codes)  # type: ignore[attr-defined]


def test_a_token_outside_the_embedding_is_refused() -> None:
    module = compile_cell(zoo.load("gru"), input_size=X, hidden_size=H, dtype=torch.float32, backend="native")
    for bad in (-1, V):
        with pytest.raises(IndexError, match="not in the embedding"):
            run_tokens(module, torch.full((T, B), bad), torch.randn(V, X))


@pytest.mark.parametrize("bias", [True, False])
def test_fused_loss_equals_linear_and_cross_entropy(bias: bool) -> None:
    hidden = torch.randn(2500, 8, dtype=torch.float64, requires_grad=True)
    layer = nn.Linear(8, 11, bias=bias).double()
    targets = torch.randint(0, 11, (2500,))
    targets[::7] = -100
    plain = functional.cross_entropy(layer(hidden), targets)
    fused = fused_linear_cross_entropy(hidden, layer.weight, layer.bias, targets)
    assert torch.allclose(plain, fused)
    inputs = (hidden, *layer.parameters())
    for expected, got in zip(torch.autograd.grad(3 * plain, inputs), torch.autograd.grad(3 * fused, inputs), strict=True):
        assert torch.allclose(expected, got)


def test_fused_loss_shows_nan() -> None:
    loss = fused_linear_cross_entropy(torch.full((3, 2), float("nan")), torch.ones(4, 2), None, torch.zeros(3, dtype=torch.int64))
    assert loss.isnan()


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_flat_adam_equals_adam(max_norm: float | None) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    flat = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    flat.load_state_dict(plain.state_dict())
    adam = torch.optim.Adam(plain.parameters(), 0.05, weight_decay=0.01)
    mine = FlatAdam(flat.parameters(), 0.05, weight_decay=0.01, max_norm=max_norm)
    x = torch.randn(6, 3)
    for k in range(20):
        for model, optimizer in ((plain, adam), (flat, mine)):
            optimizer.zero_grad()
            (model(x) ** 2).sum().backward()
        norm = nn.utils.clip_grad_norm_(plain.parameters(), max_norm if max_norm is not None else float("inf"))
        adam.step()
        assert torch.allclose(mine.step(), norm, rtol=1e-5)
        if k == 10:
            mine.lr = 0.01
            adam.param_groups[0]["lr"] = 0.01
    for a, b in zip(plain.parameters(), flat.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_flat_adam_resumes() -> None:
    torch.manual_seed(1)
    first, second = nn.Linear(3, 1), nn.Linear(3, 1)
    one = FlatAdam(first.parameters(), 0.1)
    x = torch.randn(5, 3)

    def train(model: nn.Module, optimizer: FlatAdam) -> None:
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()

    train(first, one)
    two = FlatAdam(second.parameters(), 0.1)
    second.load_state_dict(first.state_dict())
    two.load_state_dict(one.state_dict())
    train(first, one)
    train(second, two)
    assert torch.equal(first.weight, second.weight)


def test_flat_adam_says_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="no parameter"):
        FlatAdam([])
    with pytest.raises(ConfigError, match="dtype"):
        FlatAdam([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.float64))])
