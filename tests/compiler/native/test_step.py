"""Token inputs, fused loss and flat optimizer against the plain torch way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from cellsearch import Genome, zoo
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.module import CellModule, State, compile_cell
from cellsearch.errors import ConfigError
from cellsearch.training.fused import FlatAdam, fused_linear_cross_entropy

V, X, H, T, B = 7, 5, 9, 6, 4


def gradients(
    module: nn.Module, embedding: Tensor, output: Tensor, states: State
) -> dict[str, Tensor]:
    """Of a sum in which every output and final state has its own weight."""
    module.zero_grad()
    embedding.grad = None
    total = torch.zeros(())
    for part in (output, *((states,) if isinstance(states, Tensor) else states)):
        total = total + (part * torch.linspace(-1, 1, part.numel()).view(part.shape)).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert embedding.grad is not None
    return {
        "embedding": embedding.grad,
        **{n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None},
    }


def same(expected: dict[str, Tensor], got: dict[str, Tensor]) -> bool:
    """Equal up to rounding, relative to the largest number of each tensor."""
    return expected.keys() == got.keys() and all(
        float((expected[name] - got[name]).abs().max())
        <= 2e-5 * max(1.0, float(expected[name].abs().max()))
        for name in expected
    )


def module_of(name: str, **options: Any) -> tuple[CellModule, Tensor]:
    size = H if name == "sru" else X
    module = compile_cell(
        zoo.load(name),
        input_size=size,
        hidden_size=H,
        dtype=torch.float32,
        **{"backend": "native", **options},
    )
    return module, torch.randn(V, size, requires_grad=True)


@pytest.mark.parametrize(
    "name", ["lstm", "gru", "gru_cho", "lstm_ln", "sru", "qrnn_fo", "darts_v2", "mi_rnn"]
)
@pytest.mark.parametrize("batch_first", [False, True])
def test_tokens_equal_embedded_inputs(
    name: str, batch_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "poison", True)
    torch.manual_seed(
        0
        # layer norm of a nearly constant row has gradients that would hide an error of 1e-3
    )
    module, embedding = module_of(name, batch_first=batch_first)
    tokens = torch.randint(0, V, (B, T) if batch_first else (T, B))
    plain = module(functional.embedding(tokens, embedding))
    folded = module.run_tokens(tokens, embedding)
    assert torch.allclose(plain[0], folded[0], atol=1e-6)
    expected, got = (gradients(module, embedding, *result) for result in (plain, folded))
    assert same(expected, got)
    assert not same(expected, {**got, "embedding": got["embedding"] + 1e-3})


@pytest.mark.parametrize("name", ["lstm", "gru_cho", "lstm_ln"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, True), (3, False), (2, True)])
def test_tokens_through_layers_directions_and_lengths(
    name: str, packed: bool, layers: int, bidirectional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "poison", True)
    torch.manual_seed(0)
    module, embedding = module_of(name, num_layers=layers, bidirectional=bidirectional)
    tokens = torch.randint(0, V, (T, B))
    shape = (layers * module.directions, B, H)
    hx = tuple(torch.randn(shape) for _ in module.genome.states)
    lengths = torch.tensor([2, T, 1, 4])
    given = pack_padded_sequence(tokens, lengths, enforce_sorted=False) if packed else tokens
    if packed:
        plain, plain_states = module(
            pack_padded_sequence(
                functional.embedding(tokens, embedding), lengths, enforce_sorted=False
            ),
            hx,
        )
        folded, states = module.run_tokens(given, embedding, hx)
        plain, folded = plain.data, folded.data
    else:
        (plain, plain_states), (folded, states) = (
            module(functional.embedding(tokens, embedding), hx),
            module.run_tokens(given, embedding, hx),
        )
    # two orders of summation; a layer norm of nine units divides by a small deviation now and then
    assert torch.allclose(plain, folded, atol=5e-5 if name == "lstm_ln" else 1e-6)  # type: ignore[arg-type]
    expected = gradients(module, embedding, plain, plain_states)
    assert same(expected, gradients(module, embedding, folded, states))  # type: ignore[arg-type]
    kernel = module._choose(torch.device("cpu"), torch.float32).kernel
    assert any("tokens" in kind for kind in kernel.at(X, H).codes)  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", ["aten", "reference"])
def test_tokens_on_other_backends(backend: str) -> None:
    module, embedding = module_of("lstm", backend=backend, num_layers=2)
    tokens = torch.randint(0, V, (T, B))
    plain, folded = (
        module(functional.embedding(tokens, embedding))[0],
        module.run_tokens(tokens, embedding)[0],
    )
    assert torch.equal(plain, folded)


def test_tokens_are_really_looked_up() -> None:
    module, embedding = module_of("lstm")
    kernel = module._choose(torch.device("cpu"), torch.float32).kernel
    module.run_tokens(torch.randint(0, V, (T, B)), embedding)
    assert any("tokens" in kind for kind in kernel.at(X, H).codes)  # type: ignore[attr-defined]


def test_a_cell_that_never_reads_x_takes_tokens_too() -> None:
    genome = Genome.from_text("h[t] = tanh(linear(h[t-1]) + bias())\n")
    module = compile_cell(genome, input_size=X, hidden_size=H, backend="native")
    tokens, embedding = torch.randint(0, V, (T, B)), torch.randn(V, X)
    output, _ = module.run_tokens(tokens, embedding)
    assert torch.equal(output, module(embedding[tokens])[0])


def test_a_forward_hook_sees_the_embedded_input() -> None:
    module, embedding = module_of("lstm")
    tokens = torch.randint(0, V, (T, B))
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    module.run_tokens(tokens, embedding)
    assert torch.equal(seen[0], embedding[tokens])


def test_a_token_outside_the_embedding_is_refused() -> None:
    module, embedding = module_of("gru")
    for bad in (-1, V):
        with pytest.raises(IndexError, match="not in the embedding"):
            module.run_tokens(torch.full((T, B), bad), embedding)


def test_tokens_of_a_wrong_shape_are_refused() -> None:
    module, embedding = module_of("gru")
    with pytest.raises(ValueError, match="tokens to be 2D"):
        module.run_tokens(torch.zeros(T, dtype=torch.int64), embedding)
    with pytest.raises(RuntimeError, match="must be equal to input_size"):
        module.run_tokens(torch.zeros(T, B, dtype=torch.int64), torch.randn(V, X + 1))


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
    for expected, got in zip(
        torch.autograd.grad(3 * plain, inputs), torch.autograd.grad(3 * fused, inputs), strict=True
    ):
        assert torch.allclose(expected, got)


@pytest.mark.parametrize("vocabulary", [11, 9000])
def test_fused_loss_in_blocks_of_rows(vocabulary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that do not divide the rows give what one block gives."""
    hidden, weight = (
        torch.randn(150, 4, requires_grad=True),
        torch.randn(vocabulary, 4, requires_grad=True),
    )
    targets = torch.randint(0, vocabulary, (150,))
    whole = fused_linear_cross_entropy(hidden, weight, None, targets)
    monkeypatch.setattr("cellsearch.training.fused.LOSS_NUMBERS", 1)  # 64 rows a block
    parts = fused_linear_cross_entropy(hidden, weight, None, targets)
    assert torch.allclose(whole, parts)
    for expected, got in zip(
        torch.autograd.grad(whole, (hidden, weight)),
        torch.autograd.grad(parts, (hidden, weight)),
        strict=True,
    ):
        assert torch.allclose(expected, got, atol=1e-7)


