"""What reports and the live page say of lineage, failures and workers."""

from __future__ import annotations

import pytest

from cellsearch import zoo
from cellsearch.history import History
from cellsearch.job import Connection
from cellsearch.reporting.causes import failure_kinds
from cellsearch.reporting.lineage import ancestors, descendants, family
from cellsearch.reporting.vertices import vertex_facts
from cellsearch.reporting.workers import Span, worker_lines
from cellsearch.space import LayerSizes
from cellsearch.trial import Proposal, Trial

CELL = zoo.load("mgu")
PARENTS = {0: (), 1: (), 2: (0,), 3: (2, 1), 4: (3,), 5: (3, 0), 6: (5,), 7: (99,)}
HISTORY = History([Trial(n, Proposal(CELL, p, "mutate")) for n, p in PARENTS.items()])


def test_ancestors_come_once_and_the_nearest_first() -> None:
    found = [(r.trial.number, r.depth) for r in ancestors(HISTORY[5], HISTORY)]
    assert found == [(5, 0), (3, 1), (0, 1), (2, 2), (1, 2)]
    assert [r.trial.number for r in ancestors(HISTORY[7], HISTORY)] == [7]  # a parent is not there


def test_descendants_are_those_of_which_it_is_the_first_parent() -> None:
    found = [(r.trial.number, r.depth) for r in descendants(HISTORY[2], HISTORY)]
    assert found == [(3, -1), (4, -2), (5, -2), (6, -3)]


def test_a_family_says_when_there_are_more() -> None:
    found, more = family(HISTORY[3], HISTORY, above=2, below=5)
    assert [r.trial.number for r in found] == [3, 2, 4, 5, 6]
    assert more
    assert not family(HISTORY[3], HISTORY)[1]


def test_failures_that_differ_in_numbers_alone_have_one_cause() -> None:
    kinds = failure_kinds(
        [
            (3, "timeout", "took 3.2 s"),
            (4, "nan", "the loss is nan at step 12"),
            (7, "nan", "the score is inf"),
            (8, "nan", "the loss is inf at step 9"),
            (9, "odd", ""),
        ]
    )
    assert [(kind.kind, kind.count) for kind in kinds] == [("nan", 3), ("timeout", 1), ("odd", 1)]
    assert [(c.message, c.trials) for c in kinds[0].causes] == [
        ("the loss is nan at step 12", [4, 8]),
        ("the score is inf", [7]),
    ]
    assert kinds[0].meaning
    assert not kinds[2].meaning


def test_a_worker_is_busy_with_one_training_at_a_time() -> None:
    lines = worker_lines(
        [
            ("b", Span(2, 0, 5.0, 6.0, "crash")),
            ("a", Span(1, 0, 1.0, 8.0)),  # handed out while the one before it was trained
            ("a", Span(0, 0, 0.0, 4.0)),
            ("a", Span(3, 0, 12.0, 14.0)),
        ]
    )
    assert [line.worker for line in lines] == ["a", "b"]
    assert [(s.trial, s.started, s.ended) for s in lines[0].spans] == [
        (0, 0.0, 4.0),
        (1, 4.0, 8.0),
        (3, 12.0, 14.0),
    ]
    assert lines[0].busy == 10.0
    assert lines[0].share == pytest.approx(10 / 14)
    assert (lines[0].deaths, lines[1].deaths) == (0, 1)


def test_a_box_says_its_equation_shape_weights_and_neighbours() -> None:
    gates = {"z": {"open": 0.25, "closed": 0.5, "mean": 0.4}}
    learned = {"r.weight_h": Connection(gate=0.75, saliency=0.5)}
    facts = vertex_facts(zoo.load("gru"), LayerSizes(3, 5), gates, learned)
    at = {fact["label"]: k for k, fact in enumerate(facts)}
    one = {name: facts[at[name]] for name in ("r", "z", "x_t")}
    assert one["r"]["text"] == "r = sigmoid(linear(x[t], h[t-1]))"
    assert one["r"]["shape"] == ["B", "H"]
    assert one["r"]["reads"] == [at["x_t"], at["h_<t-1>"]]
    assert at["r"] in one["x_t"]["uses"]
    assert [(w["name"], w["shape"], w["count"]) for w in one["r"]["weights"]] == [
        ("r.weight_x", ["H", "I"], 15),
        ("r.weight_h", ["H", "H"], 25),
        ("r.bias", ["H"], 5),
    ]
    assert one["x_t"]["shape"] == ["B", "I"]
    assert [w.get("connection") for w in one["r"]["weights"]] == [
        None,
        {"gate": 0.75, "saliency": 0.5},
        None,
    ]
    assert (one["z"]["gate"], "gate" in one["r"]) == (gates["z"], False)
    assert {w["count"] for f in vertex_facts(zoo.load("gru")) for w in f["weights"]} == {None}
