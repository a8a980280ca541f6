"""What an ablation takes out of a cell, and what is left then."""

from __future__ import annotations

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.space.removals import MEANINGS, removals
from cellsearch.testing.strategies import space

HEAD = {
    gate: f"{gate} = {'tanh' if gate == 'g' else 'sigmoid'}(linear(x[t], h[t-1]))\n"
    for gate in "ifgo"
}


def lstm(
    *, without: str = "", cell: str = "f * c[t-1] + i * g", out: str = "o * tanh(c[t])"
) -> str:
    """The key of an LSTM that is written out."""
    gates = "".join(text for gate, text in HEAD.items() if gate not in without)
    return search_key(Genome.from_text(f"{gates}c[t] = {cell}\nh[t] = {out}\n"))


LSTM = {
    "i": lstm(without="i", cell="f * c[t-1] + g"),
    "f": lstm(without="f", cell="c[t-1] + i * g"),
    "g": lstm(without="ig", cell="f * c[t-1]"),
    "o": lstm(without="o", out="tanh(c[t])"),
    "tanh in tanh(c[t])": lstm(out="o * c[t]"),
    "g in i * g": lstm(without="g", cell="f * c[t-1] + i"),
    "c[t-1] in f * c[t-1]": search_key(
        Genome.from_text("".join(HEAD.values()) + "h[t] = o * tanh(f + i * g)\n")
    ),
    "c[t-1]": search_key(
        Genome.from_text(HEAD["i"] + HEAD["g"] + HEAD["o"] + "h[t] = o * tanh(i * g)\n")
    ),
    "h[t-1] in f": search_key(
        Genome.from_text(
            HEAD["i"] + "f = sigmoid(linear(x[t]))\n" + HEAD["g"] + HEAD["o"]
            + "c[t] = f * c[t-1] + i * g\nh[t] = o * tanh(c[t])\n"
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LSTM)
def test_what_is_left_of_lstm(name: str) -> None:
    found = {one.name: one for one in removals(zoo.load("lstm")).distinct}
    assert search_key(found[name].genome) == LSTM[name]


def test_all_of_lstm() -> None:
    found = removals(zoo.load("lstm"))
    assert len(found.distinct) == 22
    assert set(found.impossible) == {"h[t]", "c[t]", "tanh(c[t])", "c[t] in tanh(c[t])"}
    assert all("output has no source" in reason for reason in found.impossible.values())
    forget = next(one for one in found.distinct if one.name == "f")
    assert (forget.kind, forget.meaning) == ("gate", MEANINGS["gate"])
    assert "f in f * c[t-1]" in forget.also  # the same cell, trained once


@pytest.mark.parametrize(
    ("cell", "name", "expected"),
    [
        ("h[t] = blend({g}, h[t-1], {v})", "g", "h[t] = h[t-1] + {v}"),
        ("h[t] = g * h[t-1] + (1 - g) * {v}", "g", "h[t] = h[t-1] + {v}"),
        ("h[t] = blend({g}, h[t-1], {v})", "{v} in h[t]", "h[t] = {g} * h[t-1]"),
        ("h[t] = blend({g}, h[t-1], {v})", "h[t-1] in h[t]", "h[t] = (1 - {g}) * {v}"),
        (
            "h[t] = max(h[t-1], {v})",
            "h[t-1] in linear(x[t], h[t-1])",
            "h[t] = max(h[t-1], tanh(linear(x[t])))",
        ),
        ("h[t] = h[t-1] - {v}", "h[t-1] in h[t]", "h[t] = -tanh(linear(x[t], h[t-1]))"),
        ("h[t] = {v} / (2 + h[t-1])", "2 in 2 + h[t-1]", "h[t] = {v} / h[t-1]"),
    ],
)
def test_what_is_left_of_each_op(cell: str, name: str, expected: str) -> None:
    gate, value = "sigmoid(linear(x[t], h[t-1]))", "tanh(linear(x[t], h[t-1]))"
    named = f"g = {gate}\n"

    def read(text: str) -> Genome:
        text = text.format(g="g", v=value)
        return Genome.from_text(named * ("g" in text.replace("sigmoid", "")) + text)

    wanted = name.format(v=value)
    found = {one: cut.genome for cut in removals(read(cell)).distinct for one in
             (cut.name, *cut.also)}  # fmt: skip
    assert search_key(found[wanted]) == search_key(read(expected))


def test_what_changes_nothing_is_not_trained() -> None:
    found = removals(Genome.from_text("a = abs(square(h[t-1]))\nh[t] = tanh(linear(x[t], a))"))
    assert found.idle == ("abs in a",)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_is_a_cell_and_no_two_are_alike(seed: int) -> None:
    genome = space("lstm_gru").sample(np.random.default_rng(seed))
    found = removals(genome)
    keys = [search_key(one.genome) for one in found.distinct]
    assert keys
    assert len({*keys, search_key(genome)}) == len(keys) + 1
    names = [n for one in found.distinct for n in (one.name, *one.also)]
    assert len({*names, *found.idle, *found.impossible}) == (
        len(names) + len(found.idle) + len(found.impossible)
    )
    for one in found.distinct:
        assert Genome.from_text(one.genome.to_text()) == one.genome
