"""The gradient of the output alone, where states are of several sizes: that of a final state that
nothing depends on is as wide as that state.
"""

from __future__ import annotations

import pytest
import torch

from cellsearch import Genome, compile_cell
from cellsearch.compiler.backends.native.plan import Pool

TEXTS = {
    "a wider state first": "c[t] = tanh(linear(x[t], c[t-1], size=2*H))\n"
    "h[t] = tanh(linear(c[t], h[t-1]))",
    "a wider state last": "c[t] = sigmoid(linear(x[t], h[t-1])) * c[t-1] + "
    "tanh(linear(x[t], h[t-1]))\nh[t] = tanh(linear(c[t], size=H/2))",
    "no bias, of another size": "c[t] = tanh(linear(x[t], bias=False, size=2*H) + c[t-1])\n"
    "h[t] = tanh(linear(c[t], h[t-1]))",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("hidden_size", [2, 64, 66])
@pytest.mark.parametrize("tokens", [False, True])
def test_the_gradient_of_the_output_alone(
    text: str, hidden_size: int, tokens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "poison", True)
    genome, found = Genome.from_text(text), []
    embedding = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    words = torch.randint(0, 5, (6, 4), generator=torch.Generator().manual_seed(2))
    for backend in ("reference", "native"):
        torch.manual_seed(0)
        layer = compile_cell(
            genome, input_size=3, hidden_size=hidden_size, num_layers=2, backend=backend
        )
        read = embedding.clone().requires_grad_()
        output, _ = layer.run_tokens(words, read) if tokens else layer(read[words])
        output.square().sum().backward()
        found.append([output.detach(), read.grad, *(p.grad for p in layer.parameters())])
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
