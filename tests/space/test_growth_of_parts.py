"""Growth opens what a space has beside ops: further inputs, turns, blocks, sizes, delays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cellsearch import Genome, SearchSpace
from cellsearch.experiment.catalog import load_space
from cellsearch.space.growth import growth_moves

PLAIN = load_space("lstm_gru")
GRU = "z = sigmoid(linear(x[t], h[t-1]))\nh[t] = blend(z, h[t-1], tanh(linear(x[t], h[t-1])))"
TURNS = "h[t] = sigmoid(linear(x[t])) * h[t-1] + linear(x[t])"
SPACES = {
    "gap": load_space("gated_time"),
    "turn": load_space("turns"),
    "blocks": load_space("heads"),
    "bottleneck": load_space("low_rank"),
    "earlier": replace(PLAIN, limits=replace(PLAIN.limits, max_delay=2)),
}
WANTED = {
    "gap": (
        GRU.replace("h[t-1]))\n", "h[t-1], dt[t]))\n"),
        GRU.replace("h[t-1]))\n", "h[t-1], mask[t]))\n"),
        GRU.replace("z, h[t-1]", "z, sigmoid(linear(dt[t])) * h[t-1]"),
    ),
    "turn": (
        TURNS.replace("* h[t-1]", "* rotate(h[t-1], linear(x[t], size=H/2))"),
        TURNS.replace("* h[t-1]", "* rotate(h[t-1], bias(size=H/2))"),
    ),
    "blocks": (
        GRU.replace("h[t-1]))\n", "1))\n").replace(
            "linear(x[t], 1)", "linear(x[t]) + linear(h[t-1], bias=False, blocks=2)"
        ),
    ),
    "bottleneck": (GRU.replace("h[t-1]))\n", "linear(h[t-1], bias=False, size=H/2)))\n"),),
    "earlier": (GRU.replace("h[t-1]))\n", "h[t-2]))\n"),),
}


def opened(space: SearchSpace, cell: Genome, name: str) -> list[Genome]:
    return [edit.genome for edit in space.growth(cell) if edit.operator == f"{name}@cell"]


@pytest.mark.parametrize("name", list(SPACES))
def test_each_part_is_opened_where_the_space_has_it_and_nowhere_else(name: str) -> None:
    space, cell = SPACES[name], Genome.from_text(TURNS if name == "turn" else GRU)
    found = opened(space, cell, name)
    assert {Genome.from_text(text).key for text in WANTED[name]} <= {g.key for g in found}
    for genome in found:
        assert space.contains(genome) is None
        assert len(genome.nodes) >= len(cell.nodes)
    assert not any(m.operator.endswith("@cell") for m in growth_moves(PLAIN, cell))


def test_no_part_is_taken_back() -> None:
    """A cell that has them all keeps them in every opening, or has more of them."""
    cut = Genome.from_text(
        "h[t] = tanh(linear(x[t]) + linear(linear(h[t-1], bias=False, size=H/2), bias=False))"
    )
    assert all("size=H/" in g.to_text() for g in opened(SPACES["bottleneck"], cut, "bottleneck"))
    blocks = Genome.from_text("h[t] = tanh(linear(x[t]) + linear(h[t-1], bias=False, blocks=4))")
    assert {"blocks=8"} == {
        part
        for g in opened(SPACES["blocks"], blocks, "blocks")
        for part in ("blocks=2", "blocks=4", "blocks=8")
        if part in g.to_text()
    }
    gap = Genome.from_text(GRU.replace("h[t-1]))\n", "h[t-1], dt[t], mask[t]))\n"))
    for genome in opened(SPACES["gap"], gap, "gap"):
        assert {"dt", "mask"} <= set(genome.inputs)


@pytest.mark.parametrize("name", list(SPACES))
def test_growth_from_the_start_comes_to_them(name: str) -> None:
    space, found = SPACES[name], set[str]()
    for seed in range(12):
        rng = np.random.default_rng([18, seed])
        cell = space.start()
        for _ in range(6):
            edit = space.extension(cell, rng)
            if edit is None:
                break
            assert space.contains(edit.genome) is None
            found.add(edit.operator)
            cell = edit.genome
    assert f"{name}@cell" in found
