"""Packages of cells with times, masks, resets, sizes, blocks and input projections: the fast class
equals the plain one and the compiled layer.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from export.test_package import write
from support.cells import beside
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from cellsearch import Genome, compile_cell, zoo
from cellsearch.errors import ConfigError
from cellsearch.genome.parameters import requires_square, size_names

TIMED = ("gru_d", "gru_dh", "cfc", "ltc", "time_lstm")
SIZED = ("lru", "rotrnn", "lstmp", "fastgrnn_low_rank")
CUT = ("slstm_heads", "gru_dreamer")
ELEMENTWISE = """
z = sigmoid(linear(x[t], h[t-1]))
h[t] = blend(z, h[t-1], tanh(x[t] + linear(h[t-1])))
"""
SIZES = (5, 3, 8)
"""T, B, and I = H, which the blocks divide."""
Write = Callable[..., ModuleType]


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes the package of a cell and imports it."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(genome: Genome, **options: Any) -> ModuleType:
        write(tmp_path, "packaged", genome, **options)
        return importlib.import_module("packaged")

    yield make
    for module in [name for name in sys.modules if name.partition(".")[0] == "packaged"]:
        del sys.modules[module]


def named(genome: Genome) -> dict[str, int | str]:
    return dict.fromkeys(size_names(genome), "H/2")


def results(
    layer: Any, x: Tensor, hx: Any, given: dict[str, Tensor], lengths: list[int]
) -> dict[str, Tensor]:
    """Output, states and all gradients by name; packed where there are lengths."""
    leaf = x.clone().requires_grad_()
    packed = {name: laid_out(value, lengths) for name, value in given.items()}
    output, states = layer(laid_out(leaf, lengths), hx, **packed)
    output = output.data if lengths else output
    found = [output, *([states] if isinstance(states, Tensor) else states)]
    generator = torch.Generator().manual_seed(7)
    loss = sum((v * torch.randn(v.shape, generator=generator)).sum() for v in found)
    wanted = {"x": leaf, **dict(layer.named_parameters())}
    total = torch.as_tensor(loss)
    gradients = torch.autograd.grad(total, [*wanted.values()], materialize_grads=True)
    numbered = {str(k): value for k, value in enumerate(found)}
    return {**numbered, **dict(zip(wanted, gradients, strict=True))}


def laid_out(value: Tensor, lengths: list[int]) -> Any:
    """Packed where there are lengths."""
    if not lengths:
        return value
    return pack_padded_sequence(value, torch.tensor(lengths), enforce_sorted=False)


def check(package: ModuleType, genome: Genome, width: int = SIZES[2], **options: Any) -> None:
    """The fast class beside the compiled layer, with and without a reset, packed and not."""
    steps, rows, hidden = SIZES
    square = requires_square(genome) and not options.get("project_input")
    shape = {"num_layers": 1 if square else 2, "bidirectional": True}
    torch.manual_seed(0)
    own = compile_cell(
        genome, width, hidden, backend="reference", sizes=named(genome), **shape, **options
    )
    fast = package.Recurrent(width, hidden, **shape)
    fast.load_state_dict(own.state_dict())
    x = torch.randn(steps, rows, width)
    states = [torch.rand(len(own.all_weights), rows, size) for size in own.state_sizes]
    hx = states[0] if len(states) == 1 else tuple(states)
    given = beside(genome, x)
    reset = torch.rand(steps, rows) > 0.6
    reset[0] = torch.arange(rows) % 2 == 0  # a backward direction must not read these
    fresh = {**given, "reset": reset} if "reset" in taken(fast) else given
    for lengths in ([], [3, 5, 1]):
        for more in (given, fresh):
            found, expected = (results(layer, x, hx, more, lengths) for layer in (fast, own))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def taken(layer: Any) -> set[str]:
    from inspect import signature

    return set(signature(layer.forward).parameters)


@pytest.mark.parametrize("name", [*TIMED, *SIZED, *CUT])
def test_a_package_is_the_compiled_layer(name: str, packaged: Write) -> None:
    genome = zoo.load(name)
    check(packaged(genome, sizes=named(genome)), genome)


@pytest.mark.parametrize("name", ["lstm", "lstmp", "gru_dreamer"])
def test_a_cell_of_x_alone_takes_resets_where_they_are_asked_for(
    name: str, packaged: Write
) -> None:
    genome = zoo.load(name)
    package = packaged(genome, sizes=named(genome), resets=True)
    check(package, genome)
    layer, x = package.Recurrent(4, 8), torch.randn(4, 2, 4)
    fresh = torch.zeros(4, 2, dtype=torch.bool)
    assert torch.equal(layer(x)[0], layer(x, reset=fresh)[0])
    fresh[2] = True
    assert torch.equal(layer(x, reset=fresh)[0][2:], layer(x[2:])[0])


def test_every_state_of_a_reset_has_its_own_start(packaged: Write) -> None:
    text = "h[t] = tanh(linear(x[t], h[t-1], p[t-1]))\np[t] = linear(h[t], size=H/2)"
    genome = Genome.from_text(text + "\nh[0] = 0.5\np[0] = -2")
    assert [state.initial for state in genome.states] == [0.5, -2.0]
    check(packaged(genome, resets=True), genome)


WRONG = {
    "no resets": ('given["reset"].any()', "False"),
    "a reset of the first step": ('first=base == "dt"', "first=True"),
    "a mask backwards": ('base == "mask"', "not base"),
    "times forwards": (" if backwards else value\n        found", "\n        found"),
}
"""Lines of fast.py, and what they might be by mistake."""


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_with_what_is_given_is_found(
    mistake: str, packaged: Write, tmp_path: Path
) -> None:
    genome = zoo.load("gru_dh")
    write(tmp_path, "packaged", genome)
    old, new = WRONG[mistake]
    path = tmp_path / "packaged" / "fast.py"
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises((AssertionError, RuntimeError)):
        check(importlib.import_module("packaged"), genome)


@pytest.mark.parametrize("text", [ELEMENTWISE, zoo.load("mingru_conv").to_text()])
@pytest.mark.parametrize("width", [5, 8])
def test_a_package_projects_its_input(text: str, width: int, packaged: Write) -> None:
    genome = Genome.from_text(text)
    check(packaged(genome, project_input=True), genome, width, project_input=True)


def test_a_gradient_of_a_time_is_that_of_the_plain_class(packaged: Write) -> None:
    package = packaged(zoo.load("cfc"))
    fast, plain = package.Recurrent(8, 8), package.plain.Recurrent(8, 8)
    plain.load_state_dict(fast.state_dict())
    x, dt = torch.randn(5, 2, 8), (torch.rand(5, 2) + 0.2).requires_grad_()
    found = [torch.autograd.grad(layer(x, dt=dt)[0].sum(), dt)[0] for layer in (fast, plain)]
    assert torch.equal(*found)
    assert found[0].abs().max() > 0


def test_masks_and_projections_do_not_go_together(packaged: Write) -> None:
    text = "m = mask[t] * x[t]\nh[t] = tanh(m + linear(h[t-1]))"
    with pytest.raises(ConfigError, match="x cannot be projected"):
        packaged(Genome.from_text(text), project_input=True)
