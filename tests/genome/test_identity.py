"""The key is equal exactly for equal cells: nothing is confused, nothing is missed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.evaluate_plain import evaluate_plain

from cellsearch.genome import Genome, canonical
from cellsearch.genome.identity import canonical_form, canonical_key, search_key, subgraph_keys
from cellsearch.testing.genomes import SMOOTH_OPS, random_genome, rewritten

LSTM = """i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1]))
c[t] = f * c[t-1] + i * g
h[t] = o * tanh(c[t])
"""
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)


def key(text: str) -> str:
    return Genome.from_text(text).key


# -- invariance ------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 40))
@quick
def test_key_and_canonical_form_do_not_depend_on_how_a_cell_is_written(
    seed: int, nodes: int
) -> None:
    rng = np.random.default_rng(seed)
    genome = random_genome(rng, max_nodes=nodes)
    other = rewritten(genome, rng)
    assert other.key == genome.key
    form = canonical_form(genome)
    assert canonical_form(other) == form
    assert form.key == genome.key


@pytest.mark.parametrize(
    "text",
    [
        LSTM.replace("f * c[t-1] + i * g", "g * i + c[t-1] * f"),
        LSTM.replace("c[", "cell["),
        LSTM.replace("h[", "out[").replace("c[", "h[").replace("out[", "z[") + "y[t] = z[t]\n",
        LSTM.replace("linear(x[t], h[t-1])", "linear(h[t-1], x[t])"),
        LSTM + "d = linear(i, o)\n",
        LSTM.replace("tanh(c[t])", "tanh(identity(c[t]))"),
        LSTM.replace("c[t] =", "k = c[t-1]\nc[t] =").replace("f * c[t-1]", "f * k"),
        "\n".join([*reversed(LSTM.splitlines()[:4]), *LSTM.splitlines()[4:]]),
    ],
)
def test_the_lstm_in_other_words_has_the_same_key(text: str) -> None:
    assert key(text) == key(LSTM)


@pytest.mark.parametrize(
    "text",
    [
        LSTM.replace(
            "f = sigmoid(linear(x[t], h[t-1]))", "f = i"
        ),  # a shared gate is not two alike
        LSTM.replace("f = sigmoid(", "f = tanh("),
        LSTM.replace("tanh(c[t])", "tanh(c[t-1])"),
        LSTM.replace("tanh(c[t])", "c[t]"),
        LSTM.replace(
            "f = sigmoid(linear(x[t], h[t-1]))", "f = sigmoid(linear(x[t], h[t-1], bias=False))"
        ),
        LSTM.replace("linear(x[t], h[t-1])", "linear(x[t], c[t-1])"),
        "c[0] = 1\n" + LSTM,
        LSTM + "y[t] = c[t]\n",
        LSTM.replace("f * c[t-1] + i * g", "f * c[t-1] + i * g + i"),
        LSTM.replace("f * c[t-1] + i * g", "f * c[t-1] + i * f"),
        LSTM.replace("f * c[t-1]", "c[t-1]"),
        LSTM.replace("i * g", "i * g * 1.0000000000000002"),
    ],
)
def test_another_cell_has_another_key(text: str) -> None:
    assert key(text) != key(LSTM)


def test_sharing_matters_for_weights_and_only_for_them() -> None:
    shared = "s = linear(x[t], h[t-1])\nh[t] = sigmoid(s) * tanh(s)"
    alike = "h[t] = sigmoid(linear(x[t], h[t-1])) * tanh(linear(x[t], h[t-1]))"
    assert key(shared) != key(alike)
    assert key("s = linear(x[t], h[t-1])\na = tanh(s)\nh[t] = a * a + a") == key(
        "s = linear(x[t], h[t-1])\nh[t] = tanh(s) * tanh(s) + tanh(s)"
    )
    assert key("b = bias()\nh[t] = tanh(b + h[t-1]) + b") != key(
        "h[t] = tanh(bias() + h[t-1]) + bias()"
    )


def test_operand_order_counts_where_it_means_something() -> None:
    assert key("h[t] = linear(x[t]) - h[t-1]") != key("h[t] = h[t-1] - linear(x[t])")
    assert key("h[t] = max(linear(x[t]), h[t-1])") == key("h[t] = max(h[t-1], linear(x[t]))")
    assert key("g = sigmoid(linear(x[t]))\nh[t] = blend(g, linear(x[t]), h[t-1])") != key(
        "g = sigmoid(linear(x[t]))\nh[t] = blend(g, h[t-1], linear(x[t]))"
    )


def test_states_are_told_apart_by_what_they_do() -> None:
    one = (
        "h[t] = tanh(linear(x[t], h[t-1], a[t-1]))\na[t] = linear(h[t-1])\nb[t] = "
        "linear(a[t-1])\ny[t] = b[t-1] * h[t]"
    )
    swapped = one.replace("a[", "q[").replace("b[", "a[").replace("q[", "b[")
    assert key(one) == key(swapped)
    assert key(one) != key(one.replace("linear(a[t-1])", "linear(h[t-1])"))


def test_a_state_that_only_dead_nodes_read_is_no_state() -> None:
    text = "h[t] = tanh(linear(x[t], h[t-1]))"
    assert key(text + "\nc[t] = h[t]\nd = linear(c[t-1])") == key(text)
    assert key(text + "\nc[t] = c[t-1] + h[t]") != key(text)  # this one carries something on
    assert search_key(Genome.from_text(text + "\nc[t] = c[t-1] + h[t]")) == search_key(
        Genome.from_text(text)
    )  # but nobody sees it


# -- the decision itself, against slow and simple ones ---------------------------------------------


def tied_weights(genome: Genome, order: tuple[int, ...], size: int = 3) -> dict[str, np.ndarray]:
    """Weights drawn for the k-th node with weights of the given order; alike operands share a
    matrix, so operand order is free.
    """
    owners = list(
        dict.fromkeys(spec.node for spec in genome.parameters if spec.node in genome.live)
    )
    place = {owners[k]: n for n, k in enumerate(order)}
    weights = {}
    for spec in genome.parameters:
        rng = np.random.default_rng([place.get(spec.node, 99), spec.operand < 0, len(spec.shape)])
        weights[spec.name] = rng.normal(size=spec.sizes(size, size))
    return weights


def outputs(genome: Genome, order: tuple[int, ...]) -> np.ndarray:
    x = np.random.default_rng(5).normal(size=(3, 1, 3))
    return evaluate_plain(genome, tied_weights(genome, order), x)[0]


def same_function(one: Genome, other: Genome) -> bool:
    """Whether some assignment of the weights of ``other`` makes it put out what ``one`` does."""
    owners, others = (
        len({spec.node for spec in g.parameters if spec.node in g.live}) for g in (one, other)
    )
    target = outputs(one, tuple(range(owners)))
    orders = permutations(range(max(owners, others)), others)
    return any(
        np.allclose(outputs(other, order), target, rtol=1e-9, atol=1e-12, equal_nan=True)
        for order in orders
    )


def small_genomes(number: int, seed: int) -> list[Genome]:
    rng = np.random.default_rng(seed)
    some = ("linear", "linear", "sigmoid", "tanh", "mul", "add", "sub", "neg")
    found: list[Genome] = []
    while len(found) < number:
        genome = random_genome(rng, max_nodes=5, max_states=2, op_names=some, named=0.2)
        if len({spec.node for spec in genome.parameters}) <= 4:
            found.append(genome)
    return found


def no_confusion_no_miss(number: int, seed: int) -> tuple[int, int]:
    """How many pairs with equal keys were compared as functions, and how many different keys there
    were.
    """
    rng = np.random.default_rng(seed + 1)
    first: dict[str, Genome] = {}
    pairs = 0
    for genome in small_genomes(number, seed):
        assert rewritten(genome, rng).key == genome.key, genome
        twin = first.setdefault(genome.key, genome)
        if twin is not genome:
            pairs += 1
            assert same_function(twin, genome), f"{twin}\n{genome}"
    return pairs, len(first)


def test_none_of_500_random_genomes_is_confused_or_missed() -> None:
    pairs, keys = no_confusion_no_miss(500, 0)
    assert pairs > 50
    assert keys > 150


@pytest.mark.slow
def test_none_of_10000_random_genomes_is_confused_or_missed() -> None:
    pairs, keys = no_confusion_no_miss(10_000, 100)
    assert pairs > 1000
    assert keys > 2000


def test_the_comparison_of_functions_notices_another_function() -> None:
    one = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1])) * sigmoid(linear(x[t]))")
    assert same_function(
        one, Genome.from_text("h[t] = sigmoid(linear(x[t])) * tanh(linear(h[t-1], x[t]))")
    )
    assert not same_function(
        one, Genome.from_text("h[t] = tanh(linear(x[t], h[t-1])) * sigmoid(linear(h[t-1]))")
    )
    assert not same_function(
        one, Genome.from_text("h[t] = sigmoid(linear(x[t], h[t-1])) * tanh(linear(x[t]))")
    )


def gates(names: dict[int, str], pairs: list[tuple[int, int]]) -> str:
    """A cell in which gate k is a linear of its own, and the next state the sum of products of the
    pairs: a graph as a cell.
    """
    lines = [f"{name} = linear(x[t], h[t-1])" for name in names.values()]
    return "\n".join(
        [*lines, "h[t] = add(" + ", ".join(f"{names[a]} * {names[b]}" for a, b in pairs) + ", 1)"]
    )


def test_all_graphs_on_five_gates_are_told_apart_exactly_up_to_isomorphism() -> None:
    """34 graphs of 5 vertices up to isomorphism, 1 + 10 + ... of them labelled (OEIS A000088);
    those without edges left out.
    """
    edges = [(a, b) for a in range(5) for b in range(a)]
    kinds: Counter[str] = Counter()
    for chosen in product((False, True), repeat=len(edges)):
        pairs = [e for e, use in zip(edges, chosen, strict=True) if use]
        if len(pairs) > 0:
            kinds[
                canonical_key(
                    Genome.from_text(
                        gates({k: f"g{k}" for k in range(5)}, pairs)
                        + "\nd[t] = g0 + g1 + g2 + g3 + g4 + d[t-1]"
                    )
                )
            ] += 1
    assert len(kinds) == 33
    assert sum(kinds.values()) == 2**10 - 1


# -- regular graphs, which refinement alone cannot tell apart --------------------------------------


def regular(name: str) -> list[tuple[int, int]]:
    if name == "two triangles":
        return [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    if name == "hexagon":
        return [(k, (k + 1) % 6) for k in range(6)]
    if name == "rook":  # strongly regular (16, 6, 2, 2)
        return [(a, b) for a in range(16) for b in range(a) if a // 4 == b // 4 or a % 4 == b % 4]
    steps = {
        (0, 1),
        (0, 3),
        (1, 0),
        (3, 0),
        (1, 1),
        (3, 3),
    }  # Shrikhande: same parameters, another graph
    return [
        (a, b)
        for a in range(16)
        for b in range(a)
        if ((a // 4 - b // 4) % 4, (a % 4 - b % 4) % 4) in steps
    ]


@pytest.mark.parametrize(("one", "other"), [("two triangles", "hexagon"), ("rook", "shrikhande")])
def test_regular_graphs_are_told_apart_and_recognised(one: str, other: str) -> None:
    rng = np.random.default_rng(0)
    keys = {}
    for name in (one, other):
        pairs = regular(name)
        size = 1 + max(max(pair) for pair in pairs)
        found = set()
        for _ in range(4):
            names = {k: f"g{n}" for k, n in enumerate(rng.permutation(size))}
            shuffled = [pairs[k] for k in rng.permutation(len(pairs))]
            found.add(key(gates(dict(sorted(names.items(), key=lambda item: item[1])), shuffled)))
        assert len(found) == 1
        keys[name] = found
    assert keys[one] != keys[other]


# -- time ------------------------------------------------------------------------------------------


def seconds(call: Callable[[Genome], object], genome: Genome) -> float:
    best = 9.0
    for _ in range(3):
        start = time.process_time()
        call(genome)
        best = min(best, time.process_time() - start)
    return best


def test_symmetric_cells_do_not_explode() -> None:
    alike = Genome.from_text(
        "\n".join(f"g{k} = sigmoid(linear(x[t], h[t-1]))" for k in range(400))
        + "\nh[t] = "
        + " * ".join(f"g{k}" for k in range(400))
    )
    assert seconds(canonical_key, alike) < 1.0
    for size in (8, 16):
        every = gates(
            {k: f"g{k}" for k in range(size)}, [(a, b) for a in range(size) for b in range(a)]
        )
        assert seconds(canonical_key, Genome.from_text(every)) < 5.0


def test_keys_of_ordinary_cells_are_quick() -> None:
    rng = np.random.default_rng(0)
    cells = [
        g
        for g in (random_genome(rng, max_nodes=45, op_names=SMOOTH_OPS) for _ in range(200))
        if 30 <= len(g.nodes) <= 45
    ]
    times = sorted(seconds(canonical_key, g) for g in cells)
    assert times[len(times) // 2] < 0.003  # 0.3 ms on an idle machine, see benchmarks/identity.py


def test_beyond_the_work_limit_keys_stay_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "MAX_WORK", 0)
    assert key(gates({k: f"g{k}" for k in range(16)}, regular("rook"))) != key(
        gates({k: f"g{k}" for k in range(16)}, regular("shrikhande"))
    )
    assert key(gates({k: f"g{k}" for k in range(6)}, regular("hexagon"))) == key(
        gates({k: f"g{k}" for k in range(6)}, regular("hexagon"))
    )


# -- parts -----------------------------------------------------------------------------------------


def test_subgraph_keys_align_equal_parts_of_different_cells() -> None:
    lstm = Genome.from_text(LSTM)
    gru = Genome.from_text(
        "zz = sigmoid(linear(h[t-1], x[t]))\nh[t] = blend(zz, h[t-1], tanh(linear(x[t], h[t-1])))"
    )
    of_lstm = dict(zip(lstm.labels, subgraph_keys(lstm), strict=True))
    of_gru = dict(zip(gru.labels, subgraph_keys(gru), strict=True))
    assert of_lstm["i"] == of_lstm["f"] == of_lstm["o"] == of_gru["zz"]
    assert of_lstm["g"] == of_gru["h.2"]
    assert of_lstm["x_t"] == of_gru["x_t"]
    assert of_lstm["h_<t-1>"] == of_gru["h_<t-1>"] != of_lstm["c_<t-1>"]
    assert of_lstm["h_t"] not in set(of_gru.values())


def test_subgraph_keys_see_sharing_and_skip_identities() -> None:
    genome = Genome.from_text(
        "s = linear(x[t], h[t-1])\nu = linear(x[t], h[t-1])\na = s * tanh(s)\nb = u * "
        "tanh(s)\nd = u * tanh(identity(u))\nh[t] = a + b + d"
    )
    keys = dict(zip(genome.labels, subgraph_keys(genome), strict=True))
    assert keys["a"] == keys["d"] != keys["b"]
    assert keys["d.1"] == keys["u"]


@given(st.integers(0, 2**32))
@quick
def test_subgraph_keys_do_not_depend_on_how_a_cell_is_written(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genome = random_genome(rng, max_nodes=15, max_states=1)
    other = rewritten(genome, rng)
    live = {
        k
        for v, k in enumerate(subgraph_keys(genome))
        if v in genome.live and v >= genome.first_node
    }
    assert live <= set(subgraph_keys(other))
