"""Cells that read the time between steps and what was observed: every form, and what is
wrong.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from cellsearch import Genome
from cellsearch.errors import CellSyntaxError, GenomeError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import State
from cellsearch.genome.identity import canonical_form, search_key
from cellsearch.genome.json import schema
from cellsearch.space.draft import Draft
from cellsearch.testing.genomes import SMOOTH_OPS, random_genome, rewritten

GRU_D = """\
g = exp(-relu(linear(dt[t])))
p = g * h[t-1]
z = sigmoid(linear(x[t], p, mask[t]))
r = sigmoid(linear(x[t], p, mask[t]))
h[t] = blend(z, p, tanh(linear(x[t], r * p, mask[t])))
"""
EVERY = (("x", "dt"), ("x", "mask"), ("x", "dt", "mask"))


def test_inputs_labels_and_weights() -> None:
    genome = Genome.from_text(GRU_D)
    assert genome.inputs == ("x", "dt", "mask")
    assert genome.labels[:4] == ("x_t", "dt_t", "mask_t", "h_<t-1>")
    shapes = {spec.name: spec.sizes(5, 7) for spec in genome.parameters}
    assert shapes["g.weight_dt"] == (7, 1)
    assert shapes["z.weight_mask"] == (7, 5)
    assert shapes["z.weight_p"] == (7, 7)


@pytest.mark.parametrize("seed", range(60))
def test_every_form_comes_back(seed: int) -> None:
    genome = random_genome(np.random.default_rng([1, seed]), inputs=EVERY[seed % 3])
    assert genome.inputs == EVERY[seed % 3]
    assert Genome.from_text(genome.to_text()) == genome
    assert Genome.from_json(genome.to_json()) == genome
    assert Genome.from_networkx(genome.to_networkx()) == genome
    assert canonical_form(genome).key == genome.key
    assert search_key(genome.simplify()) == search_key(genome)


def test_an_open_cell_keeps_its_inputs() -> None:
    genome = Genome.from_text(GRU_D)
    assert Draft.of(genome).build() == genome


@pytest.mark.parametrize("seed", range(60))
def test_identity_sees_through_another_way_of_writing(seed: int) -> None:
    rng = np.random.default_rng([2, seed])
    genome = random_genome(rng, inputs=EVERY[seed % 3])
    assert rewritten(genome, rng).key == genome.key


def test_inputs_differ_from_one_another() -> None:
    cells = [f"h[t] = tanh(linear(x[t], h[t-1], {more}))" for more in ("dt[t]", "mask[t]", "x[t]")]
    keys = {search_key(Genome.from_text(text)) for text in cells}
    assert len(keys) == 3


def test_an_input_that_only_dead_nodes_read_does_not_matter() -> None:
    plain = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
    dead = Genome.from_text("d = exp(dt[t])\nh[t] = tanh(linear(x[t], h[t-1]))")
    assert dead.inputs == ("x", "dt")
    assert dead.key == plain.key
    assert search_key(dead) == search_key(plain)
    assert dead.simplify().inputs == ("x",)


def test_the_format_is_the_lowest_that_has_what_is_used() -> None:
    plain = json.loads(Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))").to_json())
    wide = json.loads(Genome.from_text(GRU_D).to_json())
    assert (plain["format"], wide["format"]) == (1, 2)
    assert schema()["properties"]["format"]["enum"] == [1, 2]
    assert Genome.from_json({**plain, "format": 2}).key == Genome.from_json(plain).key
    with pytest.raises(CellSyntaxError, match="format 1 does not have what this cell uses"):
        Genome.from_json({**wide, "format": 1})
    with pytest.raises(CellSyntaxError, match="this version reads format 1 and 2"):
        Genome.from_json({**wide, "format": 3})


def test_a_name_that_a_cell_assigns_is_its_own() -> None:
    state = Genome.from_text("mask[t] = tanh(linear(x[t], mask[t-1]))")
    assert state.inputs == ("x",)
    node = Genome.from_text("dt = sigmoid(linear(x[t]))\nh[t] = dt * h[t-1]")
    assert node.inputs == ("x",)
    output = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))\nmask[t] = h[t] * 2")
    assert output.inputs == ("x",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h[t] = linear(dt, h[t-1])", "dt is read without a step"),
        ("h[t] = linear(mask_t, h[t-1])", "mask_t is not known here"),
        ("h[t] = linear(dt(t), h[t-1])", "unknown op dt"),
        ("dt = linear(x[t])\nh[t] = linear(dt[t], h[t-1], dt)", "read before it is assigned"),
        ("h[t] = linear(mask[t], h[t-1])\nmask[t] = h[t]", "read before it is assigned"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(CellSyntaxError, match=message):
        Genome.from_text(text)


@pytest.mark.parametrize(
    "inputs", [("dt",), ("x", "mask", "dt"), ("x", "x"), ("x", "time"), (), ("x", "dt")]
)
def test_a_genome_has_the_inputs_that_it_reads(inputs: tuple[str, ...]) -> None:
    with pytest.raises(GenomeError, match=r"inputs of a cell|nothing reads this input"):
        Genome(inputs, (State("h"),), (), (len(inputs),), len(inputs))


def test_the_builder_leaves_out_what_is_not_read() -> None:
    builder = Builder(["h"], ("x", "dt", "mask"))
    builder.next_state("h", builder.node("linear", builder.input("mask"), builder.state("h")))
    assert builder.build().inputs == ("x", "mask")
    with pytest.raises(GenomeError, match="there is no input 'dt'"):
        Builder(["h"]).input("dt")


def test_earlier_times_and_masks_are_held_in_states() -> None:
    short = Genome.from_text("h[t] = linear(x[t], h[t-1], dt[t-1], conv(mask[t], 2))")
    assert short.inputs == ("x", "dt", "mask")
    assert short.state_names == ("h", "dt_1", "mask_1")
    written = Genome.from_text(
        "h[t] = linear(x[t], h[t-1], d[t-1], diag(mask[t]) + diag(m[t-1]))\n"
        "d[t] = dt[t]\nm[t] = mask[t]"
    )
    assert short.key == written.key


def test_smooth_cells_keep_their_meaning_when_simplified() -> None:
    """By their search key, which every writing of one cell shares."""
    for seed in range(40):
        rng = np.random.default_rng([3, seed])
        genome = random_genome(rng, op_names=SMOOTH_OPS, inputs=EVERY[seed % 3])
        assert search_key(rewritten(genome, rng)) == search_key(genome)
