"""Simplification: constant folding, neutral elements, double negation, common subexpressions, dead
code.

Every rule keeps the value of every end for all inputs, NaN and infinity included (so ``a * 0``
stays); rounding may differ by the order of additions only where ``a + (-b)`` becomes ``a - b``,
which is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cellsearch.compiler.program import POINTWISE, Instruction, Precision, Program
from cellsearch.genome.graph import State
from cellsearch.genome.sizes import Width
from cellsearch.ops import COMMUTATIVE

__all__ = ["build_simplified", "drop_dead", "simplify_program"]

_RULED = frozenset({"const", "neg"})
"""Every rule is about an operand of one of these kinds."""


def simplify_program(program: Program) -> Program:
    """An equivalent program that is no longer than this one."""
    return build_simplified(*_fields(program))


def _fields(program: Program) -> tuple[Any, ...]:
    """The fields in the order in which :func:`build_simplified` and :func:`_live` take them."""
    p = program
    return (
        *(p.inputs, p.states, p.instructions, p.next_states),
        *(p.outputs, p.parameters, p.carried, p.precision),
    )


def build_simplified(
    inputs: tuple[tuple[str, Width], ...],
    states: tuple[State, ...],
    instructions: Sequence[Instruction],
    next_states: Sequence[int],
    outputs: Sequence[tuple[str, int]],
    parameters: tuple[tuple[str, tuple[Width, ...]], ...],
    carried: tuple[Width, ...],
    precision: Precision,
) -> Program:
    """:func:`simplify_program` of the program with these fields, for passes that need not make
    that one: only the result is checked.
    """
    emitted, new = _rewrite(len(inputs) + len(states), instructions)
    return _live(
        inputs,
        states,
        emitted,
        [new[v] for v in next_states],
        [(name, new[v]) for name, v in outputs],
        parameters,
        carried,
        precision,
    )


def _rewrite(
    first: int, instructions: Sequence[Instruction]
) -> tuple[list[Instruction], list[int]]:
    """One pass in order: every instruction sees operands that are simplified already. Also returns
    the new number of each value.
    """
    emitted: list[Instruction] = []
    known: dict[tuple[str, tuple[int, ...], str, float], int] = {}
    ruled: set[int] = set()  # values whose definition some rule is about
    new = list(range(first))
    for instruction in instructions:
        operands = tuple([new[v] for v in instruction.inputs])
        if len(operands) > 1 and instruction.op in COMMUTATIVE:
            operands = tuple(sorted(operands))
        if ruled and not ruled.isdisjoint(operands):
            result = _rule(
                instruction.reading(operands),
                [emitted[v - first] if v >= first else None for v in operands],
            )
            if not isinstance(result, Instruction):
                new.append(result)
                continue
            instruction, operands = result, result.inputs
        key = (instruction.op, operands, instruction.parameter, instruction.value)
        number = known.get(key)
        if number is None:
            number = known[key] = first + len(emitted)
            emitted.append(instruction.reading(operands))
            if instruction.op in _RULED:
                ruled.add(number)
        new.append(number)
    return emitted, new


def _rule(instruction: Instruction, below: list[Instruction | None]) -> Instruction | int:
    """The instruction that replaces this one, or the number of the value that it equals."""
    op, inputs, label = instruction.op, instruction.inputs, instruction.label
    numbers = [d.value if d is not None and d.op == "const" else None for d in below]
    if op in POINTWISE and None not in numbers:
        folded = _value(op, numbers)
        if math.isfinite(folded):
            return Instruction("const", (), "", folded, label)
    if op in ("add", "mul"):
        neutral = 0.0 if op == "add" else 1.0
        if numbers[0] == neutral:
            return inputs[1]
        if numbers[1] == neutral:
            return inputs[0]
    if (op == "sub" and numbers[1] == 0.0) or (op == "div" and numbers[1] == 1.0):
        return inputs[0]
    if op == "neg" and below[0] is not None and below[0].op == "neg":
        return below[0].inputs[0]
    if op == "add":
        for mine, other in ((0, 1), (1, 0)):
            negated = below[mine]
            if negated is not None and negated.op == "neg":
                return Instruction("sub", (inputs[other], negated.inputs[0]), label=label)
    return instruction


def _value(op: str, numbers: Sequence[float | None]) -> float:
    """What torch makes of an op on numbers, in float64."""
    import torch  # hardly any program has an op on numbers alone

    from cellsearch.compiler.backends.functions import FUNCTIONS

    return float(FUNCTIONS[op](*(torch.tensor(number, dtype=torch.float64) for number in numbers)))


def drop_dead(program: Program) -> Program:
    """The program without instructions that reach no end, and without weights that nothing
    reads.
    """
    return _live(*_fields(program))


def _live(
    inputs: tuple[tuple[str, Width], ...],
    states: tuple[State, ...],
    instructions: Sequence[Instruction],
    next_states: Sequence[int],
    outputs: Sequence[tuple[str, int]],
    parameters: tuple[tuple[str, tuple[Width, ...]], ...],
    carried: tuple[Width, ...],
    precision: Precision,
) -> Program:
    first = len(inputs) + len(states)
    live = [False] * (first + len(instructions))
    for value in next_states:
        live[value] = True
    for _, value in outputs:
        live[value] = True
    for k in range(len(instructions) - 1, -1, -1):
        if live[first + k]:
            for operand in instructions[k].inputs:
                live[operand] = True
    if all(live[first:]):
        new, kept = list(range(len(live))), list(instructions)
    else:
        new, kept = _without(live, first, instructions)
    read = {instruction.parameter for instruction in kept}
    return Program(
        inputs,
        states,
        tuple(kept),
        tuple([new[v] for v in next_states]),
        tuple([(name, new[v]) for name, v in outputs]),
        tuple([(name, shape) for name, shape in parameters if name in read]),
        carried,
        precision,
    )


def _without(
    live: list[bool], first: int, instructions: Sequence[Instruction]
) -> tuple[list[int], list[Instruction]]:
    """The new number of each value, and the instructions that are left."""
    new = list(range(first))
    kept: list[Instruction] = []
    for k, instruction in enumerate(instructions):
        new.append(first + len(kept))  # of a dead value: never read
        if live[first + k]:
            kept.append(instruction.reading(tuple([new[v] for v in instruction.inputs])))
    return new, kept
