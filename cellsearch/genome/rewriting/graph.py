"""The mutable graph that :mod:`cellsearch.genome.rewriting.simplify` works on.

A :class:`RewriteGraph` never changes a vertex: a rule makes new ones and the old one is replaced.
Weight-free vertices that are alike are one vertex. Every weight is an expression over the weights
of the genome that came in, so that trained weights survive simplification.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import INPUTS, Attributes, Node, State, attributes
from cellsearch.genome.rewriting.weights import Weight
from cellsearch.genome.sizes import Width
from cellsearch.ops import COMMUTATIVE, PARAMETRIC, WEIGHT_FREE

__all__ = ["RewriteGraph", "Vertex"]


class Vertex(NamedTuple):
    """One value."""

    op: str
    """An op, ``"state"``, ``"x"``, or another input: ``"dt[t]"``."""
    operands: tuple[int, ...] = ()
    number: float = 0.0
    """Of a ``const``; of a ``head_norm`` its heads."""
    weights: tuple[Weight, ...] = ()
    """One for each operand of an op with weights."""
    bias: Weight | None = None
    size: Width = "H"
    """Of a ``linear`` or ``bias``."""
    blocks: int = 1
    """Of a ``linear``."""


class RewriteGraph:
    """A genome taken apart; see the module docstring."""

    def __init__(self, genome: Genome) -> None:
        self.inputs = genome.inputs
        self.states = genome.states
        self.first_node = genome.first_node
        self.state_widths = (
            genome.widths[len(genome.inputs) : genome.first_node]
            if genome.sized
            else ("H",) * len(genome.states)
        )
        self.output_name = genome.output_name
        self.vertices: list[Vertex] = [Vertex("x")]
        self.vertices += [Vertex(f"{name}[t]") for name in genome.inputs[1:]]  # no name of an op
        self.vertices += [Vertex("state") for _ in genome.states]
        self.names: dict[int, str] = {}
        self.replaced: dict[int, int] = {}
        self.recent: set[int] = set()  # replaced since :meth:`live_order` was asked for
        self.known: dict[tuple[str, float, tuple[int, ...]], int] = {}
        self.uses: dict[int, int] = {}
        self.user: dict[int, int] = {}  # the last one counted
        self.place: dict[int, int] = {}  # where a reader expects the value
        # Sums and products, until a value or a use is new; see sums_products.py.
        self.forms: dict[tuple[str, int], Any] = {}
        self._needed: list[int] | None = None  # until a value is replaced
        self.is_simple = False
        """Whether no rule applies any more: neither does one to the genome that is written then."""
        number = list(range(genome.first_node))
        for value, node in genome.numbered():
            op, operands = node.op, tuple([number[v] for v in node.inputs])
            if op == "identity":
                number.append(operands[0])
            elif op in PARAMETRIC:
                weights = tuple([("own", value, k) for k in range(len(operands))])
                bias = ("own", value, -1) if op == "bias" or node.bias else None
                cut = () if node.is_plain else (node.size, node.blocks)
                number.append(self._append(Vertex(op, operands, 0.0, weights, bias, *cut)))
            else:
                number.append(self._alike(op, operands, node.number if node.attrs else 0.0))
            if node.name and number[-1] >= genome.first_node:
                self.names.setdefault(number[-1], node.name)
        self.next_states = [number[value] for value in genome.next_states]
        self.output = number[genome.output]

    # -- making and replacing ----------------------------------------------------------------------

    def add(self, vertex: Vertex) -> int:
        """A vertex of its own; for ops with weights."""
        value = self._append(vertex)
        self.revive(value)
        return value

    def make(self, op: str, *operands: int, number: float = 0.0) -> int:
        """A weight-free value; the one that is there already if it is."""
        if self.replaced:
            operands = tuple([self.find(v) for v in operands])
        known = self._alike(op, operands, number)
        self.revive(known)
        return known

    def again(self, vertex: Vertex, *operands: int) -> int:
        """The weight-free value that does to these operands what the vertex does to its own."""
        return self.make(vertex.op, *operands, number=vertex.number)

    def _append(self, vertex: Vertex) -> int:
        self.vertices.append(vertex)
        return len(self.vertices) - 1

    def _alike(self, op: str, operands: tuple[int, ...], number: float) -> int:
        """The weight-free value of these operands, new if there is none; its uses are not counted
        here.
        """
        key = (op, number + 0.0, tuple(sorted(operands)) if op in COMMUTATIVE else operands)
        known = self.known.get(key)
        if known is None or known in self.replaced:
            known = self.known[key] = self._append(Vertex(op, operands, number + 0.0))
        return known

    def revive(self, value: int) -> None:
        """Count the uses that a vertex makes of others, if it is new or had been given up.

        Uses that end are not taken off before the next pass, so between passes a count may be too
        large, never too small.
        """
        if value in self.uses:
            return
        self.forms.clear()
        for v in reversed(self.below([value], known=self.uses)):  # users first
            self.uses.setdefault(v, 0)
            for operand in self.at(v).operands:
                self.uses[operand] = self.uses.get(operand, 0) + 1
                self.user[operand] = v

    def const(self, number: float) -> int:
        """A number as a value."""
        return self.make("const", number=number)

    def replace(self, value: int, by: int) -> None:
        """Let all users of ``value`` read ``by`` instead."""
        self.replaced[value] = by
        self.recent.add(value)
        self._needed = None
        self.forms.clear()
        self.revive(by)
        self.uses[by] += self.uses.get(value, 0)
        if value in self.user:
            self.user[by] = self.user[value]
        if value in self.names:
            self.names.setdefault(by, self.names.pop(value))
        self.place.setdefault(by, self.place.get(value, value))

    def find(self, value: int) -> int:
        """What stands in the place of a value now."""
        while value in self.replaced:
            value = self.replaced[value]
        return value

    # -- looking -----------------------------------------------------------------------------------

    @property
    def present(self) -> Callable[[int], Vertex]:
        """:meth:`at`, for many values before the next one is replaced."""
        return self.at if self.recent else self.vertices.__getitem__

    def at(self, value: int) -> Vertex:
        """The vertex of a value, its operands as they are now."""
        vertex = self.vertices[value]
        if self.recent and not self.recent.isdisjoint(vertex.operands):
            vertex = self.vertices[value] = self._read_anew(vertex)
        return vertex

    def _read_anew(self, vertex: Vertex) -> Vertex:
        return vertex._replace(operands=tuple([self.find(v) for v in vertex.operands]))

    def op(self, value: int) -> str:
        """The op of a value."""
        return self.vertices[value].op

    def number(self, value: int) -> float | None:
        """The number of a ``const``."""
        vertex = self.vertices[value]
        return vertex.number if vertex.op == "const" else None

    def single(self, value: int) -> bool:
        """Whether one operand reads the value and nothing else does."""
        return value >= self.first_node and self.uses.get(value, 0) == 1

    def is_given(self, value: int) -> bool:
        """Whether the value is an input or a previous state."""
        return value < self.first_node

    def place_of(self, state: int) -> int:
        """The position among the states of a previous state's value."""
        return state - len(self.inputs)

    def inside(self, value: int, family: Collection[str]) -> bool:
        """Whether the one user of a value is of this family of ops."""
        if not self.single(value):
            return False
        user = self.user.get(value, 0)
        return user not in self.replaced and self.op(user) in family

    def width(self, value: int) -> Width:
        """The size of a value, ``1`` of a number."""
        found: dict[int, Width] = {}
        for v in self.below([value]):
            vertex = self.at(v)
            if vertex.op in ("linear", "bias"):
                found[v] = vertex.size
            elif v < len(self.inputs):
                found[v] = INPUTS[self.inputs[v]]
            elif vertex.op == "state":
                found[v] = self.state_widths[v - len(self.inputs)]
            else:
                wide = {found[u] for u in vertex.operands} - {"1"}
                found[v] = "1" if not wide else (wide - {"I"} or wide).pop()
        return found[value]

    # -- passes ------------------------------------------------------------------------------------

    def needed_states(self) -> list[int]:
        """Positions of the states that the output depends on."""
        if self._needed is not None:
            return self._needed
        at, seen = self.present, set[int]()
        first, end = len(self.inputs), self.first_node
        stack = [self.find(self.output)]
        while stack:
            value = stack.pop()
            if value not in seen:
                seen.add(value)
                if value >= end:
                    stack += at(value).operands
                elif value >= first:
                    stack.append(self.find(self.next_states[value - first]))
        self._needed = [k for k in range(len(self.states)) if first + k in seen]
        return self._needed

    @property
    def is_unchanged(self) -> bool:
        """Whether no rule applied, and every state is needed: then the genome that came in has no
        other form.
        """
        return not self.replaced and len(self.needed_states()) == len(self.states)

    def is_whole(self, genome: Genome) -> bool:
        """Whether, besides that, each value of the genome that came in is one here and alive."""
        alive = sum([value >= genome.first_node for value in self.uses])
        return len(self.vertices) == genome.n_values and alive == len(genome.nodes)

    def roots(self) -> list[int]:
        """The values that a cell has to compute: its output, and the next value of each needed
        state.
        """
        return [
            self.find(self.output),
            *[self.find(self.next_states[k]) for k in self.needed_states()],
        ]

    def live_order(self) -> list[int]:
        """The live values, operands first; counts the uses afresh."""
        self._settle()
        roots = self.roots()
        order = self.below(roots)
        uses, user, vertices = dict.fromkeys(order, 0), dict[int, int](), self.vertices
        for value in order:
            for operand in vertices[value].operands:
                uses[operand] += 1
                user[operand] = value
        for root in roots:
            uses[root] += 1
        self.uses, self.user = uses, user
        self.forms.clear()
        return order

    def _settle(self) -> None:
        """Let every vertex, dead ones too, read what stands in the place of its operands now."""
        if self.recent:
            for value, vertex in enumerate(self.vertices):
                if not self.recent.isdisjoint(vertex.operands):
                    self.vertices[value] = self._read_anew(vertex)
            self.recent.clear()

    def below(self, roots: Iterable[int], known: Collection[int] = ()) -> list[int]:
        """The values from which the roots are computed, operands first, the roots included; nothing
        at or below ``known`` ones.
        """
        at, order, done = self.present, list[int](), set[int]()
        stack = list(roots)[::-1]
        while stack:
            value = stack.pop()
            if value < 0:  # what is below it stands there already
                order.append(~value)
            elif value not in done and value not in known:
                done.add(value)
                operands = at(value).operands
                if operands:
                    stack.append(~value)
                    stack += operands[::-1]
                else:
                    order.append(value)
        return order

    def unify(self, value: int) -> bool:
        """Replace a weight-free value that has become like another one."""
        vertex = self.at(value)
        if vertex.op not in WEIGHT_FREE:
            return False
        key = (
            vertex.op,
            vertex.number,
            tuple(sorted(vertex.operands)) if vertex.op in COMMUTATIVE else vertex.operands,
        )
        known = self.known.setdefault(key, value)
        if known == value or known in self.replaced:
            self.known[key] = value
            return False
        self.replace(value, known)
        return True

    # -- and back ----------------------------------------------------------------------------------

    def genome(self) -> Genome:
        """The genome; a simple one remembers that it is, if it has a state that it needs."""
        genome = self._written()[0]
        if self.is_simple and self.needed_states():
            genome.found_simple()
        return genome

    def with_weights(self) -> tuple[Genome, dict[tuple[int, int], Weight]]:
        """The genome, and its weights by (value of the node, position of the operand or -1 for a
        bias).
        """
        genome, placed = self._written()
        weights: dict[tuple[int, int], Weight] = {}
        for value, number in placed.items():
            vertex = self.at(value)
            for position, weight in enumerate(vertex.weights):
                weights[number, position] = weight
            if vertex.bias is not None:
                weights[number, -1] = vertex.bias
        return genome, weights

    def _written(self) -> tuple[Genome, dict[int, int]]:
        """The genome, and the number in it of each value that has weights."""
        needed = self.needed_states()
        kept = needed or [0]  # a genome has a state, even where the output does not depend on one
        builder = Builder(
            (State(self.states[k].name, self.states[k].initial) for k in kept), self.inputs
        )
        first = len(self.inputs)
        number = {k: k for k in range(first)}
        number.update((first + k, builder.state(self.states[k].name)) for k in kept)
        live = self.below(sorted(self.below(self.roots()), key=lambda v: (self.place.get(v, v), v)))
        for value in live:
            vertex = self.at(value)
            if not self.is_given(value):
                operands = tuple(self.copy_of(v, builder, number) for v in vertex.operands)
                number[value] = builder.add(
                    Node(self.names.get(value, ""), vertex.op, operands, _attributes(vertex))
                )
        if not needed:
            builder.node("identity", first, name=self.free_name("unread"))
        for k in kept:
            builder.next_state(
                self.states[k].name,
                number[self.find(self.next_states[k] if needed else self.output)],
            )
        if self.output_name not in builder.next_states:
            builder.output(number[self.find(self.output)], self.output_name)
        genome = builder.build()
        owners = [v for v in live if self.op(v) in PARAMETRIC]
        return genome, {v: builder.placed[number[v]] for v in owners}

    def copy_of(self, value: int, builder: Builder, number: dict[int, int]) -> int:
        """The operand in the builder; a number without a name is written where it is read, not
        shared.
        """
        if self.op(value) == "const" and value not in self.names:
            return builder.const(self.vertices[value].number)
        return number[value]

    def free_name(self, wish: str) -> str:
        """A name that nothing has yet."""
        taken = {*self.names.values(), *(state.name for state in self.states), self.output_name}
        while wish in taken:
            wish += "_"
        return wish


def _attributes(vertex: Vertex) -> Attributes:
    if vertex.op == "linear":
        bias = vertex.bias is not None
        return attributes("linear", {"bias": bias, "blocks": vertex.blocks, "size": vertex.size})
    if vertex.op == "bias":
        return attributes("bias", {"size": vertex.size})
    if vertex.op == "head_norm":
        return (("heads", int(vertex.number)),)
    return (("value", vertex.number),) if vertex.op == "const" else ()
