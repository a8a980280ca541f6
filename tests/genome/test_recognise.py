"""Recognition: equal cells, nearest cells, and the difference as a list of edits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.genome import Genome
from cellsearch.genome import recognise as recognise_module
from cellsearch.genome.identity import search_key
from cellsearch.genome.matching import PreparedCell, matched_distance
from cellsearch.genome.recognise import difference, nearest, recognise
from cellsearch.testing.genomes import random_genome, rewritten

LSTM = zoo.load("lstm").to_text()
KNOWN = {name: zoo.load(name) for name in zoo.names()}


def test_a_cell_is_recognised_however_it_is_written() -> None:
    rng = np.random.default_rng(0)
    found = recognise(rewritten(zoo.load("lstm"), rng), KNOWN)
    assert found.equal == ("lstm",)
    assert found.same == ("lstm",)
    assert found.difference is not None
    assert found.difference.distance == 0
    assert found.difference.edits == ()
    assert all(name != "lstm" and distance > 0 for name, distance in found.near)


def test_a_gru_written_out_is_the_same_though_its_key_differs() -> None:
    gates = "r = sigmoid(linear(x[t], h[t-1]))\nz = sigmoid(linear(x[t], h[t-1]))\n"
    text = gates + "n = tanh(linear(x[t], r * h[t-1]))\nh[t] = n + z * (h[t-1] - n)"
    found = recognise(Genome.from_text(text), KNOWN)
    assert found.same == ("gru_cho",)
    assert found.equal == ()


@pytest.mark.parametrize(
    ("text", "name", "edits"),
    [
        (LSTM.replace("tanh(c[t])", "sin(c[t])"), "lstm", ["change node h.1 (tanh) to h.1 (sin)"]),
        (
            LSTM.replace("o * tanh(c[t])", "tanh(c[t])"),
            "lstm_nog_without_peepholes",
            None,
        ),
        (
            zoo.load("gru_cho")
            .to_text()
            .replace("linear(x[t], r * h[t-1])", "linear(x[t], h[t-1])"),
            "gru_cho",
            None,
        ),
    ],
)
def test_the_difference_is_an_edit_list(text: str, name: str, edits: list[str] | None) -> None:
    known = {
        **KNOWN,
        "lstm_nog_without_peepholes": Genome.from_text(
            LSTM.replace("o * tanh(c[t])", "1 * tanh(c[t])")
        ),
    }
    found = recognise(Genome.from_text(text), known)
    if edits is not None:
        assert found.near[0][0] == name
        assert found.difference is not None
        assert [str(edit) for edit in found.difference.edits] == edits
    elif name not in found.same:
        assert found.difference is not None
        assert 0 < found.difference.distance <= 8


def test_a_gru_without_its_reset_gate_is_told_so() -> None:
    gru = zoo.load("gru_cho")
    cell = Genome.from_text(
        "z = sigmoid(linear(x[t], h[t-1]))\nn = tanh(linear(x[t], h[t-1]))\nh[t] = "
        "blend(z, h[t-1], n)"
    )
    change = difference(gru, cell)
    gone = [edit.text for edit in change.edits if edit.mark == "remove" and edit.what == "node"]
    assert len(gone) == 3  # the gate, its sigmoid, and the product
    assert {text.split("(")[1] for text in gone} == {"sigmoid)", "linear with bias)", "mul)"}
    assert change.removed == {
        v
        for v, label in enumerate(change.one.labels)
        if label in {text.split()[0] for text in gone}
    }
    assert not change.added
    assert change.distance == len(change.edits)


def test_marks_for_the_picture_are_values_of_the_second_cell() -> None:
    change = difference(
        zoo.load("lstm"),
        Genome.from_text(LSTM.replace("o * tanh(c[t])", "o * sin(c[t]) * sigmoid(linear(c[t]))")),
    )
    labels = change.other.labels
    assert {labels[v].split(".")[0] for v in change.added} == {"h"}
    assert len(change.added) == 2
    assert len(change.changed) == 1
    assert change.other.nodes[next(iter(change.changed)) - change.other.first_node].op == "sin"
    assert all(
        source in range(len(labels)) and target in range(len(labels))
        for source, target in change.new_connections
    )


def test_distance_is_symmetric_zero_exactly_for_equal_keys_and_blind_to_writing() -> None:
    rng = np.random.default_rng(2)
    cells = [zoo.load(name) for name in ("lstm", "gru", "mgu", "minlstm", "sru", "lstm_peephole")]
    cells += [random_genome(rng, max_nodes=10, max_states=2) for _ in range(6)]
    for one, other in combinations(cells, 2):
        distance = difference(one, other).distance
        assert distance == difference(other, one).distance
        assert (distance == 0) == (search_key(one) == search_key(other))
        assert difference(rewritten(one, rng), rewritten(other, rng)).distance == distance


def apply_count(one: Genome, other: Genome) -> int:
    """The size of the difference when nothing corresponds but the input and the output."""
    change = difference(one, other)
    parts = sum(1 + len(node.inputs) for g in (change.one, change.other) for node in g.nodes)
    return parts + sum(2 * len(g.states) + 1 for g in (change.one, change.other))


def test_distance_is_at_most_that_of_building_anew() -> None:
    for one, other in combinations(("lstm", "gru", "nascell", "rnn_tanh"), 2):
        assert difference(zoo.load(one), zoo.load(other)).distance <= apply_count(
            zoo.load(one), zoo.load(other)
        )


def test_nearest_compares_few_of_the_whole_zoo_well(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[PreparedCell] = []

    def counted(one: PreparedCell, other: PreparedCell) -> int:
        compared.append(other)
        return matched_distance(one, other)

    monkeypatch.setattr(recognise_module, "matched_distance", counted)
    cell = random_genome(np.random.default_rng(40), max_nodes=60, max_states=3)
    found = nearest(cell, KNOWN)
    assert len(found) == 3
    assert len(compared) <= 6 < len(KNOWN)
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)


def test_nothing_known_is_no_error() -> None:
    found = recognise(zoo.load("lstm"), {})
    assert found.near == found.equal == ()
    assert found.difference is None
