"""Identity of cells: one key for all the ways in which a cell can be written.

:func:`canonical_key` is equal exactly for genomes that compute the same family of functions up to
names and order of nodes and states, operand order of commutative ops, dead nodes and ``identity``.
Values without weights that are computed alike are one value; nodes with weights are different
functions even when written alike, unless they are the same node.

How: the genome is reduced to a coloured graph (``identity`` and dead nodes gone, equal weight-free
values merged), the colours are refined in both directions with operand positions until they are
stable, and what is still alike is told apart by :mod:`cellsearch.genome.canonical`. The key is a
digest of the graph written out in the resulting order, so two different cells never share one.

The key is strict: it knows no algebra. ``search_key`` simplifies first, and is what a search
deduplicates by.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from hashlib import blake2b
from operator import or_

from cellsearch.genome.builder import Builder
from cellsearch.genome.canonical import ColouredGraph, canonical_order
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import INPUTS, Node, State
from cellsearch.genome.rewriting.graph import RewriteGraph
from cellsearch.genome.rewriting.simplify import rewrite
from cellsearch.genome.sizes import Width
from cellsearch.ops import COMMUTATIVE, PARAMETRIC

__all__ = ["canonical_form", "canonical_key", "canonical_values", "search_key", "subgraph_keys"]


def canonical_key(genome: Genome) -> str:
    """32 hexadecimal digits, equal exactly for equal cells; see the module docstring for what
    "equal" means.
    """
    graph, roots = _reduce(genome)
    return _digest(graph, canonical_order(graph), roots)


def search_key(genome: Genome) -> str:
    """The key of the simplified genome: what a search deduplicates by.

    It also merges cells that differ by algebra, and by weights that training could not tell apart
    (a linear of a linear).
    """
    known = genome.known_simple
    if known is not None:
        return known.key  # which is worked out once
    simple = rewrite(genome)
    if simple.is_unchanged:
        return genome.key
    graph, roots = _reduce_rewritten(simple)
    return _digest(graph, canonical_order(graph), roots)


def canonical_form(genome: Genome) -> Genome:
    """The same cell written in its canonical way: equal (``==``) exactly for genomes with equal
    keys.

    Nodes lose their names, states are called ``h`` (the one put out), ``s1``, ``s2``, ...; an
    output that is not a state is ``y``. A cell in which nothing alive reads a state gets the state
    ``h`` with a dead node, because a genome has at least one.
    """
    graph, roots = _reduce(genome)
    order = canonical_order(graph)
    if not graph.next_of:
        return _without_state(graph, order, roots[0])
    rank = {vertex: k for k, vertex in enumerate(order)}
    states = sorted(graph.next_of, key=lambda v: (graph.next_of[v] != roots[0], rank[v]))
    put_out = bool(states) and graph.next_of[states[0]] == roots[0]
    names = {
        v: "h" if put_out and k == 0 else f"s{k + (not put_out)}" for k, v in enumerate(states)
    }
    inputs = _inputs(graph)
    builder = Builder(
        (State(names[v], float.fromhex(graph.texts[v].partition("=")[2])) for v in states),
        tuple(inputs.values()),
    )
    number = {v: builder.input(name) for v, name in inputs.items()}
    number.update((v, builder.state(names[v])) for v in states)
    _copy(graph, order, builder, number)
    for v in states:
        builder.next_state(names[v], number[graph.next_of[v]])
    if put_out:
        return builder.build("h")
    builder.output(number[roots[0]], "y")
    return builder.build()


def _without_state(graph: ColouredGraph, order: Sequence[int], output: int) -> Genome:
    inputs = _inputs(graph)
    builder = Builder(["h"], tuple(inputs.values()))
    number = {v: builder.input(name) for v, name in inputs.items()}
    _copy(graph, order, builder, number)
    builder.node("identity", builder.state("h"), name="unread")
    builder.next_state("h", number[output])
    return builder.build()


def _inputs(graph: ColouredGraph) -> dict[int, str]:
    """The vertices of inputs, which come first."""
    first = graph.texts[: len(INPUTS)]
    return {v: text for v, text in enumerate(first) if text in INPUTS}


def _copy(
    graph: ColouredGraph, order: Sequence[int], builder: Builder, number: dict[int, int]
) -> None:
    """Add the nodes to the builder in canonical order; ``number`` maps vertices to the builder's
    values.
    """
    for vertex in _topological(graph, order):
        node = graph.nodes[vertex]
        if node is not None:
            operands = [number[u] for u in graph.operands[vertex]]
            if graph.commutative[vertex]:
                operands.sort()
            number[vertex] = builder.add(Node("", node.op, tuple(operands), node.attrs))


def canonical_values(genome: Genome) -> list[list[int]]:
    """The live values in canonical order; values without weights that are computed alike, and
    ``identity``, stand together.
    """
    live, states = _alive(genome)
    graph, number = _graph(genome, live, states)
    values: dict[int, list[int]] = {}
    for value, vertex in number.items():
        values.setdefault(vertex, []).append(value)
    return [values[vertex] for vertex in canonical_order(graph)]


@lru_cache(maxsize=256)
def subgraph_keys(genome: Genome) -> tuple[str, ...]:
    """For each value the key of everything below it, names ignored: equal parts of two cells have
    equal keys.

    A previous state counts as "the state that is put out" or "another one", with its initial value.
    A linear shared inside the part differs from two alike, as in :func:`canonical_key`.
    """
    graph, number = _whole(genome)
    terms: list[
        str
    ] = []  # digest of the part written out as a term, in which sharing cannot be seen
    term_numbers: dict[str, int] = {}
    vertices: list[int] = []  # the part as a set of bits, of vertices
    distinct: list[int] = []  # and of terms
    keys: list[str] = []
    for vertex, operands in enumerate(graph.operands):
        below = [terms[u] for u in operands]
        terms.append(
            _hash(f"{graph.texts[vertex]}{sorted(below) if graph.commutative[vertex] else below}")
        )
        own = term_numbers.setdefault(terms[vertex], len(term_numbers))
        vertices.append(reduce(or_, (vertices[u] for u in operands), 1 << vertex))
        distinct.append(reduce(or_, (distinct[u] for u in operands), 1 << own))
        if vertices[vertex].bit_count() == distinct[vertex].bit_count():
            keys.append(terms[vertex])  # no two vertices are alike, so the term says it all
        else:
            part = graph.part([v for v in range(vertex + 1) if vertices[vertex] >> v & 1], vertex)
            keys.append(_digest(graph, canonical_order(part), (vertex,)))
    return tuple(keys[number[value]] for value in range(genome.n_values))


# -- the reduced graph -----------------------------------------------------------------------------


def _reduce(genome: Genome) -> tuple[ColouredGraph, tuple[int, ...]]:
    """The graph of what is alive, and the vertex that is put out."""
    live, states = _alive(genome)
    graph, number = _graph(genome, live, states)
    return graph, (number[genome.output],)


def _reduce_rewritten(simple: RewriteGraph) -> tuple[ColouredGraph, tuple[int, ...]]:
    """What :func:`_reduce` gives for ``simple.genome()``, without building that genome."""
    graph = ColouredGraph()
    number = {0: graph.add("x")}
    states, first = simple.needed_states(), len(simple.inputs)
    live = simple.below(simple.roots())
    number.update((k, graph.add(simple.inputs[k])) for k in range(1, first) if k in live)
    for k in states:
        number[first + k] = graph.add(f"state={_number(simple.states[k].initial)}")
    known: dict[tuple[str, tuple[int, ...]], int] = {}
    ends = [simple.find(simple.next_states[k]) for k in states]
    output = simple.find(simple.output)
    for value in live:
        if value in number:
            continue
        vertex = simple.at(value)
        op = vertex.op
        number[value] = _add(
            graph,
            known,
            op,
            _text(op, vertex.number, vertex.bias is not None, vertex.size, vertex.blocks),
            tuple([number[v] for v in vertex.operands]),
        )
    for k, end in zip(states, ends, strict=True):
        graph.set_next(number[first + k], number[end])
    graph.mark(number[output])
    return graph, (number[output],)


def _graph(
    genome: Genome, live: Sequence[int], states: Sequence[int]
) -> tuple[ColouredGraph, dict[int, int]]:
    """The graph of the live values with these states, and the vertex of each value."""
    graph = ColouredGraph()
    first = len(genome.inputs)
    number = {k: graph.add(name) for k, name in enumerate(genome.inputs) if not k or live[k]}
    for k in states:
        number[first + k] = graph.add(f"state={_number(genome.states[k].initial)}")
    _add_nodes(graph, genome, number, live)
    for k in states:
        graph.set_next(number[first + k], number[genome.next_states[k]])
    graph.mark(number[genome.output])
    return graph, number


def _whole(genome: Genome) -> tuple[ColouredGraph, dict[int, int]]:
    """The graph of all values without the way from a state to its next value, and the vertex of
    each value.
    """
    graph = ColouredGraph()
    first = len(genome.inputs)
    number = {k: graph.add(name) for k, name in enumerate(genome.inputs)}
    for k in range(len(genome.states)):
        number[first + k] = graph.add("")
    _add_nodes(graph, genome, number, b"\x01" * genome.n_values)
    for k, state in enumerate(genome.states):
        role = "output" if number[genome.next_states[k]] == number[genome.output] else "state"
        graph.texts[number[first + k]] = f"{role}={_number(state.initial)}"
    return graph, number


def _alive(genome: Genome) -> tuple[bytearray, list[int]]:
    """Which values reach the output or a next state, and the positions of the states that something
    alive reads.

    A state that only dead nodes read is not a state (see builder), and what computes it is dead as
    well.
    """
    states = list(range(len(genome.states)))
    first, nodes = genome.first_node, genome.nodes
    while True:
        live = bytearray(genome.n_values)
        live[genome.output] = 1
        for k in states:
            live[genome.next_states[k]] = 1
        for k in range(len(nodes) - 1, -1, -1):
            if live[first + k]:
                for operand in nodes[k].inputs:
                    live[operand] = 1
        still = [k for k in states if live[len(genome.inputs) + k]]
        if len(still) == len(states):
            return live, states
        states = still


def _add_nodes(
    graph: ColouredGraph, genome: Genome, number: dict[int, int], live: Sequence[int]
) -> None:
    """Add the live nodes without ``identity``; weight-free values that are computed alike become
    one vertex.
    """
    known: dict[tuple[str, tuple[int, ...]], int] = {}
    value = genome.first_node - 1
    for node in genome.nodes:
        value += 1
        if not live[value]:
            continue
        op = node.op
        operands = tuple([number[v] for v in node.inputs])
        if op == "identity":
            number[value] = operands[0]
            continue
        text = op
        if node.attrs:
            said = 0.0 if op in PARAMETRIC else node.number
            text = _text(op, said, node.bias, node.size, node.blocks)
        number[value] = _add(graph, known, op, text, operands, node)


def _add(
    graph: ColouredGraph,
    known: dict[tuple[str, tuple[int, ...]], int],
    op: str,
    text: str,
    operands: tuple[int, ...],
    node: Node | None = None,
) -> int:
    """The vertex of a node: one of its own if the op has weights, else the one computed alike if it
    is ``known``.
    """
    commutative = op in COMMUTATIVE
    if op in PARAMETRIC:
        return graph.add(text, operands, commutative, node)
    alike = (text, tuple(sorted(operands)) if commutative else operands)
    vertex = known.get(alike)
    if vertex is None:
        vertex = known[alike] = graph.add(text, operands, commutative, node)
    return vertex


def _text(op: str, number: float, bias: bool, size: Width, blocks: int) -> str:
    """What tells a vertex from others of its place."""
    if op in ("const", "head_norm"):
        return f"{op}={_number(number)}"
    text = "linear+bias" if op == "linear" and bias else op
    text += f"/{blocks}" if blocks > 1 else ""
    return text if size == "H" else f"{text}>{size}"


def _number(value: float) -> str:
    """The exact text of a number; -0.0 is 0.0, as ``==`` has it."""
    return (value + 0.0).hex()


def _digest(graph: ColouredGraph, order: Sequence[int], roots: Sequence[int]) -> str:
    """Digest of the graph written out in this order: exact, because the graph can be read back from
    the text.
    """
    rank = {vertex: k for k, vertex in enumerate(order)}
    lines = []
    for vertex in order:
        operands = [rank[u] for u in graph.operands[vertex]]
        if graph.commutative[vertex]:
            operands.sort()
        end = graph.next_of.get(vertex)
        after = "" if end is None or end not in rank else f">{rank[end]}"
        lines.append(f"{graph.texts[vertex]}{operands}{after}")
    lines.append(f"={[rank[root] for root in roots]}")
    return _hash("\n".join(lines))


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _topological(graph: ColouredGraph, order: Sequence[int]) -> list[int]:
    """The vertices with operands first; which of two comes first follows from ``order`` alone."""
    rank = {vertex: k for k, vertex in enumerate(order)}
    placed: list[int] = []
    done: set[int] = set()
    for start in order:
        stack = [(start, False)]
        while stack:
            vertex, ready = stack.pop()
            if ready:
                placed.append(vertex)
            elif vertex not in done:
                done.add(vertex)
                stack.append((vertex, True))
                stack.extend(
                    (u, False) for u in sorted(graph.operands[vertex], key=rank.__getitem__)
                )
    return placed
