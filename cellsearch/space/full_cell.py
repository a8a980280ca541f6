"""The full cell: every connection that a space knows of at once, each with a trainable gate.

**Dense recurrence.** It has N ordered nodes. Node k reads x_t, every previous state and every
earlier node through one ``linear``; its candidates are

* each unary op on that sum,
* the product of each gate of that sum with each earlier value (a previous state or an earlier
  node), and of 1 - gate,
* each direct op on each earlier value itself (so that ``tanh(c_t)`` needs no weights between);

the node is the sum of its candidates, each through ``scale`` (a trainable scalar, the connection
gate). Next states are scaled sums over nodes and previous states; the first state is put out. This
is the space of DARTS (Liu et al. 2019, eq. 2) with products, several states and every predecessor;
LSTM and both forms of the GRU are parts of it from N = 5 on.

**Diagonal recurrence.** All connections that leave a parallel scan over time possible: N ordered
nodes that depend on x_t alone. Node k reads x_t and every earlier node through one ``linear``; its
candidates are each unary op on that sum, the product of each gate of that sum with each earlier
node, and each direct op on each earlier node. The next value of a state is a scaled sum of itself,
of itself times each squashing function of each node, and of all nodes: ``a_t * s_<t-1> + b_t`` with
a_t and b_t functions of x_t, which is what minGRU, QRNN and their relatives compute (Bradbury et
al. 2017; Feng et al. 2024). The output is not a state: a scaled sum of the nodes, and of the next
states as they are, through each direct op, and times each gate.

Where the space has them, dt and the mask are read wherever x is, and of a diagonal recurrence a
state is also kept turned, by angles of its own that are a linear of x_t (``rotate``).

Names tell what a connection is: ``n3_from_sigmoid_c`` scales ``sigmoid(n3_in) * c[t-1]`` on its way
into node ``n3``, ``h_from_tanh_n2_h`` scales ``tanh(n2) * h[t-1]`` on its way into state ``h``.
"""

from __future__ import annotations

from functools import lru_cache

from cellsearch import ops
from cellsearch.errors import SpaceError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.space.declaration import Declaration, FullCell

__all__ = ["build_full", "connections", "full"]


def full(space: Declaration) -> Genome:
    """See :meth:`SearchSpace.full`: it says how large a cell is that exceeds the limits."""
    cell, limits = build_full(space), space.full_cell
    if "scale" in space.ops:
        raise SpaceError(
            "connection gates are scale nodes, here scale is an op of the cells",
            where=f"{space.source}: ops",
            hint="take scale out of [ops], or choose another strategy than prune",
        )
    n_connections, parameters = len(connections(cell)), space.parameters(cell)
    for what, value, most in (
        ("connections", n_connections, limits.max_connections),
        ("parameters", parameters, limits.max_parameters),
    ):
        if value > most:
            raise SpaceError(
                f"the full cell has {n_connections:,} connections, {parameters:,} parameters and "
                f"{len(cell.nodes):,} nodes; at most {most:,} {what} are allowed",
                where=f"{space.source}: full_cell.max_{what}",
                hint="lower full_cell.nodes, name fewer sums, gates or direct ops, or raise "
                "the limit: every round trains all of it",
            )
    return cell


def build_full(space: Declaration) -> Genome:
    """The full cell, however large it is. Raises :class:`SpaceError` for a space with frozen
    parts.
    """
    if space.frozen is not None:
        raise SpaceError(
            "a space with frozen parts has no full cell",
            where=space.source,
            hint="prune a given cell instead",
        )
    if space.dense:
        return _dense_cell(tuple(space.states), space.full_cell, space.inputs)
    return _diagonal_cell(
        tuple(space.states), space.full_cell, space.inputs, turns=space.ops.get("rotate", 0) > 0
    )


def connections(genome: Genome) -> tuple[str, ...]:
    """See :meth:`SearchSpace.connections`."""
    return tuple(
        spec.name for spec in genome.parameters if spec.operand >= 0 and spec.node in genome.live
    )


def _given(builder: Builder) -> tuple[int, ...]:
    """x, and what else a step is given."""
    return tuple(builder.input(name) for name in builder.inputs)


def _scaled_sum(builder: Builder, name: str, terms: dict[str, int], stem: str = "") -> int:
    scaled = [
        builder.node("scale", value, name=f"{name or stem}_from_{source}")
        for source, value in terms.items()
    ]
    return scaled[0] if len(scaled) == 1 else builder.node("add", *scaled, name=name)


