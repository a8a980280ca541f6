"""What backward reads from memory and what it computes again: a pass from gradient to gradient.

A value that forward has to store anyway (states, factors of weight gradients) costs nothing to
read; a cheap function of such values is computed again instead of being stored, because memory
traffic costs more than an addition or a product in a fused stage.
"""

from __future__ import annotations

from dataclasses import replace

from cellsearch import ops
from cellsearch.compiler.gradient import Gradient
from cellsearch.compiler.program import Instruction, Program
from cellsearch.compiler.simplify import build_simplified

__all__ = ["recompute"]

_CHEAP = frozenset(
    {"step", "sign", "restart", "const", "vector", "scalar", "zeros", "turn", "twice", "pairs"}
) | {name for name, row in ops.OPS.items() if row.kind == "pointwise" and not row.costly}
_SIGN_KEEPERS = frozenset({"relu", "leaky_relu"})
_DEPTH = 4
"""At most so many instructions one after the other are computed again for a value."""


def recompute(gradient: Gradient) -> Gradient:
    """An equivalent gradient that asks forward to save less."""
    gradient = _step_of_output(gradient)
    forward, program = gradient.forward, gradient.program
    kept = _kept(gradient)
    if len(kept) == len(gradient.saved):
        return gradient
    first = len(gradient.saved)
    saved = [v for v in gradient.saved if v in kept]
    place = {v: k for k, v in enumerate(saved)}
    instructions: list[Instruction] = []
    head = len(saved) + program.first - first
    new: dict[int, int] = {}

    def forward_value(value: int) -> int:
        """The number in the new program of a value of the forward program."""
        if value in place:
            return place[value]
        instruction = forward.made_by(value)
        return emit(instruction.reading(tuple([forward_value(v) for v in instruction.inputs])))

    def emit(instruction: Instruction) -> int:
        instructions.append(instruction)
        return head + len(instructions) - 1

    for k, value in enumerate(gradient.saved):
        new[k] = forward_value(value)
    new.update({v: v - first + len(saved) for v in range(first, program.first)})
    for value, instruction in program.numbered():
        new[value] = emit(instruction.reading(tuple([new[v] for v in instruction.inputs])))
    result = build_simplified(
        inputs=(
            *(p for p, v in zip(program.inputs, gradient.saved, strict=False) if v in kept),
            program.inputs[-1],
        ),
        states=program.states,
        instructions=instructions,
        next_states=[new[v] for v in program.next_states],
        outputs=[(name, new[v]) for name, v in program.outputs],
        parameters=forward.parameters,
        carried=program.carried,
        precision=program.precision,
    )
    return Gradient(forward, result, tuple(saved))


def _kept(gradient: Gradient) -> set[int]:
    """The saved values that stay saved."""
    forward, program = gradient.forward, gradient.program
    factors = {i.inputs[1] for i in program.instructions if i.op == "outer"}
    free = set(range(forward.first)) | set(forward.next_states) | {forward.output}
    kept = {
        v
        for k, v in enumerate(gradient.saved)
        if k in factors or v in free or not _cheap(forward, v)
    }
    for value in gradient.saved:
        if value not in kept and not _available(forward, value, kept, _DEPTH):
            kept.add(value)
    return kept


def _cheap(forward: Program, value: int) -> bool:
    instruction = forward.instruction(value)
    return instruction is not None and instruction.op in _CHEAP


def _available(forward: Program, value: int, kept: set[int], depth: int) -> bool:
    """Whether the value follows cheaply from kept ones."""
    instruction = forward.instruction(value)
    if value in kept or depth == 0 or instruction is None:
        return value in kept
    return instruction.op in _CHEAP and all(
        _available(forward, v, kept, depth - 1) for v in instruction.inputs
    )


def _step_of_output(gradient: Gradient) -> Gradient:
    """``step(a)`` becomes ``step(relu(a))`` where forward computes that: the same number, and ``a``
    need not be saved for it.
    """
    forward, program = gradient.forward, gradient.program
    outputs = {i.inputs[0]: v for v, i in forward.numbered() if i.op in _SIGN_KEEPERS}
    only_steps = {
        k
        for k, v in enumerate(gradient.saved)
        if v in outputs
        and v not in range(forward.first)
        and all(_is_step(program, user) for user in program.uses[k])
        and k not in program.ends
    }
    if not only_steps:
        return gradient
    saved = [outputs[v] if k in only_steps else v for k, v in enumerate(gradient.saved)]
    unique = sorted(set(saved))
    place = {k: unique.index(v) for k, v in enumerate(saved)}
    shift = len(unique) - len(saved)
    names = {
        v: program.inputs[k] if k not in only_steps else (forward.names[v], program.inputs[k][1])
        for k, v in enumerate(saved)
    }

    def number(value: int) -> int:
        return place[value] if value < len(saved) else value + shift

    moved = replace(
        program,
        inputs=(*(names[v] for v in unique), program.inputs[-1]),
        instructions=tuple(
            i.reading(tuple([number(v) for v in i.inputs])) for i in program.instructions
        ),
        next_states=tuple(number(v) for v in program.next_states),
        outputs=tuple((name, number(v)) for name, v in program.outputs),
    )
    return Gradient(forward, moved, tuple(unique))


def _is_step(program: Program, value: int) -> bool:
    instruction = program.instruction(value)
    return instruction is not None and instruction.op == "step"
