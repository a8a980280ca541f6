"""Search spaces as TOML: what they hold, the round trip, and errors that name file and key."""

from __future__ import annotations

import pytest

from cellsearch import zoo
from cellsearch.errors import SpaceError
from cellsearch.space import SearchSpace
from cellsearch.testing.strategies import space

HELD = {
    "lstm_gru": (
        "rnn_tanh rnn_relu lstm lstm_1997 lstm_peephole lstm_cifg lstm_nig lstm_nfg "
        "lstm_nog lstm_niaf lstm_noaf gru gru_cho mgu ran ugrnn"
    ),
    "single_state": "rnn_tanh rnn_relu gru gru_cho mgu ugrnn",
    "tiny": "rnn_tanh",
}
NOT_HELD = {
    "lstm_gru": {
        "slstm": "4 states",
        "lstm_ln": "the op layer_norm",
        "nascell": "nodes",
        "mut2": "without a linear",
    },
    "single_state": {"lstm": "2 states"},
    "tiny": {"lstm": "nodes", "gru": "the op blend"},
}
SMALL = """
name = "small"
states = ["h"]
[ops]
linear = 1
tanh = 1
"""


@pytest.mark.parametrize(
    ("name", "cell"), [(name, cell) for name, cells in HELD.items() for cell in cells.split()]
)
def test_the_space_holds_the_cell(name, cell):
    assert space(name).contains(zoo.load(cell)) is None


@pytest.mark.parametrize(
    ("name", "cell", "why"),
    [(n, cell, why) for n, cells in NOT_HELD.items() for cell, why in cells.items()],
)
def test_the_space_does_not_hold_the_cell_and_says_why(name, cell, why):
    violation = space(name).contains(zoo.load(cell))
    assert violation is not None
    assert why in violation.what
    assert violation.node
    assert violation.allowed
    assert why in str(violation)


@pytest.mark.parametrize("name", list(HELD))
def test_the_toml_form_reads_back_as_the_same_space(name):
    original = space(name)
    again = SearchSpace.from_toml(original.to_toml(), source=original.source)
    assert again == original
    assert again.to_toml() == original.to_toml()


def test_defaults_are_filled_in():
    small = SearchSpace.from_toml(SMALL)
    assert small.limits.max_nodes == 24
    assert small.constraints.output_sees_input
    assert small.seeds == {}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("name = ", "x.toml", "not valid TOML"),
        ("states = ['h']\n[ops]\nlinear=1", "x.toml", "the key name is missing"),
        (SMALL.replace("states", "stats"), "x.toml: stats", "unknown key"),
        (SMALL.replace('["h"]', '["h", "h"]'), "x.toml: states", "each once"),
        (SMALL.replace('["h"]', "[]"), "x.toml: states", "at least one state"),
        (SMALL.replace('["h"]', '["x"]'), "x.toml: states", "cannot name a state"),
        (SMALL.replace('["h"]', "[1]"), "x.toml: states", "1 is not text"),
        (SMALL.replace("tanh", "tahn"), "x.toml: ops.tahn", "unknown op"),
        (SMALL.replace("tanh = 1", "tanh = -1"), "x.toml: ops.tanh", "weight -1"),
        (SMALL.replace("tanh = 1", "tanh = 'much'"), "x.toml: ops.tanh", "not a number"),
        (SMALL.replace("tanh = 1", "tanh = true"), "x.toml: ops.tanh", "not a number"),
        (SMALL.replace("tanh = 1", "add = 1"), "x.toml: ops", "function of one value"),
        (SMALL + "[limits]\nmax_nods = 3", "x.toml: limits.max_nods", "unknown key"),
        (SMALL + "[limits]\nmax_nodes = 0", "x.toml: limits.max_nodes", "0 is out of range"),
        (SMALL + "[limits]\nmax_nodes = 2.5", "x.toml: limits.max_nodes", "not a whole number"),
        (
            SMALL + "[limits]\nmin_nodes = 9\nmax_nodes = 8",
            "x.toml: limits.min_nodes",
            "greater than",
        ),
        (
            SMALL + "[constraints]\nhidden_width = 1",
            "x.toml: constraints.hidden_width",
            "not true or false",
        ),
        (SMALL + "[full_cell]\nnodes = 100", "x.toml: full_cell.nodes", "100 is out of range"),
        (
            SMALL + "[full_cell]\nsums = ['add']",
            "x.toml: full_cell.sums",
            "not a function of one value",
        ),
        (
            SMALL + "[seeds]\nbad = 'h[t] = sin(linear(x[t], h[t-1]))'",
            "x.toml: seeds.bad",
            "the op sin",
        ),
        (
            SMALL + "[seeds]\nbad = 'h[t] = tanh(linear(x[t], h[t-1])'",
            "x.toml: seeds.bad:1",
            "not a statement",
        ),
        ("seeds = ['lstn']\n" + SMALL, "x.toml: seeds", "lstn"),
    ],
)
def test_errors_name_the_file_the_key_and_what_is_wrong(text, where, what):
    with pytest.raises(SpaceError) as caught:
        SearchSpace.from_toml(text, source="x.toml")
    assert caught.value.where.startswith(where)
    assert what in caught.value.message
    assert caught.value.exit_code == 2


def test_describe_counts_the_full_cell():
    described = space("lstm_gru").describe()
    full = space("lstm_gru").full()
    assert described["full_cell"]["connections"] == len(space("lstm_gru").connections(full))
    assert described["full_cell"]["parameters"] == space("lstm_gru").parameters(full)
    assert described["seeds"]["lstm"] == 4 * (64 * 64 * 2 + 64)
