"""Names and shapes of a cell's weights. They are part of the format: checkpoints, export and
importers rely on them.

Node ``n = linear(x[t], h[t-1])`` owns ``n.weight_x [H, I]``, ``n.weight_h [H, H]`` and ``n.bias
[H]``. An anonymous node with weights takes the name of the statement it stands in; from the second
of the same op on it is numbered in order of appearance: ``i``, ``i_2``. An operand that is a node
``m`` gives ``n.weight_m``, a new state ``c[t]`` gives ``n.weight_c_t``, an anonymous one its
position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cellsearch import ops
from cellsearch.errors import GenomeError
from cellsearch.genome.builder import statement_of
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import INPUTS, Node

__all__ = [
    "ParameterSpec",
    "Width",
    "parameter_count",
    "parameter_specs",
    "requires_square",
    "widths",
]

Width = Literal["I", "H", "1"]


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One weight."""

    name: str
    """Such as ``i.weight_x``."""
    shape: tuple[Width, ...]
    """In letters: ``("H", "I")``, ``("H",)``, ``()``."""
    node: int
    """Number of the value of the node that owns it."""
    operand: int
    """Position of the operand that it multiplies, -1 for a bias."""

    def sizes(self, input_size: int, hidden_size: int) -> tuple[int, ...]:
        """The shape in numbers."""
        return tuple({"I": input_size, "H": hidden_size, "1": 1}[letter] for letter in self.shape)


def widths(genome: Genome) -> tuple[Width, ...]:
    """The width of each value: ``I`` for x, the mask and what is computed from them elementwise,
    ``1`` for numbers, dt and what is computed from them, else ``H``.

    An elementwise op over both ``I`` and ``H`` gives ``H``; such a cell needs I = H, see
    :func:`requires_square`.
    """
    width: list[Width] = [INPUTS[name] for name in genome.inputs]
    width.extend("H" for _ in genome.states)
    for node in genome.nodes:
        below = [width[v] for v in node.inputs]
        if node.op in ("linear", "bias") or "H" in below:
            width.append("H")
        elif "I" in below:
            width.append("I")
        else:
            width.append("H" if node.op in ("diag", "layer_norm") else "1")
    return tuple(width)


def requires_square(genome: Genome) -> str:
    """Why the cell needs I = H: the label of the first place where x meets a state elementwise;
    ``""`` if it does not.
    """
    width = widths(genome)
    for value, node in genome.numbered():
        if node.op not in ("linear", "bias"):
            below = [width[v] for v in node.inputs]
            if "I" in below and "H" in below:
                return genome.labels[value]
    for name, value in zip(
        (*genome.state_names, genome.output_name), (*genome.next_states, genome.output), strict=True
    ):
        if width[value] == "I":
            return f"{name}_t"
    return ""


def parameter_specs(genome: Genome) -> tuple[ParameterSpec, ...]:
    """See :attr:`Genome.parameters`."""
    width = widths(genome)
    owners = _owners(genome)
    specs: list[ParameterSpec] = []
    for value, node in genome.numbered():
        if value in owners:
            for suffix, operand in _suffixes(genome, node):
                name = f"{owners[value]}.{suffix}"
                specs.append(ParameterSpec(name, _shape(node, operand, width), value, operand))
    return tuple(specs)


def parameter_count(genome: Genome, input_size: int, hidden_size: int) -> int:
    """Number of trainable weights of one layer of live nodes; dead nodes are not built."""
    total = 0
    for spec in genome.parameters:
        if spec.node in genome.live:
            size = 1
            for n in spec.sizes(input_size, hidden_size):
                size *= n
            total += size
    return total


def _shape(node: Node, operand: int, width: tuple[Width, ...]) -> tuple[Width, ...]:
    if node.op == "scale":
        return ()
    if operand < 0:
        return ("H",)
    source = width[node.inputs[operand]]
    if node.op == "diag":
        return ("H",) if source == "1" else (source,)
    return ("H", source)


def _suffixes(genome: Genome, node: Node) -> list[tuple[str, int]]:
    """Names of the weights of a node without the owner, with the position of the operand."""
    if node.op == "scale":
        return [("scale", 0)]
    taken: set[str] = set()
    suffixes: list[tuple[str, int]] = []
    for position, operand in enumerate(node.inputs):
        base = _operand_name(genome, operand) or str(position)
        name, n = f"weight_{base}", 1
        while name in taken:
            n += 1
            name = f"weight_{base}_{n}"
        taken.add(name)
        suffixes.append((name, position))
    if node.op == "bias" or node.bias:
        suffixes.append(("bias", -1))
    return suffixes


def _operand_name(genome: Genome, value: int) -> str:
    if genome.is_input(value):
        return genome.inputs[value]
    if genome.is_state(value):
        return genome.states[value - len(genome.inputs)].name
    node = genome.nodes[value - genome.first_node]
    return node.name or (f"{genome.slots[value]}_t" if value in genome.slots else "")


def _owners(genome: Genome) -> dict[int, str]:
    """Value of each node with weights -> the first part of its parameter names."""
    statements = statement_of(genome)
    reserved = set(statements) | set(genome.state_names) | {genome.output_name}
    owners: dict[int, str] = {}
    taken: set[tuple[str, str]] = set()
    for value in _by_appearance(genome):
        node = genome.nodes[value - genome.first_node]
        if not ops.OPS[node.op].parametric:
            continue
        statement = statements[value - genome.first_node]
        suffixes = [suffix for suffix, _ in _suffixes(genome, node)]
        owner, n = statement, 1
        while {(owner, node.op), *((owner, s) for s in suffixes)} & taken or (
            n > 1 and owner in reserved
        ):
            n += 1
            owner = f"{statement}_{n}"
        taken |= {(owner, node.op), *((owner, s) for s in suffixes)}
        owners[value] = owner
    return owners


def _by_appearance(genome: Genome) -> list[int]:
    """Values of the nodes in the order in which a reader meets them: statement by statement, an op
    before its operands.
    """
    order: list[int] = []
    for root, node in genome.numbered():
        if not (node.name or root in genome.slots):
            continue
        stack = [root]
        while stack:
            value = stack.pop()
            order.append(value)
            for operand in reversed(genome.nodes[value - genome.first_node].inputs):
                below = genome.node(operand)
                if below is not None and not below.name and operand not in genome.slots:
                    stack.append(operand)
    return order


def check_width(genome: Genome, input_size: int, hidden_size: int) -> None:
    """Raise :class:`GenomeError` if the cell needs I = H and the sizes differ."""
    place = requires_square(genome)
    if place and input_size != hidden_size:
        raise GenomeError(
            f"x[t] (width {input_size}) meets a value of width {hidden_size} without a "
            f"linear between",
            where=f"node {place}",
            hint="use input_size = hidden_size, or read linear(x[t]) instead of x[t]",
        )
