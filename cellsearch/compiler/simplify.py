"""Simplification: constant folding, neutral elements, double negation, common subexpressions, dead code.

Every rule keeps the value of every end for all inputs, NaN and infinity included (so ``a * 0`` stays); rounding may differ by the
order of additions only where ``a + (-b)`` becomes ``a - b``, which is exact.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from cellsearch.compiler.backends.functions import FUNCTIONS
from cellsearch.compiler.program import POINTWISE, Instruction, Program
from cellsearch.ops import OPS

__all__ = ["drop_dead", "simplify"]


def simplify(program: Program) -> Program:
    """An equivalent program that is no longer than this one."""
    return drop_dead(_rewrite(program))


def _rewrite(program: Program) -> Program:
    """One pass in order: every instruction sees operands that are simplified already."""
    emitted: list[Instruction] = []
    known: dict[Instruction, int] = {}
    new = list(range(program.first))

    def definition(value: int) -> Instruction | None:
        return emitted[value - program.first] if value >= program.first else None

    for instruction in program.instructions:
        operands = tuple(new[v] for v in instruction.inputs)
        if instruction.op in OPS and OPS[instruction.op].commutative:
            operands = tuple(sorted(operands))
        result = _rule(replace(instruction, inputs=operands), [definition(v) for v in operands])
        if isinstance(result, Instruction):
            if result not in known:
                emitted.append(result)
                known[result] = program.first + len(emitted) - 1
            result = known[result]
        new.append(result)
    return Program(
        program.inputs,
        program.states,
        tuple(emitted),
        tuple(new[v] for v in program.next_states),
        tuple((name, new[v]) for name, v in program.outputs),
        program.parameters,
    )


def _rule(instruction: Instruction, below: list[Instruction | None]) -> Instruction | int:
    """The instruction that replaces this one, or the number of the value that it equals."""
    op, inputs, label = instruction.op, instruction.inputs, instruction.label
    numbers = [d.value if d is not None and d.op == "const" else None for d in below]
    if op in POINTWISE and all(number is not None for number in numbers):
        folded = float(FUNCTIONS[op](*(torch.tensor(number, dtype=torch.float64) for number in numbers)))
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


def drop_dead(program: Program) -> Program:
    """The program without instructions that reach no end, and without weights that nothing reads."""
    live: set[int] = set()
    stack = list(program.ends)
    while stack:
        value = stack.pop()
        if value not in live:
            live.add(value)
            instruction = program.instruction(value)
            stack.extend(instruction.inputs if instruction else ())
    new = {v: v for v in range(program.first)}
    kept: list[Instruction] = []
    for value, instruction in program.numbered():
        if value in live:
            kept.append(
                Instruction(
                    instruction.op, tuple(new[v] for v in instruction.inputs), instruction.parameter, instruction.value, instruction.label
                )
            )
            new[value] = program.first + len(kept) - 1
    read = {instruction.parameter for instruction in kept}
    return Program(
        program.inputs,
        program.states,
        tuple(kept),
        tuple(new[v] for v in program.next_states),
        tuple((name, new[v]) for name, v in program.outputs),
        tuple((name, shape) for name, shape in program.parameters if name in read),
    )
