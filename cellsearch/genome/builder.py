"""Building genomes: the one place that orders nodes, names them, and drops what nothing uses.

:class:`Builder` collects values in any order of statements; :meth:`Builder.build` lays the graph
out in *statement order*: every named node and every ``name[t]`` is a statement, anonymous nodes
stand right before the statement that uses them, in the order in which an expression is evaluated. A
laid-out genome survives the round trip through each of its forms unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from cellsearch.errors import GenomeError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Node, State, attributes

__all__ = ["Builder", "arrange", "statement_of", "value_labels"]

MAX_NESTING = 16


class Builder:
    """Collects the values of a genome; the number that each method returns is what later calls take
    as operand. ``inputs``: what a step may read, ``x`` first; what nothing reads is left out.

    >>> b = Builder(["h"])
    >>> b.next_state("h", b.node("tanh", b.node("linear", b.x, b.state("h"))))
    >>> print(b.build().to_text(), end="")
    h[t] = tanh(linear(x[t], h[t-1]))
    """

    def __init__(self, states: Iterable[str | State], inputs: Sequence[str] = ("x",)) -> None:
        self.inputs = tuple(inputs)
        self.states = tuple(s if isinstance(s, State) else State(s) for s in states)
        self.nodes: list[Node] = []
        self.next_states: dict[str, int] = {}
        self.outputs: dict[str, int] = {}
        self.placed: dict[int, int] = {}

    @property
    def x(self) -> int:
        """The input of this step."""
        return 0

    @property
    def first_node(self) -> int:
        """The number of the first node."""
        return len(self.inputs) + len(self.states)

    def input(self, name: str) -> int:
        """An input of this step: ``x``, ``dt`` or ``mask``."""
        if name not in self.inputs:
            raise GenomeError(
                f"there is no input {name!r}", hint="inputs: " + ", ".join(self.inputs)
            )
        return self.inputs.index(name)

    def state(self, name: str) -> int:
        """The state of the step before."""
        for k, state in enumerate(self.states):
            if state.name == name:
                return len(self.inputs) + k
        raise GenomeError(
            f"there is no state {name!r}", hint="states: " + ", ".join(s.name for s in self.states)
        )

    def node(
        self, op: str, *inputs: int, name: str = "", bias: bool = True, **given: int | str
    ) -> int:
        """Add a node; ``bias`` counts for ``linear`` only. ``given``: what else the text says of
        it, ``size="H/2"``, ``blocks=4``, ``heads=4``.
        """
        said: dict[str, bool | int | str] = {"bias": bias} if op == "linear" else {}
        return self.add(Node(name, op, inputs, attributes(op, {**said, **given})))

    def const(self, value: float, name: str = "") -> int:
        """Add a number."""
        return self.add(Node(name, "const", (), (("value", float(value)),)))

    def add(self, node: Node) -> int:
        """Add a node as it stands."""
        self.nodes.append(node)
        return self.first_node + len(self.nodes) - 1

    def next_state(self, name: str, value: int) -> None:
        """Define ``name[t]`` for a state."""
        self.state(name)
        self.next_states[name] = value

    def output(self, value: int, name: str = "y") -> None:
        """Define an output that is not a state."""
        self.outputs = {name: value}

    def build(self, output: str = "") -> Genome:
        """The laid-out genome. ``output``: the state that is put out (default: the output given,
        else ``h``, else the only state).

        Afterwards ``placed`` says which value of the genome each number given out by the builder
        has become.
        """
        missing = [s.name for s in self.states if s.name not in self.next_states]
        if missing:
            raise GenomeError(
                "the state has no next value",
                where=f"{missing[0]}[t]",
                hint=f"assign {missing[0]}[t] = ...",
            )
        name, value = self._output(output)
        next_states = [self.next_states[s.name] for s in self.states]
        genome, self.placed = _lay_out(
            self.inputs, self.states, self.nodes, next_states, value, name
        )
        return genome

    def _output(self, output: str) -> tuple[str, int]:
        if self.outputs and not output:
            return next(iter(self.outputs.items()))
        names = [s.name for s in self.states]
        name = output or ("h" if "h" in names else names[0] if len(names) == 1 else "")
        if name not in names:
            raise GenomeError(
                "the cell has no output",
                hint="name a state h, or assign an output that is never read with [t-1], for "
                "example y[t] = ...",
            )
        return name, self.next_states[name]


def arrange(genome: Genome) -> Genome:
    """The same genome in statement order."""
    return _lay_out(
        genome.inputs,
        genome.states,
        genome.nodes,
        genome.next_states,
        genome.output,
        genome.output_name,
    )[0]


def _lay_out(
    inputs: Sequence[str],
    states: Sequence[State],
    nodes: Sequence[Node],
    next_states: Sequence[int],
    output: int,
    output_name: str,
) -> tuple[Genome, dict[int, int]]:
    """The genome in statement order, and the number in it of each value that is kept."""
    first = len(inputs) + len(states)
    order = _topological(nodes, first)
    state_order, uses = _read_states(
        len(inputs), states, nodes, order, next_states, output, output_name
    )
    ends = {*[next_states[k] for k in state_order], output}
    given = [k for k, name in enumerate(inputs) if name == "x" or uses[k] or k in ends]
    taken = {*[states[k].name for k in state_order], output_name, *[inputs[k] for k in given]}
    order = [k for k in order if uses[first + k] is not None]
    names = _name_shared(nodes, first, order, uses, ends, taken)
    new = {k: n for n, k in enumerate(given)}
    new.update((len(inputs) + k, len(given) + n) for n, k in enumerate(state_order))
    laid: list[Node] = []
    new_first = len(new)

    def lay(k: int) -> None:
        """Lay out a node after those below it, in the order of evaluation: no deeper than an
        expression is nested.
        """
        node = nodes[k]
        for v in node.inputs:
            if v not in new:
                lay(v - first)
        name, operands = names[k], tuple([new[v] for v in node.inputs])
        new[first + k] = new_first + len(laid)
        same = name == node.name and operands == node.inputs
        laid.append(node if same else Node(name, node.op, operands, node.attrs))

    for k in order:
        if names[k] or first + k in ends:
            lay(k)
    genome = Genome(
        tuple([inputs[k] for k in given]),
        tuple([states[k] for k in state_order]),
        tuple(laid),
        tuple([new[next_states[k]] for k in state_order]),
        new[output],
        output_name,
    )
    return genome, new


def _read_states(
    n_inputs: int,
    states: Sequence[State],
    nodes: Sequence[Node],
    order: Sequence[int],
    next_states: Sequence[int],
    output: int,
    output_name: str,
) -> tuple[list[int], list[int | None]]:
    """Positions of the states that something reads, the output's first; and how often each value is
    read, ``None`` for what is not kept.

    A name that nothing reads is not a state, but may still be the output: a state is assigned with
    [t] and read with [t-1]. ``order``: of the nodes, operands first.
    """
    first = n_inputs + len(states)
    alive = list(range(len(states)))
    while True:
        ends = [output, *[next_states[k] for k in alive]]
        uses = _uses(nodes, first, order, ends)
        still = [k for k in alive if uses[n_inputs + k] or n_inputs + k in ends]
        if still == alive:
            break
        alive = still
    return sorted(alive, key=lambda k: states[k].name != output_name), uses


def _uses(
    nodes: Sequence[Node], first: int, order: Sequence[int], ends: Iterable[int]
) -> list[int | None]:
    """How often each value is read by what the ends, and nodes with a name, are computed from;
    ``None`` for what is not.
    """
    uses: list[int | None] = [None] * (first + len(nodes))
    for value in ends:
        uses[value] = 0
    for k in reversed(order):
        node = nodes[k]
        if node.name and uses[first + k] is None:
            uses[first + k] = 0
        if uses[first + k] is not None:
            for v in node.inputs:
                uses[v] = 1 + (uses[v] or 0)
    return uses


def _topological(nodes: Sequence[Node], first: int) -> list[int]:
    """Positions of the nodes, operands first, otherwise in the given order."""
    if _are_in_order(nodes, first):
        return list(range(len(nodes)))
    order: list[int] = []
    done: set[int] = set()
    on_path: set[int] = set()
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            k = stack.pop()
            if k < 0:  # what is below it stands there already
                on_path.discard(~k)
                done.add(~k)
                order.append(~k)
            elif k not in done:
                if k in on_path:
                    raise _cycle(nodes, k)
                on_path.add(k)
                stack.append(~k)
                for value in reversed(nodes[k].inputs):
                    if not 0 <= value < first + len(nodes):
                        raise GenomeError(
                            f"operand {value} does not exist", where=f"node {nodes[k].name or k}"
                        )
                    if value >= first and value - first not in done:
                        if value - first in on_path:
                            raise _cycle(nodes, value - first)
                        stack.append(value - first)
    return order


def _cycle(nodes: Sequence[Node], k: int) -> GenomeError:
    return GenomeError(
        "the cell reads its own value in the same step",
        where=f"node {nodes[k].name or k}",
        hint="read a state with [t-1]",
    )


def _are_in_order(nodes: Sequence[Node], first: int) -> bool:
    """Whether all operands stand before the nodes that read them, as they mostly do."""
    value = first
    for node in nodes:
        for v in node.inputs:
            if not 0 <= v < value:
                return False
        value += 1
    return True


def _name_shared(
    nodes: Sequence[Node],
    first: int,
    order: Sequence[int],
    uses: Sequence[int | None],
    ends: Collection[int],
    taken: set[str],
) -> dict[int, str]:
    """Give a name (``n1``, ``n2``, ...) to anonymous nodes that are used more than once or nested
    too deeply to read.
    """
    names = {k: nodes[k].name for k in order}
    if len(order) < MAX_NESTING:  # nothing is nested so deeply
        wanting = [
            k
            for k in order
            if not names[k] and (uses[first + k] or 0) > 1 and first + k not in ends
        ]
    else:
        wanting = _wanting_names(nodes, first, order, uses, ends)
    if not wanting:
        return names
    taken = taken | {node.name for node in nodes} | {f"{name}_t" for name in taken}
    fresh = 0
    for k in wanting:
        fresh += 1
        while f"n{fresh}" in taken:
            fresh += 1
        names[k] = f"n{fresh}"
    return names


def _wanting_names(
    nodes: Sequence[Node],
    first: int,
    order: Sequence[int],
    uses: Sequence[int | None],
    ends: Collection[int],
) -> list[int]:
    """The anonymous nodes that need a name."""
    wanting: list[int] = []
    depth: dict[int, int] = {}
    for k in order:
        node = nodes[k]
        depth[k] = 1 + max([depth[v - first] for v in node.inputs if v >= first], default=0)
        is_end = first + k in ends
        if node.name or is_end:
            depth[k] = 0
        elif (uses[first + k] or 0) > 1 or depth[k] >= MAX_NESTING:
            wanting.append(k)
            depth[k] = 0
    return wanting


def statement_of(genome: Genome) -> tuple[str, ...]:
    """For each node the name of the statement it stands in (a dead anonymous node cannot exist)."""
    owner: dict[int, str] = {}
    for value in range(genome.n_values - 1, genome.first_node - 1, -1):
        node = genome.nodes[value - genome.first_node]
        owner[value] = node.name or genome.slots.get(value) or owner[genome.uses[value][0]]
    return tuple(owner[value] for value, _ in genome.numbered())


def value_labels(genome: Genome) -> tuple[str, ...]:
    """See :attr:`Genome.labels`."""
    labels = [f"{name}_t" for name in genome.inputs] + [
        f"{name}_<t-1>" for name in genome.state_names
    ]
    counts: Counter[str] = Counter()
    for (value, node), statement in zip(genome.numbered(), statement_of(genome), strict=True):
        if node.name:
            labels.append(node.name)
        elif value in genome.slots:
            labels.append(f"{genome.slots[value]}_t")
        else:
            counts[statement] += 1
            labels.append(f"{statement}.{counts[statement]}")
    return tuple(labels)
