"""Spaces whose cells turn pairs of units."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from cellsearch import Genome, load_space
from cellsearch.errors import SpaceError
from cellsearch.genome.identity import canonical_form, search_key
from cellsearch.genome.measures import recurrence_class
from cellsearch.space import SearchSpace
from cellsearch.testing.genomes import rewritten

SPACE = load_space("turns")
DENSE = SPACE.constrained({"class": "dense"})


def turns(genome: Genome) -> int:
    """How many rotations a cell has."""
    return sum(node.op == "rotate" for node in genome.nodes)


@pytest.mark.parametrize("space", [SPACE, DENSE])
def test_what_a_space_makes_is_legal_and_turns(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    cells = [space.sample(rng) for _ in range(60)]
    for k in range(60):
        cells.append(space.mutate(cells[k], rng))
        with suppress(SpaceError):  # not every two have an exchange that is legal
            cells.append(space.crossover(cells[k], cells[k + 1], rng))
    assert len(cells) > 150
    assert all(space.contains(cell) is None for cell in cells)
    assert sum(turns(cell) > 0 for cell in cells) > len(cells) / 4
    if space is SPACE:
        assert {recurrence_class(cell) for cell in cells} == {"affine-diagonal"}


def test_a_rotation_is_put_in_changed_and_taken_out() -> None:
    rng = np.random.default_rng(1)
    cell = Genome.from_text("z = sigmoid(linear(x[t]))\nh[t] = blend(z, h[t-1], linear(x[t]))")
    made = {SPACE.mutate(cell, rng, {"turn": 1.0}).key for _ in range(30)}
    learned, driven = (
        Genome.from_text(
            f"z = sigmoid(linear(x[t]))\nh[t] = blend(z, rotate(h[t-1], {angle}), linear(x[t]))"
        )
        for angle in ("bias(size=H/2)", "linear(x[t], size=H/2)")
    )
    assert made == {learned.key, driven.key}
    assert {SPACE.mutate(learned, rng, {"turn": 1.0}).key for _ in range(30)} == {
        cell.key,
        driven.key,
    }


def test_a_space_without_the_op_has_no_such_mutation_and_refuses_the_cell() -> None:
    assert "turn" not in load_space("scan").operators()
    assert "turn" in SPACE.operators()
    cell = Genome.from_text(
        "h[t] = rotate(h[t-1], bias(size=H/2)) * sigmoid(bias()) + linear(x[t])"
    )
    assert SPACE.contains(cell) is None
    assert "the op rotate" in str(load_space("rotations").contains(cell))


def test_a_narrow_value_is_an_angle_only() -> None:
    cell = Genome.from_text(
        "a = linear(x[t], size=H/2)\nh[t] = rotate(h[t-1], a) * sigmoid(linear(a)) + linear(x[t])"
    )
    assert "the size H/2" in str(SPACE.contains(cell))


def check_identity(count: int, seed: int) -> None:
    """Each cell and another way to write it have one key; different cells have different ones."""
    rng = np.random.default_rng(seed)
    seen: dict[str, str] = {}
    for _ in range(count):
        cell = SPACE.sample(rng)
        assert rewritten(cell, rng).key == cell.key
        form = Genome.from_json(cell.to_json())
        assert form == cell
        assert Genome.from_text(cell.to_text()) == cell
        simple = cell.simplify()
        assert search_key(cell) == simple.key
        assert seen.setdefault(cell.key, canonical_form(cell).to_text()) == (
            canonical_form(cell).to_text()
        )
    assert len(seen) > count / 2


def test_identity_of_drawn_cells() -> None:
    check_identity(60, 2)


@pytest.mark.slow
def test_identity_of_many_drawn_cells() -> None:
    check_identity(1000, 3)
