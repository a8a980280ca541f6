"""The gradient of a program, as a program: reverse mode on the graph, written once for all
backends.

Pointwise derivatives are the ``gradient`` strings of the op table, read once with :mod:`ast`; sums,
products, dense products and layer norm have structural rules here. The result runs backwards in
time: it is given saved values and the gradient of the output of each step, carries the gradients of
the states, and puts out the gradients of ``x``, of every weight, and of those other inputs that are
asked for. Sums over all steps are instructions of their own (``total``, ``outer``), so a backend
computes them after its loop, each weight as one product.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache

from cellsearch import ops
from cellsearch.compiler.program import Instruction, Program
from cellsearch.compiler.simplify import build_simplified
from cellsearch.genome.graph import State

__all__ = ["Gradient", "gradient"]


_SUMS = frozenset({"total", "fold", "outer", "blocks_outer"})
"""Instructions whose value is a sum over all steps, or over units of such."""
_MOVES = frozenset({"turn", "twice"})
"""Instructions that compute nothing: of their values what they read is saved."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient of a program."""

    forward: Program
    program: Program
    """Its inputs are the saved values, then the gradient of the output (``d_<output>``). Its states
    ``d_<state>`` are the gradients with respect to the states of a step, carried from the last step
    to the first (at the end: of the initial states). Its outputs are ``x [B, I]`` in each step,
    then one a weight, by the weight's name, in the order of ``forward.parameters``, then one in
    each step for each other input that was asked for, by its name; a weight of shape ``[]`` has a
    gradient of shape ``[1]``, and a constant 0 stands for a gradient that is zero.
    """
    saved: tuple[int, ...]
    """For each input but the last the number of the value of ``forward`` that it is; always of
    extent ``step``.
    """


def gradient(forward: Program, wanted: Collection[str] = ()) -> Gradient:
    """The gradient of a forward program (one output, see :func:`cellsearch.compiler.lower.lower`),
    simplified. ``wanted``: names of inputs after the first, x, with respect to which it is wanted.
    """
    return _Reverse(forward, wanted).run()


