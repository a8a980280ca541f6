"""Simplification keeps the function: every rule, hard cases, random genomes; and it finds what is the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.evaluate_plain import evaluate_plain, plain_step, plain_values, random_weights

from cellsearch import ops
from cellsearch.errors import GenomeError
from cellsearch.genome import Genome
from cellsearch.genome.identity import search_key
from cellsearch.genome.rewriting.simplify import (
    RULES,
    Rule,
    rewrite,
    simplify,
    simplify_weights,
    tidied,
)
from cellsearch.testing.genomes import (
    FIRST_OPS,
    MODERATE_NUMBERS,
    SMOOTH_OPS,
    random_genome,
    rewritten,
)

LSTM = """i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1]))
c[t] = f * c[t-1] + i * g
h[t] = o * tanh(c[t])
"""
# a, b and g are read by the state s as well, so that no weight behind them can change
GATES = "u = linear(x[t], h[t-1], s[t-1])\na = tanh(u)\nb = sin(u) * h[t-1]\ng = sigmoid(u)\ns[t] = tanh(a + b + 2 * g + u)\n"
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)


def genome(text: str) -> Genome:
    return Genome.from_text(text)


def deviation(
    one: Genome,
    weights: dict[str, np.ndarray],
    other: Genome,
    carried: dict[str, np.ndarray],
    x: np.ndarray,
) -> float:
    """Largest difference of the outputs, relative to the largest output (at least 1)."""
    a, b = evaluate_plain(one, weights, x)[0], evaluate_plain(other, carried, x)[0]
    return float(np.max(np.abs(a - b)) / max(1.0, np.max(np.abs(a))))


def proven(cell: Genome, rules: tuple[Rule, ...] = RULES) -> Genome:
    """The simplified cell, after a check on random weights that it puts out the same."""
    rng = np.random.default_rng(3)
    weights = random_weights(cell, rng, 4, 4)
    simple, carried = simplify_weights(cell, weights, rules=rules)
    assert simple == simplify(cell, rules=rules)
    assert deviation(cell, weights, simple, carried, rng.normal(size=(4, 3, 4))) < 1e-10
    return simple


# -- every rule --------------------------------------------------------------------------------------------------------

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "alike states": (
        ("h[t] = tanh(linear(x[t], h[t-1], c[t-1], bias=False))\nc[t] = h[t]", "h[t] = tanh(linear(x[t], h[t-1], bias=False))"),
        ("k[0] = 0.5\nh[t] = tanh(linear(x[t])) * k[t-1] * h[t-1]\nk[t] = k[t-1]", "h[t] = 0.5 * (tanh(linear(x[t])) * h[t-1])"),
    ),
    "function of a number": (("h[t] = h[t-1] * linear(x[t]) + exp(0) + sigmoid(0)", "h[t] = h[t-1] * linear(x[t]) + 1.5"),),
    "odd function": (
        (GATES + "h[t] = tanh(neg(b)) + a", GATES + "h[t] = a - tanh(b)"),
        (GATES + "h[t] = layer_norm(-2 * b) + a", GATES + "h[t] = a - layer_norm(2 * b)"),
    ),
    "even function": ((GATES + "h[t] = cos(neg(a)) * abs(neg(b)) * square(neg(g))", GATES + "h[t] = cos(a) * abs(b) * g * g"),),
    "complement of a sigmoid": (
        (GATES + "h[t] = blend(sigmoid(neg(b)), a, g)", GATES + "h[t] = blend(sigmoid(b), g, a)"),
        (GATES + "h[t] = softplus(neg(b)) * a", GATES + "h[t] = neg(log_sigmoid(b) * a)"),
        (GATES + "h[t] = log_sigmoid(neg(b)) * a", GATES + "h[t] = neg(softplus(b) * a)"),
    ),
    "never negative": ((GATES + "h[t] = relu(g) * abs(exp(b)) + leaky_relu(square(a))", GATES + "h[t] = g * exp(b) + square(a)"),),
    "within bounds": (
        (GATES + "h[t] = hard_tanh(g) * hard_tanh(softsign(a))", GATES + "h[t] = g * softsign(a)"),
        (GATES + "h[t] = hard_tanh(relu(b)) + hard_tanh(a)", GATES + "h[t] = hard_tanh(relu(b)) + a"),
    ),
    "function of a function": (
        (GATES + "h[t] = exp(log_sigmoid(b)) * sqrt(square(a)) + square(abs(g))", GATES + "h[t] = sigmoid(b) * abs(a) + square(g)"),
    ),
    "one head": ((GATES + "h[t] = head_norm(b, 1) + a", GATES + "h[t] = layer_norm(b) + a"),),
    "rotation": (
        (GATES + "h[t] = rotate(b, 0) * rotate(a - a, 2)", GATES + "h[t] = 0 * b"),
        (GATES + "h[t] = rotate(rotate(b, 0.25), 0.5)", GATES + "h[t] = rotate(b, 0.75)"),
        (GATES + "h[t] = rotate(neg(b), 2) + a", GATES + "h[t] = a - rotate(b, 2)"),
    ),
    "unit of a multiple": (
        (GATES + "h[t] = unit(3 * b) + a", GATES + "h[t] = unit(b) + a"),
        (GATES + "h[t] = unit(unit(b)) * unit(2 * a / 3)", GATES + "h[t] = unit(b) * unit(a)"),
        (GATES + "h[t] = unit(-4 * b) + a + unit(0)", GATES + "h[t] = a - unit(b)"),
    ),
    "extremum": (
        (GATES + "h[t] = max(a, a) + max(b, 0) + min(g, 0)", GATES + "h[t] = a + relu(b) - relu(neg(g))"),
        (GATES + "h[t] = max(neg(a), neg(b)) * max(2, 3)", GATES + "h[t] = -3 * min(a, b)"),
    ),
    "degenerate blend": (
        (GATES + "h[t] = blend(g, a, a) * b", GATES + "h[t] = a * b"),
        (GATES + "h[t] = blend(g, a, 0) + blend(0.25, a, b)", GATES + "h[t] = g * a + 0.25 * a + 0.75 * b"),
        (GATES + "h[t] = blend(g, 0, b) * a", GATES + "h[t] = (1 - g) * b * a"),
    ),
    "turned blend": ((GATES + "h[t] = blend(1 - g, a, b)", GATES + "h[t] = blend(g, b, a)"),),
    "flat sum": (
        (GATES + "h[t] = (a + b) + (g + 2) + (1 - (1 - a))", GATES + "h[t] = 2 * a + b + g + 2"),
        (GATES + "h[t] = neg(neg(a)) * (b - (b - g))", GATES + "h[t] = a * g"),
        (GATES + "h[t] = a + 3 * a - 0.5 * b + b - b", GATES + "h[t] = 4 * a - 0.5 * b"),
        (GATES + "h[t] = a - a + 1 * b", GATES + "h[t] = b"),
    ),
    "written blend": (
        (GATES + "h[t] = g * a + (1 - g) * b", GATES + "h[t] = blend(g, a, b)"),
        (GATES + "h[t] = b * (1 - g) + a * g + u", GATES + "h[t] = u + blend(g, a, b)"),
        (GATES + "q = 1 - g\nh[t] = 2 * (q * a) + 2 * (g * b)", GATES + "h[t] = 2 * blend(g, b, a)"),
    ),
    "opened blend": (
        (GATES + "h[t] = b + g * (a - b)", GATES + "h[t] = blend(g, a, b)"),
        (GATES + "h[t] = b - g * (b - a)", GATES + "h[t] = blend(g, a, b)"),
        (GATES + "h[t] = b + g * a - g * b", GATES + "h[t] = blend(g, a, b)"),
        (GATES + "h[t] = a + (1 - g) * (b - a)", GATES + "h[t] = blend(g, a, b)"),
    ),
    "flat product": (
        (GATES + "h[t] = (2 * a) * (neg(b) * g) * 3", GATES + "h[t] = -6 * (a * b * g)"),
        (GATES + "h[t] = a / (g / b) / 4 + exp(b) / exp(g) * a", GATES + "h[t] = 0.25 * (a * b / g) + exp(b) * a / exp(g)"),
        (GATES + "h[t] = a * a + 0 * b", GATES + "h[t] = square(a)"),
    ),
    "silu": ((GATES + "h[t] = b * sigmoid(b) * a", GATES + "h[t] = silu(b) * a"),),
    "repeated operand": (("h[t] = tanh(linear(x[t], h[t-1], x[t], 0))", "h[t] = tanh(linear(x[t], h[t-1]))"),),
    "linear of linear": (
        ("h[t] = linear(linear(x[t], h[t-1]), h[t-1], bias=False) * h[t-1]", "h[t] = linear(x[t], h[t-1]) * h[t-1]"),
        ("h[t] = tanh(linear(diag(h[t-1]), scale(x[t]), bias=False))", "h[t] = tanh(linear(h[t-1], x[t], bias=False))"),
        (GATES + "h[t] = tanh(linear(neg(a)))", GATES + "h[t] = tanh(linear(a))"),
    ),
    "diag of weights": (
        ("h[t] = tanh(diag(linear(x[t], h[t-1]))) * diag(bias())", "h[t] = tanh(linear(x[t], h[t-1])) * bias()"),
        (GATES + "h[t] = diag(diag(a)) * diag(neg(b)) * diag(scale(g))", GATES + "h[t] = diag(a) * diag(b) * diag(g)"),
    ),
    "scale of weights": (("h[t] = scale(scale(h[t-1])) * scale(linear(x[t]))", "h[t] = scale(h[t-1]) * linear(x[t])"),),
    "sum of linears": (
        ("h[t] = tanh(linear(x[t]) + linear(h[t-1], bias=False))", "h[t] = tanh(linear(x[t], h[t-1]))"),
        ("h[t] = tanh(linear(x[t], bias=False) + bias() + linear(h[t-1], x[t], bias=False))", "h[t] = tanh(linear(x[t], h[t-1]))"),
        ("h[t] = h[t-1] * linear(x[t]) + bias() + bias()", "h[t] = h[t-1] * linear(x[t]) + bias()"),
    ),
    "sum of diagonals": ((GATES + "h[t] = diag(a) + diag(a) + scale(b) + scale(b)", GATES + "h[t] = diag(a) + scale(b)"),),
    "sign of weights": (
        ("h[t] = h[t-1] - tanh(linear(x[t]))", "h[t] = h[t-1] + tanh(linear(x[t]))"),
        (GATES + "h[t] = a - b * sin(linear(g))", GATES + "h[t] = a + b * sin(linear(g))"),
        (GATES + "h[t] = neg(layer_norm(linear(b))) * a", GATES + "h[t] = layer_norm(linear(b)) * a"),
        (GATES + "h[t] = a - tanh(sigmoid(g)) * linear(b)", GATES + "h[t] = a + tanh(sigmoid(g)) * linear(b)"),
        (GATES + "h[t] = a - linear(b) * tanh(sigmoid(g))", GATES + "h[t] = a + tanh(sigmoid(g)) * linear(b)"),
        (
            GATES + "h[t] = a - sin(tanh(tanh(abs(g)) * tanh(square(b))) * (tanh(relu(g)) * sin(linear(b))))",
            GATES + "h[t] = a + sin(tanh(tanh(abs(g)) * tanh(square(b))) * (tanh(relu(g)) * sin(linear(b))))",
        ),
    ),
    "complement of weights": ((GATES + "h[t] = a * (1 - sigmoid(linear(b)))", GATES + "h[t] = a * sigmoid(linear(b))"),),
    "sign of weights in a product": ((GATES + "h[t] = relu(-2 * linear(b)) + a", GATES + "h[t] = relu(2 * linear(b)) + a"),),
    "order of a free blend": (
        (GATES + "h[t] = blend(sigmoid(linear(a)), b, h[t-1])", GATES + "h[t] = blend(sigmoid(linear(a)), h[t-1], b)"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [(name, *pair) for name, pairs in EXAMPLES.items() for pair in pairs],
)
def test_rule(name: str, before: str, after: str) -> None:
    cell = genome(before)
    assert proven(cell).key == simplify(genome(after)).key, simplify(cell)
    without = tuple(rule for rule in RULES if rule.name != name)
    assert proven(cell, without).key != simplify(cell).key, "the example does not need the rule"


def test_every_rule_has_an_example_and_a_meaning() -> None:
    assert set(EXAMPLES) == {rule.name for rule in RULES}
    assert all(
        "->" in rule.meaning or "=" in rule.meaning or rule.name == "alike states" for rule in RULES
    )
    assert {op for rule in RULES for op in rule.ops} <= {*ops.OPS, "state"}


def test_the_check_notices_a_wrong_rule() -> None:
    wrong = Rule(
        "wrong",
        "algebra",
        ("tanh",),
        lambda draft, value: draft.make("sigmoid", *draft.at(value).operands),
    )
    with pytest.raises(AssertionError):
        proven(genome("h[t] = tanh(linear(x[t], h[t-1]))"), (wrong,))


def test_rules_that_undo_one_another_are_reported() -> None:
    there = Rule(
        "there",
        "algebra",
        ("tanh",),
        lambda draft, value: draft.make("sin", *draft.at(value).operands),
    )
    back = Rule(
        "back",
        "algebra",
        ("sin",),
        lambda draft, value: draft.make("tanh", *draft.at(value).operands),
    )
    with pytest.raises(GenomeError, match="not simple"):
        simplify(genome("h[t] = tanh(linear(x[t], h[t-1]))"), rules=(there, back))


# -- what must not change ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        LSTM,
        "u = linear(x[t], h[t-1])\nv = linear(u)\nh[t] = tanh(v) * u",  # u has another reader
        "h[t] = tanh(linear(tanh(linear(x[t])), h[t-1]))",
        "h[t] = tanh(linear(x[t], h[t-1]) + 1)",  # a number is not a weight: it starts elsewhere
        "h[t] = tanh(2 * linear(x[t], h[t-1]))",
        "h[t] = tanh(linear(x[t]) * linear(h[t-1]))",
        "h[t] = h[t-1] - scale(h[t-1])",
        "h[t] = sigmoid(diag(h[t-1]) + linear(x[t]))",
        "s = linear(x[t]) + h[t-1]\nh[t] = tanh(s + 1) * sigmoid(s + bias())",  # a shared sum is computed once
    ],
)
def test_nothing_to_simplify(text: str) -> None:
    assert proven(genome(text)).key == genome(text).key


def test_names_stay_and_dead_parts_go() -> None:
    text = LSTM + "dead = tanh(i)\nk[t] = k[t-1] + o\n"
    assert simplify(genome(text)).to_text() == LSTM


def test_a_cell_whose_output_needs_no_state_stays_a_legal_cell() -> None:
    simple = simplify(genome("h[t] = tanh(linear(x[t]))\nc[t] = c[t-1] + h[t]\nd = linear(h[t-1])"))
    assert simple.to_text() == "h[t] = tanh(linear(x[t]))\nunread = identity(h[t-1])\n"
    assert simplify(simple) == simple


# -- hard cases of identity --------------------------------------------------------------------------------------------

GRU = "r = sigmoid(linear(x[t], h[t-1]))\nz = sigmoid(linear(x[t], h[t-1]))\nn = tanh(linear(x[t], r * h[t-1]))\n"


@pytest.mark.parametrize(
    "update",
    [
        "blend(z, h[t-1], n)",
        "z * h[t-1] + (1 - z) * n",
        "(1 - z) * n + h[t-1] * z",
        "n + z * (h[t-1] - n)",
        "n - z * (n - h[t-1])",
        "h[t-1] + (1 - z) * (n - h[t-1])",
        "h[t-1] - (1 - z) * (h[t-1] - n)",
        "n - z * n + z * h[t-1]",
        "blend(1 - z, n, h[t-1])",
        "blend(1 - (1 - z), h[t-1], n)",
        "blend(z, n, h[t-1])",  # z and 1 - z are the same gate with the signs of its weights turned
        "identity(z) * h[t-1] - (z - 1) * n",
    ],
)
def test_blend_written_out_is_the_same_gru(update: str) -> None:
    assert search_key(genome(GRU + f"h[t] = {update}")) == search_key(
        genome(GRU + "h[t] = blend(z, h[t-1], n)")
    )
    proven(genome(GRU + f"h[t] = {update}"))


def test_the_search_key_is_the_key_of_the_simplified_genome() -> None:
    rng = np.random.default_rng(11)
    cells = [random_genome(rng, max_nodes=20) for _ in range(150)]
    cells += [genome(text) for pairs in EXAMPLES.values() for pair in pairs for text in pair]
    cells.append(genome("h[t] = tanh(linear(x[t])) + 0 * h[t-1]"))  # the output needs no state
    assert [search_key(cell) for cell in cells] == [simplify(cell).key for cell in cells]
    assert len({search_key(cell) for cell in cells}) > 100
    assert any(search_key(cell) != cell.key for cell in cells)


def test_what_a_genome_remembers_of_its_simple_form_is_what_a_fresh_one_turns_out_to_be() -> None:
    """A search does not simplify it again: its key is the one that a resumed search finds."""
    rng = np.random.default_rng(12)
    cells = [random_genome(rng, max_nodes=30) for _ in range(150)]
    cells += [genome(text) for pairs in EXAMPLES.values() for pair in pairs for text in pair]
    known = 0
    for cell in cells:
        key = search_key(Genome.from_json(cell.to_json()))
        simple = tidied(cell)
        fresh = Genome.from_json(simple.to_json())
        assert fresh.known_simple is None
        assert search_key(fresh) == search_key(simple) == search_key(cell) == key
        if simple.is_known_simple:
            assert rewrite(fresh).is_unchanged
            assert cell.known_simple in (cell, simple)
            known += simple != cell
    assert known > len(cells) // 2
    needless = genome("h[t] = 0 * h[t-1]")  # a state that nothing needs
    assert tidied(needless).known_simple is needless.known_simple is None


def test_other_cells_stay_other_cells() -> None:
    gru = search_key(genome(GRU + "h[t] = blend(z, h[t-1], n)"))
    assert search_key(genome(GRU + "h[t] = blend(r, h[t-1], n)")) != gru
    assert search_key(genome(GRU + "h[t] = z * h[t-1] + z * n")) != gru
    assert search_key(genome(GRU + "h[t] = z * h[t-1] + (1 - r) * n")) != gru
    assert (
        search_key(genome(GRU.replace("r * h[t-1])", "h[t-1])") + "h[t] = blend(z, h[t-1], n)"))
        != gru
    )


# -- random genomes ----------------------------------------------------------------------------------------------------


def moderate(cell: Genome, weights: dict[str, np.ndarray], x: np.ndarray) -> bool:
    """Whether all values stay finite and below 1e4, so that rounding cannot be blown up."""
    states = {s.name: np.full(x.shape[1:], s.initial) for s in cell.states}
    for now in x:
        values = plain_values(cell, weights, now, states)
        if not all(np.isfinite(v).all() and np.max(np.abs(v)) < 1e4 for v in values):
            return False
        states = plain_step(cell, weights, now, states)[1]
    return True


def check_random_genome(seed: int, op_names: tuple[str, ...], nodes: int) -> tuple[bool, bool]:
    """Whether the genome was moderate enough to be compared, and whether writing it differently led to another simple form."""
    rng = np.random.default_rng(seed)
    cell = random_genome(
        rng, max_nodes=nodes, max_states=3, op_names=op_names, numbers=MODERATE_NUMBERS
    )
    simple = simplify(cell)
    assert simplify(simple) == simple
    missed = search_key(rewritten(cell, rng)) != simple.key
    weights, x = random_weights(cell, rng, 3, 3), rng.normal(size=(2, 2, 3))
    if not moderate(cell, weights, x):
        return False, missed
    other, carried = simplify_weights(cell, weights)
    assert deviation(cell, weights, other, carried, x) < 1e-8, f"{cell}\n{other}"
    return True, missed


@given(st.integers(0, 2**32), st.sampled_from([SMOOTH_OPS, FIRST_OPS]), st.integers(1, 20))
@quick
def test_random_genomes_compute_the_same(seed: int, op_names: tuple[str, ...], nodes: int) -> None:
    check_random_genome(seed, op_names, nodes)


def test_simple_forms_do_not_depend_on_how_a_cell_is_written() -> None:
    found = [
        check_random_genome(seed, SMOOTH_OPS if seed % 2 else FIRST_OPS, 14) for seed in range(200)
    ]
    assert sum(compared for compared, _ in found) > 140
    assert not any(missed for _, missed in found)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_random_genomes_compute_the_same() -> None:
    """All compute the same. Rules are tried in the order of the graph, so a few cells in 10,000 may end in another simple form."""
    found = [
        check_random_genome(seed, SMOOTH_OPS if seed % 2 else FIRST_OPS, 14)
        for seed in range(10_000)
    ]
    assert sum(compared for compared, _ in found) > 7_000
    assert sum(missed for _, missed in found) <= 5


def test_weights_can_be_torch_tensors_and_must_be_there() -> None:
    torch = pytest.importorskip("torch")
    cell = genome("h[t] = tanh(linear(linear(x[t]), diag(h[t-1])))")
    weights = random_weights(cell, np.random.default_rng(0), 3, 3)
    simple, carried = simplify_weights(cell, {name: torch.tensor(w) for name, w in weights.items()})
    assert simple.to_text() == "h[t] = tanh(linear(x[t], h[t-1]))\n"
    for name, w in simplify_weights(cell, weights)[1].items():
        assert np.allclose(carried[name].numpy(), w)
    with pytest.raises(GenomeError, match="no weight"):
        simplify_weights(cell, {})
