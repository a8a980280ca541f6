"""Growth: known cells grow from the smallest one, every step is complete, old weights keep their
names.
"""

from __future__ import annotations

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.genome.graph import Genome
from cellsearch.testing.strategies import space

L = "linear(x[t], h[t-1])"
PATHS = {
    "lstm": [
        f"h[t] = sigmoid({L}) * {L}",
        f"h[t] = sigmoid({L}) * tanh({L})",
        f"c[t] = sigmoid({L}) * c[t-1] + {L}\nh[t] = sigmoid({L}) * tanh(c[t])",
        f"c[t] = sigmoid({L}) * c[t-1] + sigmoid({L}) * {L}\nh[t] = sigmoid({L}) * tanh(c[t])",
        f"c[t] = sigmoid({L}) * c[t-1] + sigmoid({L}) * tanh({L})\nh[t] = sigmoid({L}) "
        f"* tanh(c[t])",
    ],
    "gru_cho": [
        f"h[t] = blend(sigmoid({L}), h[t-1], {L})",
        f"h[t] = blend(sigmoid({L}), h[t-1], tanh({L}))",
        f"h[t] = blend(sigmoid({L}), h[t-1], tanh(linear(x[t], sigmoid({L}) * h[t-1])))",
    ],
    "rnn_tanh": [f"h[t] = tanh({L})"],
}


@pytest.mark.parametrize("name", list(PATHS))
def test_known_cells_grow_in_a_few_steps(name):
    cell = space().start()
    for text in PATHS[name]:
        wanted = Genome.from_text(text).key
        cell = next(edit.genome for edit in space().growth(cell) if edit.genome.key == wanted)
    assert cell.key == zoo.load(name).key


def test_the_start_is_a_linear_over_the_input_and_one_state():
    assert space().start().key == Genome.from_text("h[t] = linear(x[t], h[t-1])").key


def test_steps_keep_the_weights_of_the_step_before():
    """An extension adds weights; those that were there keep name and shape, up to an operand that
    has become a node.

    The exception is an extension that simplification absorbs into a weight (``a - linear(...)``
    turns its sign): it has a new name.
    """
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(40):
        cell = space().start()
        for _ in range(5):
            edit = space().extension(cell, rng)
            assert edit is not None
            before = {spec.name: spec.shape for spec in cell.parameters}
            after = {spec.name: spec.shape for spec in edit.genome.parameters}
            assert all(after[name] == shape for name, shape in before.items() if name in after)
            kept += len(before.keys() - after.keys()) <= 1
            cell = edit.genome
    assert kept >= 0.9 * 200


def test_extensions_avoid_what_is_known():
    rng = np.random.default_rng(0)
    cell = space("tiny").start()
    known = {cell.key}
    while (edit := space("tiny").extension(cell, rng, avoid=known)) is not None:
        assert edit.genome.key not in known
        known.add(edit.genome.key)
    assert known == {cell.key} | {genome.key for genome in space("tiny").extensions(cell)}