@pytest.mark.parametrize("vocabulary", [16, 17])
def test_fused_loss_of_a_very_small_probability(vocabulary: int) -> None:
    """exp(-200) is 0 in float32, its logarithm is not."""
    hidden = torch.randn(9, 3, requires_grad=True)
    weight, bias = torch.randn(vocabulary, 3), torch.zeros(vocabulary)
    bias[-1] = -200.0
    targets = torch.full((9,), vocabulary - 1)
    plain = functional.cross_entropy(functional.linear(hidden, weight, bias), targets)
    fused = fused_linear_cross_entropy(hidden, weight, bias, targets)
    assert torch.allclose(plain, fused)
    assert float(fused.detach()) > 190
    expected, got = (torch.autograd.grad(loss, hidden)[0] for loss in (plain, fused))
    assert torch.allclose(expected, got, atol=1e-6)


def test_fused_loss_shows_nan() -> None:
    loss = fused_linear_cross_entropy(
        torch.full((3, 2), float("nan")), torch.ones(4, 2), None, torch.zeros(3, dtype=torch.int64)
    )
    assert loss.isnan()
    assert fused_linear_cross_entropy(
        torch.ones(3, 2), torch.ones(4, 2), None, torch.full((3,), -100)
    ).isnan()


def test_fused_loss_refuses_what_it_cannot_do() -> None:
    hidden, weight, targets = (
        torch.ones(3, 2, requires_grad=True),
        torch.ones(4, 2),
        torch.zeros(3, dtype=torch.int64),
    )
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(
            fused_linear_cross_entropy(hidden, weight, None, targets), hidden, create_graph=True
        )
    loss = fused_linear_cross_entropy(hidden, weight, None, targets)
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="only once"):
        loss.backward()  # type: ignore[no-untyped-call]
    with pytest.raises(IndexError, match="out of bounds"):
        fused_linear_cross_entropy(hidden, weight, None, torch.full((3,), 4))
    with pytest.raises(IndexError, match="-1 is out of bounds"):
        fused_linear_cross_entropy(hidden, weight, None, torch.full((3,), -1))
    with pytest.raises(ConfigError, match="do not fit"):
        fused_linear_cross_entropy(hidden, weight, None, targets[:2])