class _Reverse:
    """Values of the gradient program are numbered here as they come; :meth:`finish` puts inputs and
    states first.
    """

    def __init__(self, forward: Program, wanted: Collection[str]) -> None:
        self.forward = forward
        self.shapes = forward.shapes
        self.wanted = [k for k, (name, _) in enumerate(forward.inputs) if k == 0 or name in wanted]
        self.trainable = _trainable(forward, self.wanted)
        self.body: list[
            Instruction
        ] = []  # operands: >= 0 instruction of the body, < 0 see ``symbol``
        self.step: list[bool] = []  # whether the instruction's value differs from step to step
        self.symbols: dict[tuple[str, int], int] = {}
        self.saved: dict[int, int] = {}
        self.contributions: dict[int, list[int]] = {}
        self.weights: dict[str, list[int]] = {}
        self.circle = {
            (instruction.op, instruction.inputs): value
            for value, instruction in forward.numbered()
            if any(forward.made_by(user).op == "twice" for user in forward.uses[value])
        }
        """Sine and cosine of the angles of pairs: neither is computed again."""

    def run(self) -> Gradient:
        forward = self.forward
        for k, value in enumerate(forward.next_states):
            self.contribute(value, self.symbol("state", k))
        self.contribute(forward.output, self.symbol("output", 0))
        for value, instruction in reversed(list(forward.numbered())):
            if self.contributions.get(value):
                self.instruction(value, instruction, self.collect(value))
        inputs = [(forward.inputs[k][0], self.collect(k)) for k in self.wanted]
        states = [self.collect(len(forward.inputs) + k) for k in range(len(forward.states))]
        weights = [(name, self.sum(self.weights.get(name, []))) for name, _ in forward.parameters]
        return self.finish(states, [inputs[0], *weights, *inputs[1:]])

    # -- numbering ---------------------------------------------------------------------------------

    def symbol(self, kind: str, index: int) -> int:
        """A value that comes from outside: a saved value, a carried gradient, the gradient of the
        output.
        """
        return -1 - self.symbols.setdefault((kind, index), len(self.symbols))

    def emit(self, op: str, *inputs: int, parameter: str = "", value: float = 0.0) -> int:
        self.body.append(Instruction(op, inputs, parameter, value))
        self.step.append(op not in _SUMS and any(self.is_step(v) for v in inputs))
        return len(self.body) - 1

    def value(self, number: int) -> int:
        """A value of the forward program: saved if it differs from step to step, computed again
        from the weights, or from what it moves, if not.
        """
        if number not in self.saved:
            instruction = self.forward.instruction(number)
            step = self.shapes[number].extent == "step"
            if instruction is None or (step and instruction.op not in _MOVES):
                self.saved[number] = self.symbol("saved", number)
            else:
                operands = [self.value(v) for v in instruction.inputs]
                self.saved[number] = self.emit(
                    instruction.op,
                    *operands,
                    parameter=instruction.parameter,
                    value=instruction.value,
                )
        return self.saved[number]

    def finish(self, states: list[int], outputs: list[tuple[str, int]]) -> Gradient:
        forward = self.forward
        saved = sorted(index for kind, index in self.symbols if kind == "saved")
        place = {("saved", number): k for k, number in enumerate(saved)}
        place["output", 0] = len(saved)
        place.update({("state", k): len(saved) + 1 + k for k in range(len(forward.states))})
        first = len(saved) + 1 + len(forward.states)

        outside = [place[symbol] for symbol in self.symbols]

        def number(value: int) -> int:
            return first + value if value >= 0 else outside[-1 - value]

        program = build_simplified(
            inputs=(
                *((self.name(v), self.shapes[v].width) for v in saved),
                (f"d_{forward.outputs[0][0]}", forward.output_width),
            ),
            states=tuple(State(f"d_{state.name}") for state in forward.states),
            instructions=[i.reading(tuple([number(v) for v in i.inputs])) for i in self.body],
            next_states=[number(v) for v in states],
            outputs=[(name, number(v)) for name, v in outputs],
            parameters=forward.parameters,
            carried=forward.carried,
            precision=forward.precision,
        )
        return _drop_unread(Gradient(forward, program, tuple(saved)))

    def name(self, number: int) -> str:
        """What a saved value is called: by its node where it has one."""
        instruction = self.forward.instruction(number)
        if instruction is None:
            return self.forward.names[number]
        return instruction.label or f"v{number - self.forward.first}"

    # -- rules -------------------------------------------------------------------------------------

    def contribute(self, value: int, contribution: int) -> None:
        if self.trainable[value]:
            self.contributions.setdefault(value, []).append(contribution)

    def collect(self, value: int) -> int:
        """The gradient with respect to a value: the sum of what its uses contribute, brought to the
        shape of the value.
        """
        shape = self.shapes[value]
        contributions = self.contributions.get(value, [])
        if shape.extent == "step" or not contributions:
            return self.sum(contributions)
        step = [v for v in contributions if self.is_step(v)]
        fixed = [v for v in contributions if not self.is_step(v)]
        parts = [*([self.emit("total", self.sum(step))] if step else []), *fixed]
        # Each part is folded by itself: a part of width 1 added to one of width H first would count
        # H times.
        return self.sum(
            [self.emit("fold", part) for part in parts] if shape.width == "1" else parts
        )

    def is_step(self, value: int) -> bool:
        """Whether a value of the body is of extent ``step``."""
        return value < 0 or self.step[value]

    def sum(self, values: list[int]) -> int:
        if not values:
            return self.emit("const", value=0.0)
        result = values[0]
        for value in values[1:]:
            result = self.emit("add", result, value)
        return result

    def instruction(self, value: int, instruction: Instruction, g: int) -> None:
        op, inputs = instruction.op, instruction.inputs
        if op in ("vector", "scalar"):
            self.weights.setdefault(instruction.parameter, []).append(g)
        elif op in ("dense", "blocks"):
            self.weights.setdefault(instruction.parameter, []).append(
                self.outer(g, inputs[0], instruction)
            )
            if self.trainable[inputs[0]]:
                self.contribute(inputs[0], self.emit(f"{op}_t", g, parameter=instruction.parameter))
        elif op == "add":
            for operand in inputs:
                self.contribute(operand, g)
        elif op == "mul":
            for operand, other in (inputs, inputs[::-1]):
                if self.trainable[operand]:
                    self.contribute(operand, self.emit("mul", g, self.value(other)))
        elif op == "restart":
            reset, start, state = (self.value(inputs[0]), *inputs[1:])
            for operand, ways in ((start, (g, None)), (state, (None, g))):
                if self.trainable[operand]:
                    taken = [self.emit("const", value=0.0) if v is None else v for v in ways]
                    self.contribute(operand, self.emit("restart", reset, *taken))
        elif op == "turn":  # its transpose turns the other way
            self.contribute(inputs[0], self.emit("neg", self.emit("turn", g)))
        elif op == "twice":
            self.contribute(inputs[0], self.emit("pairs", g))
        elif op in ("layer_norm", "head_norm", "unit"):
            below = self.value(inputs[0])
            self.contribute(
                inputs[0], self.emit(f"{op}_gradient", g, below, value=instruction.value)
            )
        else:
            for operand, rule in zip(inputs, _rules(op), strict=True):
                if self.trainable[operand]:
                    self.contribute(operand, self.expression(rule, g, value, inputs))

    def outer(self, g: int, operand: int, product: Instruction) -> int:
        """``g`` has the extent of the product, which is that of its operand."""
        if product.op == "dense":
            return self.emit("outer", g, self.value(operand))
        blocks = float(self.forward.parameter_shapes[product.parameter][0])
        return self.emit("blocks_outer", g, self.value(operand), value=blocks)

    def expression(self, node: ast.expr, g: int, value: int, inputs: tuple[int, ...]) -> int:
        """Emit the instructions of one gradient expression of the op table."""
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return self.emit("const", value=float(node.value))
        if isinstance(node, ast.Name):
            if node.id in ("g", "y"):
                return g if node.id == "g" else self.value(value)
            return self.value(inputs["abc".index(node.id)])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if isinstance(node.operand, ast.Constant):
                return self.emit("const", value=-float(node.operand.value))  # type: ignore[arg-type]
            return self.emit("neg", self.expression(node.operand, g, value, inputs))
        if isinstance(node, ast.BinOp):
            op = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}[type(node.op)]
            left = self.expression(node.left, g, value, inputs)
            return self.emit(op, left, self.expression(node.right, g, value, inputs))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            known = self.circle.get((node.func.id, inputs))
            if known is not None:
                return self.value(known)
            return self.emit(
                node.func.id, *(self.expression(a, g, value, inputs) for a in node.args)
            )
        raise ValueError(
            f"the gradient rule {ast.unparse(node)!r} is not in the language of the op table"
        )


