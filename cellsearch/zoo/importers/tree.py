"""Tree cells of ENAS and DARTS: each node reads one node before it, through a gate.

s_0 = h + sigmoid(W_c x + U_c h) * (f_0(W_h x + U_h h) - h), and node j with predecessor p and
activation f: s_j = s_p + sigmoid(V_j s_p) * (f(V'_j s_p) - s_p); the new state is the mean of some
of the s_j. No biases. Pham et al. 2018 (ENAS), section 2.2; Liu et al. 2019 (DARTS), appendix A.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from cellsearch.errors import CellSyntaxError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome

__all__ = ["ACTIVATIONS", "MAX_TREE", "tree_cell"]

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
MAX_TREE = 200


def tree_cell(
    first: str, nodes: Sequence[tuple[str, int]], mean_of: Sequence[int], where: str
) -> Genome:
    """The cell with activation ``first`` in s_0 and a node (activation, predecessor) for each
    further s_j.

    ``mean_of``: the numbers of the s_j that are averaged. Raises :class:`CellSyntaxError` for what
    no such project can build.
    """
    if len(nodes) > MAX_TREE:
        raise CellSyntaxError(f"{len(nodes)} nodes; at most {MAX_TREE} are allowed", where=where)
    for j, (activation, predecessor) in enumerate([(first, 0), *nodes]):
        if activation not in ACTIVATIONS:
            hint = "allowed: " + ", ".join(ACTIVATIONS)
            raise CellSyntaxError(
                f"unknown activation {activation!r:.40}", where=f"{where}: node {j}", hint=hint
            )
        if j and not 0 <= predecessor < j:
            raise CellSyntaxError(
                f"the predecessor {predecessor} does not come before the node",
                where=f"{where}: node {j}",
            )
    if not mean_of or any(not 0 <= j <= len(nodes) for j in mean_of):
        raise CellSyntaxError(
            f"the mean is over nodes 0 to {len(nodes)}, not over {list(mean_of)!r:.80}", where=where
        )
    b = Builder(["h"])
    h = b.state("h")
    s = [_gated(b, 0, h, (b.x, h), first)]
    for j, (activation, predecessor) in enumerate(nodes, start=1):
        s.append(_gated(b, j, s[predecessor], (s[predecessor],), activation))
    ends = [s[j] for j in mean_of]
    if len(ends) == 1:
        b.next_state("h", ends[0])
    else:
        b.next_state("h", b.node("div", b.node("add", *ends), b.const(len(ends))))
    return b.build()


def _gated(b: Builder, j: int, base: int, operands: tuple[int, ...], activation: str) -> int:
    gate = b.node("sigmoid", b.node("linear", *operands, bias=False), name=f"c{j}")
    inner = b.node("linear", *operands, bias=False)
    new = inner if activation == "identity" else b.node(activation, inner)
    return b.node("add", base, b.node("mul", gate, b.node("sub", new, base)), name=f"s{j}")
