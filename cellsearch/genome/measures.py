"""What a cell costs and how it recurs: weights, multiply-adds, class, GEMM depth. All of it follows
from the graph alone.

The class says what a step does to the previous states, on the way to the next states (the output
can wait until after the loop):

- ``affine-diagonal``: each next state is ``a * itself + b``, elementwise, with ``a`` and ``b`` free
  of previous states; a parallel scan over time computes it (minGRU, QRNN, SRU without its vector
  recurrence). The units of a pair that ``rotate`` turns count as one complex number (LRU);
- ``elementwise``: unit k of the next states depends on unit k of the previous states only, or on
  its pair (IndRNN, SRU);
- ``dense``: units are mixed, by a ``linear`` or a ``layer_norm`` of something that depends on a
  previous state (LSTM, GRU).

A state that only holds what the inputs of earlier steps gave (``x_1[t] = x[t]``, the states of
``x[t-2]`` and of ``conv(x[t], 4)``) is known before the loop at every step, so it counts as an
input: a QRNN with a window stays affine-diagonal.

The class is proven by propagation, so it is never better than the truth; a cell that hides its
class (``c - c``) may be better.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Literal

from cellsearch import ops
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import bound_sizes, parameter_count, state_widths, widths
from cellsearch.genome.parts import Node

__all__ = [
    "Dependence",
    "RecurrenceClass",
    "dependences",
    "gemm_depth",
    "held_values",
    "known_states",
    "matrices",
    "multiply_adds",
    "parameter_count",
    "recurrence_class",
    "state_floats",
]

RecurrenceClass = Literal["affine-diagonal", "elementwise", "dense"]


class Dependence(IntEnum):
    """How a value depends on the previous states; a larger one includes the smaller ones."""

    FREE = 0  # not at all
    AFFINE = 1  # elementwise, sum of a_k * state_k plus b, with a_k and b free of them
    ELEMENTWISE = 2  # unit k on unit k
    MIXED = 3  # a unit on several units


def known_states(genome: Genome) -> frozenset[int]:
    """The previous states (their value numbers) that inputs of earlier steps alone determine: those
    whose next value no other state leads to.
    """
    known: set[int] = set()
    first = len(genome.inputs)
    while True:
        free = [True] * first + [first + k in known for k in range(len(genome.states))]
        for _, node in genome.numbered():
            free.append(all(free[v] for v in node.inputs))
        found = {first + k for k, value in enumerate(genome.next_states) if free[value]}
        if found == known:
            return frozenset(known)
        known = found


def held_values(genome: Genome) -> dict[int, int]:
    """The previous states (their value numbers) that only hold what an input or another state was,
    as those of ``h[t-3]`` do, each with how many steps ago that was.
    """
    first = len(genome.inputs)
    found: dict[int, int] = {}
    for state in range(first, genome.first_node):
        path = [state]
        while path[-1] >= first:
            end = genome.next_states[path[-1] - first]
            if end >= genome.first_node or end in path:
                break
            path.append(end)
        closed = path[-1] >= first and genome.next_states[path[-1] - first] in path
        if len(path) > 1 and not closed:
            found[state] = len(path) - (path[-1] < first)
    return found


def dependences(
    genome: Genome, *, delays: bool = True
) -> tuple[tuple[Dependence, frozenset[int]], ...]:
    """For each value how it depends on the previous states, and on which (their value numbers);
    :func:`known_states` count as inputs, unless ``delays`` is off.
    """
    known = known_states(genome) if delays else frozenset[int]()
    found: list[tuple[Dependence, frozenset[int]]] = []
    for value in range(genome.n_values):
        node = genome.node(value)
        if node is not None:
            on = frozenset().union(*(found[v][1] for v in node.inputs))
            found.append((_of_node(node, [found[v][0] for v in node.inputs]), on))
        elif genome.is_state(value) and value not in known:
            found.append((Dependence.AFFINE, frozenset({value})))
        else:
            found.append((Dependence.FREE, frozenset()))
    return tuple(found)


def _of_node(node: Node, operands: list[Dependence]) -> Dependence:
    worst = max(operands, default=Dependence.FREE)
    if worst in (Dependence.FREE, Dependence.MIXED):
        return worst
    if node.op == "linear" or ops.OPS[node.op].kind == "normalisation":
        return Dependence.MIXED
    if node.op == "rotate" and operands[1] is Dependence.FREE:
        return worst  # the units of a pair count as one
    if worst is Dependence.AFFINE and _keeps_affine(node.op, operands):
        return Dependence.AFFINE
    return Dependence.ELEMENTWISE


def _keeps_affine(op: str, operands: list[Dependence]) -> bool:
    """Whether the op of free and affine operands is affine."""
    free = [operand is Dependence.FREE for operand in operands]
    if op == "mul":
        return free.count(False) == 1
    if op == "div":
        return free[1]
    if op == "blend":  # g*a + (1-g)*b
        return free[0] or (free[1] and free[2])
    return ops.OPS[op].additive


def recurrence_class(genome: Genome, *, delays: bool = True) -> RecurrenceClass:
    """The class of the cell; see the module docstring. ``delays`` off: a state that only holds
    earlier inputs counts as any other.
    """
    found = dependences(genome, delays=delays)
    ends = [(len(genome.inputs) + k, *found[value]) for k, value in enumerate(genome.next_states)]
    if any(kind is Dependence.MIXED for _, kind, _ in ends):
        return "dense"
    if all(kind <= Dependence.AFFINE and on <= {state} for state, kind, on in ends):
        return "affine-diagonal"
    return "elementwise"


def gemm_depth(genome: Genome, *, delays: bool = True) -> int:
    """Dense products on the longest path from a previous state to a next state: how many must
    follow one another in each step; ``delays`` as in :func:`recurrence_class`.
    """
    none = -1  # does not depend on a previous state
    known = known_states(genome) if delays else frozenset[int]()
    depth = [
        0 if genome.is_state(value) and value not in known else none
        for value in range(genome.first_node)
    ]
    for _, node in genome.numbered():
        below = max((depth[v] for v in node.inputs), default=none)
        depth.append(below + 1 if node.op == "linear" and below > none else below)
    return max(0, *(depth[value] for value in genome.next_states))


def matrices(genome: Genome) -> int:
    """Number of dense weight matrices of live nodes: the weights in units of n^2 for input_size =
    hidden_size = n.
    """
    return sum(
        len(node.inputs)
        for value, node in genome.numbered()
        if value in genome.live and node.op == "linear"
    )


def multiply_adds(
    genome: Genome,
    input_size: int,
    hidden_size: int,
    sizes: Mapping[str, int | str] | None = None,
) -> int:
    """Multiplications of one step for one sequence, each with the addition that may follow; dead
    nodes are not computed.

    Functions of one value, sums, maxima and the statistics of ``layer_norm`` are not counted, nor
    the zeros between blocks. ``sizes`` binds the names of sizes that the cell has.
    """
    size = bound_sizes(genome, input_size, hidden_size, sizes)
    width = widths(genome)
    total = 0
    for value, node in genome.numbered():
        if value not in genome.live:
            continue
        if node.op == "linear":
            total += sum(size[node.size] * size[width[v]] for v in node.inputs) // node.blocks
        else:
            several = len(node.inputs) - 1 if node.op == "mul" else 0
            total += (ops.OPS[node.op].multiplications or several) * size[width[value]]
    return total


def state_floats(
    genome: Genome,
    input_size: int,
    hidden_size: int,
    sizes: Mapping[str, int | str] | None = None,
) -> int:
    """Numbers that one layer carries from a step to the next for one sequence: they bound what it
    can recall (Arora et al. 2023, arXiv 2312.04927).
    """
    size = bound_sizes(genome, input_size, hidden_size, sizes)
    return sum(size[width] for width in state_widths(genome))
