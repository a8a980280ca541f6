"""Origins are values, and their texts are those of version 0.1."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cellsearch import zoo
from cellsearch.trial import Origin, Proposal, Trial

OF_VERSION_0_1 = {
    "random": Origin("random"),
    "baseline:lstm": Origin("baseline", "lstm"),
    "imported:run-1.b": Origin("imported", "run-1.b"),
    "mutate:op": Origin("mutate", "op"),
    "mutate:op@2": Origin("mutate", "op", "2"),
    "crossover": Origin("crossover"),
    "crossover@2": Origin("crossover", place="2"),
    "crossover+op": Origin("crossover", "+op"),
    "crossover+op@2": Origin("crossover", "+op", "2"),
    "grow:gate@linear": Origin("grow", "gate", "linear"),
    "supernet:3:2": Origin("supernet", "3:2"),
}


@pytest.mark.parametrize("text", OF_VERSION_0_1)
def test_texts_of_version_0_1_are_read_and_written(text: str) -> None:
    origin = OF_VERSION_0_1[text]
    assert Origin.parse(text) == origin
    assert str(origin) == text
    parts = OF_VERSION_0_1[text]
    assert (origin.kind, origin.detail, origin.place) == (parts.kind, parts.detail, parts.place)


def test_an_origin_has_parts_and_is_its_text_for_who_knows_it_as_text() -> None:
    origin = Origin("mutate", "op", "2")
    assert (origin.kind, origin.detail, origin.place) == ("mutate", "op", "2")
    assert origin == "mutate:op@2"
    assert origin.startswith("mutate:")
    assert {origin: 1}["mutate:op@2"] == 1
    assert pickle.loads(pickle.dumps(origin)).place == "2"
    with pytest.raises(AttributeError):
        origin.kind = "seed"  # type: ignore[misc]


@given(st.text() | st.text("a:+@", max_size=6))
@example("a:")
@example("a@")
@example("a::b")
@example("@a@:+")
def test_any_text_comes_back(text: str) -> None:
    origin = Origin.parse(text)
    assert str(origin) == text
    assert Origin.parse(str(origin)) == origin


def test_a_proposal_takes_text_and_sees_what_a_resumed_run_sees() -> None:
    genome = zoo.load("gru")
    assert Proposal(genome, (1,), "mutate:op").origin == Origin("mutate", "op")
    assert Proposal(genome, origin=Origin("mutate:op@2")).origin == Origin("mutate", "op", "2")
    assert Trial(0, Proposal(genome, origin="baseline:gru")).is_baseline


def test_proposals_are_values() -> None:
    first = Proposal(zoo.load("gru"), (1,), "mutate:op", inherit=1)
    assert pickle.loads(pickle.dumps(first)) == first
    assert hash(replace(first, parents=(1,))) == hash(first)
    assert replace(first, origin="random") != first
    with pytest.raises(AttributeError):
        first.parents = ()  # type: ignore[misc]
