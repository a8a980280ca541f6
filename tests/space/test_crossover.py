"""Crossover aligns sub-graphs by content and keeps roles."""

from __future__ import annotations

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.errors import SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import subgraph_keys
from cellsearch.space.crossover import roles
from cellsearch.space.draft import Draft
from cellsearch.testing.strategies import space


def children(first: str, second: str, count: int = 60) -> list[Genome]:
    rng = np.random.default_rng(0)
    return [space().crossover(zoo.load(first), zoo.load(second), rng) for _ in range(count)]


def parts(genome: Genome) -> set[str]:
    return set(subgraph_keys(genome))


def test_roles_of_the_lstm():
    found = {role: len(places) for role, places in roles(Draft.of(zoo.load("lstm"))).items()}
    # output: h; state: c; gates: i, f, o; factors: c[t-1], g, tanh(c); terms: f*c, i*g; operands: 4
    # times h; arguments of the five functions.
    assert found == {
        "output": 1,
        "state": 1,
        "gate": 3,
        "factor": 3,
        "term": 2,
        "operand": 4,
        "argument": 5,
    }


def test_children_hold_parts_of_both_parents():
    lstm, gru = parts(zoo.load("lstm")), parts(zoo.load("gru_cho"))
    some = 0
    for child in children("lstm", "gru_cho"):
        assert space().contains(child) is None
        some += bool(parts(child) & (gru - lstm)) and bool(parts(child) & (lstm - gru))
    assert some >= 30


def test_a_cell_crossed_with_itself_has_nothing_to_exchange():
    with pytest.raises(SpaceError, match="exchange"):
        space().crossover(zoo.load("rnn_tanh"), zoo.load("rnn_tanh"), np.random.default_rng(0))


def test_equal_parts_are_one_gene():
    """A donated part that the receiver has already is not copied: only what differs comes in, and
    the gates stay three.
    """
    first = zoo.load("lstm")
    second = Genome.from_text(
        first.to_text().replace("tanh(c[t])", "relu(c[t])").replace("i * g", "i * relu(g)")
    )
    rng = np.random.default_rng(2)
    crossed = [space().crossover(first, second, rng) for _ in range(60)]
    same_gates = [
        child for child in crossed if sum(node.op == "linear" for node in child.nodes) == 4
    ]
    assert len(same_gates) >= 20
    assert any("relu" in child.to_text() for child in same_gates)
    assert all(len(child.nodes) <= len(first.nodes) + 5 for child in same_gates)


def test_of_several_equal_parts_the_first_goes_with_the_first():
    """Input and forget gate of an LSTM are alike below; a donated sum of both must not read one of
    them twice.
    """
    first = zoo.load("lstm")
    second = Genome.from_text(
        first.to_text().replace("f * c[t-1] + i * g", "f * c[t-1] + i * g + relu(g)")
    )
    rng = np.random.default_rng(0)
    crossed = [space().crossover(first, second, rng).to_text() for _ in range(60)]
    definitions = first.to_text().splitlines()[:4]
    whole = [text for text in crossed if "relu(g)" in text and text.splitlines()[:4] == definitions]
    assert len(whole) >= 10
    for text in whole:
        assert "f * c[t-1]" in text
        assert "i * g" in text


def test_a_state_comes_along_with_what_reads_it():
    """Parts of the LSTM that read c bring c and its update into a GRU."""
    with_memory = [child for child in children("gru_cho", "lstm", 120) if len(child.states) == 2]
    assert with_memory
    for child in with_memory:
        assert space().contains(child) is None


def test_children_of_one_state_spaces_have_one_state():
    rng = np.random.default_rng(0)
    for _ in range(20):
        child = space("single_state").crossover(zoo.load("gru"), zoo.load("mgu"), rng)
        assert len(child.states) == 1
