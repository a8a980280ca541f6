"""The op table, and ops that are added to it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import cellsearch as cs
from cellsearch import ops
from cellsearch.compiler import cost
from cellsearch.compiler.program import STRUCTURAL
from cellsearch.errors import BackendError, ConfigError, GenomeError
from cellsearch.export.package import to_package
from cellsearch.genome.drawing.latex import to_latex
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.ops import Op
from cellsearch.testing.ops import OpContract, false_facts, registered

ARCTAN = Op(
    "arctan",
    1,
    1,
    "torch.atan({0})",
    ("g / (1 + square(a))",),
    "arc tangent",
    numeric=math.atan,
    squashing=True,
    odd=True,
    keeps_zero=True,
    keeps_unit=True,
    costly=True,
    latex=r"\arctan",
)
BARE = Op(
    "hypot", 2, 2, "torch.hypot({0}, {1})", ("g * a / y", "g * b / y"), "length", commutative=True
)
ELU = Op(
    "celu_",
    1,
    1,
    "torch.celu({0})",
    ("g * (step(a) + step(-a) * exp(min(a, 0)))",),
    "Barron 2017",
    in_place="torch.celu_({0})",
)


class TestArctan(OpContract):
    op = ARCTAN


class TestHypot(OpContract):
    op = BARE


class TestElu(OpContract):
    op = ELU


POINTWISE = [row for row in ops.OPS.values() if row.kind == "pointwise" and row.name != "identity"]


@pytest.mark.parametrize("row", POINTWISE, ids=lambda row: row.name)
def test_the_facts_of_the_table_are_true(row: Op) -> None:
    assert not false_facts(row)


@pytest.mark.parametrize(
    ("fact", "name"),
    [
        ("odd", "relu"),
        ("even", "tanh"),
        ("nonnegative", "silu"),
        ("squashing", "softplus"),
        ("gate", "tanh"),
        ("keeps_zero", "cos"),
        ("keeps_positive", "tanh"),
        ("keeps_unit", "softplus"),
        ("superlinear", "tanh"),
        ("additive", "abs"),
        ("commutative", "sub"),
        ("half_line", "exp"),
    ],
)
def test_a_false_fact_is_seen(fact: str, name: str) -> None:
    assert false_facts(replace(ops.get(name), **{fact: True})) == [fact]


def test_the_functions_in_python_are_those_in_torch() -> None:
    for row in POINTWISE:
        if row.numeric is not None:
            check = OpContract()
            check.op = row  # type: ignore[misc]
            check.test_its_function_in_python_is_that_in_torch()
            check.test_what_writes_into_memory_means_the_same()


def test_names_that_the_compiler_uses_are_taken() -> None:
    for name in (*STRUCTURAL, "step", "x", "t", "state", "linear"):
        with pytest.raises(ConfigError, match="taken"):
            ops.register(replace(ARCTAN, name=name))


def broken(**changes: object) -> Op:
    return replace(ARCTAN, name="mine", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (replace(ARCTAN, name="Arc tan"), "cannot name an op"),
        (replace(ARCTAN, name="lambda"), "cannot name an op"),
        (broken(kind="parametric"), "structure of its own"),
        (broken(max_arity=None), "structure of its own"),
        (broken(min_arity=3, max_arity=3, gradient=("g", "g", "g")), "structure of its own"),
        (broken(gradient=()), "0 gradients"),
        (broken(gradient=("g *",)), "not an expression"),
        (broken(gradient=("g * b",)), "'b' in"),
        (broken(gradient=("g * frobnicate(a)",)), "'frobnicate' in"),
        (broken(gradient=("g ** a",)), "not allowed"),
        (broken(gradient=("g * 'a'",)), "not allowed"),
        (broken(torch="torch.tanh(1)"), "does not read every operand"),
        (broken(torch="torch.tanh({3})"), "is not a meaning"),
        (broken(torch="__import__('os').system({0})"), "not allowed"),
        (broken(torch="torch._C.thing({0})"), "not allowed"),
        (broken(torch="[{0} for _ in (1,)][0]"), "not allowed"),
        (broken(in_place="tanh_({0})"), "not allowed"),
    ],
)
def test_a_row_that_cannot_work_is_refused(row: Op, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        ops.register(row)
    assert row.name in caught.value.where
    assert row.name not in ops.OPS or row.name == "lambda"


def test_a_function_that_torch_lacks_is_an_error_that_names_the_op() -> None:
    with registered(broken(torch="torch.arctn({0})")):
        genome = Genome.from_text("h[t] = mine(linear(x[t], h[t-1]))")
        module = cs.compile_cell(genome, input_size=2, hidden_size=2, backend="reference")
        with pytest.raises(ConfigError, match=r"arctn") as caught:
            module(torch.zeros(1, 1, 2))
    assert caught.value.where == "op mine"


def test_the_same_row_twice_is_no_error_and_another_one_is() -> None:
    with registered(ARCTAN):
        assert ops.register(ARCTAN) is ARCTAN
        with pytest.raises(ConfigError, match="taken"):
            ops.register(replace(ARCTAN, odd=False))
    assert "arctan" not in ops.OPS
    with pytest.raises(GenomeError, match="unknown op arctan"):
        Genome.from_text("h[t] = arctan(x[t]) * h[t-1]")


def test_an_added_op_is_simplified_by_its_facts() -> None:
    with registered(ARCTAN):
        one, other = (
            Genome.from_text(f"a = linear(x[t], h[t-1])\nh[t] = {text}")
            for text in ("arctan(-a) * 2 + arctan(1)", "0.7853981633974483 - 2 * arctan(a)")
        )
        assert search_key(one) == search_key(other)
        assert one.key != other.key
    with registered(replace(ARCTAN, name="plain", odd=False, numeric=None)):
        text = "a = linear(x[t], h[t-1])\nh[t] = plain(-a) * a + plain(1)\n"
        kept = Genome.from_text(text).simplify().to_text()
        assert "plain(neg(a))" in kept
        assert "plain(1)" in kept


def test_a_commutative_op_has_one_key_for_both_orders() -> None:
    with registered(BARE):
        keys = {
            Genome.from_text(f"a = tanh(linear(x[t]))\nh[t] = hypot({text}) + diag(h[t-1])").key
            for text in ("a, x[t]", "x[t], a")
        }
    assert len(keys) == 1


def test_native_gives_the_reason_and_nothing_runs_it_there() -> None:
    with registered(ARCTAN):
        genome = Genome.from_text("h[t] = arctan(linear(x[t], h[t-1]))")
        report = cs.compile_cell(genome, input_size=3, hidden_size=5).backend_report()
        assert "no instruction for arctan" in report["native"]
        assert report["aten"] == "taken"
        with pytest.raises(BackendError, match="no instruction for arctan"):
            cs.compile_cell(genome, input_size=3, hidden_size=5, backend="native")(
                torch.zeros(1, 1, 3)
            )
        with pytest.raises(BackendError, match="no instruction for arctan"):
            cost.estimate(genome, input_size=3, hidden_size=5, steps=4, batch=2)
        with pytest.raises(BackendError, match="no instruction for arctan"):
            to_package(genome)


def test_an_added_op_is_drawn_with_its_latex() -> None:
    with registered(ARCTAN):
        genome = Genome.from_text("h[t] = arctan(linear(x[t], h[t-1]))")
        assert r"\arctan\left(W" in to_latex(genome)
        assert "arctan" in genome.to_svg()


def test_a_space_that_names_an_added_op_samples_and_mutates_it() -> None:
    with registered(ARCTAN), registered(BARE):
        text = cs.load_space("tiny").to_toml()
        space = cs.SearchSpace.from_toml(
            text.replace("[ops]\n", "[ops]\narctan = 4.0\nhypot = 4.0\n"), source="test"
        )
        rng = np.random.default_rng(0)
        genome, seen = space.sample(rng), set[str]()
        for _ in range(80):
            genome = space.mutate(genome, rng)
            assert space.contains(genome) is None
            seen |= {node.op for node in genome.nodes}
        assert {"arctan", "hypot"} <= seen
        assert cs.SearchSpace.from_toml(space.to_toml(), source="test") == space
    with pytest.raises(ConfigError, match="unknown op 'arctan'"):
        cs.SearchSpace.from_toml(space.to_toml(), source="test")


def test_removing_a_connection_of_an_added_op_of_two_values_removes_the_op_or_nothing() -> None:
    with registered(BARE):
        text = cs.load_space("tiny").to_toml()
        space = cs.SearchSpace.from_toml(text.replace("[ops]\n", "[ops]\nhypot = 4.0\n"), source="")
        cell = "a = linear(x[t], h[t-1])\nb = linear(x[t])\nh[t] = tanh(hypot(a, b))"
        smaller = space.prunings(Genome.from_text(cell))
        assert smaller
        assert all(space.contains(genome) is None for genome in smaller)


def test_the_numbers_of_an_added_op_are_those_of_python() -> None:
    with registered(ARCTAN):
        genome = Genome.from_text("h[t] = diag(h[t-1]) + arctan(3)")
        (number,) = (n.value for n in genome.simplify().nodes if n.op == "const")
        assert math.isclose(number, math.atan(3))
        assert math.isclose(ops.get("arctan").numeric(3.0), math.atan(3))  # type: ignore[misc]
