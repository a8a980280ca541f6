"""A batch without sequences, and what a module may rely on about the tensors of a call: initial
states, results, changes.
"""

from __future__ import annotations

import pytest
import torch
from support.node import WAYS, take

from cellsearch import zoo
from cellsearch.compiler.module import CellModule, compile_cell


@pytest.fixture(autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds both ways."""
    take(request.param, monkeypatch)


def module(name: str, **options: object) -> CellModule:
    return compile_cell(
        zoo.load(name),
        input_size=3,
        hidden_size=4,
        backend="native",
        dtype=torch.float32,
        **options,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", [1, 2])
def test_an_empty_batch_gives_what_torch_gives(layers: int) -> None:
    own, other = module("lstm", num_layers=layers), torch.nn.LSTM(3, 4, num_layers=layers)
    for _ in range(2):
        results = []
        for net in (own, other):
            x = torch.zeros(5, 0, 3, requires_grad=True)
            output, states = net(x)
            (output.sum() + sum(state.sum() for state in states)).backward()
            results.append((output, states, x.grad))
            assert all(
                parameter.grad is not None and not parameter.grad.any()
                for parameter in net.parameters()
            )
        (output, states, d_x), (expected, expected_states, expected_d_x) = results
        assert output.shape == expected.shape == (5, 0, 4)
        assert [state.shape for state in states] == [state.shape for state in expected_states]
        assert d_x is not None
        assert expected_d_x is not None
        assert d_x.shape == expected_d_x.shape
        with torch.no_grad():
            assert own(torch.zeros(2, 0, 3))[0].shape == (2, 0, 4)


def test_an_empty_batch_of_tokens() -> None:
    own = module("gru")
    output, state = own.run_tokens(torch.zeros(5, 0, dtype=torch.int64), torch.randn(7, 3))
    assert output.shape == (5, 0, 4)
    assert isinstance(state, torch.Tensor)
    assert state.shape == (1, 0, 4)


def test_initial_states_stay_what_they_are() -> None:
    """They are used again in the next call, so what a caller does to the final states must not
    reach them.
    """
    own = module("lstm")
    x = torch.randn(1, 2, 3)
    with torch.inference_mode():
        expected = own(x)[0].clone()
    for _ in range(3):
        output, states = own(x)
        output.sum().backward()
        assert torch.allclose(output, expected, atol=1e-6)
        for state in states:
            state.data.fill_(7.0)


@pytest.mark.parametrize("change", ["x", "weight", "state", "output"])
def test_a_change_before_backward_is_noticed(change: str) -> None:
    own = module("lstm")
    x, states = torch.randn(5, 2, 3), tuple(torch.rand(1, 2, 4) for _ in range(2))
    output, _ = own(x, states)
    changed = {"x": x, "weight": next(own.parameters()), "state": states[1], "output": output}[
        change
    ]
    loss = output.sum()
    with torch.no_grad():
        changed.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_exchanged_memory_is_refused() -> None:
    own = module("gru")
    output, _ = own(torch.randn(5, 2, 3))
    weight = next(own.parameters())
    weight.data = torch.zeros_like(weight)
    with pytest.raises(RuntimeError, match="exchanged between forward and backward"):
        output.sum().backward()


def test_results_share_no_memory() -> None:
    """Each result stands for itself: one that is kept, stored or changed concerns no other."""
    own = module("lstm")
    output, states = own(torch.randn(5, 2, 3))
    assert len({tensor.untyped_storage().data_ptr() for tensor in (output, *states)}) == 3
    assert not any(tensor._is_view() for tensor in (output, *states))
    assert states[0].untyped_storage().nbytes() == 4 * states[0].numel()
    states[1].mul_(2.0)
    output.sum().backward()
