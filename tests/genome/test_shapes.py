"""Sizes, blocks and heads in the language: inferred shapes, errors, forms, identity, weights."""

from __future__ import annotations

import numpy as np
import pytest

from cellsearch import load_space, zoo
from cellsearch.errors import CellSyntaxError, ConfigError, GenomeError
from cellsearch.genome import Genome
from cellsearch.genome.builder import Builder
from cellsearch.genome.identity import search_key
from cellsearch.genome.measures import multiply_adds, parameter_count, state_floats
from cellsearch.genome.parameters import (
    Sizes,
    check_sizes,
    output_width,
    requires_square,
    size_names,
    state_widths,
)
from cellsearch.genome.parts import Node
from cellsearch.genome.rewriting.simplify import simplify, simplify_weights
from cellsearch.genome.shapes import infer_widths
from cellsearch.genome.sizes import canonical_size, divided, multiplied, ratio

LSTMP = """
i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1]))
c[t] = f * c[t-1] + i * g
h[t] = linear(o * tanh(c[t]), bias=False, size=P)
"""
HEADS = "h[t] = head_norm(tanh(linear(x[t]) + linear(h[t-1], bias=False, blocks=4)), 4)\n"
LOW_RANK = "h[t] = tanh(linear(linear(h[t-1], bias=False, size=H/4), x[t]))\n"


def test_plain_cells_have_the_widths_that_are_inferred_of_any() -> None:
    """A plain cell is given its widths by fewer rules; they are those of the others."""
    space = load_space("lstm_gru")
    rng = np.random.default_rng(0)
    cells = [*map(zoo.load, zoo.names()), *(space.sample(rng) for _ in range(200))]
    plain = [cell for cell in cells if cell.is_plain]
    assert len(plain) > 250
    for cell in plain:
        given = (cell.inputs, cell.state_names, cell.nodes, cell.next_states, str)
        assert cell.widths == infer_widths(*given), cell.to_text()


def read(text: str) -> Genome:
    return Genome.from_text(text)


# -- symbols ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "symbol"),
    [("H", "H"), ("H / 2", "H/2"), ("2*H/4", "H/2"), ("4*P/2", "2*P"), ("3*H/4", "3*H/4")],
)
def test_sizes_are_written_in_lowest_terms(written: str, symbol: str) -> None:
    assert canonical_size(written) == symbol


@pytest.mark.parametrize("written", ["I", "7", "p", "H/0", "H*2", "H+1", "H/2/2", "", "2*I", "-H"])
def test_what_is_no_size_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="a size is a name"):
        canonical_size(written)


def test_parts_and_ratios_of_sizes() -> None:
    assert divided("H/2", 4) == "H/8"
    assert divided("12", 4) == "3"
    assert multiplied("H/8", "4") == "H/2"
    assert ratio("2*H", "H/2") == 4
    assert ratio("P", "H") is None
    with pytest.raises(ValueError, match="does not divide"):
        divided("12", 5)


def test_sizes_are_bound_in_one_place() -> None:
    sizes = Sizes(3, 64, {"P": "H/2", "R": 5})
    assert [sizes[s] for s in ("I", "H", "1", "P", "R", "P/4", "3*H/4", "7")] == [
        3, 64, 1, 32, 5, 8, 48, 7,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="Q, which is not bound") as error:
        sizes["Q/2"]
    assert "sizes={'Q': 32}" in error.value.hint
    with pytest.raises(ConfigError, match="R = 5 gives no whole number") as error:
        sizes["R/2"]
    assert error.value.hint == "nearest R that do: 4, 6"


@pytest.mark.parametrize(
    "named", [{"H": 3}, {"p": 3}, {"P": 0}, {"P": True}, {"P": "I"}, {"P": 2.0}]
)
def test_what_cannot_be_bound(named: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="size"):
        Sizes(3, 4, named)  # type: ignore[arg-type]


# -- inferred shapes -------------------------------------------------------------------------------


def test_a_state_has_the_size_of_what_it_becomes() -> None:
    genome = read(LSTMP)
    assert dict(zip(genome.state_names, state_widths(genome), strict=True)) == {"h": "P", "c": "H"}
    assert output_width(genome) == "P"
    assert size_names(genome) == ("P",)
    shapes = {spec.name: spec.shape for spec in genome.parameters}
    assert shapes["i.weight_h"] == ("H", "P")
    assert shapes["i.bias"] == ("H",)
    assert shapes["h.weight_0"] == ("P", "H")


