"""Hoisting: products inside the time loop are regrouped so that factors known before the loop are
multiplied before it.

``(d * h) * (o * (1 - o))`` with a carried ``d`` becomes ``d * (h * (o * (1 - o)))``: one
multiplication in the loop instead of two. It trades memory traffic for calls, so it pays for a
backend that makes a call an instruction, not for one that fuses them.
"""

from __future__ import annotations

from dataclasses import replace

from cellsearch.compiler.program import Instruction, Program
from cellsearch.compiler.scheduling.phases import Phase, phases
from cellsearch.compiler.simplify import drop_dead

__all__ = ["hoist"]


def hoist(program: Program) -> Program:
    """An equivalent program up to rounding, with as few multiplications in the loop as regrouping
    allows.
    """
    phase = phases(program)
    inner = {
        value
        for value, instruction in program.numbered()
        if _is_inner_factor(program, phase, value, instruction)
    }
    emitted: list[Instruction] = []
    new = list(range(program.first))

    def emit(instruction: Instruction) -> int:
        emitted.append(instruction)
        return program.first + len(emitted) - 1

    for value, instruction in program.numbered():
        if instruction.op == "mul" and phase[value] is Phase.LOOP and value not in inner:
            factors = sorted(
                _factors(program, value, inner), key=lambda v: min(phase[v], Phase.LOOP)
            )
            product = new[factors[0]]
            for factor in factors[1:-1]:
                product = emit(Instruction("mul", (product, new[factor])))
            new.append(emit(instruction.reading((product, new[factors[-1]]))))
        else:
            new.append(emit(instruction.reading(tuple(new[v] for v in instruction.inputs))))
    return drop_dead(
        replace(
            program,
            instructions=tuple(emitted),
            next_states=tuple(new[v] for v in program.next_states),
            outputs=tuple((name, new[v]) for name, v in program.outputs),
        )
    )


def _is_inner_factor(
    program: Program, phase: tuple[Phase, ...], value: int, instruction: Instruction
) -> bool:
    """Whether this product is a factor of one other product only, both in the loop."""
    users = program.uses[value]
    if (
        instruction.op != "mul"
        or phase[value] is not Phase.LOOP
        or len(users) != 1
        or value in program.ends
    ):
        return False
    user = program.instruction(users[0])
    return user is not None and user.op == "mul" and phase[users[0]] is Phase.LOOP


def _factors(program: Program, value: int, inner: set[int]) -> list[int]:
    found: list[int] = []
    stack = [value]
    while stack:
        instruction = program.instruction(stack.pop())
        for operand in instruction.inputs if instruction else ():
            (stack if operand in inner else found).append(operand)
    return found
