"""Cells without newer features of the language keep what they had before it grew: text, JSON, keys,
names and shapes of weights, program, exported source, pickle; and spaces draw what they drew.
"""

from __future__ import annotations

import pickle
from base64 import b64decode
from itertools import chain
from pathlib import Path

import pytest
from support.language import SPACES, draws, facts, read

from cellsearch import Genome, zoo
from cellsearch.experiment.catalog import load_space

RECORD = read(Path(__file__).parents[1] / "data" / "language_1" / "cells.json.gz")


def test_the_record_holds_77_cells_of_the_zoo_and_300_drawn_cells() -> None:
    assert len(RECORD["zoo"]) == 77
    assert sum(len(cells) for cells in RECORD["drawn"].values()) == 300


@pytest.mark.parametrize("name", sorted(RECORD["zoo"]))
def test_a_cell_of_the_zoo_is_what_it_was(name: str) -> None:
    recorded = RECORD["zoo"][name]
    now = facts(zoo.load(name))
    for fact in recorded.keys() - {"pickle"}:
        assert now[fact] == recorded[fact], fact


@pytest.mark.parametrize("name", SPACES)
def test_a_space_draws_what_it_drew(name: str) -> None:
    for genome, recorded in zip(draws(load_space(name)), RECORD["drawn"][name], strict=True):
        now = facts(genome)
        for fact in recorded.keys() - {"pickle"}:
            assert now[fact] == recorded[fact], fact


def test_every_stored_form_is_read_as_the_same_cell() -> None:
    for recorded in chain(RECORD["zoo"].values(), *RECORD["drawn"].values()):
        written = Genome.from_json(recorded["json"])
        assert written.key == recorded["key"]
        assert Genome.from_text(recorded["text"]) == written
        # What a run of before keeps: Genome, Node and State by position.
        assert pickle.loads(b64decode(recorded["pickle"])) == written
