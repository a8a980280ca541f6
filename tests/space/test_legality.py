"""Each constraint of a space is enforced, with the node that breaks it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.genome.graph import Genome
from cellsearch.space import Constraints, SearchSpace
from cellsearch.space.legality import _weights
from cellsearch.testing.strategies import space

OPS = {"linear": 1.0, "add": 1.0, "mul": 1.0, "sub": 1.0, "const": 0.0, "sigmoid": 1.0, "tanh": 1.0}
BASE = SearchSpace("base", ("h", "c"), OPS)

BROKEN = {
    "output_sees_input": ("h[t] = tanh(linear(c[t-1]))\nc[t] = tanh(linear(x[t], h[t-1]))", "h_t"),
    "states_reach_output": (
        "h[t] = tanh(linear(x[t]))\nc[t] = tanh(linear(x[t], c[t-1]))",
        "c_<t-1>",
    ),
    "states_see_input": (
        "h[t] = tanh(linear(x[t], h[t-1], c[t-1]))\nc[t] = tanh(linear(c[t-1]))",
        "c_t",
    ),
    "no_idle_nodes": ("a = tanh(linear(x[t]))\nh[t] = tanh(linear(x[t], h[t-1]))", "a"),
    "hidden_width": ("h[t] = tanh(linear(x[t], h[t-1]) + x[t])", "h.1"),
}


@pytest.mark.parametrize("rule", list(BROKEN))
def test_a_constraint_forbids_what_it_says_and_nothing_else(rule):
    text, _ = BROKEN[rule]
    genome = Genome.from_text(text)
    only = Constraints(**{name: name == rule for name in BROKEN})
    without = Constraints(**{name: name != rule and name != "no_idle_nodes" for name in BROKEN})
    assert replace(BASE, constraints=only).contains(genome) is not None
    if (
        rule != "states_reach_output"
    ):  # a state without influence is made of nodes without influence
        assert replace(BASE, constraints=without).contains(genome) is None


def test_the_violation_names_the_node():
    for text, node in BROKEN.values():
        violation = BASE.contains(Genome.from_text(text))
        assert violation is not None
        assert node.partition(".")[0] in violation.node


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("h[t] = relu(linear(x[t], h[t-1]))", "the op relu"),
        ("h[t] = tanh(linear(x[t], h[t-1])) * 0.5", "the number 0.5"),
        ("m[0] = 1\nh[t] = tanh(linear(x[t], m[t-1]))\nm[t] = h[t]", "the initial value 1"),
        (
            "h[t] = tanh(linear(x[t], h[t-1], a[t-1], b[t-1]))\na[t] = h[t]\nb[t] = tanh(h[t])",
            "3 states",
        ),
        ("a = tanh(linear(x[t], h[t-1]))\nh[t] = a + a + a + a + a", "5 operands"),
        ("h[t] = tanh(linear(x[t], h[t-1], h[t-1]))", "the same value twice"),
        ("h[t] = " + "tanh(" * 13 + "linear(x[t], h[t-1])" + ")" * 13, "above one another"),
        ("h[t] = " + " + ".join("tanh(linear(x[t], h[t-1]))" for _ in range(4)) + "\n", None),
        (
            "h[t] = "
            + " * ".join(["(" + " + ".join(["tanh(linear(x[t], h[t-1]))"] * 4) + ")"] * 4),
            "nodes",
        ),
    ],
)
def test_ops_numbers_and_sizes(text, what):
    violation = BASE.contains(Genome.from_text(text))
    if what is None:
        assert violation is None
    else:
        assert violation is not None
        assert what in violation.what


def test_the_parameter_limit_counts_one_layer():
    cell = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
    assert BASE.parameters(cell) == 2 * 64 * 64 + 64
    limits = replace(BASE.limits, max_parameters=BASE.parameters(cell) - 1)
    violation = replace(BASE, limits=limits).contains(cell)
    assert violation is not None
    assert violation.what == "8,256 weights"


def test_connection_gates_make_a_cell_part_of_the_full_cell():
    """A cell with gates may be as large as the full cell; a large one without may not."""
    full = space().full()
    assert space().is_gated(full)
    assert len(full.nodes) > space().limits.max_nodes
    assert space().contains(full) is None
    assert (
        replace(space(), full_cell=replace(space().full_cell, nodes=2), seeds={}).contains(full)
        is not None
    )


def test_where_scale_is_an_op_of_the_space_it_is_no_gate():
    ordinary = replace(BASE, ops={**OPS, "scale": 1.0})
    cell = Genome.from_text("h[t] = tanh(scale(linear(x[t], h[t-1])))")
    assert not ordinary.is_gated(cell)
    assert ordinary.contains(cell) is None
    assert BASE.is_gated(cell)


def test_the_quick_count_of_weights_agrees_with_the_names():
    rng = np.random.default_rng(0)
    for cell in [space().sample(rng) for _ in range(40)] + [zoo.load(name) for name in zoo.names()]:
        if len(cell.live) == cell.n_values:
            assert _weights(cell, 64, 64, {}) == space().parameters(cell)
