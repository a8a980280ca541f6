"""The cell of parts of a space with further inputs, blocks or sizes holds them, and its sub-cells
may have them or not; of other spaces it is what it was.
"""

from __future__ import annotations

import pytest
import torch

from cellsearch import compile_cell, strategies
from cellsearch.experiment.catalog import load_space
from cellsearch.genome.measures import recurrence_class
from cellsearch.simulation.simulate import simulate
from cellsearch.testing.strategies import likeness

GATES = ("reset", "entry", "reading", "update", "forget")
WORDS = {"gated_time": ("dt[t]", "mask[t]"), "heads": ("blocks=",), "low_rank": ("size=",)}


@pytest.mark.parametrize("name", list(WORDS))
def test_sub_cells_have_the_parts_or_not_and_run(name: str) -> None:
    space = load_space(name)
    cell = space.parts_cell()
    text = cell.to_text()
    history = simulate(
        strategies.create("prune", {"first": 25}), space, likeness, trials=26, seed=1
    )
    found = [trial.genome for trial in list(history)[1:]]
    for word in WORDS[name]:
        assert word in text
        has = [word in genome.to_text() for genome in found]
        assert any(has), word
        if name != "gated_time":  # there many products read it
            assert not all(has), word
    for genome in found:
        assert space.contains(genome) is None
        assert not space.is_gated(genome)
    layer = compile_cell(found[-1], input_size=3, hidden_size=8)
    given = {k: v for k, v in beside().items() if k in found[-1].inputs}
    assert layer(ones(4, 2, 3), **given)[0].shape == (4, 2, 8)


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


def beside() -> dict[str, torch.Tensor]:
    return {"dt": ones(4, 2), "mask": ones(4, 2, 3)}


@pytest.mark.parametrize(("name", "left"), [("heads", "blocks=4"), ("low_rank", "size=H/4")])
def test_the_dense_weights_of_a_gate_may_go(name: str, left: str) -> None:
    space = load_space(name)
    cell = space.parts_cell()
    dense = {f"{gate}.weight_{s}" for gate in GATES for s in "hc"}
    names = dense & set(space.connections(cell))
    assert names == dense
    smaller = space.remove(cell, sorted(names))
    shapes = {spec.name: spec.shape for spec in cell.parameters}
    after = {spec.name: spec.shape for spec in smaller.parameters}
    assert after.items() <= shapes.items()
    assert not names & set(after)
    assert left in smaller.to_text()


def test_all_that_reads_the_time_may_go() -> None:
    space = load_space("gated_time")
    for cell in (space.parts_cell(), space.full()):
        assert set(cell.inputs) == {"x", "dt", "mask"}
        gone = [name for name in space.connections(cell) if name.endswith("_dt")]
        assert len(gone) > 5
        assert space.remove(cell, gone).inputs == ("x", "mask")


def test_the_full_cell_of_turning_states_turns_them_and_stays_one_scan() -> None:
    space = load_space("turns")
    cell = space.full()
    assert str(recurrence_class(cell)) == "affine-diagonal"
    turned = [name for name in space.connections(cell) if "turned" in name]
    assert len(turned) > 4
    assert "rotate(h[t-1]" in cell.to_text()
    rest = space.remove(cell, turned)
    assert "rotate" not in rest.to_text()
    kept = {"h_from_sigmoid_n1_turned_h.scale", "h_from_n1.scale", "y_from_identity_of_h.scale"}
    there = set(space.connections(cell))
    kept |= {"n1_from_tanh.scale", "n1_in.weight_x", "h_angles.weight_x"}
    assert kept <= there
    small = space.discrete(space.remove(cell, sorted(there - kept)))
    assert space.contains(small) is None
    assert "rotate(h[t-1]" in small.to_text()


def test_other_spaces_have_the_cell_that_they_had() -> None:
    plain = load_space("lstm_gru")
    text = plain.parts_cell().to_text() + plain.full().to_text()
    text += load_space("scan").full().to_text()
    assert "rotate" not in text
    assert not any(word in text for words in WORDS.values() for word in words)
