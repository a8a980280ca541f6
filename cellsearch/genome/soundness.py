"""Whether the fields of a genome are a legal graph. A search makes thousands of genomes a minute,
so what is right is seen in one look, and words are found for what is wrong only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from cellsearch import ops
from cellsearch.errors import GenomeError
from cellsearch.genome.parts import (
    ATTRIBUTES,
    INPUTS,
    MAX_NODES,
    MAX_STATES,
    Node,
    State,
    check_attributes,
    check_name,
    is_name,
)
from cellsearch.genome.shapes import check_cuts, is_cut
from cellsearch.genome.sizes import Width

__all__ = ["check_graph"]


class _Graph(Protocol):
    """What is looked at of a :class:`cellsearch.genome.graph.Genome`."""

    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def states(self) -> tuple[State, ...]: ...
    @property
    def nodes(self) -> tuple[Node, ...]: ...
    @property
    def next_states(self) -> tuple[int, ...]: ...
    @property
    def output(self) -> int: ...
    @property
    def output_name(self) -> str: ...
    @property
    def first_node(self) -> int: ...
    @property
    def state_names(self) -> tuple[str, ...]: ...
    @property
    def slots(self) -> Mapping[int, str]: ...
    @property
    def uses(self) -> tuple[tuple[int, ...], ...]: ...
    @property
    def is_plain(self) -> bool: ...
    @property
    def sized(self) -> bool: ...
    @property
    def widths(self) -> tuple[Width, ...]: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


def check_graph(graph: _Graph) -> None:
    """Raise :class:`GenomeError` for anything that is not a legal graph."""
    if graph.inputs != ("x",):
        _check_inputs(graph)
    if not graph.states:
        raise GenomeError(
            "the cell has no state, so it is not recurrent",
            hint="assign a name with [t] and read it with [t-1], for example h[t] = "
            "tanh(linear(x[t], h[t-1]))",
        )
    if len(graph.nodes) > MAX_NODES or len(graph.states) > MAX_STATES:
        raise GenomeError(
            f"{len(graph.nodes)} nodes and {len(graph.states)} states; at most "
            f"{MAX_NODES} and {MAX_STATES} are allowed"
        )
    _check_states(graph)
    names = graph.state_names
    _check_nodes(graph, names)
    _check_ends(graph, names)
    _check_uses(graph)
    if not graph.is_plain and (graph.sized or is_cut(graph.nodes)):
        check_cuts(graph.nodes, graph.widths, lambda value: graph.labels[value])


def _check_inputs(graph: _Graph) -> None:
    given = graph.inputs
    if given[:1] != ("x",) or given != tuple(name for name in INPUTS if name in given):
        raise GenomeError(
            f"the inputs of a cell are x, then dt, then mask, the last two where the cell reads "
            f"them, not {given!r:.80}"
        )
    read = {v for node in graph.nodes for v in node.inputs} | {graph.output, *graph.next_states}
    for value, name in enumerate(given):
        if value and value not in read:
            raise GenomeError(
                "nothing reads this input",
                where=f"{name}[t]",
                hint="leave it out; Builder does",
            )
        if value and (name in graph.state_names or name == graph.output_name):
            raise GenomeError(
                f"this is the name of an input that the cell reads, {name}[t]",
                where=f"{name}[t]",
                hint="choose another name",
            )


def _check_states(graph: _Graph) -> None:
    seen: set[str] = set()
    for state in graph.states:
        if not isinstance(state.name, str) or not is_name(state.name):
            check_name(state.name, "state", f"state {state.name}")
        if state.name in seen:
            raise GenomeError("two states have this name", where=f"state {state.name}")
        seen.add(state.name)
        if not math.isfinite(state.initial):
            raise GenomeError(
                f"the initial value {state.initial} is not finite", where=f"state {state.name}"
            )
    if len(graph.next_states) != len(graph.states):
        raise GenomeError(f"{len(graph.states)} states, but {len(graph.next_states)} next states")


def _check_nodes(graph: _Graph, states: Sequence[str]) -> None:
    taken = {*states, graph.output_name}
    ends = {f"{name}_t" for name in (*taken, *graph.inputs)}
    for value, node in enumerate(graph.nodes, start=graph.first_node):
        name, operands = node.name, node.inputs
        if name:
            if not isinstance(name, str) or name in taken or name in ends or not is_name(name):
                _refuse_node_name(graph, value, node, taken)
            taken.add(name)
        op = ops.OPS.get(node.op) or ops.find(node.op)
        if op is None:
            raise GenomeError(
                f"unknown op {node.op!r}",
                where=_where(graph, value),
                hint=ops.unknown_op_hint(str(node.op)),
            )
        if not op.accepts(len(operands)):
            raise GenomeError(
                f"{node.op} takes {op.operands_text()}, not {len(operands)}",
                where=_where(graph, value),
            )
        for operand in operands:
            if not 0 <= operand < value:
                raise GenomeError(
                    f"operand {operand} does not come before the node (numbers below {value} do)",
                    where=_where(graph, value),
                )
        if node.attrs or node.op in ATTRIBUTES:
            check_attributes(node, partial(_where, graph, value))


def _where(graph: _Graph, value: int) -> str:
    node = graph.nodes[value - graph.first_node]
    return f"node {node.name}" if node.name else f"node number {value - graph.first_node}"


def _refuse_node_name(graph: _Graph, value: int, node: Node, taken: Collection[str]) -> None:
    """Say what is wrong with the name of a node."""
    where = _where(graph, value)
    check_name(node.name, "node", where)
    if node.name in graph.inputs:
        raise GenomeError(
            f"this is the name of an input that the cell reads, {node.name}[t]",
            where=where,
            hint="choose another name",
        )
    if node.name in taken:
        raise GenomeError(
            "this name is defined twice",
            where=where,
            hint="give every node and state a name of its own",
        )
    raise GenomeError(
        "this name is the graph's name of a new state or of an input",
        where=where,
        hint="choose another name",
    )


def _check_ends(graph: _Graph, states: Sequence[str]) -> None:
    """The next values of the states and the output."""
    output, count = graph.output_name, graph.first_node + len(graph.nodes)
    for what, value in (*zip(states, graph.next_states, strict=True), (output, graph.output)):
        if not 0 <= value < count:
            raise GenomeError(
                f"its value {value} does not exist (numbers below {count} do)",
                where=f"{what}[t]",
            )
    if output not in states:
        check_name(output, "output", f"output {output}")
        return
    if graph.output != graph.next_states[states.index(output)]:
        raise GenomeError(
            "the output has the name of a state, but another value", where=f"{output}[t]"
        )
    if output != "h" and len(states) > 1:
        raise GenomeError(
            f"several states, and the one that is put out is called {output}, not h",
            where=f"{output}[t]",
            hint=f"call it h, or give the output a name of its own: y[t] = {output}[t]",
        )


def _check_uses(graph: _Graph) -> None:
    """Who reads the states and the nodes without a name."""
    uses, ends = graph.uses, {graph.output, *graph.next_states}
    first = len(graph.inputs)
    for value, state in enumerate(graph.states, start=first):
        if not uses[value] and value not in ends:
            raise GenomeError(
                "nothing reads this state",
                where=f"{state.name}[t-1]",
                hint="a name that is never read with [t-1] is an output, not a state; "
                "Builder drops such states",
            )
    if any(state.name == graph.output_name for state in graph.states[1:]):
        raise GenomeError(
            "the state that is put out comes first",
            where=f"{graph.output_name}[t]",
            hint="Builder orders the states",
        )
    for value, node in enumerate(graph.nodes, start=graph.first_node):
        if not node.name and len(uses[value]) != 1 and value not in graph.slots:
            raise GenomeError(
                f"an anonymous {node.op} is used {len(uses[value])} times",
                where=f"node number {value - graph.first_node}",
                hint="name it, or build the genome with cellsearch.genome.builder.Builder, "
                "which names it",
            )