def test_an_open_state_has_the_size_of_what_it_meets() -> None:
    genome = read("c[t] = 0.5 * c[t-1]\nc[0] = 1\nh[t] = linear(linear(x[t], size=P) * c[t-1])")
    assert state_widths(genome) == ("P",)
    alone = read("h[t] = 0.5 * h[t-1] + 1\ny[t] = linear(x[t], h[t-1], size=P)")
    assert state_widths(alone) == ("H",)
    assert output_width(alone) == "P"
    chained = read("a[t] = linear(x[t], size=P)\nb[t] = a[t-1]\nh[t] = linear(b[t-1] * a[t])")
    assert dict(zip(chained.state_names, state_widths(chained), strict=True))["b"] == "P"


def test_blocks_cut_rows_and_columns() -> None:
    genome = read("h[t] = tanh(linear(x[t], h[t-1], size=H, blocks=2))")
    assert [spec.shape for spec in genome.parameters] == [
        ("2", "H/2", "I/2"), ("2", "H/2", "H/2"), ("H",),
    ]  # fmt: skip
    assert [spec.sizes(6, 8) for spec in genome.parameters] == [(2, 4, 3), (2, 4, 4), (8,)]


def test_cells_without_sizes_have_what_they_had() -> None:
    square = read("h[t] = tanh(x[t] + diag(h[t-1]) + diag(2))")
    assert square.widths == ("I", "H", "H", "1", "H", "H", "H")
    assert requires_square(square) == "h.4"
    assert state_widths(read("h[t] = h[t-1] * 0 + x[t]")) == ("H",)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "p = linear(x[t], size=P)\nh[t] = p * h[t-1] + linear(x[t])",
            2,
            "add meets h.1 of size P",
        ),
        (
            "h[t] = tanh(linear(x[t], size=H/2) + linear(h[t-1]))",
            1,
            "of size H/2 and h.2 of size H",
        ),
        ("h[t] = linear(x[t], size=P) * h[t-1] + x[t]", 1, "add meets x_t of size I and h.2"),
        (
            "c[t] = linear(x[t], size=P)\nk = bias() * c[t-1]\nh[t] = linear(c[t]) + h[t-1]",
            1,
            "it becomes c_t of size P, and is read as one of size H",
        ),
        (
            "p = linear(x[t], size=P)\nh[t] = x[t]\nk = p * h[t-1]",
            2,
            "it becomes x_t of size I, and is read as one of size P",
        ),
    ],
)
def test_sizes_that_meet_say_where(text: str, line: int, message: str) -> None:
    with pytest.raises(CellSyntaxError) as error:
        read(text)
    assert message in error.value.message
    assert f":{line}:" in error.value.where
    assert "a matrix takes the first to the size of the second: linear(..." in error.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h[t] = linear(h[t-1], blocks=0)", "blocks is a whole number from 1 to 4096"),
        ("h[t] = linear(h[t-1], blocks=True)", "blocks is a whole number"),
        ("h[t] = linear(h[t-1], blocks=P)", "blocks is a whole number"),
        ("h[t] = linear(h[t-1], size=5)", "5 is not a size"),
        ("h[t] = linear(h[t-1], size=I)", "I is not a size"),
        ("h[t] = diag(h[t-1], size=P)", "diag does not take the option size"),
        ("h[t] = tanh(h[t-1], blocks=2)", "tanh does not take the option blocks"),
        ("h[t] = linear(h[t-1], width=P)", "linear does not take the option width"),
        ("h[t] = head_norm(h[t-1])", "head_norm does not say its heads"),
        ("h[t] = head_norm(h[t-1], 0.5)", "heads is a whole number"),
        ("h[t] = head_norm(h[t-1], heads=4)", "head_norm does not take the option heads"),
        ("h[t] = linear(2, blocks=2) * h[t-1]", "one number for all units"),
        ("h[t] = linear(h[t-1], linear(layer_norm(2), size=P))", "one number for all units"),
    ],
)
def test_what_is_refused_in_a_text(text: str, message: str) -> None:
    with pytest.raises(CellSyntaxError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("parts", "hidden", "hint"),
    [
        ("linear(h[t-1], blocks=4)", 66, "nearest that do: 3 or 6 blocks; or make it 64 or 68"),
        ("head_norm(h[t-1], 8)", 3, "nearest that do: 3 heads; or make it 8"),
        ("linear(h[t-1], blocks=4)", 1, "nearest that do: 1 blocks; or make it 4"),
    ],
)
def test_parts_that_do_not_divide_say_the_nearest_that_do(
    parts: str, hidden: int, hint: str
) -> None:
    genome = read(f"h[t] = tanh(linear(x[t]) + {parts})")
    with pytest.raises(GenomeError, match=f"do not divide H = {hidden}") as error:
        check_sizes(genome, Sizes(3, hidden))
    assert error.value.hint == hint
    assert error.value.where == "node h.2"