# -- dense recurrence ------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _dense_cell(states: tuple[str, ...], declared: FullCell, inputs: tuple[str, ...]) -> Genome:
    builder = Builder(states, inputs)
    earlier = {state: builder.state(state) for state in states}
    direct: dict[tuple[str, str], int] = {}
    for name in _free_names(states, declared.nodes):
        candidates = _of_the_sum(builder, declared, name, earlier)
        for source, value in earlier.items():
            for op in declared.direct:
                candidates[f"{op}_of_{source}"] = _direct(builder, direct, op, source, value)
        earlier[name] = _scaled_sum(builder, name, candidates)
    for state in states:
        builder.next_state(state, _scaled_sum(builder, "", earlier, stem=state))
    return builder.build(states[0])


def _free_names(states: tuple[str, ...], count: int) -> list[str]:
    """``n1``, ``n2``, ...; another letter where a state is called so."""
    stem = "n"
    while any(state.startswith(stem) for state in states):
        stem += "n"
    return [f"{stem}{k + 1}" for k in range(count)]


def _of_the_sum(
    builder: Builder, declared: FullCell, name: str, earlier: dict[str, int]
) -> dict[str, int]:
    """The candidates of a node that go through its linear."""
    total = builder.node("linear", *_given(builder), *earlier.values(), name=f"{name}_in")
    values = {
        op: builder.node(op, total, name=f"{name}_{op}")
        for op in dict.fromkeys((*declared.sums, *declared.gates))
        if op != "identity"
    }
    values["identity"] = total
    candidates = {op: values[op] for op in declared.sums}
    for op in declared.gates:
        for source, value in earlier.items():
            candidates[f"{op}_{source}"] = builder.node("mul", values[op], value)
        if declared.complements and ops.OPS[op].gate:
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


# -- diagonal recurrence ---------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _diagonal_cell(
    states: tuple[str, ...], declared: FullCell, inputs: tuple[str, ...], turns: bool
) -> Genome:
    builder = Builder(states, inputs)
    stem = "n" * (1 + max(len(state) - len(state.lstrip("n")) for state in states))
    nodes: dict[str, int] = {}
    decays: dict[str, int] = {}
    squashing = [
        op for op in dict.fromkeys((*declared.sums, *declared.gates)) if ops.OPS[op].squashing
    ]
    for k in range(declared.nodes):
        name = f"{stem}{k + 1}"
        total = builder.node("linear", *_given(builder), *nodes.values(), name=f"{name}_in")
        values = {
            op: total if op == "identity" else builder.node(op, total)
            for op in dict.fromkeys((*declared.sums, *declared.gates))
        }
        candidates = {op: values[op] for op in declared.sums}
        candidates |= {
            f"{op}_{source}": builder.node("mul", values[op], value)
            for op in declared.gates
            for source, value in nodes.items()
        }
        for source, value in nodes.items():
            for op in declared.direct:
                candidates[f"{op}_of_{source}"] = (
                    value if op == "identity" else builder.node(op, value)
                )
        decays |= {f"{op}_{name}": values[op] for op in squashing}
        nodes[name] = _scaled_sum(builder, name, candidates)
    output = dict(nodes)
    gates = {
        name: value for name, value in decays.items() if name.partition("_")[0] in declared.gates
    }
    for state in states:
        previous = builder.state(state)
        kept = {
            f"{decay}_{state}": builder.node("mul", value, previous)
            for decay, value in decays.items()
        }
        if turns:
            angles = builder.node("linear", *_given(builder), name=f"{state}_angles", size="H/2")
            turned = builder.node("rotate", previous, angles)
            kept |= {
                f"{decay}_turned_{state}": builder.node("mul", value, turned)
                for decay, value in decays.items()
            }
        end = _scaled_sum(builder, "", {state: previous, **kept, **nodes}, stem=state)
        builder.next_state(state, end)
        output |= {
            f"{op}_of_{state}": end if op == "identity" else builder.node(op, end)
            for op in ("identity", *declared.direct)
        }
        output |= {
            f"{gate}_{state}": builder.node("mul", value, end) for gate, value in gates.items()
        }
    name = next(name for name in ("y", "out", "output") if name not in states)
    builder.output(_scaled_sum(builder, "", output, stem=name), name)
    return builder.build()
