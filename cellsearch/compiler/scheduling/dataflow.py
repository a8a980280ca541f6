"""The first half of scheduling: a program becomes nodes with phases and levels, and sums of
products become accumulators.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cellsearch.compiler.program import POINTWISE, Instruction, Program
from cellsearch.compiler.scheduling.phases import Phase, phases
from cellsearch.genome.parameters import Width

__all__ = ["Accumulator", "Dataflow", "FlowNode", "dataflow"]

_PRODUCTS = ("dense", "dense_t")


class FlowNode(NamedTuple):
    """A value that is no accumulator: an instruction, an input (op ``input`` or ``carried``), or a
    ``move`` or ``add`` made here.

    ``level``: accumulators of the same phase on the longest path to it. ``latest``: stage by which
    it is needed, if given.
    """

    op: str
    inputs: tuple[int, ...]
    phase: Phase
    width: Width
    fixed: bool
    level: int
    number: float = 0.0
    parameter: str = ""
    latest: int | None = None

    @property
    def computed(self) -> bool:
        """Whether a stage computes it (inputs and carried values are there already)."""
        return self.op not in ("input", "carried")


class Accumulator(NamedTuple):
    """A sum of products. ``products``: (source, parameter, whether the weight is transposed, phase)
    in order of issue.

    ``bias``: a fixed value that it starts with; ``begin``: a node (op ``move``) that writes the
    value it starts with.
    """

    products: tuple[tuple[int, str, bool, Phase], ...]
    phase: Phase
    width: Width
    fixed: bool
    level: int
    bias: int | None = None
    begin: int | None = None


@dataclass
class Dataflow:
    """All values by number; ``order`` is topological. ``outers``: (left, right, parameter, fixed)
    of each weight gradient.
    """

    program: Program
    nodes: dict[int, FlowNode] = field(default_factory=dict)
    sums: dict[int, Accumulator] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    outers: list[tuple[int, int, str, bool]] = field(default_factory=list)
    outputs: dict[str, int] = field(
        default_factory=dict
    )  # the vectors and step values among the outputs
    zero: set[str] = field(default_factory=set)
    fresh: int = 0

    def of(self, value: int) -> FlowNode | Accumulator:
        """The node or accumulator of a value."""
        node = self.nodes.get(value)
        return self.sums[value] if node is None else node

    def level(self, value: int, phase: Phase) -> int:
        """The first stage of ``phase`` in which the value can be read."""
        item = self.nodes.get(value) or self.sums[value]
        return item.level if item.phase is phase else 0

    def add(self, node: FlowNode, value: int | None = None) -> int:
        """Enter a node, under a number of its own if none is given."""
        if value is None:
            value, self.fresh = self.fresh, self.fresh + 1
        self.nodes[value] = node
        self.order.append(value)
        return value

    def move(self, source: int, phase: Phase, width: Width, latest: int | None = None) -> int:
        """A copy of a value, for a second home."""
        return self.add(
            FlowNode(
                "move", (source,), phase, width, False, self.level(source, phase), latest=latest
            )
        )


def dataflow(
    program: Program, keep: Iterable[int] = (), *, square: bool = False, is_gradient: bool = False
) -> Dataflow:
    """The values of a program; ``keep``: values that must exist by themselves, not only as part of
    a sum. ``square``: I = H.
    """
    flow = Dataflow(program, fresh=program.n_values)
    absorbed = _absorbed(program, frozenset(keep) | set(program.ends))
    phase = _fused_phases(program, absorbed)
    for value in range(program.first):
        kind = "input" if program.is_input(value) else "carried"
        flow.add(FlowNode(kind, (), phase[value], _width(program, value, square), False, 0), value)
    for value, instruction in program.numbered():
        if (
            value in absorbed
            or instruction.op == "outer"
            or program.shapes[value].columns is not None
        ):
            continue
        if instruction.op in _PRODUCTS or (
            instruction.op == "add" and not absorbed.isdisjoint(instruction.inputs)
        ):
            _enter_sum(flow, value, absorbed, phase, square)
        else:
            _enter_node(flow, value, instruction, phase, square)
    _enter_outputs(flow, is_gradient)
    return flow


def _width(program: Program, value: int, square: bool) -> Width:
    width = program.shapes[value].width
    return "H" if square and width == "I" else width


def _absorbed(program: Program, protected: frozenset[int]) -> set[int]:
    """Products, and sums with products, that one other sum reads and nothing else: they become part
    of it.
    """
    absorbed: set[int] = set()
    all_uses, shapes = program.uses, program.shapes
    for value, instruction in program.numbered():
        uses = all_uses[value]
        holds_product = instruction.op in _PRODUCTS or (
            instruction.op == "add" and not absorbed.isdisjoint(instruction.inputs)
        )
        if (
            holds_product
            and len(uses) == 1
            and value not in protected
            and shapes[value].extent == "step"
        ):
            user = program.instruction(uses[0])
            if user is not None and user.op == "add":
                absorbed.add(value)
    return absorbed


def _fused_phases(program: Program, absorbed: set[int]) -> tuple[Phase, ...]:
    """Phases in which pointwise work stands with the loop's where that saves memory traffic.

    What only the loop's pointwise work reads is computed there, and so is what follows from the
    loop's values without a product.
    """
    phase = list(phases(program))
    shapes, uses = program.shapes, program.uses
    pointwise = {
        value
        for value, instruction in program.numbered()
        if shapes[value].extent == "step"
        and (instruction.op in POINTWISE or instruction.op.startswith("layer_norm"))
        and value not in absorbed
        and absorbed.isdisjoint(instruction.inputs)
    }
    for value, instruction in program.numbered():
        summed = phase[value] is Phase.AFTER and (instruction.op == "add" or value in pointwise)
        if summed and all(phase[v] <= Phase.LOOP for v in instruction.inputs):
            phase[value] = Phase.LOOP
    for value in sorted(pointwise, reverse=True):
        early = phase[value] is Phase.BEFORE and uses[value] and value not in program.ends
        if early and all(user in pointwise and phase[user] is Phase.LOOP for user in uses[value]):
            phase[value] = Phase.LOOP
    return tuple(phase)


def _enter_node(
    flow: Dataflow, value: int, instruction: Instruction, phase: tuple[Phase, ...], square: bool
) -> None:
    program, own = flow.program, phase[value]
    fixed = program.shapes[value].extent == "fixed"
    if instruction.op == "total":
        own = flow.of(instruction.inputs[0]).phase  # it adds up where its operand is computed
        if flow.of(instruction.inputs[0]).fixed:
            raise ValueError("the total of a fixed value has no meaning")
    level = max([flow.level(v, own) for v in instruction.inputs], default=0)
    width = _width(program, value, square)
    flow.add(
        FlowNode(
            instruction.op,
            instruction.inputs,
            own,
            width,
            fixed,
            level,
            instruction.value,
            instruction.parameter,
        ),
        value,
    )


def _enter_sum(
    flow: Dataflow, value: int, absorbed: set[int], phase: tuple[Phase, ...], square: bool
) -> None:
    """One accumulator, and the additions of those terms that cannot begin it."""
    program = flow.program
    products: list[tuple[int, str, bool, Phase]] = []
    terms: list[int] = []
    stack = [value]
    while stack:
        current = stack.pop()
        instruction = program.instruction(current)
        assert instruction is not None
        if instruction.op in _PRODUCTS:
            products.append(
                (
                    instruction.inputs[0],
                    instruction.parameter,
                    instruction.op == "dense",
                    phase[current],
                )
            )
        else:
            for operand in reversed(instruction.inputs):
                (stack if operand in absorbed else terms).append(operand)
    products.sort(key=lambda p: (p[3], flow.level(p[0], p[3])))
    last = products[-1][3]
    shape, width = program.shapes[value], _width(program, value, square)
    level = 1 + max(flow.level(source, last) for source, _, _, when in products if when is last)
    whole = Accumulator(tuple(products), last, width, shape.extent == "fixed", level)
    fixed_terms = [v for v in terms if flow.of(v).fixed]
    terms = [v for v in terms if v not in fixed_terms[:1]]
    bias = fixed_terms[0] if fixed_terms else None
    if not terms:
        flow.sums[value] = whole._replace(bias=bias)
        flow.order.append(value)
    elif not whole.fixed and _can_begin(flow, terms, products[0]):
        when = products[0][3]
        begin = _chain(flow, ([bias] if bias is not None else []) + terms, when, width)
        flow.sums[value] = whole._replace(
            begin=flow.move(begin, when, width, latest=flow.level(products[0][0], when))
        )
        flow.order.append(value)
    else:
        product = flow.fresh
        flow.fresh += 1
        flow.sums[product] = whole._replace(bias=bias)
        flow.order.append(product)
        _chain(flow, [product, *terms], phase[value], width, value)


def _can_begin(flow: Dataflow, terms: list[int], first: tuple[int, str, bool, Phase]) -> bool:
    """Whether the terms are known before the first product, and a stage computes one of them just
    then (else adding later is as cheap).
    """
    when = first[3]
    known = all(
        flow.of(v).phase <= when and flow.level(v, when) <= flow.level(first[0], when)
        for v in terms
    )
    return known and any(
        v in flow.nodes and flow.nodes[v].computed and flow.nodes[v].phase is when for v in terms
    )


def _chain(
    flow: Dataflow, terms: list[int], phase: Phase, width: Width, value: int | None = None
) -> int:
    """Nodes that add the terms from left to right; the last one gets the number ``value``."""
    result = terms[0]
    for k, term in enumerate(terms[1:]):
        level = max(flow.level(result, phase), flow.level(term, phase))
        fixed = flow.of(result).fixed and flow.of(term).fixed
        last = k == len(terms) - 2
        result = flow.add(
            FlowNode("add", (result, term), phase, width, fixed, level), value if last else None
        )
    return result


def _enter_outputs(flow: Dataflow, is_gradient: bool) -> None:
    """Sort the outputs: weight gradients that are matrices, gradients that are 0, and the rest."""
    program = flow.program
    for name, value in program.outputs:
        instruction = program.instruction(value)
        if (
            is_gradient
            and instruction is not None
            and instruction.op == "const"
            and instruction.value == 0.0
        ):
            flow.zero.add(name)
        elif program.shapes[value].columns is not None:
            for outer in _outer_terms(program, value):
                left, right = outer.inputs
                fixed = program.shapes[left].extent == "fixed"
                if not fixed or program.shapes[right].extent != "fixed":
                    left, right, fixed = _as_step(flow, left), _as_step(flow, right), False
                flow.outers.append((left, right, name, fixed))
        else:
            flow.outputs[name] = value


def _as_step(flow: Dataflow, value: int) -> int:
    return flow.move(value, Phase.BEFORE, flow.of(value).width) if flow.of(value).fixed else value


def _outer_terms(program: Program, value: int) -> list[Instruction]:
    terms: list[Instruction] = []
    stack = [value]
    while stack:
        instruction = program.instruction(stack.pop())
        assert instruction is not None
        if instruction.op == "outer":
            terms.append(instruction)
        elif instruction.op == "add":
            stack.extend(reversed(instruction.inputs))
        else:
            raise ValueError(
                f"the gradient of a weight is a sum of outer products, not {instruction.op}"
            )
    return terms
