"""Cost, class and GEMM depth: by hand for small cells, and confirmed by Jacobians for the whole
zoo.
"""

from __future__ import annotations

from collections.abc import Collection

import networkx as nx
import numpy as np
import pytest
from support.cells import plain_cells
from support.evaluate_plain import plain_step, random_weights

from cellsearch import zoo
from cellsearch.genome import Genome
from cellsearch.genome.measures import (
    gemm_depth,
    matrices,
    multiply_adds,
    parameter_count,
    recurrence_class,
)

SIZE = 4


@pytest.mark.parametrize(
    ("text", "expected", "depth"),
    [
        ("h[t] = tanh(linear(x[t], h[t-1]))", "dense", 1),
        ("h[t] = tanh(linear(x[t]) + diag(h[t-1]))", "elementwise", 0),
        ("z = sigmoid(linear(x[t]))\nh[t] = blend(z, h[t-1], linear(x[t]))", "affine-diagonal", 0),
        ("z = sigmoid(linear(x[t]))\nh[t] = blend(h[t-1], z, 1 - z)", "affine-diagonal", 0),
        (
            "h[t] = h[t-1] / (1 + exp(linear(x[t]))) - diag(scale(neg(h[t-1])))",
            "affine-diagonal",
            0,
        ),
        ("h[t] = linear(x[t]) / (2 + square(h[t-1]))", "elementwise", 0),
        ("h[t] = h[t-1] * h[t-1] + linear(x[t])", "elementwise", 0),
        (
            "h[t] = linear(x[t]) * h[t-1] + c[t-1]\nc[t] = 0.5 * c[t-1]",
            "elementwise",
            0,
        ),  # affine, but not in itself alone
        (
            "c[t] = sigmoid(linear(x[t])) * c[t-1] + linear(x[t])\nh[t] = tanh(linear(c[t]))",
            "affine-diagonal",
            0,
        ),  # h is only put out
        ("h[t] = layer_norm(h[t-1] + linear(x[t]))", "dense", 0),
        (
            "u = linear(x[t], x[t-1])\nz = sigmoid(conv(u, 3))\n"
            "h[t] = blend(z, h[t-1], linear(u, x[t-4]))",
            "affine-diagonal",
            0,
        ),  # what earlier inputs gave is known before the loop
        ("h[t] = tanh(linear(x[t-2], h[t-3]))", "dense", 1),
        ("h[t] = tanh(diag(h[t-2]) + linear(x[t-1]))", "elementwise", 0),
        ("r = linear(x[t], h[t-1])\nh[t] = tanh(linear(x[t], r * linear(r)))", "dense", 3),
        ("h[t] = tanh(linear(linear(linear(x[t])), h[t-1]))", "dense", 1),
    ],
)
def test_class_and_depth(text: str, expected: str, depth: int) -> None:
    genome = Genome.from_text(text)
    assert recurrence_class(genome) == expected
    assert gemm_depth(genome) == depth


def test_costs_by_hand() -> None:
    lstm = Genome.from_text(zoo.load("lstm").to_text() + "")
    assert parameter_count(lstm, 8, 16) == 4 * (16 * 8 + 16 * 16 + 16)
    assert multiply_adds(lstm, 8, 16) == 4 * (16 * 8 + 16 * 16) + 3 * 16
    assert matrices(lstm) == 8
    dead = Genome.from_text(
        "d = linear(x[t], h[t-1])\nh[t] = diag(x[t]) * scale(h[t-1]) / blend(h[t-1], x[t], 2)"
    )
    assert multiply_adds(dead, 5, 5) == 5 + 5 + 5 + 5 + 10
    assert parameter_count(dead, 5, 5) == 5 + 1
    assert matrices(dead) == 0


