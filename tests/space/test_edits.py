"""Everything that a space returns is legal and has the properties that its operation promises, on
random cells.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellsearch import zoo
from cellsearch.errors import ConfigError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space import SearchSpace
from cellsearch.space.mutation import OPERATORS
from cellsearch.testing.strategies import space

NAMES = ("lstm_gru", "single_state", "tiny")
seeds = st.integers(0, 2**32)
fast = settings(max_examples=40, deadline=None, derandomize=True)


def random_cell(name: str, seed: int) -> tuple[SearchSpace, Genome, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return space(name), space(name).sample(rng), rng


@fast
@given(st.sampled_from(NAMES), seeds)
def test_samples_are_legal_and_repeatable(name, seed):
    where, cell, _ = random_cell(name, seed)
    assert where.contains(cell) is None
    assert where.sample(np.random.default_rng(seed)) == cell
    assert where.limits.min_nodes <= len(cell.nodes) <= where.limits.max_nodes


@fast
@given(st.sampled_from(NAMES), seeds)
def test_mutants_are_legal_and_differ(name, seed):
    where, cell, rng = random_cell(name, seed)
    for _ in range(4):
        mutant = where.mutate(cell, rng)
        assert where.contains(mutant) is None
        assert mutant.key != cell.key
        assert Genome.from_text(mutant.to_text()) == mutant
        cell = mutant


@fast
@given(st.sampled_from(NAMES), seeds, seeds)
def test_children_are_legal_and_differ_from_both(name, one, other):
    where, first, rng = random_cell(name, one)
    second = where.sample(np.random.default_rng(other))
    try:
        child = where.crossover(first, second, rng)
    except SpaceError:
        return  # two small cells may have nothing to exchange; test_space_crossover says when
    assert where.contains(child) is None
    assert child.key not in (first.key, second.key)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.sampled_from(("single_state", "tiny")), seeds)
def test_neighbours_prunings_and_extensions_are_legal_and_each_once(name, seed):
    where, cell, _ = random_cell(name, seed)
    for found in (where.neighbours(cell), where.prunings(cell), where.extensions(cell)):
        assert all(where.contains(genome) is None for genome in found)
        keys = [genome.key for genome in found]
        assert len(set(keys)) == len(keys)
        assert cell.key not in keys


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.sampled_from(NAMES), seeds)
def test_prunings_have_fewer_parts_and_extensions_more(name, seed):
    where, cell, rng = random_cell(name, seed)

    def size(genome: Genome) -> int:
        return sum(1 + len(node.inputs) for node in genome.nodes)

    assert all(
        size(smaller) < size(cell) + 2 for smaller in where.prunings(cell)
    )  # a blend without a part is up to two nodes
    grown = where.extension(cell, rng)
    if grown is not None:
        assert size(grown.genome) > size(cell)
        assert where.contains(grown.genome) is None


@pytest.mark.parametrize("bias", ["", ", bias=False"])
def test_a_blend_may_lose_both_its_values_at_once(bias):
    cell = Genome.from_text(
        f"g = sigmoid(linear(x[t], h[t-1]))\na = linear(c[t-1]{bias})\n"
        "c[t] = linear(x[t], h[t-1]) + blend(g, tanh(a), diag(a))\nh[t] = g * tanh(c[t])"
    )
    where = space("lstm_gru")
    assert where.prunings(cell)
    if bias:
        smaller = where.remove(cell, ["a.weight_c"])
        assert "blend" not in [node.op for node in smaller.nodes]
    else:  # a gate between two constants
        with pytest.raises(SpaceError, match="lost both its values"):
            where.remove(cell, ["a.weight_c"])


@pytest.mark.parametrize("operator", list(OPERATORS))
def test_each_operator_works_alone(operator):
    rng = np.random.default_rng(3)
    cells = [zoo.load(name) for name in ("lstm", "gru", "ran", "lstm_peephole")]
    # One gate that two values share, so that ``unshare`` has something to do.
    linear = "linear(x[t], h[t-1])"
    cells.append(
        Genome.from_text(
            f"g = sigmoid({linear})\nc[t] = g * c[t-1] + (1 - g) * tanh({linear})\nh[t] "
            f"= g * tanh(c[t])"
        )
    )
    wide = {"max_delay": 2, "max_blocks": 2, "max_bottleneck": 2}
    spaces = (space(), space().constrained(wide), space("gated_time"), space("turns"))
    where = next(one for one in spaces if operator in one.operators())
    if where in spaces[2:]:
        cells = [where.sample(rng) for _ in range(5)]
    done = 0
    for cell in cells:
        try:
            edit = where.mutation(cell, rng, {operator: 1.0})
        except SpaceError:
            continue
        assert edit.operator == operator
        assert where.contains(edit.genome) is None
        done += 1
    assert done >= 1


def test_operators_are_drawn_by_their_declared_weights():
    """Counted rates against declared ones: chi-square over the operators that can always act on an
    LSTM.
    """
    rng = np.random.default_rng(0)
    declared = {"op": 0.5, "insert": 0.3, "gate": 0.2}
    counts = Counter(
        space().mutation(zoo.load("lstm"), rng, declared).operator for _ in range(1500)
    )
    assert set(counts) == set(declared)
    # A draw that leads outside the space is drawn again, operator included, so rates shift a little
    # towards what is easier.
    statistic = sum(
        (counts[name] - 1500 * rate) ** 2 / (1500 * rate) for name, rate in declared.items()
    )
    assert statistic < 40
    assert counts["op"] > counts["insert"] > counts["gate"]


def test_wrong_operator_weights_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="unknown mutation operator"):
        space().mutate(zoo.load("lstm"), rng, {"swap": 1.0})
    with pytest.raises(ConfigError, match="weight above 0"):
        space().mutate(zoo.load("lstm"), rng, {"op": 0.0})


def test_mutation_reaches_known_cells_from_one_another():
    """GRU's neighbours hold a cell that is nearer to MGU: sharing its two gates is one move."""
    shared = [
        genome
        for genome in space().neighbours(zoo.load("gru_cho"))
        if sum(node.op == "linear" for node in genome.nodes) == 2
    ]
    assert any(sum(node.op == "sigmoid" for node in genome.nodes) <= 2 for genome in shared)


def test_a_mutation_keeps_the_names_of_the_weights_that_stay():
    rng = np.random.default_rng(1)
    cell = zoo.load("lstm")
    mutant = space().mutate(cell, rng, {"gate": 1.0})
    before = {spec.name: spec.shape for spec in cell.parameters}
    after = {spec.name: spec.shape for spec in mutant.parameters}
    assert set(before) <= set(after)
    assert len(after) == len(before) + 3


def test_samples_differ_and_use_every_op_of_the_space():
    rng = np.random.default_rng(0)
    cells = [space().sample(rng) for _ in range(300)]
    assert len({cell.key for cell in cells}) > 280
    used = {node.op for cell in cells for node in cell.nodes}
    assert used == {op for op, weight in space().ops.items() if weight > 0} | {"const"}
    assert {len(cell.states) for cell in cells} == {1, 2}
