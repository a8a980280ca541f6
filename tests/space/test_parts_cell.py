"""The cell of parts: which known cells are among its parts, and that none of them multiplies states
with one another.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import cellsearch as cs
from cellsearch import ops, zoo
from cellsearch.errors import SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space.parts_cell import alternatives, kept_states
from cellsearch.testing.strategies import space

LSTM_LIKE = "candidate_squashed read_squashed taken_plain given_plain h_new inner_plain"
CIFG = """
f = sigmoid(linear(x[t], h[t-1]))
c[t] = blend(f, c[t-1], tanh(linear(x[t], h[t-1])))
h[t] = sigmoid(linear(x[t], h[t-1])) * tanh(c[t])
"""
RAN = """
i = sigmoid(linear(x[t], h[t-1]))
c[t] = i * linear(x[t]) + sigmoid(linear(x[t], h[t-1])) * c[t-1]
h[t] = tanh(c[t])
"""
# For each cell (of the zoo, or a text) the connection gates that stay, and what linears still read.
KEPT = {
    "lstm": (
        f"{LSTM_LIKE} entered_gated written_plain c_new c_old shown_gated",
        {"entry": "xh", "forget": "xh", "reading": "xh", "total_in": ["x", "inner"]},
    ),
    CIFG: (
        f"{LSTM_LIKE} entered_plain written_rest c_new c_old shown_gated",
        {"forget": "xh", "reading": "xh", "total_in": ["x", "inner"]},
    ),
    "gru": (
        "total_after candidate_squashed read_past taken_plain shown_plain given_rest h_new h_old",
        {"reset": "xh", "update": "xh", "inner_state": "h", "total_in": "x"},
    ),
    "gru_cho": (
        "inner_reset candidate_squashed read_past taken_plain shown_plain given_rest h_new h_old",
        {"reset": "xh", "update": "xh", "total_in": ["x", "inner"]},
    ),
    RAN: (
        "candidate_plain entered_gated written_plain c_new c_old read_squashed taken_plain "
        "shown_plain given_plain h_new",
        {"entry": "xh", "forget": "xh", "total_in": "x"},
    ),
    "rnn_tanh": (
        "inner_plain candidate_squashed read_past taken_plain shown_plain given_plain h_new",
        {"total_in": ["x", "inner"]},
    ),
}


def to_remove(name: str, full: Genome) -> list[str]:
    gates, linears = KEPT[name]
    kept = {f"{gate}.scale" for gate in gates.split()} | {
        f"{node}.weight_{value}" for node, reads in linears.items() for value in reads
    }
    connections = space().connections(full)
    assert kept <= set(connections), kept - set(connections)
    return [name for name in connections if name not in kept]


@pytest.mark.parametrize("name", list(KEPT), ids=["lstm", "cifg", "gru", "cho", "ran", "tanh"])
def test_known_cells_are_reached_by_removing_connections(name: str) -> None:
    """All at once, and one at a time with a legal cell after each step."""
    where = space()
    full = where.parts_cell()
    names = to_remove(name, full)
    wanted = (Genome.from_text(name) if "=" in name else zoo.load(name)).simplify().key
    assert where.discrete(where.remove(full, names)).simplify().key == wanted
    cell = full
    for connection in reversed(names):  # from the output down: no state is left without input
        if connection in where.connections(cell):
            cell = where.remove(cell, [connection])
            assert where.contains(cell) is None
    assert where.discrete(cell).simplify().key == wanted


@pytest.mark.parametrize(
    ("name", "kept"),
    [("lstm", "c"), (CIFG, "c"), (RAN, "c"), ("gru", "h"), ("gru_cho", "h"), ("rnn_tanh", "")],
    ids=["lstm", "cifg", "ran", "gru", "cho", "tanh"],
)
def test_known_cells_keep_states_as_memories(name: str, kept: str) -> None:
    """Written through a gate, and read squashed alone; the tanh RNN keeps none."""
    full = space().parts_cell()
    stays = set(space().connections(full)) - set(to_remove(name, full))
    found = [memory for memory in kept_states(full) if {memory.new, memory.old} <= stays]
    assert [memory.old for memory in found] == [f"{state}_old.scale" for state in kept]
    for memory in found:
        assert stays.intersection(memory.gates)
        assert not stays.intersection(memory.raw)


def test_what_reads_a_memory_as_it_is_reads_it_in_the_graph() -> None:
    """By the graph instead of by names: the operands of linears and connection gates that are the
    previous or the next value of the state.
    """
    full = cs.load_space("tanh_start").parts_cell()
    number = full.first_node - 1  # the last of the states
    values = {number, full.next_states[1]}
    reads = {
        spec.name
        for spec in full.parameters
        if spec.operand >= 0
        and full.nodes[spec.node - full.first_node].inputs[spec.operand] in values
    }
    assert set(kept_states(full)[1].raw) == reads
    assert len(reads) == 8


def degree(genome: Genome) -> int:
    """The highest power of previous states that a next value grows with; a squashed value is
    bounded.
    """
    of = [0, *[1] * len(genome.states)]
    for node in genome.nodes:
        below = [of[value] for value in node.inputs]
        if ops.OPS[node.op].squashing:
            of.append(0)
        else:
            of.append(sum(below) if node.op == "mul" else max(below, default=0))
    return max(of[value] for value in genome.next_states)


def test_no_state_grows_with_more_than_its_first_power() -> None:
    assert degree(space().parts_cell()) == 1
    assert degree(Genome.from_text("h[t] = linear(x[t], h[t-1]) * linear(h[t-1])")) == 2


def test_a_sub_cell_keeps_a_term_of_each_sum_and_is_legal() -> None:
    where, rng, made = space(), np.random.default_rng(0), list[str]()
    full = where.parts_cell()
    sums = alternatives(full)
    assert len(sums) == 10
    for _ in range(20):
        kept = {group[int(rng.integers(len(group)))] for group in sums}
        gone = [name for group in sums for name in group if name not in kept]
        cell = where.discrete(where.remove(full, gone))
        assert where.contains(cell) is None
        assert not where.is_gated(cell)
        made.append(cell.key)
    assert len(made) == 20
    assert len(set(made)) > 10, "what is removed decides which cell is left"


def test_spaces_with_other_ops_have_one_of_their_own() -> None:
    device = cs.load_space("small_device").parts_cell()
    assert {node.op for node in device.nodes} >= {"hard_sigmoid", "hard_tanh"}
    start = cs.load_space("tanh_start").parts_cell()
    assert not any(node.op in ("sub", "const") for node in start.nodes)
    assert cs.load_space("single_state").parts_cell().state_names == ("h",)


def test_a_space_without_such_parts_says_so() -> None:
    with pytest.raises(SpaceError, match="dense recurrence") as caught:
        cs.load_space("scan").parts_cell()
    assert 'start = "full"' in caught.value.hint
    ops_left = {op: weight for op, weight in space().ops.items() if op != "mul"}
    without = replace(space(), ops=ops_left, seeds={})
    with pytest.raises(SpaceError, match="linear, add and mul"):
        without.parts_cell()


def test_a_wide_sum_becomes_sums_within_the_limit() -> None:
    """What is left of a gated cell may add more values than the space allows one sum."""
    gated = Genome.from_text(
        "a = tanh(linear(x[t], h[t-1]))\nb = tanh(linear(x[t], h[t-1]))\n"
        "h[t] = scale(a) + scale(b) + scale(a * b) + scale(sigmoid(a)) + scale(sigmoid(b))"
    )
    found = space().discrete(gated)
    assert max(len(node.inputs) for node in found.nodes) <= space().limits.max_operands
    plain = gated.to_text().replace("scale", "")
    assert found.simplify().key == Genome.from_text(plain).simplify().key