# -- optimizer -------------------------------------------------------------------------------------


def trained(
    optimizer: str, dtype: torch.dtype, max_norm: float | None, weight_decay: float
) -> list[Tensor]:
    """Weights after 20 steps of torch's AdamW with torch's clipping, or of FlatAdam."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)
    parameters = list(model.parameters())
    plain = (
        torch.optim.AdamW(parameters, 0.05, weight_decay=weight_decay)
        if optimizer == "torch"
        else None
    )
    flat = (
        FlatAdam(parameters, 0.05, weight_decay=weight_decay, max_norm=max_norm)
        if plain is None
        else None
    )
    x, norms = torch.randn(6, 3, dtype=dtype), []
    for k in range(20):
        model.zero_grad()
        (model(x) * 3 - 1).square().sum().backward()
        if plain is not None:
            norms.append(
                nn.utils.clip_grad_norm_(
                    parameters, max_norm if max_norm is not None else float("inf")
                )
            )
            plain.param_groups[0]["lr"] = 0.05 if k < 10 else 0.01
            plain.step()
        if flat is not None:
            flat.lr = 0.05 if k < 10 else 0.01
            norms.append(flat.step())
    assert max_norm is None or float(norms[0]) > max_norm  # clipping really clips
    return [torch.stack(norms).detach(), *(p.detach() for p in parameters)]


def distance(one: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference, relative to the size of each tensor."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_flat_adam_equals_adamw_and_clipping(
    dtype: torch.dtype, bound: float, max_norm: float | None, weight_decay: float
) -> None:
    expected = trained("torch", dtype, max_norm, weight_decay)
    assert distance(trained("flat", dtype, max_norm, weight_decay), expected) <= bound
    assert (
        distance(trained("flat", dtype, max_norm, weight_decay + 0.01), expected) > 1e3 * bound
    )  # the comparison can fail


def test_a_weight_without_gradient_counts_as_gradient_zero() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = FlatAdam([used, unused], 0.1, max_norm=1.0)
    used.square().sum().backward()  # type: ignore[no-untyped-call]
    assert optimizer.step() == pytest.approx(8**0.5)
    assert torch.equal(unused, torch.ones(3))
    assert float(used.detach().max()) < 1.0


def test_a_norm_that_is_not_finite_is_returned() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = FlatAdam([weight], 0.1, max_norm=1.0)
    weight.grad = torch.tensor([1.0, float("nan")])
    assert optimizer.clip().isnan()
    assert torch.equal(weight, torch.ones(2))  # nothing is changed before update()


@pytest.mark.parametrize("source", ["flat", "torch"])
def test_flat_adam_goes_on_from_a_state(source: str) -> None:
    """From its own, and from that of torch.optim.AdamW."""
    x, models = torch.randn(5, 3), [nn.Linear(3, 1), nn.Linear(3, 1)]

    def train(model: nn.Module, optimizer: FlatAdam | torch.optim.AdamW) -> None:
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()

    parameters = list(models[0].parameters())
    one = (
        FlatAdam(parameters, 0.1)
        if source == "flat"
        else torch.optim.AdamW(parameters, 0.1, weight_decay=0.0)
    )
    for _ in range(3):
        train(models[0], one)
    two = FlatAdam(models[1].parameters(), 0.1)
    models[1].load_state_dict(models[0].state_dict())
    two.load_state(dict(zip(two.parameters, (one.state[p] for p in parameters), strict=True)))
    for _ in range(3):
        train(models[0], one)
        train(models[1], two)
    assert torch.allclose(models[0].weight, models[1].weight, rtol=1e-6, atol=0)
    assert source == "torch" or torch.equal(models[0].weight, models[1].weight)


def test_flat_adam_says_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="no parameter"):
        FlatAdam([])
    with pytest.raises(ConfigError, match="dtype"):
        FlatAdam([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.float64))])
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))
    optimizer = FlatAdam([one, two])
    moments = {"exp_avg": torch.ones(1), "exp_avg_sq": torch.ones(1)}
    with pytest.raises(ValueError, match="different numbers of steps"):
        optimizer.load_state(
            {
                one: {"step": torch.tensor(1.0), **moments},
                two: {"step": torch.tensor(2.0), **moments},
            }
        )
    with pytest.raises(ValueError, match="has the shape"):
        optimizer.load_state({two: {"step": torch.tensor(1.0), **moments}})
    assert all(
        float(state["step"]) == 0 and not state["exp_avg"].any()
        for state in optimizer.state.values()
    )