@cache
def _rules(op: str) -> tuple[ast.expr, ...]:
    return tuple(ast.parse(text, mode="eval").body for text in ops.get(op).gradient)


def _trainable(program: Program, wanted: Collection[int]) -> list[bool]:
    """Whether each value depends on a wanted input, a carried value or a weight, so that its
    gradient is asked for.
    """
    trainable = [not program.is_input(k) or k in wanted for k in range(program.first)]
    for instruction in program.instructions:
        trainable.append(
            bool(instruction.parameter) or any(trainable[v] for v in instruction.inputs)
        )
    return trainable


def _drop_unread(gradient: Gradient) -> Gradient:
    """Leave out saved values that simplification made superfluous."""
    program = gradient.program
    read = {
        operand for instruction in program.instructions for operand in instruction.inputs
    }.union(program.ends)
    kept = [k for k in range(len(gradient.saved)) if k in read]
    if len(kept) == len(gradient.saved):
        return gradient
    n_saved = len(gradient.saved)
    new = {old: k for k, old in enumerate(kept)}
    new.update({value: value - n_saved + len(kept) for value in range(n_saved, program.n_values)})
    slim = replace(
        program,
        inputs=(*(program.inputs[k] for k in kept), program.inputs[-1]),
        instructions=tuple(
            i.reading(tuple([new[v] for v in i.inputs])) for i in program.instructions
        ),
        next_states=tuple(new[v] for v in program.next_states),
        outputs=tuple((name, new[v]) for name, v in program.outputs),
    )
    return Gradient(gradient.forward, slim, tuple(gradient.saved[k] for k in kept))
