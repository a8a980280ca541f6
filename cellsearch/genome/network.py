"""The graph form: a genome as a networkx graph, and back.

Vertices carry the labels of :attr:`Genome.labels`: ``x_t``, ``h_<t-1>``, the named nodes, ``h_t``
for what ``h[t] = ...`` defines, ``i.1`` for an anonymous node inside the statement of ``i``. A
state or output that only takes another value (``h[t] = n``) is a vertex ``h_t`` of kind ``alias``
with one edge from that value.

Attributes of a vertex: ``kind`` (``input``, ``state``, ``node``, ``alias``); a node has ``op`` and
``attrs`` (a dict), a state has ``initial``. Attributes of an edge: ``position`` of the operand.
Attributes of the graph: ``states`` (names in order), ``output`` (name). Reading a graph gives the
genome in statement order, so a laid-out genome comes back unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx

from cellsearch.errors import GenomeError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import (
    INPUTS,
    MAX_NODES,
    MAX_STATES,
    Attributes,
    Node,
    State,
    attributes,
)

__all__ = ["from_networkx", "to_networkx"]

_KINDS = ("input", "state", "node", "alias")


def to_networkx(genome: Genome) -> nx.MultiDiGraph[str]:
    """The genome as a directed multigraph; an op that reads a value twice has two edges from it."""
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(
        states=list(genome.state_names), output=genome.output_name
    )
    labels = genome.labels
    for name in genome.inputs:
        graph.add_node(f"{name}_t", kind="input")
    for state in genome.states:
        graph.add_node(f"{state.name}_<t-1>", kind="state", initial=state.initial)
    for value, node in genome.numbered():
        graph.add_node(labels[value], kind="node", op=node.op, attrs=dict(node.attrs))
        for position, operand in enumerate(node.inputs):
            graph.add_edge(labels[operand], labels[value], position=position)
    for name, value in zip(
        (*genome.state_names, genome.output_name), (*genome.next_states, genome.output), strict=True
    ):
        if f"{name}_t" not in graph:
            graph.add_node(f"{name}_t", kind="alias")
            graph.add_edge(labels[value], f"{name}_t", position=0)
    return graph


def from_networkx(graph: nx.MultiDiGraph[str]) -> Genome:
    """Read the graph form. Raises :class:`GenomeError` that names the vertex, whatever the graph
    is.
    """
    if not isinstance(graph, nx.DiGraph):
        raise GenomeError(
            f"expected a directed networkx graph, not {type(graph).__name__}",
            hint="Genome.to_networkx shows the form",
        )
    return _Reader(graph).genome()


class _Reader:
    """Checks kinds and types before a value reaches the builder's own checks."""

    def __init__(self, graph: nx.MultiDiGraph[str]) -> None:
        self.graph = graph
        self.kinds: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.operands: dict[str, list[str]] = {}
        self.inputs: list[str] = []

    def genome(self) -> Genome:
        self.read_kinds()
        self.read_operands()
        states = [self.state(name) for name in self.state_names()]
        output = self.graph.graph.get("output", "h")
        if not isinstance(output, str):
            raise GenomeError(
                f"the output is a name, not {output!r:.40}", where="graph attribute output"
            )
        self.number_vertices([f"{state.name}_<t-1>" for state in states])
        builder = Builder(states, self.inputs)
        for vertex, kind in self.kinds.items():
            if kind == "node":
                builder.add(self.node(vertex, {state.name for state in states} | {output}))
        for state in states:
            builder.next_state(state.name, self.end(state.name))
        if output in {state.name for state in states}:
            return builder.build(output)
        builder.output(self.end(output), output)
        return builder.build()

    # -- the parts of the graph --------------------------------------------------------------------

    def read_kinds(self) -> None:
        if self.graph.number_of_nodes() > MAX_NODES + 2 * MAX_STATES + len(INPUTS) + 1:
            raise GenomeError(
                f"{self.graph.number_of_nodes()} vertices; at most {MAX_NODES} nodes are allowed"
            )
        for vertex, data in self.graph.nodes(data=True):
            if not isinstance(vertex, str):
                raise GenomeError("a vertex is named by text", where=f"vertex {vertex!r:.60}")
            kind = data.get("kind")
            if kind not in _KINDS:
                raise GenomeError(
                    f"unknown kind {kind!r:.40}",
                    where=f"vertex {vertex:.60}",
                    hint="allowed: " + ", ".join(_KINDS),
                )
            self.kinds[vertex] = kind
        inputs = [vertex for vertex, kind in self.kinds.items() if kind == "input"]
        allowed = [f"{name}_t" for name in INPUTS]
        if "x_t" not in inputs or not set(inputs) <= set(allowed):
            raise GenomeError(
                f"the vertices of kind input are x_t and, where they are read, dt_t and mask_t, "
                f"not {', '.join(inputs)[:60] or 'none'}"
            )
        self.inputs = [name for name in INPUTS if f"{name}_t" in inputs]

    def read_operands(self) -> None:
        edges: dict[str, dict[int, str]] = {vertex: {} for vertex in self.kinds}
        for source, target, data in self.graph.edges(data=True):
            position = data.get("position")
            where = f"edge {source:.60} -> {target:.60}"
            if not isinstance(position, int) or isinstance(position, bool):
                raise GenomeError(
                    f"the position of an operand is a whole number, not {position!r:.40}",
                    where=where,
                )
            if position in edges[target]:
                raise GenomeError(f"two edges have position {position}", where=where)
            edges[target][position] = source
        for vertex, sources in edges.items():
            if sorted(sources) != list(range(len(sources))):
                raise GenomeError(
                    f"{len(sources)} operands must have the positions 0 to {len(sources) - 1}",
                    where=f"vertex {vertex:.60}",
                )
            if sources and self.kinds[vertex] in ("input", "state"):
                raise GenomeError(
                    "an input or previous state has no operands", where=f"vertex {vertex:.60}"
                )
            self.operands[vertex] = [sources[k] for k in range(len(sources))]

    def state_names(self) -> list[str]:
        found = [vertex for vertex, kind in self.kinds.items() if kind == "state"]
        for vertex in found:
            if not vertex.endswith("_<t-1>"):
                raise GenomeError(
                    "a previous state is named like h_<t-1>", where=f"vertex {vertex:.60}"
                )
        names = [vertex.removesuffix("_<t-1>") for vertex in found]
        order = self.graph.graph.get("states", names)
        if (
            not isinstance(order, list | tuple)
            or not all(isinstance(name, str) for name in order)
            or sorted(order) != sorted(names)
        ):
            raise GenomeError(
                "it must list the names of the previous states", where="graph attribute states"
            )
        return list(order)

    def state(self, name: str) -> State:
        initial = self.graph.nodes[f"{name}_<t-1>"].get("initial", 0.0)
        return State(name, _number(initial, f"vertex {name:.60}_<t-1>"))

    def number_vertices(self, state_vertices: list[str]) -> None:
        """Number the vertices as the builder does; an alias takes the number of what it
        stands for.
        """
        order = [
            *(f"{name}_t" for name in self.inputs),
            *state_vertices,
            *(vertex for vertex, kind in self.kinds.items() if kind == "node"),
        ]
        self.numbers = {vertex: number for number, vertex in enumerate(order)}
        for vertex, kind in self.kinds.items():
            if kind == "alias":
                self.numbers[vertex] = self.numbers[self.aliased(vertex)]

    def aliased(self, vertex: str) -> str:
        """What an alias stands for, through a chain of aliases."""
        seen = set()
        while self.kinds[vertex] == "alias":
            if len(self.operands[vertex]) != 1:
                raise GenomeError(
                    f"an alias has one operand, not {len(self.operands[vertex])}",
                    where=f"vertex {vertex:.60}",
                )
            if vertex in seen:
                raise GenomeError("the alias stands for itself", where=f"vertex {vertex:.60}")
            seen.add(vertex)
            vertex = self.operands[vertex][0]
        return vertex

    def node(self, vertex: str, ends: set[str]) -> Node:
        """The node of a vertex; labels with a dot, and ``h_t`` of a state or output, belong to
        anonymous nodes.
        """
        data: Mapping[str, Any] = self.graph.nodes[vertex]
        op = data.get("op")
        if not isinstance(op, str):
            raise GenomeError(f"the op is text, not {op!r:.40}", where=f"vertex {vertex:.60}")
        anonymous = "." in vertex or (vertex.endswith("_t") and vertex.removesuffix("_t") in ends)
        inputs = tuple(self.numbers[source] for source in self.operands[vertex])
        return Node(
            "" if anonymous else vertex,
            op,
            inputs,
            _attributes(op, data.get("attrs", {}), f"vertex {vertex:.60}"),
        )

    def end(self, name: str) -> int:
        vertex = f"{name}_t"
        if vertex not in self.numbers or self.kinds[vertex] not in ("node", "alias"):
            raise GenomeError(
                f"there is no vertex {vertex:.60} of kind node or alias", where=f"{name:.60}[t]"
            )
        return self.numbers[vertex]


def _attributes(op: str, attrs: object, where: str) -> Attributes:
    if not isinstance(attrs, Mapping) or not all(isinstance(name, str) for name in attrs):
        raise GenomeError(f"attrs is a dict with names as keys, not {attrs!r:.40}", where=where)
    return attributes(op, {name: _said(name, v, where) for name, v in attrs.items()})


def _said(name: str, value: object, where: str) -> float | bool | int | str:
    if isinstance(value, bool | str) or (isinstance(value, int) and name != "value"):
        return value
    return _number(value, where)


def _number(value: object, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise GenomeError(f"a number is required, not {value!r:.40}", where=where)
    try:
        return float(value)
    except OverflowError:
        raise GenomeError("the number is too large", where=where) from None
