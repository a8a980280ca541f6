"""Spaces whose cells have blocks and bottlenecks."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from cellsearch import Genome, load_space
from cellsearch.compiler.module import compile_cell
from cellsearch.errors import SpaceError
from cellsearch.genome.identity import search_key
from cellsearch.space import SearchSpace

HEADS, LOW_RANK = load_space("heads"), load_space("low_rank")
BOTH = HEADS.constrained({"max_bottleneck": 4})
DENSE = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")


def keys(space: SearchSpace, text: str, operator: str, tries: int = 60) -> set[str]:
    rng = np.random.default_rng(3)
    genome = Genome.from_text(text)
    return {search_key(space.mutate(genome, rng, {operator: 1.0})) for _ in range(tries)}


def key(text: str) -> str:
    return search_key(Genome.from_text(text))


@pytest.mark.parametrize("space", [HEADS, LOW_RANK, BOTH], ids=lambda space: space.name)
def test_what_a_space_makes_is_legal_and_is_built(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    cells = [space.sample(rng) for _ in range(40)]
    for k in range(80):
        cells.append(space.mutate(cells[k], rng))
    crossed = []
    for k in range(20):
        with suppress(SpaceError):  # two cells need not have anything to exchange
            crossed.append(space.crossover(cells[k], cells[39 - k], rng))
    assert len(crossed) > 10
    cells += crossed
    assert all(space.contains(cell) is None for cell in cells)
    sizes = {node.size for cell in cells for node in cell.nodes}
    blocks = {
        node.parts for cell in cells for node in cell.nodes if node.attrs and node.op != "const"
    }
    assert (len(blocks) > 1) == (space.limits.max_blocks > 1)
    assert (len(sizes) > 1) == (space.limits.max_bottleneck > 1)
    for cell in cells[:40]:
        compile_cell(cell, 3, 16, backend="reference")


def test_blocks_are_doubled_halved_and_split_off() -> None:
    dense = "h[t] = tanh(linear(x[t], h[t-1]))"
    assert keys(HEADS, dense, "blocks") == {
        key("h[t] = tanh(linear(x[t]) + linear(h[t-1], blocks=2))")
    }
    two = "h[t] = tanh(linear(x[t]) + linear(h[t-1], bias=False, blocks=%d))"
    assert keys(HEADS, two % 2, "blocks") == {key(two % 4), key(dense)}
    assert keys(HEADS, two % 8, "blocks") == {key(two % 4)}
    norm = "h[t] = head_norm(linear(x[t], bias=False) + diag(h[t-1]), %d)"
    assert key(norm % 4) in keys(HEADS, norm % 2, "blocks")


def test_a_bottleneck_is_put_in_narrowed_widened_and_taken_out() -> None:
    rank = "h[t] = tanh(linear(x[t], linear(h[t-1], bias=False, size=%s)))"
    assert keys(LOW_RANK, DENSE.to_text(), "bottleneck") == {key(rank % "H/2")}
    assert keys(LOW_RANK, rank % "H/2", "bottleneck") == {key(rank % "H/4"), DENSE.key}
    assert keys(LOW_RANK, rank % "H/8", "bottleneck") == {key(rank % "H/4")}


def test_other_spaces_have_neither_and_refuse_both() -> None:
    plain = load_space("lstm_gru")
    assert not {"blocks", "bottleneck"} & set(plain.operators())
    assert {"blocks", "bottleneck"} <= set(BOTH.operators())
    blocks = Genome.from_text("h[t] = tanh(linear(x[t]) + linear(h[t-1], blocks=4))")
    assert "4 blocks" in str(plain.contains(blocks))
    assert HEADS.contains(blocks) is None
    narrow = Genome.from_text("h[t] = tanh(linear(x[t], linear(h[t-1], size=H/4)))")
    assert "the size H/4" in str(plain.contains(narrow))
    assert LOW_RANK.contains(narrow) is None
    for size in ("P", "H/16", "2*H", "3*H/4"):
        other = Genome.from_text(f"h[t] = tanh(linear(x[t], linear(h[t-1], size={size})))")
        assert f"the size {size}" in str(LOW_RANK.contains(other))
    x = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1], blocks=2))")
    assert "x in blocks" in str(HEADS.contains(x))


def test_blocks_that_do_not_divide_the_size_are_not_in_the_space() -> None:
    odd = HEADS.constrained({"hidden_size": 66})
    cell = Genome.from_text("h[t] = tanh(linear(x[t]) + linear(h[t-1], blocks=4))")
    assert "4 blocks do not divide H = 66" in str(odd.contains(cell))
