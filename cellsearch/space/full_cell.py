"""The full cell: every connection that a space knows of at once, each with a trainable gate.

It has N ordered nodes. Node k reads x_t, every previous state and every earlier node through one
``linear``; its candidates are

* each unary op on that sum,
* the product of each gate of that sum with each earlier value (a previous state or an earlier
  node), and of 1 - gate,
* each direct op on each earlier value itself (so that ``tanh(c_t)`` needs no weights between);

the node is the sum of its candidates, each through ``scale`` (a trainable scalar, the connection
gate). Next states are scaled sums over nodes and previous states; the first state is put out. This
is the space of DARTS (Liu et al. 2019, eq. 2) with products, several states and every predecessor;
LSTM and both forms of the GRU are parts of it from N = 5 on.

Names tell what a connection is: ``n3_from_sigmoid_c`` scales ``sigmoid(n3_in) * c[t-1]`` on its way
into node ``n3``.
"""

from __future__ import annotations

from cellsearch import ops
from cellsearch.errors import SpaceError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.space.space import SearchSpace

__all__ = ["check_full", "full_cell"]


def full_cell(space: SearchSpace) -> Genome:
    """See :meth:`SearchSpace.full`."""
    builder = Builder(space.states)
    earlier = {state: builder.state(state) for state in space.states}
    names = _free_names(space)
    direct: dict[tuple[str, str], int] = {}
    for name in names:
        candidates = _of_the_sum(builder, space, name, earlier)
        for source, value in earlier.items():
            for op in space.full_cell.direct:
                candidates[f"{op}_of_{source}"] = _direct(builder, direct, op, source, value)
        earlier[name] = _scaled_sum(builder, name, candidates)
    for state in space.states:
        builder.next_state(state, _scaled_sum(builder, "", earlier, stem=state))
    return builder.build(space.states[0])


def check_full(space: SearchSpace, genome: Genome) -> Genome:
    """The full cell itself. Raises :class:`SpaceError` for one that cannot be pruned, or is too
    large: it says how large.
    """
    if "scale" in space.ops:
        hint = "take scale out of [ops], or choose another strategy than prune"
        raise SpaceError(
            "connection gates are scale nodes, here scale is an op of the cells",
            where=f"{space.source}: ops",
            hint=hint,
        )
    full = space.full_cell
    connections, parameters = len(space.connections(genome)), space.parameters(genome)
    for what, value, most in (
        ("connections", connections, full.max_connections),
        ("parameters", parameters, full.max_parameters),
    ):
        if value > most:
            sizes = (
                f"{connections:,} connections, {parameters:,} parameters and "
                f"{len(genome.nodes):,} nodes"
            )
            raise SpaceError(
                f"the full cell has {sizes}; at most {most:,} {what} are allowed",
                where=f"{space.source}: full_cell.max_{what}",
                hint="lower full_cell.nodes, name fewer sums, gates or direct ops, or raise "
                "the limit: every round trains all of it",
            )
    return genome


def _free_names(space: SearchSpace) -> list[str]:
    """``n1``, ``n2``, ...; another letter where a state is called so."""
    stem = "n"
    while any(state.startswith(stem) for state in space.states):
        stem += "n"
    return [f"{stem}{k + 1}" for k in range(space.full_cell.nodes)]


def _of_the_sum(
    builder: Builder, space: SearchSpace, name: str, earlier: dict[str, int]
) -> dict[str, int]:
    """The candidates of a node that go through its linear."""
    full = space.full_cell
    total = builder.node("linear", builder.x, *earlier.values(), name=f"{name}_in")
    values = {
        op: builder.node(op, total, name=f"{name}_{op}")
        for op in dict.fromkeys((*full.sums, *full.gates))
        if op != "identity"
    }
    values["identity"] = total
    candidates = {op: values[op] for op in full.sums}
    for op in full.gates:
        for source, value in earlier.items():
            candidates[f"{op}_{source}"] = builder.node("mul", values[op], value)
        if full.complements and ops.OPS[op].gate:
            rest = builder.node("sub", builder.const(1.0), values[op], name=f"{name}_rest_{op}")
            for source, value in earlier.items():
                candidates[f"rest_{op}_{source}"] = builder.node("mul", rest, value)
    return candidates


def _direct(
    builder: Builder, known: dict[tuple[str, str], int], op: str, source: str, value: int
) -> int:
    """``op`` of an earlier value; it has no weights, so all nodes share one."""
    if op == "identity":
        return value
    if (op, source) not in known:
        known[op, source] = builder.node(op, value, name=f"{op}_of_{source}")
    return known[op, source]


def _scaled_sum(builder: Builder, name: str, terms: dict[str, int], stem: str = "") -> int:
    scaled = [
        builder.node("scale", value, name=f"{name or stem}_from_{source}")
        for source, value in terms.items()
    ]
    if len(scaled) == 1:
        return scaled[0]
    return builder.node("add", *scaled, name=name)
