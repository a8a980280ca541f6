"""The full cell of a space whose recurrence is diagonal: all connections that leave a parallel scan
over time possible.

It has N ordered nodes that depend on x_t alone. Node k reads x_t and every earlier node through one
``linear``; its candidates are each unary op on that sum, the product of each gate of that sum with
each earlier node, and each direct op on each earlier node. The next value of a state is a scaled
sum of itself, of itself times each squashing function of each node, and of all nodes: ``a_t *
s_<t-1> + b_t`` with a_t and b_t functions of x_t, which is what minGRU, QRNN and their relatives
compute (Bradbury et al. 2017; Feng et al. 2024). The output is no state: a scaled sum of the nodes,
and of the next states as they are, through each direct op, and times each gate.

Names are as in :mod:`cellsearch.space.full_cell`; ``h_from_tanh_n2_h`` scales ``tanh(n2) * h[t-1]``
on its way into state ``h``.
"""

from __future__ import annotations

from cellsearch import ops
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.space.space import SearchSpace

__all__ = ["full_scan"]


def full_scan(space: SearchSpace) -> Genome:
    """See the module docstring; :meth:`SearchSpace.full` gives it where the class of cells is
    bounded.
    """
    full = space.full_cell
    builder = Builder(space.states)
    stem = "n" * (1 + max(len(state) - len(state.lstrip("n")) for state in space.states))
    nodes: dict[str, int] = {}
    decays: dict[str, int] = {}
    squashing = [op for op in dict.fromkeys((*full.sums, *full.gates)) if ops.OPS[op].squashing]
    for k in range(full.nodes):
        name = f"{stem}{k + 1}"
        total = builder.node("linear", builder.x, *nodes.values(), name=f"{name}_in")
        values = {
            op: total if op == "identity" else builder.node(op, total)
            for op in dict.fromkeys((*full.sums, *full.gates))
        }
        candidates = {op: values[op] for op in full.sums}
        candidates |= {
            f"{op}_{source}": builder.node("mul", values[op], value)
            for op in full.gates
            for source, value in nodes.items()
        }
        for source, value in nodes.items():
            for op in full.direct:
                candidates[f"{op}_of_{source}"] = (
                    value if op == "identity" else builder.node(op, value)
                )
        decays |= {f"{op}_{name}": values[op] for op in squashing}
        nodes[name] = _scaled_sum(builder, name, candidates)
    output = dict(nodes)
    gates = {name: value for name, value in decays.items() if name.partition("_")[0] in full.gates}
    for state in space.states:
        previous = builder.state(state)
        kept = {
            f"{decay}_{state}": builder.node("mul", value, previous)
            for decay, value in decays.items()
        }
        end = _scaled_sum(builder, "", {state: previous, **kept, **nodes}, stem=state)
        builder.next_state(state, end)
        output |= {
            f"{op}_of_{state}": end if op == "identity" else builder.node(op, end)
            for op in ("identity", *full.direct)
        }
        output |= {
            f"{gate}_{state}": builder.node("mul", value, end) for gate, value in gates.items()
        }
    name = next(name for name in ("y", "out", "output") if name not in space.states)
    builder.output(_scaled_sum(builder, "", output, stem=name), name)
    return builder.build()


def _scaled_sum(builder: Builder, name: str, terms: dict[str, int], stem: str = "") -> int:
    scaled = [
        builder.node("scale", value, name=f"{name or stem}_from_{source}")
        for source, value in terms.items()
    ]
    return scaled[0] if len(scaled) == 1 else builder.node("add", *scaled, name=name)