# -- forms -----------------------------------------------------------------------------------------

CELLS = {
    "lstmp": LSTMP,
    "heads": HEADS,
    "low rank": LOW_RANK,
    "bias": "h[t] = linear(bias(size=3*P/4) * linear(x[t], h[t-1], blocks=2, size=3*P/4))",
}


@pytest.mark.parametrize("name", CELLS)
def test_every_form_reads_back(name: str) -> None:
    genome = read(CELLS[name])
    assert read(genome.to_text()) == genome
    assert Genome.from_json(genome.to_json()) == genome
    assert '"format":2' in genome.to_json()
    with pytest.raises(CellSyntaxError, match="format 1 does not have what this cell uses"):
        Genome.from_json(genome.to_json().replace('"format":2', '"format":1'))
    assert Genome.from_networkx(genome.to_networkx()) == genome
    assert genome.to_text() == read(genome.to_text()).to_text()


def test_the_default_is_not_written() -> None:
    plain = read("h[t] = tanh(linear(x[t], h[t-1]))")
    said = read("h[t] = tanh(linear(x[t], h[t-1], size=H, blocks=1))")
    assert said == plain
    assert said.to_text() == plain.to_text()
    json = plain.to_json().replace('{"bias":true}', '{"bias":true,"blocks":1,"size":"2*H/2"}')
    assert json != plain.to_json()
    assert Genome.from_json(json) == plain


def test_a_node_by_itself_has_one_way_to_be_written() -> None:
    for attrs in (
        (("bias", True), ("blocks", 1)),
        (("bias", True), ("size", "H")),
        (("bias", True), ("size", "2*H/4")),
        (("bias", True), ("size", 3)),
        (("blocks", 2), ("bias", True)),
        (("bias", True), ("blocks", 2.0)),
    ):
        with pytest.raises(GenomeError):
            Genome(("x",), read(HEADS).states, (Node("", "linear", (0, 1), attrs),), (2,), 2)


def test_the_builder_takes_what_the_text_takes() -> None:
    b = Builder(["h"])
    low = b.node("linear", b.state("h"), bias=False, size="H/4")
    b.next_state("h", b.node("tanh", b.node("linear", low, b.x)))
    assert b.build() == read(LOW_RANK)


# -- identity --------------------------------------------------------------------------------------

SAME = [
    ("linear(x[t], h[t-1], blocks=1, size=H)", "linear(h[t-1], x[t])"),
    ("head_norm(linear(x[t], h[t-1]), 1)", "layer_norm(linear(x[t], h[t-1]))"),
    ("linear(linear(h[t-1], blocks=2), x[t])", "linear(h[t-1], x[t])"),
    ("linear(linear(h[t-1]), blocks=2) + linear(x[t])", "linear(h[t-1], x[t])"),
    (
        "linear(linear(h[t-1], blocks=2), blocks=4) + linear(x[t])",
        "linear(h[t-1], blocks=2) + linear(x[t])",
    ),
    ("linear(linear(h[t-1], size=2*H), x[t])", "linear(h[t-1], x[t])"),
    ("linear(x[t], h[t-1]) + linear(h[t-1], blocks=4)", "linear(x[t], h[t-1])"),
    (
        "linear(x[t], bias=False) + linear(h[t-1], blocks=4)",
        "linear(x[t]) + linear(h[t-1], blocks=4, bias=False)",
    ),
    (
        "linear(x[t]) + linear(h[t-1], blocks=4) + bias()",
        "linear(x[t]) + linear(h[t-1], blocks=4)",
    ),
    ("diag(linear(h[t-1], blocks=4)) + linear(x[t])", "linear(h[t-1], blocks=4) + linear(x[t])"),
    ("linear(h[t-1], blocks=2) - linear(x[t])", "linear(h[t-1], blocks=2) + linear(x[t])"),
    ("head_norm(-linear(x[t], h[t-1]), 2)", "head_norm(linear(h[t-1], x[t]), 2)"),
]
OTHER = [
    ("linear(h[t-1], blocks=2) + linear(x[t])", "linear(h[t-1], blocks=4) + linear(x[t])"),
    ("linear(h[t-1], blocks=2) + linear(x[t])", "linear(h[t-1], x[t])"),
    ("linear(linear(h[t-1], size=H/4), x[t])", "linear(h[t-1], x[t])"),
    ("linear(linear(h[t-1], size=H/4), x[t])", "linear(linear(h[t-1], size=H/2), x[t])"),
    ("linear(linear(h[t-1], size=P), x[t])", "linear(linear(h[t-1], size=R), x[t])"),
    ("head_norm(linear(x[t], h[t-1]), 2)", "head_norm(linear(x[t], h[t-1]), 4)"),
    ("linear(linear(h[t-1], x[t]) , blocks=3)", "linear(linear(h[t-1], x[t], size=H/2), blocks=3)"),
]