def jacobians(genome: Genome, seed: int, known: Collection[str] = ()) -> np.ndarray:
    """d next / d previous, [state, state, unit, unit], by central differences at a random point, in
    which ``known`` states are the same whatever the seed is.
    """
    rng = np.random.default_rng(seed)
    weights = random_weights(genome, np.random.default_rng(7), SIZE, SIZE)
    x = np.random.default_rng(8).normal(size=(1, SIZE))
    states = {s.name: 4.0 * rng.normal(size=(1, SIZE)) for s in genome.states}
    for name in known:
        states[name] = 2.0 * np.random.default_rng(9).normal(size=(1, SIZE))
    n = len(genome.states)
    result = np.zeros((n, n, SIZE, SIZE))
    for j, state in enumerate(genome.states):
        for unit in range(SIZE):
            ends = []
            for step in (1e-6, -1e-6):
                moved = {name: value.copy() for name, value in states.items()}
                moved[state.name][0, unit] += step
                ends.append(plain_step(genome, weights, x, moved)[1])
            for k, other in enumerate(genome.states):
                result[k, j, :, unit] = (ends[0][other.name][0] - ends[1][other.name][0]) / 2e-6
    return result


def numeric_class(genome: Genome) -> str:
    """The class as the Jacobians at several points show it."""
    names = list(genome.state_names)
    kept = list(range(len(names)))
    while True:  # a state that no other one changes is known beforehand, as an input is
        known = {name for k, name in enumerate(names) if k not in kept}
        found = [jacobians(genome, seed, known)[np.ix_(kept, kept)] for seed in range(8)]
        still = [
            k
            for place, k in enumerate(kept)
            if any(np.any(np.abs(jacobian[place]) > 1e-6) for jacobian in found)
        ]
        if not still:
            return "affine-diagonal"
        if still == kept:
            break
        kept = still
    turns = any(node.op == "rotate" for node in genome.nodes)
    units = np.kron(np.eye(SIZE // 2), np.ones((2, 2))) > 0 if turns else np.eye(SIZE) > 0
    if any(np.max(np.abs(jacobian[..., ~units])) > 1e-6 for jacobian in found):
        return "dense"
    states = np.eye(len(kept), dtype=bool)
    coupled = any(np.max(np.abs(jacobian[~states]), initial=0.0) > 1e-6 for jacobian in found)
    changes = max(np.max(np.abs(jacobian - found[0])) for jacobian in found)
    return "elementwise" if coupled or changes > 1e-5 else "affine-diagonal"


@pytest.mark.parametrize("name", plain_cells())
def test_the_class_of_every_zoo_cell_is_what_its_jacobians_show(name: str) -> None:
    assert recurrence_class(zoo.load(name)) == numeric_class(zoo.load(name))


def test_the_numeric_class_tells_the_classes_apart() -> None:
    assert numeric_class(Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")) == "dense"
    assert (
        numeric_class(Genome.from_text("h[t] = tanh(linear(x[t]) + diag(h[t-1]))")) == "elementwise"
    )
    assert (
        numeric_class(Genome.from_text("h[t] = sigmoid(linear(x[t])) * h[t-1] + linear(x[t])"))
        == "affine-diagonal"
    )
    assert (
        numeric_class(Genome.from_text("h[t] = 0.5 * c[t-1]\nc[t] = 0.5 * h[t-1] + linear(x[t])"))
        == "elementwise"
    )


@pytest.mark.parametrize("name", plain_cells())
def test_the_depth_of_every_zoo_cell_is_the_longest_path_of_its_graph(name: str) -> None:
    """A second way to it: the heaviest path in the networkx form between a previous state and a
    next state, linears weighing 1.
    """
    genome = zoo.load(name)
    graph = genome.to_networkx()
    weighed = nx.DiGraph()
    for source, target in graph.edges():
        weighed.add_edge(
            source, target, weight=1 if graph.nodes[target].get("op") == "linear" else 0
        )
    best, held = 0, set[str]()  # what is held are earlier inputs
    for _ in genome.states:
        held |= {
            f"{state}_<t-1>"
            for state in genome.state_names
            if all(v in held for v in nx.ancestors(weighed, f"{state}_t") if v.endswith("_<t-1>"))
        }
    for state in genome.state_names:
        if f"{state}_<t-1>" in held:
            continue
        heaviest = {f"{state}_<t-1>": 0}
        for vertex in nx.topological_sort(weighed):
            for _, target, weight in (
                weighed.out_edges(vertex, data="weight") if vertex in heaviest else ()
            ):
                heaviest[target] = max(heaviest.get(target, 0), heaviest[vertex] + weight)
        best = max(
            [best, *(heaviest[f"{end}_t"] for end in genome.state_names if f"{end}_t" in heaviest)]
        )
    assert gemm_depth(genome) == best
