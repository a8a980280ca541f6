"""Which genomes a search space holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from cellsearch import ops
from cellsearch.errors import CellsearchError
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import subgraph_keys
from cellsearch.genome.measures import (
    RecurrenceClass,
    gemm_depth,
    held_values,
    recurrence_class,
)
from cellsearch.genome.parameters import (
    bound_sizes,
    check_sizes,
    fits_any_size,
    requires_square,
    widths,
)
from cellsearch.space.cuts import cuts
from cellsearch.space.declaration import (
    Declaration,
    LayerSizes,
    Violation,
    layer_footprint,
    layer_weights,
)
from cellsearch.space.full_cell import full

__all__ = ["CLASSES", "violation"]

CLASSES: tuple[str, ...] = get_args(RecurrenceClass)
"""Cheapest first; each includes those before it."""

_STRUCTURE = frozenset({"linear", "add", "mul", "sub", "const", "scale", "identity"})
"""Ops that parts of a full cell may need besides its unary ops."""


def violation(space: Declaration, genome: Genome) -> Violation | None:
    """See :meth:`SearchSpace.contains`."""
    for check in (_inputs, _states, _ops, cuts, _sizes, _influence, _width, _recurrence, _parts):
        for found in check(space, genome):
            return found
    return None


def _inputs(space: Declaration, genome: Genome) -> Iterator[Violation]:
    for name in genome.inputs:
        if name not in space.inputs:
            yield Violation(f"{name}[t] is read", f"{name}_t", ", ".join(space.inputs))


def _states(space: Declaration, genome: Genome) -> Iterator[Violation]:
    most = space.limits.max_delay
    held = held_values(genome) if most else {}
    count = len(genome.states) - len(held)
    if count > len(space.states):
        allowed = f"at most {len(space.states)}: {', '.join(space.states)}"
        yield Violation(f"{count} states", "states", allowed)
    for value, steps in held.items():
        if steps > most:
            allowed = f"at most {most} steps ago"
            yield Violation(f"a value of {steps} steps ago", genome.labels[value], allowed)
    for state in genome.states:
        if state.initial not in space.initial:
            allowed = ", ".join(f"{value:g}" for value in space.initial)
            yield Violation(f"the initial value {state.initial:g}", f"{state.name}[0]", allowed)


def _ops(space: Declaration, genome: Genome) -> Iterator[Violation]:
    gated = space.is_gated(genome)
    allowed = _gated_ops(space) if gated else space.ops
    for value, node in genome.numbered():
        if node.op == "const" and "const" in allowed:
            if node.value not in space.numbers:
                yield Violation(
                    f"the number {node.value:g}",
                    genome.labels[value],
                    ", ".join(f"{c:g}" for c in space.constants),
                )
        elif node.op not in allowed:
            yield Violation(
                f"the op {node.op}",
                genome.labels[value],
                ", ".join(op for op in ops.OPS if op in allowed),
            )
        elif node.op == "linear" and len(set(node.inputs)) < len(node.inputs):
            yield Violation(
                "a linear reads the same value twice", genome.labels[value], "each operand once"
            )
        elif len(node.inputs) > space.limits.max_operands and not gated:
            yield Violation(
                f"{len(node.inputs)} operands",
                genome.labels[value],
                f"at most {space.limits.max_operands}",
            )


def _gated_ops(space: Declaration) -> frozenset[str]:
    full = space.full_cell
    return frozenset(space.ops) | _STRUCTURE | {*full.sums, *full.gates, *full.direct}


def _sizes(space: Declaration, genome: Genome) -> Iterator[Violation]:
    limits = space.limits
    if space.is_gated(genome):
        most = full_size(space)
        if len(genome.nodes) > most:
            yield Violation(
                f"{len(genome.nodes)} nodes",
                "cell with connection gates",
                f"at most {most}, as in the full cell",
            )
        return
    if len(genome.nodes) > limits.max_nodes:
        yield Violation(f"{len(genome.nodes)} nodes", "cell", f"at most {limits.max_nodes}")
    if len(genome.nodes) > limits.max_depth:  # a cell is never deeper than it has nodes
        depth = [0] * genome.first_node
        for value, node in genome.numbered():
            depth.append(1 + max([depth[v] for v in node.inputs], default=0))
            if depth[value] > limits.max_depth:
                yield Violation(
                    f"{depth[value]} nodes above one another",
                    genome.labels[value],
                    f"at most {limits.max_depth}",
                )
    for sizes in space.sizes_of(genome):
        misfit = _misfit(genome, sizes)
        if misfit:
            yield Violation(misfit, "cell", f"what fits {sizes}")
            continue
        count = layer_weights(genome, sizes, _weights)
        if count > limits.max_parameters:
            allowed = f"at most {limits.max_parameters:,} with {sizes}"
            yield Violation(f"{count:,} weights", "cell", allowed)
        yield from _costs(space, genome, sizes)


def _misfit(genome: Genome, sizes: LayerSizes) -> str:
    """Why a cell with sizes or blocks cannot be built at these sizes; ``""`` if it can."""
    if genome.is_plain or (fits_any_size(genome) and "rotate" not in genome.op_names):
        return ""
    try:
        hidden = sizes.hidden_size
        check_sizes(genome, bound_sizes(genome, hidden, hidden, dict(sizes.named)))
    except CellsearchError as error:
        return error.message
    return ""


_UNITS = {
    "flash_bytes": "bytes of flash",
    "ram_bytes": "bytes of RAM",
    "macs_per_step": "multiply-adds a step",
    "state_bytes": "bytes of state",
}


def _costs(space: Declaration, genome: Genome, sizes: LayerSizes) -> Iterator[Violation]:
    """What does not fit the device; it is known at the sizes of an experiment only."""
    bounds = space.device.bounds
    if not bounds or not space.sizes:
        return
    try:
        costs = layer_footprint(genome, sizes, int8=space.device.int8)
    except CellsearchError as error:
        yield Violation(error.message, error.where, "cells that C can hold at these sizes")
        return
    for name, most in bounds.items():
        cost = getattr(costs, name)
        if cost > most:
            allowed = f"at most {most:,} with {sizes}"
            yield Violation(f"{cost:,} {_UNITS[name]}", "cell", allowed)


def _weights(
    genome: Genome, input_size: int, hidden_size: int, sizes: Mapping[str, int | str]
) -> int:
    """:func:`parameter_count` of a cell without dead nodes, without working out the names of the
    weights.
    """
    size = bound_sizes(genome, input_size, hidden_size, sizes)
    width = widths(genome)
    total = 0
    for node in genome.nodes:
        if node.op == "linear":
            rows = hidden_size if node.is_plain else size[node.size]
            columns = sum([size[width[v]] for v in node.inputs])
            total += rows * columns if node.is_plain else rows * columns // node.blocks
            total += rows * node.bias
        elif node.op == "diag":
            operand = width[node.inputs[0]]
            total += hidden_size if operand == "1" else size[operand]
        elif node.op in ("scale", "bias"):
            total += 1 if node.op == "scale" else size[node.size]
    return total


def full_size(space: Declaration) -> int:
    """Nodes of the full cell, from its definition: the bound of every part of it, with room for the
    ends' own sums.
    """
    if not space.dense:
        return len(full(space).nodes) if space.frozen is None else 0
    declared, states = space.full_cell, len(space.states)
    nodes = 0
    for k in range(declared.nodes):
        earlier = states + k
        sums = len(declared.sums)
        products = len(declared.gates) * (2 if declared.complements else 1) * earlier
        direct = len(declared.direct) * earlier
        nodes += (
            2
            + len(set(declared.sums) | set(declared.gates))
            + sums
            + 2 * products
            + 2 * direct
            + 2 * len(declared.gates)
        )
    return nodes + states * (declared.nodes + states + 1)


def _influence(space: Declaration, genome: Genome) -> Iterator[Violation]:
    rules, output = space.constraints, [genome.output]
    if rules.output_sees_input and 0 not in _read(genome, output, within=True):
        yield Violation(
            "x_t does not reach it within the step",
            f"{genome.output_name}_t",
            "an output that sees x_t",
        )
    if rules.states_reach_output or rules.no_idle_nodes:
        useful = _read(genome, output)
        for k, state in enumerate(genome.state_names, start=len(genome.inputs)):
            if rules.states_reach_output and k not in useful:
                yield Violation(
                    "this state never influences the output",
                    f"{state}_<t-1>",
                    "states that reach the output",
                )
        idle = set(range(genome.first_node, genome.n_values)) - useful
        for value in sorted(idle) if rules.no_idle_nodes else ():
            yield Violation(
                "this node never influences the output",
                genome.labels[value],
                "nodes with influence",
            )
    if rules.states_see_input:
        seen = _driven(genome)
        for k, state in enumerate(genome.state_names, start=len(genome.inputs)):
            if k not in seen:
                yield Violation(
                    "x never influences this state", f"{state}_t", "states that x reaches"
                )


def _read(genome: Genome, roots: list[int], *, within: bool = False) -> set[int]:
    """The values from which ``roots`` are computed: ``within`` the step, or through states in
    earlier ones too. The roots among them.
    """
    first, nodes, ends = genome.first_node, genome.nodes, genome.next_states
    first_state = len(genome.inputs)
    found: set[int] = set()
    stack = list(roots)
    while stack:
        value = stack.pop()
        if value not in found:
            found.add(value)
            if value >= first:
                stack += nodes[value - first].inputs
            elif value >= first_state and not within:
                stack.append(ends[value - first_state])
    return found


def _driven(genome: Genome) -> set[int]:
    """The values that x influences, in this step or through states in a later one."""
    uses, ends = genome.uses, genome.next_states
    found: set[int] = set()
    stack = [0]
    while stack:
        value = stack.pop()
        if value not in found:
            found.add(value)
            stack += uses[value]
            if value in ends:
                first = len(genome.inputs)
                stack += [k for k, end in enumerate(ends, start=first) if end == value]
    return found


def _width(space: Declaration, genome: Genome) -> Iterator[Violation]:
    place = requires_square(genome) if space.constraints.hidden_width else ""
    if place:
        yield Violation("x_t (width I) is used without a linear", place, "linear(x[t], ...)")


def _recurrence(space: Declaration, genome: Genome) -> Iterator[Violation]:
    if not space.dense:
        found = recurrence_class(genome, delays=space.limits.max_delay > 0)
        if found not in CLASSES[: CLASSES.index(space.constraints.recurrence) + 1]:
            yield Violation(f"the recurrence is {found}", "cell", space.constraints.recurrence)
    # A cell is never deeper in products than in nodes, so most spaces need not count.
    if space.limits.max_gemm_depth < min(space.limits.max_depth, len(genome.nodes)):
        depth = gemm_depth(genome, delays=space.limits.max_delay > 0)
        if depth > space.limits.max_gemm_depth and not space.is_gated(genome):
            yield Violation(
                f"{depth} dense products after one another in a step",
                "cell",
                f"at most {space.limits.max_gemm_depth}",
            )


def _parts(space: Declaration, genome: Genome) -> Iterator[Violation]:
    if space.constraints.require_ops and not space.is_gated(genome):
        present = {node.op for node in genome.nodes}
        for op in space.constraints.require_ops:
            if op not in present:
                yield Violation(
                    f"no {op}", "cell", "cells with " + ", ".join(space.constraints.require_ops)
                )
    if space.frozen_keys:
        keys = subgraph_keys(genome)
        ends = {keys[value] for value in genome.next_states}
        for name, key, is_state in space.frozen_keys:
            if key not in (ends if is_state else keys):
                yield Violation(
                    "this frozen part is missing or changed", name, "cells that hold it as it is"
                )
