"""``torch.jit.script`` and ``torch.compile`` of the exported source."""

from __future__ import annotations

import importlib
import io
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.cells import cells_of_x
from torch import Tensor, nn

from cellsearch import zoo
from cellsearch.compiler.module import compile_cell
from cellsearch.errors import GenomeError
from cellsearch.export.source import PRECISIONS, Precision, to_source
from cellsearch.export.weights import in_precision
from cellsearch.genome.graph import Genome

CELLS = {
    "numbers": "h[t] = max(tanh(linear(x[t], h[t-1], 0.5)), 0.25) + 2",
    "fixed states": "h[t] = tanh(linear(x[t], c[t-1]))\nc[t] = 1.5\nm[0] = -1e30\n"
    "m[t] = max(m[t-1], h[t-1])\ny[t] = m[t] * c[t-1]",
}
NUMBERS = itertools.count()
"""Of modules, so that none is another test's."""


@pytest.fixture(autouse=True)
def _deprecated() -> Iterator[None]:
    """torch 2.13 says that TorchScript will go; exported files do not need it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        yield


@pytest.fixture
def exported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What makes a layer from a file, because scripts read the source of what they compile."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(genome: Genome, precision: Precision = "float32", **sizes: Any) -> nn.Module:
        cell = compile_cell(genome, 4, 4, backend="reference", **sizes)
        name = f"cellsearch_script_{next(NUMBERS)}"
        source = to_source(genome, input_size=4, hidden_size=4, precision=precision, **sizes)
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        layer: nn.Module = importlib.import_module(name).Recurrent()
        layer.load_state_dict(in_precision(genome, cell.state_dict(), precision))
        return layer.eval()

    return make


def leaves(tree: Any) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(tree)


def equal(a: Any, b: Any) -> bool:
    return all(
        x.shape == y.shape and x.dtype == y.dtype and torch.equal(x, y)
        for x, y in zip(leaves(a), leaves(b), strict=True)
    )


def calls(layer: Any, states: int, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    """Arguments: with and without a batch, with and without states."""
    torch.manual_seed(7)
    for shape in ((5, 3, 4), (1, 1, 4), (6, 4)):
        x = torch.randn(shape).to(dtype)
        batch = [] if len(shape) == 2 else [shape[0] if layer.batch_first else shape[1]]
        rows = layer.num_layers * layer.directions
        hx = tuple(torch.rand(rows, *batch, 4).to(dtype) for _ in range(states))
        yield (x,)
        yield x, hx if states > 1 else hx[0]


def check(layer: Any, genome: Genome, dtype: torch.dtype = torch.float32) -> None:
    """The script, written and read, gives what the layer gives."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(layer), buffer)
    buffer.seek(0)
    script = torch.jit.load(buffer)
    assert list(script.state_dict()) == list(layer.state_dict())
    with torch.no_grad():
        for arguments in calls(layer, len(genome.states), dtype):
            assert equal(script(*arguments), layer(*arguments)), arguments[0].shape


@pytest.mark.parametrize(
    ("name", "precision", "options"),
    [
        ("lstm", "float32", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
        ("fixed states", "float32", {}),
        *(
            pytest.param(name, precision, {"num_layers": 2}, marks=pytest.mark.slow)
            for name in ("numbers", "gru", "slstm")
            for precision in PRECISIONS
        ),
    ],
)
def test_a_script_is_the_layer(
    exported: Any, name: str, precision: Precision, options: dict[str, Any]
) -> None:
    genome = Genome.from_text(CELLS[name]) if name in CELLS else zoo.load(name)
    half = precision in ("float16", "bfloat16")
    layer = exported(genome, precision, **options)
    check(layer, genome, getattr(torch, precision) if half else torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_every_cell_of_the_zoo(exported: Any, part: int) -> None:
    names = cells_of_x()[part::8]
    assert names
    for name in names:
        genome = zoo.load(name)
        try:
            layer = exported(genome, num_layers=2, bidirectional=True)
        except GenomeError:  # x meets a state: both are as wide, in one layer
            layer = exported(genome, bidirectional=True)
        check(layer, genome)


def test_a_script_within_a_model_and_what_it_refuses(exported: Any) -> None:
    class Model(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0] * 2

    layer = exported(zoo.load("gru"), num_layers=2, dropout=0.5)
    model = Model(layer)
    x = torch.randn(3, 2, 4)
    script = torch.jit.script(model)
    assert model.layer is layer
    assert equal(script(x), model(x))
    assert not torch.equal(script.train()(x), script(x))  # dropout
    scripted = torch.jit.script(layer)
    with pytest.raises(Exception, match="Expected 1 hidden state"):
        scripted(x, torch.zeros(1, 2, 4))
    with pytest.raises(Exception, match="2D or 3D"):
        scripted(x[0, 0])
    with pytest.raises(RuntimeError, match="nodes are called training"):
        torch.jit.script(
            exported(Genome.from_text("training = linear(x[t])\nh[t] = training + h[t-1]"))
        )
    assert not equal(x, x + 1)
    assert not equal(x, x.double())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("lstm", {"num_layers": 2, "bidirectional": True}), ("slstm", {})]
)
def test_the_graph_of_torch_compile_is_whole(
    exported: Any, name: str, options: dict[str, Any]
) -> None:
    genome = zoo.load(name)
    layer = exported(genome, **options)
    torch.compiler.reset()
    fast = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for arguments in itertools.islice(calls(layer, len(genome.states), torch.float32), 2):
        for found, expected in zip(
            leaves(fast(*arguments)), leaves(layer(*arguments)), strict=True
        ):
            assert torch.allclose(found, expected, atol=1e-6)