def cell(expression: str) -> Genome:
    return read(f"h[t] = tanh({expression})")


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_computes_the_same_has_one_search_key(one: str, other: str) -> None:
    assert search_key(cell(one)) == search_key(cell(other))
    assert search_key(simplify(cell(one))) == search_key(cell(one))


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_computes_something_else_has_another_key(one: str, other: str) -> None:
    assert cell(one).key != cell(other).key
    assert search_key(cell(one)) != search_key(cell(other))


@pytest.mark.parametrize("text", sorted({text for pair in (*SAME, *OTHER) for text in pair}))
def test_trained_weights_survive_simplification(text: str) -> None:
    """Both cells, in numpy, on one step from a random state."""
    genome, rng = cell(text), np.random.default_rng(5)
    sizes = Sizes(12, 12, {"P": 12, "R": 6})
    weights = {spec.name: rng.normal(size=sizes.of(spec.shape)) for spec in genome.parameters}
    simple, carried = simplify_weights(genome, weights)
    assert {s.name: sizes.of(s.shape) for s in simple.parameters} == {
        name: weight.shape for name, weight in carried.items()
    }
    x, h = rng.normal(size=12), rng.normal(size=12)
    np.testing.assert_allclose(
        step(simple, carried, x, h), step(genome, weights, x, h), rtol=1e-9, atol=1e-12
    )


def step(
    genome: Genome, weights: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray
) -> np.ndarray:
    """One step, written a second time, for the ops of the cells above."""
    own = {(spec.node, spec.operand): weights[spec.name] for spec in genome.parameters}
    values = [x, h]
    for value, node in genome.numbered():
        operands = [values[v] for v in node.inputs]
        if node.op == "linear":
            total = np.zeros(1)
            for k, operand in enumerate(operands):
                weight = own[value, k]
                if weight.ndim == 3:
                    parts = np.split(operand, len(weight))
                    total = total + np.concatenate(
                        [w @ p for w, p in zip(weight, parts, strict=True)]
                    )
                else:
                    total = total + weight @ operand
            values.append(total + own.get((value, -1), 0.0))
        elif node.op in ("head_norm", "layer_norm"):
            parts = np.split(operands[0], node.parts)
            values.append(np.concatenate([(p - p.mean()) / np.sqrt(p.var() + 1e-5) for p in parts]))
        elif node.op == "diag":
            values.append(own[value, 0] * operands[0])
        elif node.op == "bias":
            values.append(own[value, -1])
        else:
            function = {"add": sum, "tanh": lambda v: np.tanh(v[0]), "neg": lambda v: -v[0],
                        "sub": lambda v: v[0] - v[1], "identity": lambda v: v[0]}  # fmt: skip
            values.append(function[node.op](operands))
    return values[genome.output]


def test_a_cell_whose_size_would_be_lost_stays_as_it_is() -> None:
    genome = read("h[0] = 1\nh[t] = tanh(h[t-1]) + 0 * bias(size=P)\ny[t] = linear(x[t], h[t-1])")
    simple = simplify(genome)
    assert "P" in size_names(simple)
    assert search_key(genome) == search_key(simple)


# -- measures --------------------------------------------------------------------------------------


def test_counts_leave_out_what_is_between_blocks() -> None:
    dense, blocks = (
        read("h[t] = tanh(linear(h[t-1]))"),
        read("h[t] = tanh(linear(h[t-1], blocks=4))"),
    )
    assert parameter_count(dense, 8, 64) == 64 * 64 + 64
    assert parameter_count(blocks, 8, 64) == 64 * 16 + 64
    assert multiply_adds(dense, 8, 64) == 64 * 64
    assert multiply_adds(blocks, 8, 64) == 64 * 16
    lstmp = read(LSTMP)
    assert state_floats(lstmp, 8, 64, {"P": "H/2"}) == 64 + 32
    assert parameter_count(lstmp, 8, 64, {"P": 32}) == 4 * 64 * (8 + 32 + 1) + 32 * 64
