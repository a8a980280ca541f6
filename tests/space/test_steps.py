"""The larger steps of growth: what each makes, and that none of them can explode at once."""

from __future__ import annotations

import numpy as np
import pytest

from cellsearch.genome.graph import Genome
from cellsearch.space.growth import multiplies_states
from cellsearch.testing.strategies import space

L = "linear(x[t], h[t-1])"
S = f"sigmoid({L})"
V = f"tanh({L})"
TANH = f"h[t] = {V}"
KEPT = f"h[t] = {S} * h[t-1] + {V}"
STEPS = [
    ("gate@output", TANH, f"h[t] = {S} * {V}"),
    ("view@output", TANH, f"h[t] = {V} * {V}"),
    ("blend@output", TANH, f"h[t] = blend({S}, h[t-1], {V})"),
    ("keep@output", TANH, KEPT),
    ("mix@output", TANH, f"h[t] = {S} * h[t-1] + {S} * {V}"),
    ("state@mul", f"h[t] = {S} * {V}", f"c[t] = {S} * c[t-1] + {V}\nh[t] = {S} * c[t]"),
    ("memory@mul", f"h[t] = {S} * {V}", f"c[t] = {S} * c[t-1] + {S} * {V}\nh[t] = {S} * c[t]"),
    ("delay@output", TANH, f"c[t] = {L}\nh[t] = {V} * c[t-1]"),
    ("delay@output", TANH, f"c[t] = {L}\nh[t] = {V} + c[t-1]"),
    ("delay@linear", TANH, f"c[t] = {L}\nh[t] = tanh(linear(x[t], h[t-1], c[t-1]))"),
    (
        "memory@linear",
        TANH,
        f"c[t] = {S} * c[t-1] + {S} * {V}\nh[t] = tanh(linear(x[t], h[t-1], c[t-1]))",
    ),
    ("gate@linear", TANH, f"h[t] = tanh(linear(x[t], {S} * h[t-1]))"),
    ("view@linear", TANH, f"h[t] = tanh(linear(x[t], {V} * h[t-1]))"),
    ("split@output", KEPT, f"c[t] = {S} * c[t-1] + {V}\nh[t] = {S} * c[t]"),
    ("split@output", KEPT, f"c[t] = {S} * c[t-1] + {V}\nh[t] = {S} * tanh(c[t])"),
    ("gate@output", f"h[t] = {L}", f"h[t] = {S} * {V}"),
    ("gate@output", f"h[t] = {L}", f"h[t] = {S} * {L}"),
    ("keep@mul", f"h[t] = {S} * {V}", f"h[t] = {S} * ({S} * h[t-1] + {V})"),
]


@pytest.mark.parametrize(("kind", "parent", "child"), STEPS, ids=range(len(STEPS)))
def test_what_each_step_makes(kind: str, parent: str, child: str) -> None:
    made = {edit.genome.key: edit.operator for edit in space().growth(Genome.from_text(parent))}
    assert made.get(Genome.from_text(child).key) == kind


@pytest.mark.parametrize("name", ["lstm_gru", "tanh_start", "scan", "tiny", "small_device"])
def test_growth_stays_in_its_space_and_goes_on(name: str) -> None:
    where, rng = space(name), np.random.default_rng(0)
    for _ in range(6):
        cell = where.start()
        for _ in range(6):
            edit = where.extension(cell, rng)
            if edit is None:
                break
            assert where.contains(edit.genome) is None
            assert len(edit.genome.nodes) >= len(cell.nodes)
            cell = edit.genome
        assert len(cell.nodes) > len(where.start().nodes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"h[t] = {L} * {L}", True),
        (f"h[t] = tanh({L} * {L})", False),
        (f"h[t] = {S} * {L}", False),
        (f"c[t] = {L}\nh[t] = c[t-1] * {V}", False),
        (f"c[t] = {L}\nh[t] = c[t-1] * {L}", True),
        (f"h[t] = blend({L}, h[t-1], {V})", True),
        (f"h[t] = blend({S}, h[t-1], {V})", False),
    ],
)
def test_which_cells_square_their_state(text: str, expected: bool) -> None:
    assert multiplies_states(Genome.from_text(text)) is expected


def test_what_is_drawn_does_not_square_its_state() -> None:
    """Such cells are among all extensions, and drawn only where nothing else is left."""
    cell, rng = Genome.from_text(f"h[t] = {L}"), np.random.default_rng(0)
    every = {edit.genome.key: edit.genome for edit in space().growth(cell)}
    wild = {key for key, genome in every.items() if multiplies_states(genome)}
    assert wild
    drawn: set[str] = set()
    while (edit := space().extension(cell, rng, avoid=drawn, tries=len(every))) is not None:
        drawn.add(edit.genome.key)
    assert drawn == every.keys() - wild
    last = space().extension(cell, rng, avoid=drawn)
    assert last is not None
    assert last.genome.key in wild
