"""Spaces whose cells read further back than one step."""

from __future__ import annotations

import numpy as np
import pytest

from cellsearch import Genome, load_space
from cellsearch.genome.measures import held_values, recurrence_class
from cellsearch.space import SearchSpace

SPACE = load_space("lstm_gru").constrained({"max_delay": 3})
RAW = SPACE.constrained({"hidden_width": False, "output_sees_input": False})
SCAN = load_space("scan").constrained({"max_delay": 2, "hidden_width": False})


def reach(genome: Genome) -> int:
    """The steps that the cell reads back."""
    return max(held_values(genome).values(), default=1)


def test_held_values_are_counted_in_steps() -> None:
    genome = Genome.from_text(
        "c[t] = tanh(linear(x[t], c[t-3]))\nu = tanh(c[t])\nh[t] = conv(u, 3) + x[t-2] + h[t-1]"
    )
    held = {genome.labels[v]: steps for v, steps in held_values(genome).items()}
    assert held == {"c_3_<t-1>": 3, "c_2_<t-1>": 2, "x_1_<t-1>": 1, "x_2_<t-1>": 2, "u_2_<t-1>": 2}


def test_states_that_take_one_anothers_values_in_a_ring_hold_nothing() -> None:
    ring = "a[t] = b[t-1]\nb[t] = a[t-1]\nh[t] = tanh(linear(x[t], a[t-1], h[t-1]))\nc[t] = c[t-1]"
    assert held_values(Genome.from_text(ring + "\ny[t] = h[t] * c[t-1]")) == {}


@pytest.mark.parametrize("space", [SPACE, RAW, SCAN])
def test_what_a_space_makes_reaches_back_as_far_as_it_allows(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    cells = [space.sample(rng) for _ in range(40)]
    for k in range(60):
        cells.append(space.mutate(cells[k], rng))
    assert all(space.contains(cell) is None for cell in cells)
    assert {reach(cell) for cell in cells} == set(range(1, space.limits.max_delay + 1))
    if not space.dense:
        assert {recurrence_class(cell) for cell in cells} == {"affine-diagonal"}


def test_a_delay_is_put_in_and_taken_out() -> None:
    rng = np.random.default_rng(1)
    cell = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
    made = {SPACE.mutate(cell, rng, {"delay": 1.0}).key for _ in range(20)}
    later = Genome.from_text("h[t] = tanh(linear(x[t], h[t-2]))")
    assert made == {later.key}
    back = {SPACE.mutate(later, rng, {"delay": 1.0}).key for _ in range(40)}
    assert back == {cell.key, Genome.from_text("h[t] = tanh(linear(x[t], h[t-3]))").key}
    raw = {RAW.mutate(cell, rng, {"delay": 1.0}).key for _ in range(40)}
    assert raw == {later.key, Genome.from_text("h[t] = tanh(linear(x[t-1], h[t-1]))").key}


def test_a_space_without_delays_has_no_such_mutation() -> None:
    assert "delay" not in load_space("lstm_gru").operators()
    assert "delay" in SPACE.operators()


def test_what_reaches_back_too_far_is_refused() -> None:
    far = Genome.from_text("h[t] = tanh(linear(x[t], h[t-4]))")
    assert "a value of 4 steps ago" in str(SPACE.contains(far))
    assert SPACE.contains(Genome.from_text("h[t] = tanh(linear(x[t], h[t-3]))")) is None
    assert "3 states" in str(
        load_space("lstm_gru").contains(Genome.from_text("h[t] = tanh(linear(x[t], h[t-3]))"))
    )
