"""Random genomes over all ops, and ways to write the same cell differently. For tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cellsearch import ops
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome, Node, State
from cellsearch.genome.parts import Attributes

__all__ = [
    "EXTREME_NUMBERS",
    "FIRST_OPS",
    "MODERATE_NUMBERS",
    "SMOOTH_OPS",
    "random_genome",
    "rewritten",
]

FIRST_OPS: tuple[str, ...] = tuple(name for name in ops.OPS if name not in {"head_norm"})
"""The ops without those that came with sizes: what a seed drew before it draws still."""
SMOOTH_OPS: tuple[str, ...] = (
    "linear",
    "diag",
    "scale",
    "add",
    "mul",
    "sub",
    "blend",
    "sigmoid",
    "tanh",
    "identity",
    "neg",
    "sin",
    "const",
    "bias",
)
"""Ops whose values stay moderate, for comparisons of numbers."""

_NAMES = (
    "a",
    "b",
    "gate",
    "f_t1",
    "Cand",
    "n1",
    "n2",
    "u",
    "new",
    "i",
    "o",
    "z9",
    "tanh_",
    "h2",
    "_p",
    "q",
)
MODERATE_NUMBERS: tuple[float, ...] = (0.0, 1.0, -1.0, 0.5, 2.0, 0.1, 3.0)
EXTREME_NUMBERS: tuple[float, ...] = (*MODERATE_NUMBERS, -0.0, 1e-9, 1e30)


def random_genome(
    rng: np.random.Generator,
    *,
    max_nodes: int = 12,
    max_states: int = 5,
    op_names: Sequence[str] = FIRST_OPS,
    named: float = 0.4,
    numbers: Sequence[float] = EXTREME_NUMBERS,
    inputs: Sequence[str] = ("x",),
) -> Genome:
    """A legal genome in statement order: any of the ops, 1 to ``max_states`` states, shared values,
    dead nodes, aliases. It reads all of the ``inputs``, x maybe not.

    ``rotate`` is left out, for hardly any two values have the sizes that it needs. ``numbers``:
    what constants and initial states are drawn from. ``named``: share of the nodes
    that get a name; the others are anonymous wherever the text form allows it.
    """
    op_names = [name for name in op_names if name != "rotate"]
    states = [
        State(f"s{k}", float(rng.choice(numbers)) if rng.random() < 0.2 else 0.0)
        for k in range(int(rng.integers(1, max_states + 1)))
    ]
    if rng.random() < 0.7:
        states[0] = State("h", states[0].initial)
    builder = Builder([states[k] for k in rng.permutation(len(states))], inputs)
    first = builder.first_node
    names = list(rng.permutation(_NAMES))
    unread = list(range(1, first))  # every state has to be read, and every input but x
    for _ in range(int(rng.integers(1, max_nodes + 1))):
        name = str(names.pop()) if names and rng.random() < named else ""
        builder.add(_random_node(rng, builder, name, op_names, unread, numbers))
    while unread:
        builder.node(
            "linear", *[unread.pop() for _ in range(min(len(unread), int(rng.integers(1, 4))))]
        )
    total = first + len(builder.nodes)
    for state in states:
        builder.next_state(state.name, int(rng.integers(max(0, total - 6), total)))
    if rng.random() < 0.3:
        builder.output(int(rng.integers(max(0, total - 4), total)), "y")
        return _with_state(builder, rng)
    if len(states) > 1 and states[0].name != "h":
        builder.output(int(rng.integers(first, total)), "out")
    return _with_state(builder, rng)


def _with_state(builder: Builder, rng: np.random.Generator) -> Genome:
    """Build; where what reads the states, and the inputs after x, turns out to be dead, let the
    first state read them all.
    """
    live = [builder.next_states[s.name] for s in builder.states]
    read = {v for node in builder.nodes for v in node.inputs}
    keeper = builder.node(
        "linear",
        live[0],
        *range(1, builder.first_node),
        bias=bool(rng.integers(2)),
    )
    if rng.random() < 0.8 or not read:
        builder.next_state(builder.states[0].name, keeper)
    else:
        builder.nodes[-1] = Node(
            "keeper", "linear", builder.nodes[-1].inputs, builder.nodes[-1].attrs
        )  # named, so it stays though dead
    return builder.build()


def _random_node(
    rng: np.random.Generator,
    builder: Builder,
    name: str,
    op_names: Sequence[str],
    unread: list[int],
    numbers: Sequence[float],
) -> Node:
    op = ops.OPS[str(rng.choice(np.asarray(op_names)))]
    most = op.min_arity + 3 if op.max_arity is None else op.max_arity
    total = builder.first_node + len(builder.nodes)
    operands = []
    for _ in range(int(rng.integers(op.min_arity, most + 1))):
        if unread and rng.random() < 0.4:
            operands.append(unread.pop())
        else:
            recent = rng.random() < 0.6
            operands.append(int(rng.integers(max(0, total - 4) if recent else 0, total)))
    if op.name == "head_norm":
        return Node(name, op.name, tuple(operands), (("heads", 1),))
    if op.name == "linear":
        return Node(name, op.name, tuple(operands), (("bias", bool(rng.integers(2))),))
    if op.name == "const":
        return Node(
            name,
            op.name,
            (),
            (("value", float(rng.choice(numbers)) if rng.random() < 0.7 else float(rng.normal())),),
        )
    return Node(name, op.name, tuple(operands))


# -- other ways to write the same cell -------------------------------------------------------------


def rewritten(genome: Genome, rng: np.random.Generator) -> Genome:
    """The same cell written differently: other names and order, permuted operands, copies,
    identities, dead nodes.
    """
    return _Rewriter(genome, rng).build()


class _Rewriter:
    def __init__(self, genome: Genome, rng: np.random.Generator) -> None:
        self.genome = genome
        self.rng = rng
        order = rng.permutation(len(genome.states))
        self.state_names = {genome.states[k].name: f"r{n}" for n, k in enumerate(order)}
        if genome.output_name in self.state_names and rng.random() < 0.8:
            self.state_names[genome.output_name] = "h"
        self.builder = Builder(
            (
                State(self.state_names[genome.states[k].name], genome.states[k].initial)
                for k in order
            ),
            genome.inputs,
        )
        self.drop_dead = _sees_a_state(genome)  # otherwise dead nodes may be all that reads a state
        given = len(genome.inputs)
        self.number = {k: k for k in range(given)}
        self.number.update((given + int(k), given + n) for n, k in enumerate(order))

    def build(self) -> Genome:
        genome, rng, builder = self.genome, self.rng, self.builder
        for value in self.any_order():
            if value in genome.live or not self.drop_dead or rng.random() < 0.5:
                self.number[value] = self.copy(genome.nodes[value - genome.first_node])
            if rng.random() < 0.2:
                self.add_dead_node()
        for state, value in zip(genome.states, genome.next_states, strict=True):
            builder.next_state(self.state_names[state.name], self.reference(value))
        if self.state_names.get(genome.output_name) == "h":
            return builder.build()
        builder.output(self.reference(genome.output), "out")
        return builder.build()

    def any_order(self) -> list[int]:
        """The nodes in a random topological order; dead nodes only after all live ones."""
        genome, rng = self.genome, self.rng
        waiting = [value for value, _ in genome.numbered()]
        placed = set(range(genome.first_node))
        order = []
        while waiting:
            ready = [
                v for v in waiting if placed.issuperset(genome.nodes[v - genome.first_node].inputs)
            ]
            alive = [v for v in ready if v in genome.live]
            value = int(rng.choice(alive or ready))
            waiting.remove(value)
            placed.add(value)
            order.append(value)
        return order

    def copy(self, node: Node) -> int:
        rng, op = self.rng, ops.OPS[node.op]
        inputs = list(node.inputs)
        if op.commutative:
            inputs = [inputs[k] for k in rng.permutation(len(inputs))]
        name = f"w{len(self.builder.nodes)}" if rng.random() < 0.5 or not self.drop_dead else ""
        missing = [v for v in inputs if v not in self.number]  # a dead node that was left out
        if missing:
            return self.builder.const(0.25, name)
        written = Node(name, node.op, tuple(self.reference(v) for v in inputs), node.attrs)
        if not op.parametric and rng.random() < 0.2:
            self.builder.add(
                Node("", *self._rest(written))
            )  # a second copy, which one of the users may take
            return self.builder.add(written)
        return self.builder.add(written)

    @staticmethod
    def _rest(node: Node) -> tuple[str, tuple[int, ...], Attributes]:
        return node.op, node.inputs, node.attrs

    def reference(self, value: int) -> int:
        """The new number of a value, sometimes behind an identity or as a copy of a node without
        weights.
        """
        rng = self.rng
        number = self.number[value]
        first = self.builder.first_node
        if number >= first and rng.random() < 0.15:
            node = self.builder.nodes[number - first]
            if not ops.OPS[node.op].parametric:
                return self.builder.add(Node("", *self._rest(node)))
        if rng.random() < 0.1:
            return self.builder.node("identity", number)
        return number

    def add_dead_node(self) -> None:
        total = self.builder.first_node + len(self.builder.nodes)
        op = str(self.rng.choice(["linear", "tanh", "square"]))
        operand = int(self.rng.integers(0, total))
        self.builder.node(op, operand, name=f"dead{len(self.builder.nodes)}")


def _sees_a_state(genome: Genome) -> bool:
    """Whether the output depends on a previous state."""
    seen: set[int] = set()
    stack = [genome.output]
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            node = genome.node(value)
            stack.extend(node.inputs if node else ())
    return any(genome.is_state(value) for value in seen)
