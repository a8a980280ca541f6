"""Static checks: each finding on a cell that has it, and none on cells that do not; the growth
check against numbers.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.cells import plain_cells
from support.evaluate_plain import plain_step, plain_values, random_weights

from cellsearch import zoo
from cellsearch.genome import Genome
from cellsearch.genome.checks import static_checks
from cellsearch.genome.ranges import gates
from cellsearch.genome.state_growth import Growth, growth_of_states


def found(text: str) -> set[tuple[str, str]]:
    return {(finding.code, finding.where) for finding in static_checks(Genome.from_text(text))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h[t] = tanh(linear(x[t], h[t-1]))", set()),
        (
            "h[t] = tanh(linear(h[t-1], c[t-1]))\nc[t] = tanh(linear(x[t]))",
            {("input-unseen", "h_t")},
        ),
        (
            "h[t] = tanh(linear(x[t], h[t-1]))\nc[t] = sigmoid(h[t]) * c[t-1]",
            {("state-unseen", "c_t"), ("no-influence", "c_t"), ("no-influence", "c.1")},
        ),
        ("d = linear(h[t-1])\nh[t] = tanh(linear(x[t], h[t-1]))", {("no-influence", "d")}),
        ("h[t] = relu(linear(x[t], h[t-1]))", {("grows-exponentially", "h_t")}),
        ("h[t] = h[t-1] + tanh(linear(x[t]))", {("grows-linearly", "h_t")}),
        ("h[t] = h[t-1] * linear(x[t])", {("grows-exponentially", "h_t")}),
        ("h[t] = 1.5 * h[t-1] + tanh(linear(x[t]))", {("grows-exponentially", "h_t")}),
        ("h[t] = 0.5 * h[t-1] + linear(x[t])", set()),
        ("g = sigmoid(linear(x[t]))\nh[t] = blend(g, h[t-1], relu(linear(x[t])))", set()),
        (
            "h[t] = blend(linear(x[t]), h[t-1], tanh(linear(x[t])))",
            {("grows-exponentially", "h_t")},
        ),
        (
            "h[t] = linear(x[t], p[t-1])\np[t] = h[t-1] * sigmoid(h[t-1])",
            {("grows-exponentially", "h_t")},
        ),
        ("h[t] = tanh(linear(x[t], p[t-1]))\np[t] = h[t-1]", set()),
        *[
            (f"f = sigmoid(linear(x[t]))\ni = sigmoid(linear(h[t-1]))\nh[t] = tanh({text})", codes)
            for text, codes in {
                "f / (f + i) * h[t-1]": {("divides-by-gates", "h.2")},
                "1 / i + f": {("divides-by-gates", "h.2")},
                "f / (f * i)": {("divides-by-gates", "h.2")},
                "f / max(f, 1 - i)": {("divides-by-gates", "h.4")},
                "i / (f + i + 0.001)": set(),
                "i / (f + exp(linear(x[t])))": set(),
                "f / 0 + i": {("divides-by-zero", "h.2")},
                "f / -0.0 * i": {("divides-by-zero", "h.2")},
                "f / 2 + i": set(),
            }.items()
        ],
        ("h[t] = tanh(x[t] * h[t-1])", {("square", "h_t"), ("square", "h.1")}),
    ],
)
def test_findings(text: str, expected: set[tuple[str, str]]) -> None:
    got = found(text)
    assert {code for code, _ in got} == {code for code, _ in expected}
    assert got <= expected


def test_findings_say_where_and_why() -> None:
    (finding,) = static_checks(Genome.from_text("h[t] = h[t-1] + tanh(linear(x[t]))"))
    assert str(finding) == "h_t: the state is summed without decay (it can grow with every step)"


def test_famous_cells_have_no_finding_or_the_known_one() -> None:
    for name in (
        "lstm",
        "gru",
        "gru_cho",
        "mgu",
        "ran",
        "janet",
        "minlstm",
        "qrnn_fo",
        "nascell",
        "rnn_tanh",
    ):
        assert static_checks(zoo.load(name)) == [], name
    assert [f.code for f in static_checks(zoo.load("lstm_1997"))] == ["grows-linearly"]
    assert [f.code for f in static_checks(zoo.load("intersection"))] == ["square"]


def largest_state(genome: Genome, steps: int, scale: float) -> float:
    """The largest value of a state after some steps of large weights and a constant input."""
    rng = np.random.default_rng(0)
    weights = {name: scale * np.abs(w) for name, w in random_weights(genome, rng, 4, 4).items()}
    states = {s.name: np.full((1, 4), s.initial) for s in genome.states}
    for _ in range(steps):
        states = plain_step(genome, weights, np.ones((1, 4)), states)[1]
    return max(float(np.max(np.abs(s))) for s in states.values())


@pytest.mark.parametrize("name", plain_cells())
def test_no_zoo_cell_without_a_growth_finding_runs_away(name: str) -> None:
    genome = zoo.load(name)
    if any(growth > Growth.KEEPS for growth in growth_of_states(genome)):
        pytest.skip("the check says itself that it may grow")
    assert largest_state(genome, 400, 3.0) < 1e4


def test_cells_with_a_growth_finding_can_run_away() -> None:
    assert largest_state(zoo.load("rnn_relu"), 400, 3.0) > 1e6
    linear = [largest_state(zoo.load("lstm_1997"), steps, 3.0) for steps in (100, 200)]
    assert 1.8 < linear[1] / linear[0] < 2.2


@pytest.mark.parametrize(
    ("decay", "growth"),
    [
        ("exp(-relu(linear(x[t])))", Growth.BOUNDED),
        ("exp(-(dt[t] * softplus(linear(x[t]))))", Growth.BOUNDED),
        ("exp(log_sigmoid(linear(x[t])) - relu(linear(x[t])))", Growth.BOUNDED),
        ("exp(min(linear(x[t]), 0) - abs(linear(x[t])))", Growth.BOUNDED),
        ("exp(-0.5 * relu(linear(x[t])))", Growth.BOUNDED),
        ("exp(-linear(x[t]))", Growth.MULTIPLIES),
        ("exp(relu(linear(x[t])))", Growth.MULTIPLIES),
        ("exp(log_sigmoid(linear(x[t])) + relu(linear(x[t])))", Growth.MULTIPLIES),
        ("exp(max(linear(x[t]), 0) - abs(linear(x[t])))", Growth.MULTIPLIES),
        # An input that is never seen: as many steps as there are are summed.
        ("(1 - mask[t])", Growth.ADDS),
        ("(1 - mask[t-1])", Growth.ADDS),
    ],
)
def test_decays_are_known_by_their_signs(decay: str, growth: Growth) -> None:
    genome = Genome.from_text(f"h[t] = {decay} * h[t-1] + tanh(linear(x[t]))")
    at = [state.name for state in genome.states].index("h")
    assert growth_of_states(genome)[at] is growth


def test_gates_lie_between_0_and_1() -> None:
    text = """i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t]))
s = f / (f + i)
m[t] = max(linear(x[t]), m[t-1])
e = exp(m[t-1] - m[t])
k = (1 - i) * f * s * e
n = tanh(linear(x[t]))
h[t] = k * n * h[t-1] + tanh(i) * 0.5
"""
    genome = Genome.from_text(text)
    known = dict(zip(genome.labels, gates(genome), strict=True))
    assert all(known[name] for name in ("i", "f", "s", "e", "k"))
    assert not any(known[name] for name in ("x_t", "h_<t-1>", "n", "m_t", "h_t"))
    rng = np.random.default_rng(1)
    states = {"h": rng.normal(size=(50, 4)), "m": rng.normal(size=(50, 4))}
    values = plain_values(
        genome, random_weights(genome, rng, 4, 4), 3 * rng.normal(size=(50, 4)), states
    )
    for value, gate in zip(values, gates(genome), strict=True):
        assert not gate or (np.min(value) >= 0.0 and np.max(value) <= 1.0)
