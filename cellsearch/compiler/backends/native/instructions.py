"""From a stage to instructions: fused operations, direct stores, scratch registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.commands import Home, Operation, Stage

__all__ = ["OPERATIONS", "SUMS", "Code", "StageCode", "encode_stage", "missing_instruction"]

SUMS = frozenset({"TOTAL", "TOTAL_MUL"})
"""Instructions that sum over rows."""
OPERATIONS = {
    "add": "ADD",
    "sub": "SUB",
    "mul": "MUL",
    "div": "DIV",
    "max": "MAX",
    "min": "MIN",
    "blend": "BLEND",
    "restart": "RESTART",
    "neg": "NEG",
    "abs": "ABS",
    "square": "SQUARE",
    "sqrt": "SQRT",
    "sign": "SIGN",
    "step": "STEP_AT_0",
    "sigmoid": "SIGMOID",
    "tanh": "TANH",
    "hard_sigmoid": "HARD_SIGMOID",
    "hard_tanh": "HARD_TANH",
    "softsign": "SOFTSIGN",
    "relu": "RELU",
    "leaky_relu": "LEAKY_RELU",
    "silu": "SILU",
    "gelu": "GELU",
    "softplus": "SOFTPLUS",
    "log_sigmoid": "LOG_SIGMOID",
    "exp": "EXP",
    "sin": "SIN",
    "cos": "COS",
    "erf": "ERF",
    "layer_norm": "LAYER_NORM",
    "layer_norm_gradient": "LAYER_NORM_GRADIENT",
    "unit": "UNIT",
    "unit_gradient": "UNIT_GRADIENT",
    "head_norm": "HEAD_NORM",
    "head_norm_gradient": "HEAD_NORM_GRADIENT",
    "turn": "TURN",
    "twice": "TWICE",
    "pairs": "PAIRS",
    "total": "TOTAL",
    "fold": "FOLD",
    "move": "MOV",
    "spread": "BROADCAST",
    "const": "SPLAT",
    "zeros": "SPLAT",
}
"""Operation of a stage -> instruction of the runtime."""
_SCHEDULED = frozenset({"dense", "dense_t", "outer", "vector", "scalar"})
"""Primitives that become commands, or nothing at all."""


def missing_instruction(program: Program) -> str:
    """Why the runtime cannot compute a program, whatever the machine; ``""`` if it can."""
    for instruction in program.instructions:
        if instruction.op not in OPERATIONS and instruction.op not in _SCHEDULED:
            return (
                f"its runtime, which is C, has no instruction for {instruction.op}; other backends "
                "run an op by its row of the op table alone"
            )
    return ""


@dataclass(slots=True)
class Code:
    """One instruction before registers are given out: ``value = op(inputs)``."""

    op: str
    value: int
    inputs: tuple[int, ...]
    number: float = 0.0
    targets: list[Home] = field(default_factory=list)
    """Homes that the value is stored in."""

    def turned(self, op: str, inputs: tuple[int, ...], number: float = 0.0) -> Code:
        """Another instruction for the same value."""
        return Code(op, self.value, inputs, number)


Place = Home | int
"""A home, or the number of a scratch register."""


@dataclass(frozen=True)
class StageCode:
    """Instructions with places in the stead of values."""

    instructions: tuple[tuple[str, Place, tuple[Place, ...], float], ...]
    """(op, destination, operands, number)."""
    registers: int
    """How many scratch registers they need."""


def encode_stage(stage: Stage) -> StageCode:
    """The instructions of a stage."""
    return _assign(_fuse(stage), stage.sources)


def _fuse(stage: Stage) -> list[Code]:
    """Operations with what can be computed at once put together; those that nothing reads any more
    are left out.
    """
    codes: dict[int, Code] = {}
    uses: dict[int, int] = {}
    for operation in stage.operations:
        for operand in operation.inputs:
            uses[operand] = uses.get(operand, 0) + 1
    fusion = _Fusion(codes, uses, stage.numbers)
    order: list[Code] = []
    for operation in stage.operations:
        if operation.op == "move" and operation.inputs[0] in codes and operation.target is not None:
            codes[operation.inputs[0]].targets.append(
                operation.target
            )  # the value is stored where it is computed
            codes[operation.value] = codes[operation.inputs[0]]
            continue
        code = fusion.best(operation)
        if operation.target is not None:
            code.targets.append(operation.target)
        codes[operation.value] = code
        order.append(code)
    return _drop_unread(order)


def _drop_unread(order: list[Code]) -> list[Code]:
    read: set[int] = set()
    kept: list[Code] = []
    for code in reversed(order):
        if code.targets or code.value in read:
            kept.append(code)
            read.update(code.inputs)
    return kept[::-1]


@dataclass
class _Fusion:
    """Patterns; a part is taken in only if nothing else reads it and it is not stored."""

    codes: Mapping[int, Code]
    uses: Mapping[int, int]
    numbers: Mapping[int, float]

    def best(self, operation: Operation) -> Code:
        """The instruction for an operation."""
        plain = Code(OPERATIONS[operation.op], operation.value, operation.inputs, operation.number)
        if operation.op == "mul":
            left, right = plain.inputs
            return self.product(plain, left, right) or self.product(plain, right, left) or plain
        if operation.op in ("add", "sub"):
            return self.sum(plain) or plain
        if operation.op == "total":
            part = self.part(plain.inputs[0], "MUL")
            return plain.turned("TOTAL_MUL", part.inputs) if part else plain
        return plain

    def part(self, value: int, op: str) -> Code | None:
        """The instruction of a value, if it is ``op`` and can be taken in."""
        code = self.codes.get(value)
        return (
            code
            if code is not None and code.op == op and self.uses.get(value) == 1 and not code.targets
            else None
        )

    def product(self, plain: Code, left: int, right: int) -> Code | None:
        if right in self.numbers:
            if self.numbers[right] == 0.5:
                found = self.max_gradient(plain, left)
                if found:
                    return found
            return plain.turned("MUL_NUMBER", (left,), self.numbers[right])
        step = self.part(right, "STEP_AT_0")
        if step:
            return self.slope("RELU_GRADIENT", plain, left, step.inputs[0])
        one_minus = self.part(right, "NUMBER_SUB")
        if one_minus and one_minus.number == 1.0:
            square = self.part(one_minus.inputs[0], "MUL")
            if square and square.inputs[0] == square.inputs[1]:
                return self.slope("TANH_GRADIENT", plain, left, square.inputs[0])
        factor = self.part(right, "MUL")
        if factor:
            for y, other in (factor.inputs, factor.inputs[::-1]):
                complement = self.codes.get(
                    other
                )  # others may read it: it is computed again at no cost
                if complement and (complement.op, complement.number, complement.inputs) == (
                    "NUMBER_SUB",
                    1.0,
                    (y,),
                ):
                    return self.slope("SIGMOID_GRADIENT", plain, left, y)
        return None

    def slope(self, op: str, plain: Code, left: int, y: int) -> Code:
        """``left`` times the slope of an activation whose value is ``y``; a product on the left is
        taken in.
        """
        factors = self.part(left, "MUL")
        return (
            plain.turned(f"MUL_{op}", (*factors.inputs, y))
            if factors
            else plain.turned(op, (left, y))
        )

    def max_gradient(self, plain: Code, value: int) -> Code | None:
        """Half of ``g * (1 + sign(a - b))``: the gradient of a maximum or minimum."""
        whole = self.part(value, "MUL")
        for g, other in (whole.inputs, whole.inputs[::-1]) if whole else ():
            one_plus = self.part(other, "ADD_NUMBER")
            sign = (
                self.part(one_plus.inputs[0], "SIGN")
                if one_plus and one_plus.number == 1.0
                else None
            )
            difference = self.part(sign.inputs[0], "SUB") if sign else None
            if difference:
                return plain.turned("MAX_GRADIENT", (g, *difference.inputs))
        return None

    def sum(self, plain: Code) -> Code | None:
        left, right = plain.inputs
        if plain.op == "ADD":
            for a, b in ((left, right), (right, left)):
                if b in self.numbers:
                    return plain.turned("ADD_NUMBER", (a,), self.numbers[b])
        elif left in self.numbers:
            return plain.turned("NUMBER_SUB", (right,), self.numbers[left])
        elif right in self.numbers:
            return plain.turned("ADD_NUMBER", (left,), -self.numbers[right])
        for a, b, op in (
            (left, right, "MUL_ADD" if plain.op == "ADD" else "MUL_SUB"),
            (right, left, "MUL_ADD" if plain.op == "ADD" else "SUB_MUL"),
        ):
            part = self.part(a, "MUL")
            if part and a != b:
                return plain.turned(op, (*part.inputs, b))
        return None


def _assign(order: list[Code], sources: Mapping[int, Home]) -> StageCode:
    """Give each value a place: its home if it has one, else a scratch register that is free by
    then.
    """
    last: dict[int, int] = {}
    for k, code in enumerate(order):
        for operand in code.inputs:
            last[operand] = k
    places: dict[int, Place] = dict(sources)
    free: list[int] = []
    count = 0
    instructions: list[tuple[str, Place, tuple[Place, ...], float]] = []
    for k, code in enumerate(order):
        operands = tuple(places[v] for v in code.inputs)
        # An instruction may write over an operand: every element is read before it is written.
        for value in set(code.inputs):
            place = places[value]
            if last[value] == k and isinstance(place, int):
                free.append(place)
        if code.targets:
            destination: Place = code.targets[0]
        elif free:
            destination = free.pop()
        else:
            destination, count = count, count + 1
        places[code.value] = destination
        instructions.append((code.op, destination, operands, code.number))
        instructions += [("MOV", target, (destination,), 0.0) for target in code.targets[1:]]
    return StageCode(tuple(instructions), count)
