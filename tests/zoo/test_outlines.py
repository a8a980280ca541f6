"""What is known of the zoo beforehand is what the cells say, and comparing by it gives the same."""

from __future__ import annotations

import json

import pytest

from cellsearch import zoo
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.genome.matching import prepared
from cellsearch.genome.recognise import recognise, recognise_among
from cellsearch.zoo.outlines import FILE, known_cells, outlines, outlines_text, read_outlines


def test_the_file_is_up_to_date() -> None:
    written = FILE.read_text(encoding="utf-8")
    assert written == outlines_text(), "run python -m cellsearch.zoo.outlines"


def test_no_cell_has_to_be_read_for_its_outline() -> None:
    known = {**{e.name: e.genome for e in zoo.entries()}, **zoo.earlier_forms()}
    assert list(outlines()) == list(known)
    for name, shape in outlines().items():
        cell = prepared(known[name])
        assert (shape.key, shape.labels, shape.kinds) == (cell.key, cell.labels, cell.kinds)
        assert shape.connections == cell.connections


@pytest.mark.parametrize(
    "cell",
    [
        zoo.load("gru"),
        zoo.earlier_forms()["rg_lru (as in 0.1.0)"],
        Genome.from_text("f = sigmoid(linear(x[t]))\nh[t] = f * h[t-1] + 3 * linear(x[t], h[t-1])"),
    ],
    ids=["of the zoo", "as it was", "new"],
)
def test_comparing_by_outlines_gives_the_same(cell: Genome) -> None:
    key = search_key(cell)
    all_read = {entry.name: entry.genome for entry in zoo.entries()}
    all_read |= {n: g for n, g in zoo.earlier_forms().items() if search_key(g) == key}
    known = known_cells(key)
    assert list(known) == list(all_read)
    assert recognise_among(cell, known, outlines()) == recognise(cell, all_read)


def test_an_outline_of_another_text_is_not_used() -> None:
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    stored["lstm"]["text"] = stored["gru"]["text"]
    left = read_outlines(json.dumps(stored))
    assert left.keys() == outlines().keys() - {"lstm"}
