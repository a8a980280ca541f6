"""The schedule: golden listings for a few cells, and what must hold for every cell of the zoo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cells import plain_cells
from support.programs import loop_dense_levels

from cellsearch import zoo
from cellsearch.compiler.backends.native.instructions import encode_stage
from cellsearch.compiler.gradient import gradient
from cellsearch.compiler.lower import lower
from cellsearch.compiler.scheduling.commands import (
    DenseProduct,
    Home,
    Lifetime,
    Outer,
    ProgramSchedule,
    Stage,
)
from cellsearch.compiler.scheduling.listing import program_report
from cellsearch.compiler.scheduling.recompute import recompute
from cellsearch.compiler.scheduling.schedule import schedule
from cellsearch.compiler.simplify import simplify_program
from cellsearch.genome.graph import Genome

GOLDEN = Path(__file__).parents[1] / "golden"


def schedules(genome: Genome) -> tuple[ProgramSchedule, ProgramSchedule]:
    """Forward and backward."""
    forward = simplify_program(lower(genome))
    backward = recompute(gradient(forward))
    return schedule(forward, keep=backward.saved), schedule(
        backward.program, weights=dict(forward.parameters)
    )


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_cho", "sru", "indrnn_relu", "lstm_ln"])
def test_golden(name: str) -> None:
    """A refactoring shows no difference; where a difference is meant, run with
    CELLSEARCH_GOLDEN=write.
    """
    path = GOLDEN / f"{name}.program.txt"
    text = program_report(zoo.load(name))
    if os.environ.get("CELLSEARCH_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_lstm_needs_one_product_a_step() -> None:
    forward, backward = schedules(zoo.load("lstm"))
    assert [type(c) for c in forward.loop] == [DenseProduct, Stage]
    assert [type(c) for c in backward.loop] == [Stage, DenseProduct]
    assert len(forward.before) == 4, "the products of x do not stand in the loop"
    assert [type(c) for c in backward.after] == [DenseProduct]
    assert len(backward.gradients) == 2


def test_elementwise_cells_have_no_product_in_the_loop() -> None:
    for name in ("indrnn_relu", "sru", "qrnn_fo", "mingru", "minlstm", "hgrn_real"):
        for plan in schedules(zoo.load(name)):
            assert all(isinstance(command, Stage) for command in plan.loop), name


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_cho", "darts_v2", "mut1", "nascell"])
def test_rounds_of_products_are_the_depth(name: str) -> None:
    forward, _ = schedules(zoo.load(name))
    rounds, after_stage = 0, True
    for command in forward.loop:
        rounds += isinstance(command, DenseProduct) and after_stage
        after_stage = isinstance(command, Stage)
    program = simplify_program(lower(zoo.load(name)))
    assert rounds == max(loop_dense_levels(program)[v] for v in program.next_states)


def homes_read(plan: ProgramSchedule) -> Iterator[tuple[str, Home]]:
    for phase in ("prologue", "before", "loop", "after", "gradients", "epilogue"):
        for command in getattr(plan, phase):
            if isinstance(command, Stage):
                yield from ((phase, home) for home in command.sources.values())
            elif isinstance(command, DenseProduct):
                yield phase, command.source
            elif isinstance(command, Outer):
                yield phase, command.left
                yield phase, command.right


@pytest.mark.parametrize("name", plain_cells())
def test_every_home_lies_in_a_buffer_that_lasts_long_enough(name: str) -> None:
    for plan in schedules(zoo.load(name)):
        for phase, home in homes_read(plan):
            buffer = plan.buffers[home.buffer]
            assert 0 <= home.column < buffer.columns
            if phase in ("before", "after", "gradients"):
                assert buffer.lifetime not in (Lifetime.RING, Lifetime.STEP), (
                    "it is gone when the chunk is done"
                )
            if phase in ("prologue", "epilogue"):
                assert buffer.lifetime is Lifetime.FIXED


@pytest.mark.parametrize("name", plain_cells())
def test_no_two_values_share_a_home(name: str) -> None:
    """But for the accumulators, which many products write."""
    for plan in schedules(zoo.load(name)):
        for phase in ("before", "loop", "after"):
            written = [
                o.target
                for c in getattr(plan, phase)
                if isinstance(c, Stage)
                for o in c.operations
                if o.target and o.op != "total"
            ]
            assert len(written) == len(set(written))


@pytest.mark.parametrize("name", plain_cells())
def test_registers_are_not_overwritten_too_early(name: str) -> None:
    """Run the instructions of each stage on names: every operand must hold the value that was put
    there last for it.
    """
    for plan in schedules(zoo.load(name)):
        for phase in ("before", "loop", "after"):
            for stage in getattr(plan, phase):
                if isinstance(stage, Stage):
                    check_registers(stage)


def check_registers(stage: Stage) -> None:
    code = encode_stage(stage)
    written: set[int] = set()
    for _, destination, operands, _ in code.instructions:
        for operand in operands:
            assert not isinstance(operand, int) or operand in written, (
                "a register is read before it is written"
            )
        if isinstance(destination, int):
            assert destination < code.registers
            written.add(destination)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s[t] = sigmoid(linear(x[t], s[t-1])) * x[t]", "MUL_SIGMOID_GRADIENT"),
        ("s[t] = tanh(linear(x[t], s[t-1])) * x[t]", "MUL_TANH_GRADIENT"),
        ("s[t] = relu(linear(x[t], s[t-1])) * x[t]", "MUL_RELU_GRADIENT"),
        ("s[t] = max(linear(x[t]), linear(s[t-1]))", "MAX_GRADIENT"),
        ("s[t] = min(linear(x[t]), linear(s[t-1]))", "MAX_GRADIENT"),
    ],
)
def test_slopes_are_one_instruction(text: str, expected: str) -> None:
    """A product of gradients times the slope of an activation, and the gradient of a maximum."""
    stages = [c for c in schedules(Genome.from_text(text + "\n"))[1].loop if isinstance(c, Stage)]
    ops = [op for stage in stages for op, *_ in encode_stage(stage).instructions]
    assert expected in ops
    assert not {"STEP_AT_0", "SIGN", "NUMBER_SUB"}.intersection(ops)


def test_scheduling_is_a_pure_function() -> None:
    genome = zoo.load("nascell")
    assert schedules(genome) == schedules(genome)
