"""The first part of scheduling: a program becomes nodes with phases and levels, and sums of
products become accumulators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cellsearch.compiler.program import POINTWISE, Instruction, Program
from cellsearch.compiler.scheduling.phases import Phase, phases
from cellsearch.genome.parameters import Width

__all__ = ["Accumulator", "AddedProduct", "Dataflow", "FlowNode", "OuterProduct", "dataflow"]

_PRODUCTS = ("dense", "dense_t")
_ROW_BY_ROW = ("layer_norm", "head_norm", "unit", "turn", "twice")
"""How the names of primitives begin that are computed in one pass like pointwise ones. Not
``pairs``: only gradients of what is computed before the loop follow from it."""


class FlowNode(NamedTuple):
    """A value that is not an accumulator: an instruction, an input (op ``input`` or ``carried``),
    or a ``move`` or ``add`` made here.
    """

    op: str
    inputs: tuple[int, ...]
    phase: Phase
    width: Width
    fixed: bool
    level: int
    """Accumulators of the same phase on the longest path to it."""
    number: float = 0.0
    """Of a ``const``."""
    parameter: str = ""
    latest: int | None = None
    """The stage by which it is needed, if that is known."""

    @property
    def computed(self) -> bool:
        """Whether a stage computes it (inputs and carried values are there already)."""
        return self.op not in ("input", "carried")


class AddedProduct(NamedTuple):
    """A product of a value with a weight, added to an accumulator."""

    source: int
    parameter: str
    transposed: bool
    """Whether the weight is read the other way round than it is stored: that of a ``dense``."""
    phase: Phase


class Accumulator(NamedTuple):
    """A sum of products."""

    products: tuple[AddedProduct, ...]
    """In the order in which they are added."""
    phase: Phase
    """That of the last product."""
    width: Width
    fixed: bool
    level: int
    """The first stage of its phase in which it can be read."""
    bias: int | None = None
    """A fixed value that it starts with."""
    begin: int | None = None
    """A node (op ``move``) that writes the value it starts with."""


class OuterProduct(NamedTuple):
    """A part of the gradient of a weight: ``left.T @ right`` over all rows."""

    left: int
    right: int
    parameter: str
    fixed: bool


@dataclass
class Dataflow:
    """All values of a program by number, with what the schedule is asked for."""

    program: Program
    keep: frozenset[int]
    """Values that must last, and exist by themselves, not only as part of a sum."""
    weights: Mapping[str, tuple[Width, ...]]
    """Shapes of the weights whose gradients are put out; empty if this is not a gradient."""
    is_gradient: bool
    square: bool
    """I = H."""
    fresh: int
    """The next number for a value made here."""
    nodes: dict[int, FlowNode] = field(default_factory=dict)
    sums: dict[int, Accumulator] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    """Topological."""
    outers: list[OuterProduct] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    """The vectors and step values among the outputs."""
    zero: set[str] = field(default_factory=set)
    """Gradients that are 0 everywhere."""

    def of(self, value: int) -> FlowNode | Accumulator:
        """The node or accumulator of a value."""
        node = self.nodes.get(value)
        return self.sums[value] if node is None else node

    def level(self, value: int, phase: Phase) -> int:
        """The first stage of ``phase`` in which the value can be read."""
        item = self.nodes.get(value) or self.sums[value]
        return item.level if item.phase is phase else 0

    def as_stored(self, width: Width) -> Width:
        """The width by which memory is counted."""
        return "H" if self.square and width == "I" else width

    def width(self, value: int) -> Width:
        """The width of a value of the program."""
        return self.as_stored(self.program.shapes[value].width)

    def new(self) -> int:
        """A number for a value made here."""
        self.fresh += 1
        return self.fresh - 1

    def add(self, node: FlowNode, value: int | None = None) -> int:
        """Enter a node, under a number of its own if none is given."""
        value = self.new() if value is None else value
        self.nodes[value] = node
        self.order.append(value)
        return value

    def add_sum(self, item: Accumulator, value: int) -> None:
        """Enter an accumulator."""
        self.sums[value] = item
        self.order.append(value)

    def move(self, source: int, phase: Phase, width: Width, latest: int | None = None) -> int:
        """A copy of a value, for a second home."""
        level = self.level(source, phase)
        return self.add(FlowNode("move", (source,), phase, width, False, level, latest=latest))


def dataflow(
    program: Program,
    keep: Iterable[int] = (),
    *,
    square: bool = False,
    weights: Mapping[str, tuple[Width, ...]] | None = None,
) -> Dataflow:
    """The values of a program; arguments as of
    :func:`cellsearch.compiler.scheduling.schedule.schedule`.
    """
    flow = Dataflow(
        program, frozenset(keep), weights or {}, weights is not None, square, program.n_values
    )
    absorbed = _absorbed(program, flow.keep | set(program.ends))
    phase = _fused_phases(program, absorbed)
    for value in range(program.first):
        kind = "input" if program.is_input(value) else "carried"
        flow.add(FlowNode(kind, (), phase[value], flow.width(value), False, 0), value)
    for value, instruction in program.numbered():
        is_matrix = program.shapes[value].columns is not None
        if value in absorbed or instruction.op == "outer" or is_matrix:
            continue
        if _holds_product(instruction, absorbed):
            _enter_sum(flow, value, absorbed, phase)
        else:
            _enter_node(flow, value, instruction, phase)
    _enter_outputs(flow)
    return flow


def _holds_product(instruction: Instruction, absorbed: set[int]) -> bool:
    return instruction.op in _PRODUCTS or (
        instruction.op == "add" and not absorbed.isdisjoint(instruction.inputs)
    )


def _absorbed(program: Program, protected: frozenset[int]) -> set[int]:
    """Products, and sums with products, that one other sum reads and nothing else: they become part
    of it.
    """
    absorbed: set[int] = set()
    all_uses, shapes = program.uses, program.shapes
    for value, instruction in program.numbered():
        uses = all_uses[value]
        if (
            _holds_product(instruction, absorbed)
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
        and (instruction.op in POINTWISE or instruction.op.startswith(_ROW_BY_ROW))
        and value not in absorbed
        and absorbed.isdisjoint(instruction.inputs)
    }
    for value, instruction in program.numbered():
        summed = phase[value] is Phase.AFTER and (instruction.op == "add" or value in pointwise)
        if summed and all(phase[v] <= Phase.LOOP for v in instruction.inputs):
            phase[value] = Phase.LOOP
    for value in sorted(pointwise, reverse=True):
        early = phase[value] is Phase.BEFORE and uses[value] and value not in program.ends
        if early and all(
            user in pointwise
            and phase[user] is Phase.LOOP
            and program.made_by(user).op != "twice"  # a stage of another width: no traffic saved
            for user in uses[value]
        ):
            phase[value] = Phase.LOOP
    return tuple(phase)


def _enter_node(
    flow: Dataflow, value: int, instruction: Instruction, phase: tuple[Phase, ...]
) -> None:
    own = phase[value]
    if instruction.op == "total":
        own = flow.of(instruction.inputs[0]).phase  # it adds up where its operand is computed
        if flow.of(instruction.inputs[0]).fixed:
            raise ValueError("the total of a fixed value has no meaning")
    node = FlowNode(
        instruction.op,
        instruction.inputs,
        own,
        flow.width(value),
        fixed=flow.program.shapes[value].extent == "fixed",
        level=max([flow.level(v, own) for v in instruction.inputs], default=0),
        number=instruction.value,
        parameter=instruction.parameter,
    )
    flow.add(node, value)


def _enter_sum(flow: Dataflow, value: int, absorbed: set[int], phase: tuple[Phase, ...]) -> None:
    """One accumulator, and the additions of those terms that cannot begin it."""
    products, terms = _terms(flow, value, absorbed, phase)
    last = products[-1].phase
    whole = Accumulator(
        products,
        last,
        width=flow.width(value),
        fixed=flow.program.shapes[value].extent == "fixed",
        level=1 + max(flow.level(p.source, last) for p in products if p.phase is last),
    )
    bias = next((v for v in terms if flow.of(v).fixed), None)
    if bias is not None:
        terms.remove(bias)
    if not terms:
        flow.add_sum(whole._replace(bias=bias), value)
    elif not whole.fixed and _can_begin(flow, terms, products[0]):
        source, _, _, when = products[0]
        begin = _chain(flow, [*([] if bias is None else [bias]), *terms], when, whole.width)
        move = flow.move(begin, when, whole.width, latest=flow.level(source, when))
        flow.add_sum(whole._replace(begin=move), value)
    else:
        product = flow.new()
        flow.add_sum(whole._replace(bias=bias), product)
        _chain(flow, [product, *terms], phase[value], whole.width, value)


def _terms(
    flow: Dataflow, value: int, absorbed: set[int], phase: tuple[Phase, ...]
) -> tuple[tuple[AddedProduct, ...], list[int]]:
    """The products of a sum in order of when they are known, and its other terms."""
    products: list[AddedProduct] = []
    terms: list[int] = []
    stack = [value]
    while stack:
        current = stack.pop()
        instruction = flow.program.made_by(current)
        if instruction.op in _PRODUCTS:
            source, transposed = instruction.inputs[0], instruction.op == "dense"
            products.append(AddedProduct(source, instruction.parameter, transposed, phase[current]))
        else:
            for operand in reversed(instruction.inputs):
                (stack if operand in absorbed else terms).append(operand)
    products.sort(key=lambda p: (p.phase, flow.level(p.source, p.phase)))
    return tuple(products), terms


def _can_begin(flow: Dataflow, terms: list[int], first: AddedProduct) -> bool:
    """Whether the terms are known before the first product, and a stage computes one of them just
    then (else adding later is as cheap).
    """
    when, stage = first.phase, flow.level(first.source, first.phase)
    known = all(flow.of(v).phase <= when and flow.level(v, when) <= stage for v in terms)
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


def _enter_outputs(flow: Dataflow) -> None:
    """Sort the outputs: weight gradients that are matrices, gradients that are 0, and the rest."""
    program = flow.program
    for name, value in program.outputs:
        instruction = program.instruction(value)
        if (
            flow.is_gradient
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
                flow.outers.append(OuterProduct(left, right, name, fixed))
        else:
            flow.outputs[name] = value


def _as_step(flow: Dataflow, value: int) -> int:
    return flow.move(value, Phase.BEFORE, flow.of(value).width) if flow.of(value).fixed else value


def _outer_terms(program: Program, value: int) -> list[Instruction]:
    terms: list[Instruction] = []
    stack = [value]
    while stack:
        instruction = program.made_by(stack.pop())
        if instruction.op == "outer":
            terms.append(instruction)
        elif instruction.op == "add":
            stack.extend(reversed(instruction.inputs))
        else:
            raise ValueError(
                f"the gradient of a weight is a sum of outer products, not {instruction.op}"
            )
    return terms
