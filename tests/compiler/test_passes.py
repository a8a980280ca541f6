"""Lowering, simplification, gradient, phases and hoisting, each alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.cells import plain_cells
from support.programs import loop_dense_levels

from cellsearch import Genome, ops, zoo
from cellsearch.compiler import compile_cell
from cellsearch.compiler.backends.aten.columns import arrange, runs
from cellsearch.compiler.backends.reference import Reference
from cellsearch.compiler.gradient import gradient
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Instruction, Program
from cellsearch.compiler.scheduling.hoist import hoist
from cellsearch.compiler.scheduling.phases import Phase, phase_notes, phases
from cellsearch.compiler.simplify import drop_dead, simplify_program
from cellsearch.genome.measures import gemm_depth
from cellsearch.testing.genomes import SMOOTH_OPS, random_genome


def program(text: str) -> Program:
    return lower(Genome.from_text(text))


def op_names(made: Program) -> list[str]:
    return [instruction.op for instruction in made.instructions]


def evaluate(made: Program, seed: int = 0) -> list[torch.Tensor]:
    """Run three steps with weights, input and states that depend on names only."""
    sizes = {"I": 3, "H": 3, "1": 1}
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(
            [sizes[letter] for letter in shape],
            generator=torch.Generator().manual_seed(sum(name.encode())),
            dtype=torch.float64,
        )
        for name, shape in made.parameters
    }
    x = torch.randn(3, 2, 3, generator=generator, dtype=torch.float64)
    states = [torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in made.states]
    output, final = Reference().build(made)(x, states, weights)
    return [output, *final]


def equal(a: Program, b: Program) -> bool:
    return all(
        torch.allclose(p, q, rtol=1e-10, atol=1e-12, equal_nan=True)
        for p, q in zip(evaluate(a), evaluate(b), strict=True)
    )


# -- program ---------------------------------------------------------------------------------------


def test_the_listing_is_readable():
    text = simplify_program(program("h[t] = tanh(linear(x[t], h[t-1]))")).to_text()
    assert text == (
        "inputs  x [I]\n"
        "carried h' [H] = 0\n"
        "%0   = dense x, h.weight_x                   [H]\n"
        "%1   = dense h', h.weight_h                  [H]\n"
        "%2   = vector h.bias                         [H fixed]\n"
        "%3   = add %0, %2                            [H]\n"
        "%4   = add %1, %3                            [H]  # h.1\n"
        "%5   = tanh %4                               [H]  # h_t\n"
        "next    h = %5\n"
        "output  h = %5\n"
    )
    assert "before" in simplify_program(program("h[t] = tanh(linear(x[t], h[t-1]))")).to_text(
        phase_notes(simplify_program(program("h[t] = tanh(linear(x[t], h[t-1]))")))
    )


@pytest.mark.parametrize(
    ("instruction", "match"),
    [
        (Instruction("magic", (0,)), "unknown primitive"),
        (Instruction("add", (0,)), "takes 2"),
        (Instruction("tanh", (99,)), "does not come before"),
        (Instruction("tanh", (-1,)), "does not come before"),
        (Instruction("dense", (0,)), "do not fit"),
        (Instruction("tanh", (0,), parameter="h.bias"), "do not fit"),
        (Instruction("vector", (), parameter="who.bias"), "no shape"),
    ],
)
def test_malformed_programs_are_refused(instruction, match):
    made = program("h[t] = tanh(linear(x[t], h[t-1]))")
    with pytest.raises(ValueError, match=match):
        replace(made, instructions=(*made.instructions, instruction))


def test_malformed_ends_are_refused():
    made = program("h[t] = tanh(linear(x[t], h[t-1]))")
    with pytest.raises(ValueError, match="next states"):
        replace(made, next_states=())
    with pytest.raises(ValueError, match="does not exist"):
        replace(made, outputs=(("h", 99),))


# -- lower -----------------------------------------------------------------------------------------


def test_only_live_nodes_are_lowered():
    made = program("dead = tanh(linear(x[t]))\nh[t] = tanh(linear(x[t], h[t-1]))")
    assert op_names(made) == ["dense", "dense", "vector", "add", "add", "tanh"]
    assert [name for name, _ in made.parameters] == ["h.weight_x", "h.weight_h", "h.bias"]


def test_a_sum_of_linears_is_one_sum_known_terms_first():
    apart = program(
        "a = linear(h[t-1], bias=False)\nb = linear(x[t], bias=False)\nh[t] = tanh(a + "
        "diag(h[t-1]) + b + bias())"
    )
    adds = [i for i in apart.instructions if i.op == "add"]
    assert len(adds) == 3
    first = [apart.instruction(v).op for v in adds[0].inputs]
    assert first == [
        "vector",
        "dense",
    ]  # the bias, then the product of x: all of it before the loop
    assert phases(apart)[apart.first + apart.instructions.index(adds[0])] is Phase.BEFORE


def test_a_shared_sum_stays_a_value():
    made = program("a = linear(x[t], h[t-1])\nh[t] = tanh(a + h[t-1]) * (a + x[t])")
    assert op_names(made).count("add") == 4
    assert op_names(made).count("dense") == 2


def test_identities_vanish_and_names_stay():
    made = program("a = identity(x[t])\nb = identity(h[t-1])\nh[t] = tanh(linear(a, b))")
    assert "identity" not in op_names(made)
    assert made.instructions[-1].label == "h_t"


@pytest.mark.parametrize("name", plain_cells())
def test_levels_of_the_program_are_the_gemm_depth(name):
    genome = zoo.load(name)
    made = lower(genome)
    levels = loop_dense_levels(made)
    depth = gemm_depth(genome, delays=False)  # a program does not tell held inputs from states
    assert max((levels[v] for v in made.next_states), default=0) == depth


# -- simplify --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + 0", "tanh(linear(x[t], h[t-1]))"),
        ("1 * a", "tanh(linear(x[t], h[t-1]))"),
        ("a / 1", "tanh(linear(x[t], h[t-1]))"),
        ("a - 0", "tanh(linear(x[t], h[t-1]))"),
        ("neg(neg(a))", "tanh(linear(x[t], h[t-1]))"),
        ("a * (3 - 2)", "tanh(linear(x[t], h[t-1]))"),
        ("a + neg(h[t-1])", "tanh(linear(x[t], h[t-1])) - h[t-1]"),
        ("a * (2 * 0.25)", "tanh(linear(x[t], h[t-1])) * 0.5"),
    ],
)
def test_rules(text, expected):
    made = simplify_program(program(f"a = tanh(linear(x[t], h[t-1]))\nh[t] = {text}"))
    short = simplify_program(program(f"h[t] = {expected}"))
    assert op_names(made) == op_names(short)


def test_what_may_be_nan_is_kept():
    for kept in ("a * 0", "a - a", "a / a", "0 * a"):
        assert any(
            op
            in op_names(
                simplify_program(program(f"a = tanh(linear(x[t], h[t-1]))\nh[t] = {kept} + 1"))
            )
            for op in ("mul", "sub", "div")
        )
    assert "div" in op_names(simplify_program(program("h[t] = tanh(linear(x[t], h[t-1])) + 1 / 0")))


def test_common_parts_are_computed_once():
    made = simplify_program(
        program("a = linear(x[t], h[t-1])\nh[t] = tanh(a) * sigmoid(a) + sigmoid(a) * tanh(a)")
    )
    assert op_names(made).count("tanh") == op_names(made).count("sigmoid") == 1
    two = simplify_program(
        program("h[t] = tanh(linear(x[t], h[t-1])) * tanh(linear(x[t], h[t-1]))")
    )
    assert op_names(two).count("tanh") == 2  # two linears written alike are different weights


def test_dead_code_and_its_weights_are_dropped():
    made = program("h[t] = tanh(linear(x[t], h[t-1]))")
    longer = replace(made, instructions=(*made.instructions, Instruction("exp", (0,))))
    assert drop_dead(longer) == made


@pytest.mark.parametrize("seed", range(40))
def test_simplify_and_hoist_keep_the_values(seed):
    made = lower(random_genome(np.random.default_rng([3, seed]), op_names=SMOOTH_OPS, max_nodes=20))
    short = simplify_program(made)
    assert len(short.instructions) <= len(made.instructions)
    assert equal(made, short)
    assert equal(short, hoist(short))
    assert simplify_program(short) == short


# -- gradient --------------------------------------------------------------------------------------

DOMAIN = {"sqrt": "exp(a)", "div": "exp(a)"}
NOT_ONE = ("linear", "head_norm")
ONE = [name for name, row in ops.OPS.items() if row.min_arity == 1 and name not in NOT_ONE]


def gradcheck(text: str) -> bool:
    """Finite differences against the aten backend, whose gradients are those of the gradient
    pass.
    """
    torch.manual_seed(3)
    module = compile_cell(
        Genome.from_text(text), input_size=3, hidden_size=3, backend="aten", dtype=torch.float64
    )
    names = [name for name, _ in module.named_parameters()]
    weights = tuple(
        parameter.detach().clone().requires_grad_() for parameter in module.parameters()
    )
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    states = [
        torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in module.genome.states
    ]

    def run(x, *rest):
        hx, values = rest[: len(states)], rest[len(states) :]
        given = hx[0] if len(hx) == 1 else tuple(hx)
        output, final = torch.func.functional_call(
            module, dict(zip(names, values, strict=True)), (x, given)
        )
        return (output, *((final,) if isinstance(final, torch.Tensor) else final))

    return torch.autograd.gradcheck(run, (x, *states, *weights), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("op", ONE)
def test_gradient_of_each_op_of_one_value(op):
    assert gradcheck(
        f"a = linear(x[t], h[t-1])\nb = {DOMAIN.get(op, 'a + 0.03')}\nh[t] = "
        f"tanh({op}(b)) + 0.1 * a"
    )


@pytest.mark.parametrize("op", ["max", "min", "add", "mul", "sub", "div"])
def test_gradient_of_each_op_of_two_values(op):
    infix = {"add": "a + b", "mul": "a * b", "sub": "a - b", "div": "a / b"}.get(op, f"{op}(a, b)")
    assert gradcheck(
        f"a = linear(x[t], h[t-1])\nb = exp(linear(h[t-1], x[t]))\nh[t] = tanh({infix})"
    )


def test_gradient_of_blend_linear_and_bias():
    assert gradcheck(
        "g = sigmoid(linear(x[t], h[t-1]))\nh[t] = tanh(blend(g, linear(x[t], h[t-1], "
        "bias=False), linear(g, g) + bias()))"
    )


def test_gradient_through_weights_alone():
    assert gradcheck(
        "a = sigmoid(scale(2))\nb = tanh(bias())\nc = softplus(linear(b, 3))\nh[t] = a "
        "* h[t-1] + b * x[t] + tanh(c) + diag(scale(1))"
    )


def test_gradient_of_an_output_that_is_no_state():
    assert gradcheck(
        "y[t] = linear(h[t-1], x[t]) * c[t-1]\nc[t] = tanh(linear(x[t], c[t-1]))\nh[t] "
        "= c[t-1] + sin(h[t-1])"
    )


def test_every_op_of_the_table_has_a_gradient():
    tested = {*ONE, "max", "min", "add", "mul", "sub", "div", "blend", "linear", "bias", "const"}
    tested |= {"head_norm", "rotate"}  # test_shapes.py, test_rotate.py
    assert tested == set(ops.OPS)


def test_ties_share_the_gradient_as_in_torch():
    for op in ("max", "min"):
        for backend in ("reference", "aten"):
            module = compile_cell(
                Genome.from_text(f"h[t] = {op}(x[t], h[t-1])"),
                input_size=2,
                hidden_size=2,
                backend=backend,
            )
            x = torch.ones(1, 1, 2, requires_grad=True)
            module(x, torch.ones(1, 1, 2))[0].sum().backward()
            assert x.grad.tolist() == [[[0.5, 0.5]]]


def test_saved_values_are_those_that_change_and_are_read():
    made = gradient(simplify_program(lower(zoo.load("lstm"))))
    names = [name for name, _ in made.program.inputs]
    assert names == ["x", "h'", "c'", "i", "f", "g", "o", "h.1", "d_h"]
    assert [name for name, _ in made.program.outputs] == [
        "x",
        *(name for name, _ in made.forward.parameters),
    ]
    assert all(made.forward.shapes[v].extent == "step" for v in made.saved)


def test_the_gradient_of_the_gradient_pass_reads_only_what_it_is_given():
    for name in plain_cells():
        made = gradient(simplify_program(lower(zoo.load(name))))
        assert all(
            made.program.uses[k] or k in made.program.ends for k in range(len(made.saved))
        ), name


# -- phases ----------------------------------------------------------------------------------------


def phase_of(text: str, op: str) -> Phase:
    made = simplify_program(program(text))
    return next(
        phases(made)[value] for value, instruction in made.numbered() if instruction.op == op
    )


def test_phases():
    text = (
        "a = exp(linear(x[t]))\nh[t] = tanh(linear(a, h[t-1]))\ny[t] = sin(h[t]) + "
        "cos(x[t]) + scale(square(bias()))"
    )
    assert phase_of(text, "square") is Phase.FIXED
    assert phase_of(text, "exp") is Phase.BEFORE
    assert phase_of(text, "cos") is Phase.BEFORE
    assert phase_of(text, "tanh") is Phase.LOOP
    assert phase_of(text, "sin") is Phase.AFTER


def test_sums_over_time_come_last():
    made = gradient(simplify_program(lower(zoo.load("gru")))).program
    found = {instruction.op: phases(made)[value] for value, instruction in made.numbered()}
    assert found["outer"] is found["total"] is Phase.END


def test_nothing_reads_a_later_phase():
    for seed in range(30):
        forward = simplify_program(lower(random_genome(np.random.default_rng([5, seed]))))
        for made in (forward, gradient(forward).program):
            phase = phases(made)
            for value, instruction in made.numbered():
                assert all(phase[v] <= phase[value] for v in instruction.inputs)


def test_hoisting_leaves_six_of_eleven_products_in_the_loop_of_the_lstm_gradient():
    made = gradient(simplify_program(lower(zoo.load("lstm")))).program
    after = hoist(made)
    inside = [
        sum(
            p is Phase.LOOP and made.instruction(v) is not None and made.instruction(v).op == "mul"
            for v, p in enumerate(phases(made))
        )
        for made in (made, after)
    ]
    assert inside == [11, 6]


# -- layout ----------------------------------------------------------------------------------------


def test_columns_are_arranged_in_runs():
    partners = {
        0: frozenset("xh"),
        1: frozenset("xh"),
        2: frozenset("h"),
        3: frozenset("x"),
    }  # r, z, m and n of a GRU
    order = arrange(partners)
    place = {item: k for k, item in enumerate(order)}
    for partner in "xh":
        assert len(runs([place[item] for item in partners if partner in partners[item]])) == 1
    many = {k: frozenset((k % 5, (k + 1) % 5, 10 + k)) for k in range(30)}
    assert sorted(arrange(many)) == list(range(30))


def test_runs():
    assert runs([]) == []
    assert runs([4, 0, 1, 2, 6, 5]) == [(0, 3), (4, 7)]
