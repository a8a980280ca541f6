"""A genome while it is edited: values may be added, replaced and removed in any order, then laid
out again as a genome.

Previous states are negative, ``-1`` the first one, inputs have the numbers of :data:`GIVEN` (``0``
is x_t), positive numbers are nodes, numbered as in the genome they came from. So a node keeps its
number, and its name, through every edit that does not remove it: equally named weights of the
genome before and after belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cellsearch.errors import GenomeError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Attributes, Node, State

__all__ = ["GIVEN", "Draft", "X"]

GIVEN = {"x": 0, "dt": -1001, "mask": -1002}
"""The numbers of the inputs: below those of all states, of which there are fewer."""
X = GIVEN["x"]


@dataclass
class Draft:
    """A genome that is open for edits; see the module docstring for the numbers of its values."""

    states: dict[int, State] = field(default_factory=dict)
    """By number, which is negative."""
    nodes: dict[int, Node] = field(default_factory=dict)
    """By number, which is positive; their operands are such numbers too."""
    ends: dict[int, int] = field(default_factory=dict)
    """The next value of each state."""
    output: int = X
    """The value put out; kept equal to the next value of the state that ``output_name`` names, if
    it names one."""
    output_name: str = "h"
    avoid: set[str] = field(default_factory=set)
    """Names that fresh ones must not take, because weights of the genome before are called so."""
    dense: bool = True
    """Whether a new linear may read previous states."""
    heads: int = 1
    """Of a new ``head_norm``."""

    @classmethod
    def of(cls, genome: Genome) -> Draft:
        """The genome, open for edits."""
        number = [GIVEN[name] for name in genome.inputs]
        number += [-1 - k for k in range(len(genome.states))]
        number += range(genome.first_node, genome.n_values)
        nodes: dict[int, Node] = {}
        for value, node in genome.numbered():
            inputs = tuple([number[v] for v in node.inputs])
            if inputs != node.inputs:
                node = Node(node.name, node.op, inputs, node.attrs)
            nodes[value] = node
        return cls(
            states={-1 - k: state for k, state in enumerate(genome.states)},
            nodes=nodes,
            ends={-1 - k: number[value] for k, value in enumerate(genome.next_states)},
            output=number[genome.output],
            output_name=genome.output_name,
            avoid={node.name for node in genome.nodes if node.name} | set(genome.state_names),
        )

    @property
    def output_state(self) -> int | None:
        """The number of the state that is put out; ``None`` for an output of its own."""
        for number, state in self.states.items():
            if state.name == self.output_name:
                return number
        return None

    def add(self, op: str, *inputs: int, name: str = "", bias: bool = True) -> int:
        """Add a node; ``bias`` counts for ``linear`` only."""
        return self.put(Node(name, op, inputs, self._attributes(op, bias=bias)))

    def _attributes(self, op: str, *, bias: bool = True) -> Attributes:
        """What a new node of an op says beside its operands."""
        if op == "head_norm":
            return (("heads", self.heads),)
        return (("bias", bias),) if op == "linear" else ()

    def put(self, node: Node) -> int:
        """Add a node as it stands."""
        number = max(self.nodes, default=0) + 1
        self.nodes[number] = node
        return number

    def const(self, value: float) -> int:
        """Add a number."""
        return self.put(Node("", "const", (), (("value", value),)))

    def add_state(self, name: str, end: int, initial: float = 0.0) -> int:
        """Add a state whose next value is ``end``."""
        number = min(self.states, default=0) - 1
        self.states[number] = State(name, initial)
        self.ends[number] = end
        return number

    def set_end(self, state: int, value: int) -> None:
        """Give a state another next value, and the cell another output when the state is put
        out.
        """
        self.ends[state] = value
        if state == self.output_state:
            self.output = value

    def set_output(self, value: int) -> None:
        """Put out another value."""
        state = self.output_state
        if state is not None:
            self.ends[state] = value
        self.output = value

    def set_input(self, number: int, position: int, value: int) -> None:
        """Give a node another operand."""
        inputs = list(self.nodes[number].inputs)
        inputs[position] = value
        self.set_inputs(number, inputs)

    def set_inputs(self, number: int, inputs: Iterable[int]) -> None:
        """Give a node other operands."""
        node = self.nodes[number]
        self.nodes[number] = Node(node.name, node.op, tuple(inputs), node.attrs)

    def set_op(self, number: int, op: str) -> None:
        """Let a node compute something else from the same operands."""
        node = self.nodes[number]
        self.nodes[number] = Node(node.name, op, node.inputs, self._attributes(op))

    def set_name(self, number: int, name: str) -> None:
        """Rename a node."""
        node = self.nodes[number]
        self.nodes[number] = Node(name, node.op, node.inputs, node.attrs)

    def substitute(self, old: int, new: int, *, keep: Iterable[int] = ()) -> None:
        """Let everything that reads ``old`` read ``new``, except the nodes ``keep`` and ``new``
        itself.
        """
        spared = {*keep, new}
        for number, node in self.nodes.items():
            if old in node.inputs and number not in spared:
                self.set_inputs(number, [new if v == old else v for v in node.inputs])
        for state, value in self.ends.items():
            if value == old:
                self.ends[state] = new
        if self.output == old:
            self.output = new

    def bypass(self, number: int, value: int) -> None:
        """Take a node out and let ``value``, one of its operands, take its place and, if it has
        none, its name.
        """
        name = self.nodes[number].name
        self.substitute(number, value)
        del self.nodes[number]
        if name and value > 0 and not self.nodes[value].name:
            self.set_name(value, name)

    def below(self, *values: int) -> set[int]:
        """The nodes that these values are computed from within the step, themselves included."""
        found: set[int] = set()
        stack = [v for v in values if v > 0]
        while stack:
            number = stack.pop()
            if number not in found:
                found.add(number)
                stack.extend(v for v in self.nodes[number].inputs if v > 0)
        return found

    def readers(self) -> dict[int, list[int]]:
        """For each value that nodes read, those nodes."""
        readers: dict[int, list[int]] = {}
        for number, node in self.nodes.items():
            for operand in node.inputs:
                readers.setdefault(operand, []).append(number)
        return readers

    def above(self, value: int, readers: Mapping[int, list[int]] | None = None) -> set[int]:
        """The nodes that are computed from this value within the step, itself included when it is a
        node. ``readers``: those of the draft as it is, where they are known.
        """
        readers = self.readers() if readers is None else readers
        found: set[int] = set()
        stack = [value]
        while stack:
            number = stack.pop()
            if number not in found:
                found.add(number)
                stack += readers.get(number, ())
        if value <= 0:
            found.remove(value)
        return found

    def order(self) -> list[int]:
        """The nodes, operands first. Raises :class:`GenomeError` for a cycle."""
        order: list[int] = []
        done: set[int] = set()
        on_path: set[int] = set()
        stack = [(number, False) for number in reversed(self.nodes)]
        while stack:
            number, ready = stack.pop()
            if ready:
                on_path.discard(number)
                done.add(number)
                order.append(number)
            elif number not in done:
                if number in on_path:
                    raise GenomeError(
                        "the cell reads its own value in the same step",
                        where=f"node {self.nodes[number].name or number}",
                    )
                on_path.add(number)
                stack.append((number, True))
                stack.extend(
                    (v, False) for v in self.nodes[number].inputs if v > 0 and v not in done
                )
        return order

    def fresh_name(self, stem: str = "n") -> str:
        """A name that nothing here has and nothing in the genome before had."""
        # A name that ends with a number is never that of a new state or input, which end with _t.
        taken = {node.name for node in self.nodes.values()}
        taken.update(self.avoid, (state.name for state in self.states.values()))
        taken.add(self.output_name)
        number = 1
        while f"{stem}{number}" in taken:
            number += 1
        return f"{stem}{number}"

    def copy_in(self, genome_draft: Draft, value: int, known: Mapping[int, int]) -> int:
        """Copy the sub-graph below ``value`` of another draft; ``known`` maps its values to ones
        that exist here already.
        """
        done = dict(known)
        needed = genome_draft.needed(value, known)
        for number in genome_draft.order():
            if number in needed:
                node = genome_draft.nodes[number]
                name = self.fresh_name() if node.name else ""
                done[number] = self.put(
                    Node(name, node.op, tuple(done[v] for v in node.inputs), node.attrs)
                )
        return done[value]

    def needed(self, value: int, known: Mapping[int, int]) -> set[int]:
        """The nodes below ``value`` down to those that ``known`` holds, which are left out."""
        found: set[int] = set()
        stack = [value]
        while stack:
            number = stack.pop()
            if number > 0 and number not in found and number not in known:
                found.add(number)
                stack.extend(self.nodes[number].inputs)
        return found

    def drop_idle(self) -> None:
        """Forget nodes and states that never influence the output, in this step or a later one."""
        useful: set[int] = set()
        stack = [self.output]
        while stack:
            value = stack.pop()
            if value not in useful:
                useful.add(value)
                if value > 0:
                    stack.extend(self.nodes[value].inputs)
                elif value in self.ends:
                    stack.append(self.ends[value])
        if not useful.issuperset(self.nodes):
            self.nodes = {number: node for number, node in self.nodes.items() if number in useful}
        for state in [state for state in self.states if state not in useful]:
            del self.states[state], self.ends[state]

    def build(self) -> Genome:
        """The genome, without nodes and states that never influence the output. Raises
        :class:`GenomeError` when that is not a legal graph.
        """
        name, output = self.output_name, self.output
        self.drop_idle()
        builder = Builder(self.states.values(), tuple(GIVEN))
        place = {number: k for k, number in enumerate((*GIVEN.values(), *self.states, *self.nodes))}
        for node in self.nodes.values():
            inputs = tuple([place[v] for v in node.inputs])
            same = inputs == node.inputs
            builder.add(node if same else Node(node.name, node.op, inputs, node.attrs))
        for number, state in self.states.items():
            builder.next_state(state.name, place[self.ends[number]])
        if self.output_state is None:
            builder.output(place[output], name)
            return builder.build()
        return builder.build(name)
