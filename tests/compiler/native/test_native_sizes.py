"""Sizes and blocks on the native backend: outputs, final states and all gradients are those of the
reference, at ugly sizes.
"""

from __future__ import annotations

import pytest
import torch

from cellsearch.compiler.backends.native.build import library
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.lower import lower
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.compiler.simplify import simplify_program
from cellsearch.genome import Genome
from tests.genome.test_shapes import HEADS, LOW_RANK, LSTMP

CELLS = {
    "lstmp": (LSTMP, {"P": 3}),
    "low rank": (LOW_RANK, {}),
    "wide": ("h[t] = linear(silu(linear(x[t], h[t-1], size=2*H)))", {}),
    "a number is put out": ("h[t] = tanh(linear(x[t], h[t-1], size=P))\ny[t] = 2", {"P": 5}),
    "nothing is H wide": ("h[t] = tanh(linear(x[t], h[t-1], size=P))", {"P": 5}),
    "mixed": (
        "a[t] = tanh(linear(x[t], h[t-1], size=P) + bias(size=P))\n"
        "h[t] = sigmoid(linear(a[t], x[t], a[t-1])) * h[t-1] + linear(layer_norm(a[t-1]))",
        {"P": 7},
    ),
    "gaps": ("h[t] = exp(-dt[t]) * tanh(linear(x[t], h[t-1], dt[t], size=P))", {"P": 7}),
    "blocks": ("h[t] = tanh(linear(x[t]) + linear(h[t-1], bias=False, blocks=4))", {}),
    "blocks of a size": (
        "h[t] = tanh(linear(x[t]) + linear(linear(h[t-1], size=P), blocks=2))",
        {"P": 6},
    ),
    "blocks of the input": (
        "h[t] = linear(linear(x[t], size=H), blocks=2) + 0.5 * linear(h[t-1], blocks=4)",
        {},
    ),
    "gates in blocks": (
        "f = sigmoid(linear(x[t]) + linear(h[t-1], bias=False, blocks=4))\n"
        "g = tanh(linear(f * h[t-1], blocks=2) + linear(h[t-1], bias=False))\n"
        "h[t] = f * h[t-1] + linear(g, blocks=4)",
        {},
    ),
}


def results(module: CellModule, shape: tuple[int, int, int], packed: bool) -> list[torch.Tensor]:
    """Output, final states, the output without gradients, and all gradients."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    given: object = x
    options = {}
    if packed:
        lengths = sorted((k % shape[0] + 1 for k in range(shape[1])), reverse=True)
        given = torch.nn.utils.rnn.pack_padded_sequence(x, lengths)
    else:
        options["reset"] = torch.arange(shape[0])[:, None].expand(shape[:2]) == 2
        if "dt" in module.genome.inputs:
            options["dt"] = torch.linspace(0.1, 2, shape[0] * shape[1]).view(shape[:2])
    output, states = module(given, **options)
    output = output.data if packed else output
    states = (states,) if isinstance(states, torch.Tensor) else states
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    loss = (output * weights).sum() + sum((state * state).sum() for state in states)
    module.zero_grad()
    loss.backward()
    with torch.no_grad():
        alone = module(given, **options)[0]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]
    return [output, *states, alone.data if packed else alone, x.grad, *gradients]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    ("hidden", "input_size", "batch", "steps"),
    [(4, 1, 1, 1), (8, 3, 3, 6), (64, 63, 5, 3), (12, 12, 2, 4)],
)
@pytest.mark.parametrize("packed", [False, True])
def test_native_computes_what_the_reference_does(
    name: str, hidden: int, input_size: int, batch: int, steps: int, packed: bool
) -> None:
    text, sizes = CELLS[name]
    made = [
        compile_cell(
            Genome.from_text(text), input_size, hidden, 2,
            sizes=sizes, bidirectional=True, backend=backend,
        )
        for backend in ("reference", "native")
    ]  # fmt: skip
    made[1].load_state_dict(made[0].state_dict())
    expected, found = (results(m, (steps, batch, input_size), packed) for m in made)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(
            a, b, rtol=2e-5, atol=2e-6 * max(1.0, float(b.detach().abs().max()))
        )


@pytest.mark.parametrize("size", ["H/2", "2*H"])
def test_final_states_that_nothing_depends_on_may_be_of_several_sizes(size: str) -> None:
    """The zeros that stand for their gradients are as wide as the widest of them."""
    genome = Genome.from_text(
        f"h[t] = linear(c[t-1], size={size})\n"
        "c[t] = tanh(linear(x[t], h[t-1], size=H)) + 0.9 * c[t-1]"
    )
    gradients: list[list[torch.Tensor | None]] = []
    made = [compile_cell(genome, 3, 8, backend=backend) for backend in ("reference", "native")]
    made[1].load_state_dict(made[0].state_dict())
    for module in made:
        x = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
        module(x)[0].sin().sum().backward()
        gradients.append([x.grad, *(p.grad for p in module.parameters())])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=2e-5, atol=2e-6)
    kernel = NativeKernel(simplify_program(lower(genome)), library())
    assert kernel.at(3, 8).plan("backward", 5, 4, packed=False).zeros.numel() >= 4 * max(
        kernel.at(3, 8).state_sizes
    )


def test_one_kernel_serves_several_sizes_of_one_name() -> None:
    genome = Genome.from_text(LSTMP)
    for size in (1, 5, 65):
        layer = compile_cell(genome, 3, 6, sizes={"P": size}, backend="native")
        assert layer(torch.randn(4, 2, 3))[0].shape == (4, 2, size)


def test_heads_and_turns_run_here_and_auto_takes_them() -> None:
    for text in (HEADS, LSTMP, "h[t] = rotate(h[t-1], bias(size=H/2)) + linear(x[t])"):
        layer = compile_cell(Genome.from_text(text), 4, 8, sizes={"P": 3} if "=P" in text else None)
        assert layer.backend_report()["native"] == "taken"
