"""The full cell, and how known cells are reached from it by prunings."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.errors import SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space.full_cell import connections
from cellsearch.testing.strategies import space

# For each cell the connection gates that stay, and the nodes whose linear reads what.
KEPT = {
    "lstm": (
        "n1_from_tanh n2_from_sigmoid_n1 n3_from_identity_of_n2 n3_from_sigmoid_c n4_from_tanh_of_n3 n5_from_sigmoid_n4 "
        "h_from_n5 c_from_n3",
        {"n1": "xh", "n2": "xh", "n3": "xh", "n5": "xh"},
    ),
    "gru_cho": (
        "n1_from_sigmoid_h n2_from_tanh n3_from_sigmoid_h n3_from_rest_sigmoid_n2 h_from_n3",
        {"n1": "xh", "n2": ["x", "n1"], "n3": "xh"},
    ),
    "gru": (
        "n1_from_identity n2_from_sigmoid_n1 n3_from_identity n3_from_identity_of_n2 n4_from_tanh_of_n3 "
        "n5_from_sigmoid_h n5_from_rest_sigmoid_n4 h_from_n5",
        {"n1": "h", "n2": "xh", "n3": "x", "n5": "xh"},
    ),
}


def to_remove(name: str, full: Genome) -> list[str]:
    gates, linears = KEPT[name]
    kept = {f"{gate}.scale" for gate in gates.split()} | {
        f"{n}_in.weight_{v}" for n, reads in linears.items() for v in reads
    }
    missing = kept - set(connections(full))
    assert not missing
    return [connection for connection in connections(full) if connection not in kept]


def same_function(first: Genome, second: Genome) -> bool:
    return first.simplify().key == second.simplify().key


@pytest.mark.parametrize("name", list(KEPT))
def test_known_cells_are_reached_by_removing_one_connection_at_a_time(name):
    """Every cell on the way is legal, so each step is one of the prunings; the last steps turn the gates into ones."""
    where = space()
    cell = where.full()
    for connection in to_remove(name, cell):
        if connection in where.connections(cell):
            cell = where.remove(cell, [connection])
            assert where.contains(cell) is None
    assert same_function(where.discrete(cell), zoo.load(name))


@pytest.mark.parametrize("name", list(KEPT))
def test_all_at_once_gives_the_same_as_one_by_one(name):
    where = space()
    full = where.full()
    at_once = where.remove(full, to_remove(name, full))
    one_by_one = full
    for connection in np.random.default_rng(1).permutation(to_remove(name, full)).tolist():
        if connection in where.connections(one_by_one):
            one_by_one = where.remove(one_by_one, [connection])
    assert at_once.key == one_by_one.key


def test_the_steps_are_among_the_prunings():
    """Down to the LSTM from a small gated cell by `prunings` alone: the last connection, then gate after gate."""
    where = space()
    full = where.full()
    names = to_remove("lstm", full)
    last = next(name for name in reversed(names) if name.startswith("n5_in"))
    cell = where.remove(full, [name for name in names if name != last])
    step = where.remove(cell, [last])
    assert step.key in {genome.key for genome in where.prunings(cell)}
    while where.is_gated(step):
        opened = [
            genome
            for genome in where.prunings(step)
            if _ops(step) - _ops(genome) == Counter(scale=1)
        ]
        if not opened:  # the last gate: without it the cell is an ordinary one and simplified
            assert _ops(step)["scale"] == 1
            assert zoo.load("lstm").key in {genome.key for genome in where.prunings(step)}
            return
        step = opened[0]
    raise AssertionError("the gates went without a last one")


def _ops(genome: Genome) -> Counter[str]:
    return Counter(node.op for node in genome.nodes)


def test_weights_keep_their_names_and_shapes_through_pruning():
    where = space()
    full = where.full()
    rng = np.random.default_rng(0)
    before = {spec.name: spec.shape for spec in full.parameters}
    cell = full
    for _ in range(25):
        cell = where.remove(cell, [str(rng.choice(where.connections(cell)))])
        after = {spec.name: spec.shape for spec in cell.parameters}
        assert after.items() <= before.items()


def test_the_full_cell_has_every_declared_connection():
    where = space()
    names = set(where.connections(where.full()))
    for k in range(1, where.full_cell.nodes + 1):
        earlier = ["h", "c", *(f"n{j}" for j in range(1, k))]
        assert {f"n{k}_in.weight_{v}" for v in ("x", *earlier)} <= names
        assert {f"n{k}_from_{op}.scale" for op in where.full_cell.sums} <= names
        assert {f"n{k}_from_sigmoid_{v}.scale" for v in earlier} <= names
        assert {f"n{k}_from_rest_sigmoid_{v}.scale" for v in earlier} <= names
        assert {
            f"n{k}_from_{op}_of_{v}.scale" for v in earlier for op in where.full_cell.direct
        } <= names
    per_end = 2 + where.full_cell.nodes
    per_node = sum(3 + 4 * (2 + k) + 3 + k for k in range(where.full_cell.nodes))
    assert len(names) == per_node + 2 * per_end


def test_removing_everything_or_nothing_known_is_refused():
    where = space()
    full = where.full()
    with pytest.raises(SpaceError, match="nothing is left"):
        where.remove(
            full,
            [name for name in where.connections(full) if name.startswith(("h_from", "c_from"))],
        )
    with pytest.raises(SpaceError, match="no connection 'n1_from_nowhere'"):
        where.remove(full, ["n1_from_nowhere"])


def test_a_large_gated_cell_is_not_discrete_yet():
    with pytest.raises(SpaceError, match="not in the space"):
        space().discrete(space().full())


REDUCED = {
    # (cell, connections that go) -> what is left
    "a gate over nothing opens": (
        "g = sigmoid(linear(h[t-1]))\nh[t] = g * tanh(linear(x[t], h[t-1]))", ["g.weight_h"], "h[t] = tanh(linear(x[t], h[t-1]))",
    ),
    "an odd function of nothing is nothing": (
        "g = tanh(linear(h[t-1], bias=False))\nh[t] = tanh(linear(x[t], h[t-1]) + g)", ["g.weight_h"], "h[t] = tanh(linear(x[t], h[t-1]))",
    ),
    "a sum goes on without a term": (
        "h[t] = tanh(linear(x[t], h[t-1]) + diag(h[t-1]) + diag(h[t-1]))", ["h_2.weight_h"],
        "h[t] = tanh(linear(x[t], h[t-1]) + diag(h[t-1]))",
    ),
    "a linear reads one value less": (
        "f = sigmoid(linear(x[t], h[t-1]))\nh[t] = f * tanh(linear(x[t], h[t-1]))", ["f.weight_x"],
        "f = sigmoid(linear(h[t-1]))\nh[t] = f * tanh(linear(x[t], h[t-1]))",
    ),
    "a blend without its first value": (
        "z = sigmoid(linear(x[t], h[t-1]))\na = linear(h[t-1], bias=False)\nh[t] = blend(z, a, tanh(linear(x[t], h[t-1])))", ["a.weight_h"],
        "z = sigmoid(linear(x[t], h[t-1]))\nh[t] = (1 - z) * tanh(linear(x[t], h[t-1]))",
    ),
    "a state that is nothing is dropped": (
        "c[t] = linear(x[t], bias=False)\nh[t] = tanh(linear(x[t], h[t-1]) + linear(c[t-1]))", ["c.weight_x"],
        "h[t] = tanh(linear(x[t], h[t-1]))",
    ),
    "1 minus a gate over nothing is constant too": (
        "z = sigmoid(linear(h[t-1]))\nh[t] = (1 - z) * tanh(linear(x[t], h[t-1]))", ["z.weight_h"], "h[t] = tanh(linear(x[t], h[t-1]))",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REDUCED))
def test_what_is_left_without_a_connection(case):
    before, names, after = REDUCED[case]
    assert same_function(space().remove(Genome.from_text(before), names), Genome.from_text(after))


def test_pruning_the_lstm_finds_its_published_variants():
    """Among the prunings of the LSTM: without input gate, forget gate, output gate, and without each activation (Greff et al. 2017)."""
    found = {genome.simplify().key for genome in space().prunings(zoo.load("lstm"))}
    text = zoo.load("lstm").to_text()
    variants = {
        "no input gate": text.replace("i * g", "g").replace(
            "i = sigmoid(linear(x[t], h[t-1]))\n", ""
        ),
        "no forget gate": text.replace("f * c[t-1]", "c[t-1]").replace(
            "f = sigmoid(linear(x[t], h[t-1]))\n", ""
        ),
        "no output gate": text.replace("o * tanh(c[t])", "tanh(c[t])").replace(
            "o = sigmoid(linear(x[t], h[t-1]))\n", ""
        ),
        "no output activation": text.replace("tanh(c[t])", "c[t]"),
        "no input activation": text.replace(
            "g = tanh(linear(x[t], h[t-1]))", "g = linear(x[t], h[t-1])"
        ),
    }
    missing = [
        name
        for name, variant in variants.items()
        if Genome.from_text(variant).simplify().key not in found
    ]
    assert not missing
