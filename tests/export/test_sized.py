"""Exported source of cells with sizes, blocks and heads: what compiled layers compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cellsearch.compiler.module import compile_cell
from cellsearch.errors import ConfigError
from cellsearch.export.source import to_source
from cellsearch.genome import Genome
from tests.genome.test_shapes import HEADS, LOW_RANK, LSTMP

CELLS = {
    "lstmp": (LSTMP, {"P": 3}),
    "lstmp, fraction": (LSTMP, {"P": "H/2"}),
    "heads": (HEADS, {}),
    "one head": (HEADS.replace(", 4)\n", ", 1)\n"), {}),
    "low rank": (LOW_RANK, {}),
    "wide": ("h[t] = linear(silu(linear(x[t], h[t-1], size=3*H/2, blocks=2)), blocks=4)", {}),
    "names": (
        "_blocks = linear(x[t], h[t-1], blocks=2)\nh[t] = tanh(linear(_blocks, blocks=4))",
        {},
    ),
    "a number is put out": ("h[t] = tanh(linear(x[t], h[t-1], size=P))\ny[t] = 2", {"P": 5}),
}


def exported(name: str, folder: Path | None = None, **arguments):
    text, sizes = CELLS[name]
    source = to_source(
        Genome.from_text(text), input_size=4, hidden_size=8, sizes=sizes, **arguments
    )
    path = "exported.py" if folder is None else str(folder / "exported.py")
    if folder is not None:
        Path(path).write_text(source, encoding="utf-8")  # torch.jit.script reads it
    space: dict[str, type] = {"__name__": "exported"}
    exec(compile(source, path, "exec"), space)
    return source, space["Recurrent"]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_source_computes_what_the_layer_does(name: str, bidirectional: bool) -> None:
    text, sizes = CELLS[name]
    torch.manual_seed(2)
    options = {"num_layers": 2, "bidirectional": bidirectional}
    layer = compile_cell(
        Genome.from_text(text), input_size=4, hidden_size=8, sizes=sizes, **options
    ).double()
    _, kind = exported(name, **options)
    copy = kind().double()
    copy.load_state_dict(layer.state_dict())
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    for given in (x, torch.nn.utils.rnn.pack_padded_sequence(x, [6, 4, 1]), x[:, 0]):
        output, states = layer(given)
        mine, own = copy(given)
        torch.testing.assert_close(_data(mine), _data(output), rtol=1e-12, atol=1e-13)
        for a, b in zip(_tuple(own), _tuple(states), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(_data(copy(given, own)[0]), _data(layer(given, states)[0]))
    assert copy.proj_size == layer.proj_size


def _data(output):
    return output.data if isinstance(output, torch.nn.utils.rnn.PackedSequence) else output


def _tuple(states):
    return (states,) if isinstance(states, torch.Tensor) else states


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_blocks_and_heads_are_scripted_and_other_sizes_say_that_they_are_not(
    tmp_path: Path,
) -> None:
    _, kind = exported("heads", tmp_path)
    layer = kind()
    x = torch.randn(3, 2, 4)
    torch.testing.assert_close(torch.jit.script(layer)(x)[0], layer(x)[0])
    with pytest.raises(RuntimeError, match="states of several sizes"):
        torch.jit.script(exported("lstmp")[1]())


def test_wrong_states_and_unbound_sizes_are_refused() -> None:
    _, kind = exported("lstmp")
    with pytest.raises(RuntimeError, match="of sizes"):
        kind()(torch.randn(3, 2, 4), (torch.zeros(1, 2, 8), torch.zeros(1, 2, 8)))
    with pytest.raises(ConfigError, match="P, which is not bound"):
        to_source(Genome.from_text(LSTMP))
