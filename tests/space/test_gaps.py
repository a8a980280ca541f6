"""Spaces whose cells may read the time between steps and the mask."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cellsearch import Genome, SearchSpace, compile_cell, zoo
from cellsearch.errors import SpaceError
from cellsearch.experiment.catalog import load_space
from cellsearch.genome.identity import search_key

SPACE = load_space("gated_time")
PLAIN = load_space("lstm_gru")


def test_the_shipped_space_holds_cells_of_gaps_and_others_do_not() -> None:
    for name in ("lstm", "gru", "gru_dh", "cfc"):
        assert SPACE.contains(zoo.load(name)) is None, name
    found = PLAIN.contains(zoo.load("cfc"))
    assert found is not None
    assert str(found) == "dt_t: dt[t] is read (allowed: x)"
    plain = replace(SPACE, seeds={})  # two of the seeds read the time
    only = SearchSpace.from_toml(plain.to_toml().replace(', "dt"', ""))
    assert str(only.contains(zoo.load("gru_dh"))) == "dt_t: dt[t] is read (allowed: x, mask)"


def test_samples_mutants_and_children_read_them_and_are_legal() -> None:
    read: Counter[str] = Counter()
    before = None
    for seed in range(40):
        rng = np.random.default_rng([18, seed])
        cell = SPACE.sample(rng)
        mutant = SPACE.mutate(cell, rng)
        child = mutant if before is None else SPACE.crossover(before, mutant, rng)
        before = cell
        for genome in (cell, mutant, child):
            assert SPACE.contains(genome) is None
            assert Genome.from_text(genome.to_text()).key == genome.key
            read.update(genome.inputs)
    assert read["dt"] > 60
    assert read["mask"] > 40
    compile_cell(cell, input_size=3, hidden_size=4)


def test_a_gap_comes_and_goes() -> None:
    gru = zoo.load("gru_cho")
    found = {}
    for seed in range(60):
        edit = SPACE.mutation(gru, np.random.default_rng(seed), {"gap": 1.0})
        assert edit.operator == "gap"
        found[search_key(edit.genome)] = edit.genome
    assert {genome.inputs for genome in found.values()} == {("x", "dt"), ("x", "mask")}
    decays = [g for g in found.values() if "linear(dt[t])" in g.to_text()]
    assert decays, "a state never decays with the time"
    back = {
        search_key(SPACE.mutate(genome, np.random.default_rng(seed), {"gap": 1.0}))
        for seed, genome in enumerate([g for g in found.values() if g not in decays] * 8)
    }
    assert search_key(gru.simplify()) in back, "an input that was added never goes again"
    assert "gap" not in PLAIN.operators()


def test_every_neighbour_and_pruning_of_a_cell_of_gaps_is_legal() -> None:
    cell = Genome.from_text(
        "g = sigmoid(linear(dt[t]))\n"
        "z = sigmoid(linear(x[t], h[t-1], mask[t]))\n"
        "h[t] = blend(z, g * h[t-1], tanh(linear(x[t], h[t-1], dt[t])))"
    )
    assert SPACE.contains(cell) is None
    for genome in (*SPACE.neighbours(cell), *SPACE.prunings(cell)):
        assert SPACE.contains(genome) is None
    assert any(g.inputs == ("x", "dt") for g in SPACE.prunings(cell))
    assert SPACE.extensions(cell)


def test_the_table_comes_back_and_says_what_is_wrong() -> None:
    assert SearchSpace.from_toml(SPACE.to_toml()).to_toml() == SPACE.to_toml()
    assert "inputs" not in PLAIN.to_toml()
    for wrong in ('["dt"]', '["x", "mask", "dt"]', '["x", "time"]', "[]"):
        text = SPACE.to_toml().replace('["x", "dt", "mask"]', wrong)
        with pytest.raises(SpaceError, match="is not what a cell may read"):
            SearchSpace.from_toml(text)
