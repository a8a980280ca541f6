"""The program: what a cell computes in one step, as a list of primitive instructions in single
assignment form.

Values are numbered: first the inputs of a step (``x``), then the carried values (previous states),
then one value an instruction. A program is immutable; passes are functions from program to program.
The same form holds the *gradient* of a cell (:mod:`cellsearch.compiler.gradient`): there the inputs
are saved values and the gradient of the output, and what is carried, backwards in time, are the
gradients of the states. So whoever can run a program over time can run both.

Shapes. A value has a *width* (``"I"``, ``"H"``, ``"1"`` or another symbol of
:mod:`cellsearch.genome.sizes`: its last dimension) and an *extent*:

* ``step``: one row for each position and sequence, ``[B, width]`` in a step, ``[T * B, width]``
  over all steps;
* ``fixed``: the same at every position (it depends on weights only), ``[width]``.

A value of width ``"1"`` is always fixed. Pointwise instructions broadcast ``fixed`` to ``step`` and
width ``"1"`` to any width. In a cell that needs I = H an instruction over widths ``"I"`` and
``"H"`` has width ``"H"``; no other two widths meet.

Instructions (:data:`STRUCTURAL`, :data:`POINTWISE`), W being the weight named ``parameter``:

* ``const`` (fixed, width 1): the number ``value``.
* ``zeros`` (fixed, width H): ``layer_norm`` of a number.
* ``vector`` (fixed): W, a weight of shape ``[width]``.
* ``scalar`` (fixed, width 1): W, a weight of shape ``[]``.
* ``dense a``: ``a @ W.T`` with W ``[width, width(a)]``.
* ``dense_t g``: ``g @ W``, the product of a gradient with the weight of a ``dense``.
* ``blocks a``: W ``[n, width/n, width(a)/n]`` cuts ``a`` and the value into n equal parts, and each
  part is ``part of a @ part of W.T``.
* ``blocks_t g``: the product of a gradient with the weight of a ``blocks``.
* ``layer_norm a``: ``(a - mean(a)) / sqrt(var(a) + 1e-5)`` over the width, variance of the
  population.
* ``layer_norm_gradient g a``: gradient with respect to ``a`` of ``layer_norm a``, given the
  gradient ``g`` of its value.
* ``head_norm a``, ``head_norm_gradient g a``: the same for each of ``value`` equal parts.
* ``unit a``: ``a / |a|``, 0 where a is 0; ``unit_gradient g a``: its gradient with respect to
  ``a``, given that of its value; 0 where a is 0.
* ``turn a``: each pair (a_2j, a_2j+1) becomes (-a_2j+1, a_2j), a quarter of a turn.
* ``twice a``: each number twice, of twice the width; ``pairs a``: the sum of each pair, of half the
  width.
* ``total a`` (fixed, same width): sum of a step value over all positions and sequences.
* ``fold a`` (fixed, width 1): sum of a fixed value over its width.
* ``outer g a``: ``g.T @ a`` summed over all positions and sequences (both step or both fixed), the
  gradient of a weight.
* ``blocks_outer g a`` (fixed): the same for each of ``value`` equal parts, the gradient of the
  weight of a ``blocks``.
* pointwise: an op of the op table by its name and meaning, ``step``, ``sign``, ``erf`` (used by
  gradients), and ``restart r a s``: a where r > 0, else s (used by resets). It selects, so what is
  not finite in s does not matter where r > 0.

Precision. In ``"bf16"`` both operands of every product with a matrix (``dense``, ``blocks``, their
``_t`` and ``outer`` forms) are rounded to bfloat16, to the nearest and halfway to even, and the
products summed in the dtype of the computation, which is float32 as a rule. All else, the values
themselves included, is as in ``"float32"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from cellsearch.genome.graph import State
from cellsearch.genome.sizes import Width, base_of, divided, multiplied, ratio
from cellsearch.ops import POINTWISE

__all__ = [
    "PARAMETRIC",
    "POINTWISE",
    "STRUCTURAL",
    "Extent",
    "Instruction",
    "Precision",
    "Program",
    "Shape",
]

Extent = Literal["fixed", "step"]
Precision = Literal["float32", "bf16"]
"""Of the operands of products with a matrix."""

# POINTWISE is the op table's, so that an op registered later is a primitive at once.
STRUCTURAL: dict[str, int] = {
    "const": 0,
    "zeros": 0,
    "vector": 0,
    "scalar": 0,
    "dense": 1,
    "dense_t": 1,
    "blocks": 1,
    "blocks_t": 1,
    "layer_norm": 1,
    "layer_norm_gradient": 2,
    "head_norm": 1,
    "head_norm_gradient": 2,
    "unit": 1,
    "unit_gradient": 2,
    "turn": 1,
    "twice": 1,
    "pairs": 1,
    "total": 1,
    "fold": 1,
    "outer": 2,
    "blocks_outer": 2,
}
"""The other primitives with their number of operands."""

_VALUED = frozenset({"const", "head_norm", "head_norm_gradient", "blocks_outer"})
PARAMETRIC = frozenset({"vector", "scalar", "dense", "dense_t", "blocks", "blocks_t"})
"""Primitives that read a named weight."""


class Instruction(NamedTuple):
    """One primitive."""

    op: str
    inputs: tuple[int, ...] = ()
    parameter: str = ""
    """The weight of a parametric one."""
    value: float = 0.0
    """The number of a ``const``, how many parts a ``head_norm`` or ``blocks_outer`` cuts."""
    label: str = ""
    """For people: the name of the node that the instruction computes, ``""`` for a part of one."""

    def reading(self, inputs: tuple[int, ...]) -> Instruction:
        """The same instruction with other operands."""
        return (
            self
            if inputs == self.inputs
            else Instruction(self.op, inputs, self.parameter, self.value, self.label)
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """Width and extent of a value."""

    width: Width
    extent: Extent
    columns: Width | None = None
    """Of a gradient of a dense weight (``outer``), whose width counts its rows."""
    blocks: int = 1
    """Of a gradient of the weight of a ``blocks``: how many; width and columns are those of one."""


class _ByWidth(dict[Width, Shape]):
    """The shape of a vector of each width; one object each, which makes comparing them quick."""

    def __init__(self, extent: Extent) -> None:
        self.extent = extent

    def __missing__(self, width: Width) -> Shape:
        made = self[width] = Shape(width, self.extent)
        return made


_STEP = _ByWidth("step")
_FIXED = _ByWidth("fixed")


@dataclass(frozen=True)
class Program:
    """One step of a computation over time. Raises :class:`ValueError` for a program that is not
    well-formed: that is a bug of a pass.
    """

    inputs: tuple[tuple[str, Width], ...]
    """Names and widths of what each step is given."""
    states: tuple[State, ...]
    """What is carried from step to step, with its initial value."""
    instructions: tuple[Instruction, ...]
    next_states: tuple[int, ...]
    """For each state the value that it takes."""
    outputs: tuple[tuple[str, int], ...]
    """Named values that leave the program, the cell's output first."""
    parameters: tuple[tuple[str, tuple[Width, ...]], ...]
    """Shape in letters of each weight that an instruction reads."""
    carried: tuple[Width, ...] = ()
    """The width of each state; empty where all are H."""
    precision: Precision = "float32"
    """Of the operands of products with a matrix."""

    def __post_init__(self) -> None:
        if self.carried == ("H",) * len(self.states):  # one form for one program
            object.__setattr__(self, "carried", ())
        _check(self)

    @property
    def state_widths(self) -> tuple[Width, ...]:
        """The width of each state."""
        return self.carried or ("H",) * len(self.states)

    @cached_property
    def output_width(self) -> Width:
        """The width of what the cell puts out: of a number that of the first state, of what is as
        wide as x H, as the cell needs I = H.
        """
        width = self.shapes[self.output].width
        return {"1": self.state_widths[0], "I": "H"}.get(width, width)

    @cached_property
    def cut(self) -> str:
        """What in the program is cut into equal parts, for backends that run no such product;
        empty if nothing is.
        """
        cut = [i.op for i in self.instructions if i.op.startswith(("blocks", "head_norm"))]
        return f"the cell has {'heads' if 'head_norm' in cut else 'blocks'}" if cut else ""

    @cached_property
    def beyond_hidden(self) -> str:
        """What in the program has another size than I and H or is cut into parts, for backends that
        run neither; empty if nothing does.
        """
        if not {*self.state_widths, *(shape.width for shape in self.shapes)} <= {"I", "H", "1"}:
            return "the cell has values of other sizes than its input and H (size=)"
        return self.cut

    @cached_property
    def first(self) -> int:
        """The number of the first instruction's value."""
        return len(self.inputs) + len(self.states)

    @property
    def n_values(self) -> int:
        """How many values there are."""
        return self.first + len(self.instructions)

    @property
    def output(self) -> int:
        """The value of the first output: what the cell puts out."""
        return self.outputs[0][1]

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The values that leave a step: next states, then outputs."""
        return (*self.next_states, *(value for _, value in self.outputs))

    def instruction(self, value: int) -> Instruction | None:
        """The instruction that computes this value; ``None`` for an input or a carried value."""
        return self.instructions[value - self.first] if value >= self.first else None

    def made_by(self, value: int) -> Instruction:
        """The instruction that computes this value. Raises :class:`ValueError` for an input or a
        carried value.
        """
        if value < self.first:
            raise ValueError(f"{self.names[value]} is not computed by an instruction")
        return self.instructions[value - self.first]

    def numbered(self) -> Iterable[tuple[int, Instruction]]:
        """The instructions with the numbers of their values."""
        return enumerate(self.instructions, start=self.first)

    def is_input(self, value: int) -> bool:
        """Whether the value is given in each step."""
        return value < len(self.inputs)

    def is_state(self, value: int) -> bool:
        """Whether the value is carried from the step before."""
        return len(self.inputs) <= value < self.first

    @cached_property
    def parameter_shapes(self) -> dict[str, tuple[Width, ...]]:
        """Shape in letters of each weight."""
        return dict(self.parameters)

    @cached_property
    def uses(self) -> tuple[tuple[int, ...], ...]:
        """For each value the instructions that read it, once an operand, by the numbers of their
        values.
        """
        uses: list[list[int]] = [[] for _ in range(self.n_values)]
        for value, instruction in self.numbered():
            for operand in instruction.inputs:
                uses[operand].append(value)
        return tuple(tuple(users) for users in uses)

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Width and extent of each value."""
        shapes = [_STEP[width] for _, width in self.inputs]
        shapes += [_STEP[width] for width in self.state_widths]
        parameters = self.parameter_shapes
        for instruction in self.instructions:
            below = [shapes[v] for v in instruction.inputs]
            # Most are pointwise work on values of one shape; equal shapes are mostly one object.
            alike = instruction.op in POINTWISE and below.count(below[0]) == len(below)
            shapes.append(below[0] if alike else _shape(instruction, below, parameters))
        return tuple(shapes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What :meth:`to_text` calls each value: ``x``, ``h'`` for a carried state, ``%0`` for the
        first instruction.
        """
        carried = [f"{state.name}'" for state in self.states]
        return (
            *(name for name, _ in self.inputs),
            *carried,
            *(f"%{k}" for k in range(len(self.instructions))),
        )

    def to_text(self, notes: Iterable[str] = ()) -> str:
        """A readable listing, one instruction a line; ``notes`` adds a remark to each instruction
        (a pass's finding).
        """
        lines = ["inputs  " + ", ".join(f"{name} [{width}]" for name, width in self.inputs)]
        lines.append(
            "carried "
            + ", ".join(
                f"{state.name}' [{width}] = {state.initial:g}"
                for state, width in zip(self.states, self.state_widths, strict=True)
            )
        )
        remarks = list(notes) or [""] * len(self.instructions)
        for k, ((value, instruction), remark) in enumerate(
            zip(self.numbered(), remarks, strict=True)
        ):
            shape = self.shapes[value]
            operands = [self.names[v] for v in instruction.inputs]
            operands += [instruction.parameter] if instruction.parameter else []
            operands += [repr(instruction.value)] if instruction.op in _VALUED else []
            text = f"%{k:<3} = {instruction.op} {', '.join(operands)}".rstrip()
            extent = (
                (f"{shape.blocks}," if shape.blocks > 1 else "")
                + f"{shape.width}"
                + (f",{shape.columns}" if shape.columns else "")
                + (" fixed" if shape.extent == "fixed" else "")
            )
            remark = f"  {remark}" if remark else ""
            label = f"  # {instruction.label}" if instruction.label else ""
            lines.append(f"{text:<44} [{extent}]{remark}{label}")
        lines += [
            f"next    {state.name} = {self.names[v]}"
            for state, v in zip(self.states, self.next_states, strict=True)
        ]
        lines += [f"output  {name} = {self.names[v]}" for name, v in self.outputs]
        return "\n".join(line.rstrip() for line in lines) + "\n"


class _Shaped(Protocol):
    """A tensor, as far as its shape goes."""

    @property
    def shape(self) -> Sequence[int]: ...


class BasePlace(NamedTuple):
    """Where a size can be read off: an axis of a state, or of a weight, is ``factor`` times it."""

    state: int
    """-1: a weight."""
    parameter: str
    axis: int
    factor: Fraction

    def number(self, states: Sequence[_Shaped], parameters: Mapping[str, _Shaped]) -> int:
        """What the size is, as these states and weights show it."""
        shown = states[self.state] if self.state >= 0 else parameters[self.parameter]
        return int(shown.shape[self.axis] / self.factor)


def base_places(program: Program) -> dict[str, BasePlace]:
    """For I, H and each name of a size of the cell's own where its number shows, if it does."""
    seen: list[tuple[Width, int, str, int]] = [
        (width, k, "", -1) for k, width in enumerate(program.state_widths)
    ]
    for name, shape in program.parameters:
        seen += [(width, -1, name, axis) for axis, width in enumerate(shape)]
    found: dict[str, BasePlace] = {}
    for width, state, parameter, axis in seen:
        base = base_of(width)
        if base:
            factor = ratio(width, base)
            assert factor is not None
            found.setdefault(base, BasePlace(state, parameter, axis, factor))
    return found


def _shape(
    instruction: Instruction, below: list[Shape], parameters: dict[str, tuple[Width, ...]]
) -> Shape:
    op = instruction.op
    if op in ("const", "scalar", "fold"):
        return _FIXED["1"]
    if op == "zeros":
        return _FIXED["H"]
    if op == "vector":
        return _FIXED[parameters[instruction.parameter][0]]
    if op in ("dense", "dense_t"):
        width = parameters[instruction.parameter][0 if op == "dense" else 1]
        return _STEP[width] if below[0].extent == "step" else _FIXED[width]
    if op in ("blocks", "blocks_t"):
        count, rows, columns = parameters[instruction.parameter]
        width = multiplied(rows if op == "blocks" else columns, count)
        return _STEP[width] if below[0].extent == "step" else _FIXED[width]
    if op == "blocks_outer":
        parts = int(instruction.value)
        rows, columns = (divided(shape.width, parts) for shape in below)
        return Shape(rows, "fixed", columns, parts)
    if op in ("twice", "pairs"):
        width = below[0].width
        width = multiplied(width, "2") if op == "twice" else divided(width, 2)
        return _STEP[width] if below[0].extent == "step" else _FIXED[width]
    if op == "total":
        return _FIXED[below[0].width]
    if op == "outer":
        return Shape(below[0].width, "fixed", columns=below[1].width)
    extent: Extent = "step" if any(shape.extent == "step" for shape in below) else "fixed"
    widths = {shape.width for shape in below} - {"1"}
    if len(widths) > 1 and widths != {"I", "H"}:
        raise ValueError(f"{op} of values of widths {' and '.join(sorted(widths))}")
    width = "H" if len(widths) > 1 else widths.pop() if widths else "1"
    return _STEP[width] if extent == "step" else _FIXED[width]


def _check(program: Program) -> None:
    first, parameters = program.first, program.parameter_shapes
    for value, instruction in enumerate(program.instructions, start=first):
        op, inputs, parameter = instruction.op, instruction.inputs, instruction.parameter
        arity = POINTWISE.get(op, STRUCTURAL.get(op))
        if arity is None:
            raise ValueError(f"unknown primitive {op!r}")
        if len(inputs) != arity:
            raise ValueError(f"{op} takes {arity} operands, not {len(inputs)}")
        for operand in inputs:
            if not 0 <= operand < value:
                raise ValueError(
                    f"{op} %{value - first} reads a value that does not come before it"
                )
        if (op in PARAMETRIC) != bool(parameter):
            raise ValueError(f"{op} %{value - first} and parameter {parameter!r} do not fit")
        if parameter and parameter not in parameters:
            raise ValueError(f"the parameter {parameter!r} has no shape")
    if len(program.next_states) != len(program.states):
        raise ValueError(
            f"{len(program.states)} states, but {len(program.next_states)} next states"
        )
    if any(not 0 <= value < program.n_values for value in program.ends):
        raise ValueError("a next state or output does not exist")
