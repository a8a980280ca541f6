"""Constraints that a user adds: ops forbidden and required, class, GEMM depth, frozen parts. All
that a space makes obeys them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cellsearch import zoo
from cellsearch.errors import SpaceError
from cellsearch.experiment import load_experiment
from cellsearch.experiment.catalog import load_space
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import gemm_depth, recurrence_class
from cellsearch.space import SearchSpace

LSTM_WITH = {"frozen": {"cell": "lstm", "nodes": ["f", "c"]}}


def made(space: SearchSpace, seed: int = 0, samples: int = 12) -> list[Genome]:
    """Cells out of every door of a space: samples, mutants, children, extensions, seed genomes."""
    rng = np.random.default_rng(seed)
    cells = [space.sample(rng) for _ in range(samples)]
    cells += [space.mutate(cell, rng) for cell in [*cells, *space.seeds.values()]]
    for first, second in list(pairwise(cells)):
        with suppress(SpaceError):  # some have nothing to exchange
            cells.append(space.crossover(first, second, rng))
    start = space.start()
    return [
        *cells,
        start,
        *space.extensions(start),
        *space.neighbours(start)[:10],
        *space.prunings(cells[0]),
    ]


def holds_op(op: str) -> Callable[[Genome], bool]:
    return lambda genome: any(node.op == op for node in genome.nodes)


def test_forbidden_ops_are_nowhere() -> None:
    space = load_space("lstm_gru").constrained({"forbid_ops": ["tanh", "blend", "relu", "sub"]})
    assert set(space.ops) == {"linear", "diag", "add", "mul", "const", "sigmoid", "identity"}
    assert space.seeds == {}  # LSTM and GRU need tanh
    assert space.full_cell.sums == ("sigmoid", "identity")
    assert not space.full_cell.complements
    cells = [*made(space), space.full()]
    assert not any(holds_op("tanh")(cell) or holds_op("sub")(cell) for cell in cells)
    assert "the op tanh" in str(space.contains(zoo.load("rnn_tanh")))
    assert load_space("lstm_gru").contains(zoo.load("rnn_tanh")) is None


def test_required_ops_are_everywhere() -> None:
    space = load_space("lstm_gru").constrained({"require_ops": ["blend", "tanh"]})
    assert set(space.seeds) == {"gru"}
    cells = made(space)
    assert all(holds_op("blend")(cell) and holds_op("tanh")(cell) for cell in cells)
    assert "no blend" in str(space.contains(zoo.load("lstm")))


@pytest.mark.parametrize("bound", ["affine-diagonal", "elementwise"])
def test_a_class_bounds_all_cells(bound: str) -> None:
    space = load_space("lstm_gru").constrained({"class": bound})
    assert space.seeds == {}
    allowed = {"affine-diagonal", "elementwise"} if bound == "elementwise" else {bound}
    classes = {recurrence_class(cell) for cell in [*made(space, samples=30), space.full()]}
    assert classes <= allowed
    assert "affine-diagonal" in classes
    assert "the recurrence is dense" in str(space.contains(zoo.load("lstm")))
    assert (
        space.contains(Genome.from_text("h[t] = tanh(diag(h[t-1]) + linear(x[t]))")) is None
    ) == (bound == "elementwise")


def test_the_depth_of_products_can_be_bounded() -> None:
    space = load_space("lstm_gru").constrained({"max_gemm_depth": 1})
    deep = Genome.from_text("h[t] = tanh(linear(x[t], tanh(linear(h[t-1], x[t]))))")
    assert "2 dense products after one another" in str(space.contains(deep))
    assert load_space("lstm_gru").contains(deep) is None
    assert {gemm_depth(cell) for cell in made(space)} == {1}


def test_frozen_parts_stay() -> None:
    space = load_space("lstm_gru").constrained(LSTM_WITH)
    assert set(space.seeds) == {"lstm"}
    cells = made(space, samples=6)
    assert len({cell.key for cell in cells}) > 20
    forget = "f = sigmoid(linear(x[t], h[t-1]))"
    assert all("sigmoid(linear(x[t], h[t-1]))" in cell.to_text() for cell in cells), forget
    assert all(space.contains(cell) is None for cell in cells)
    without = Genome.from_text(
        "i = sigmoid(linear(x[t], h[t-1]))\nc[t] = c[t-1] + i\nh[t] = tanh(c[t])"
    )
    assert "frozen part" in str(space.contains(without))
    renamed = Genome.from_text(
        zoo.load("lstm").to_text().replace("f", "keep").replace("sigmoid(keep", "sigmoid(f")
    )
    assert space.contains(renamed) is None  # parts are known by what they compute
    with pytest.raises(SpaceError, match="frozen parts has no full cell"):
        space.full()
    assert space.describe()["full_cell"]["nodes"] == 0


def test_a_frozen_next_state_must_stay_a_next_state() -> None:
    cell = "c[t] = tanh(linear(x[t], c[t-1]))\ny[t] = sigmoid(linear(x[t])) * c[t]"
    space = load_space("tiny").constrained({"frozen": {"cell": cell, "nodes": ["c"]}})
    assert (
        space.contains(
            Genome.from_text("c[t] = tanh(linear(x[t], c[t-1]))\ny[t] = tanh(linear(x[t], c[t]))")
        )
        is None
    )
    inside = Genome.from_text(
        "a = tanh(linear(x[t], c[t-1]))\nc[t] = a * sigmoid(linear(x[t]))\ny[t] = "
        "sigmoid(linear(x[t])) * c[t]"
    )
    assert "frozen part" in str(space.contains(inside))


@pytest.mark.parametrize(
    "table",
    [
        {
            "forbid_ops": ["relu"],
            "require_ops": ["mul"],
            "class": "elementwise",
            "max_gemm_depth": 2,
        },
        LSTM_WITH,
    ],
)
def test_the_text_of_a_constrained_space_gives_it_back(table: dict[str, object]) -> None:
    space = load_space("lstm_gru").constrained(table)
    again = SearchSpace.from_toml(space.to_toml())
    assert again.to_toml() == space.to_toml()
    assert again.describe() == space.describe()
    assert (again.constraints, again.limits, again.frozen_keys) == (
        space.constraints,
        space.limits,
        space.frozen_keys,
    )


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ({"forbid": ["tanh"]}, "unknown key 'forbid'", "forbid_ops"),
        ({"forbid_ops": ["tnah"]}, "unknown op 'tnah'", "tanh"),
        ({"require_ops": ["sin"]}, "'sin' is not an op of the space", "linear"),
        ({"class": "diagonal"}, "unknown value 'diagonal'", "affine-diagonal, elementwise, dense"),
        ({"class": 3}, "unknown value 3", "affine-diagonal"),
        ({"forbid_ops": ["mul"], "class": "elementwise"}, "needs mul and add", "mul = 1"),
        ({"forbid_ops": ["linear"]}, "needs linear", ""),
        ({"frozen": {"cell": "lstm", "nodes": ["q"]}}, "no node 'q'", "its nodes: i, f"),
        ({"frozen": {"cell": "lstm", "nodes": []}}, "name at least one node", ""),
        ({"frozen": {"cell": "lstm"}}, "the key nodes is missing", "add nodes = "),
        ({"frozen": {"cell": "lsmt", "nodes": ["f"]}}, "lsmt", ""),
        ({"frozen": {"cell": "h[t] = tanh(", "nodes": ["h"]}}, "", ""),
        ({"class": "elementwise", **LSTM_WITH}, "the cell is not in the space", ""),
    ],
)
def test_mistakes_are_named(table: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(SpaceError) as caught:
        load_space("lstm_gru").constrained(table)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_when_nothing_is_legal_the_error_says_what_is_in_the_way() -> None:
    space = load_space("tiny").constrained({"max_parameters": 10})
    with pytest.raises(
        SpaceError, match=r"none of them legal; \d+ of them: \d+ weights \(allowed: at most 10"
    ):
        space.sample(np.random.default_rng(0))


def test_an_experiment_narrows_its_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'space = "lstm_gru"\nstrategy = "random"\ntask = '
        '"parity"\n[constrain]\nforbid_ops = ["relu"]\n',
        "utf-8",
    )
    experiment = load_experiment(path, {"constrain.class": "elementwise"})
    assert (experiment.space.constraints.forbid_ops, experiment.space.constraints.recurrence) == (
        ("relu",),
        "elementwise",
    )
    text = experiment.to_toml()
    (tmp_path / "resolved.toml").write_text(text, "utf-8")
    assert load_experiment(tmp_path / "resolved.toml").to_toml() == text
    path.write_text(path.read_text("utf-8") + "clas = 3\n", "utf-8")
    with pytest.raises(SpaceError, match=r"\[constrain\]: clas"):
        load_experiment(path)


@pytest.mark.parametrize(
    ("name", "holds", "not_held"),
    [("scan", "mingru", "indrnn_relu"), ("tanh_start", "lstm", "gru")],
)
def test_the_shipped_spaces_hold_what_they_say(name: str, holds: str, not_held: str) -> None:
    space = load_space(name)
    assert space.contains(zoo.load(holds)) is None
    assert space.contains(zoo.load(not_held)) is not None
    assert space.contains(space.full()) is None
    assert all(space.contains(cell) is None for cell in made(space))
    assert space.contains(pruned(space)) is None


def pruned(space: SearchSpace) -> Genome:
    """The full cell without random connections, as soon as it is small enough to be a cell of the
    space.
    """
    rng = np.random.default_rng(3)
    cell = space.full()
    for _ in range(400):
        names = space.connections(cell)
        try:
            cell = space.remove(
                cell, {str(name) for name in rng.choice(names, max(1, len(names) // 12))}
            )
            return space.discrete(cell)
        except SpaceError:
            continue
    raise AssertionError("never small enough")


def test_the_scan_space_makes_decays_of_both_kinds() -> None:
    space = load_space("scan")
    rng = np.random.default_rng(1)
    texts = [space.sample(rng).to_text() for _ in range(60)]
    assert any("tanh(" in text and "* h[t-1]" in text for text in texts)
    assert any("blend(sigmoid" in text or "sigmoid(n1) * h[t-1]" in text for text in texts)
    assert any("y[t]" not in text and "c[t]" in text for text in texts)
