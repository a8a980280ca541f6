"""Names and shapes of a cell's weights. They are part of the format: checkpoints, export and
importers rely on them.

Node ``n = linear(x[t], h[t-1])`` owns ``n.weight_x [H, I]``, ``n.weight_h [H, H]`` and ``n.bias
[H]``. An anonymous node with weights takes the name of the statement it stands in; from the second
of the same op on it is numbered in order of appearance: ``i``, ``i_2``. An operand that is a node
``m`` gives ``n.weight_m``, a new state ``c[t]`` gives ``n.weight_c_t``, an anonymous one its
position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cellsearch import ops
from cellsearch.errors import CellsearchError, ConfigError, GenomeError
from cellsearch.genome.builder import statement_of
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Node
from cellsearch.genome.sizes import Sizes, Width, base_of, divided, divisors_near

__all__ = [
    "ParameterSpec",
    "Sizes",
    "Width",
    "bound_sizes",
    "check_plain",
    "check_sizes",
    "fits_any_size",
    "output_size",
    "output_width",
    "own_sizes",
    "parameter_count",
    "parameter_specs",
    "requires_square",
    "size_names",
    "size_step",
    "state_widths",
    "widths",
]

_LARGEST_STEP = 1 << 12
"""No hidden size beyond this is tried for a cell with sizes and blocks."""


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One weight."""

    name: str
    """Such as ``i.weight_x``."""
    shape: tuple[Width, ...]
    """In letters: ``("H", "I")``, ``("H",)``, ``()``, in four blocks ``("4", "H/4", "I/4")``."""
    node: int
    """Number of the value of the node that owns it."""
    operand: int
    """Position of the operand that it multiplies, -1 for a bias."""

    def sizes(
        self,
        input_size: int,
        hidden_size: int,
        sizes: Mapping[str, int | str] | None = None,
    ) -> tuple[int, ...]:
        """The shape in numbers; ``sizes`` binds the names of sizes that the cell has."""
        return Sizes(input_size, hidden_size, sizes).of(self.shape)


def widths(genome: Genome) -> tuple[Width, ...]:
    """See :attr:`Genome.widths`."""
    return genome.widths


def state_widths(genome: Genome) -> tuple[Width, ...]:
    """The size of each state."""
    return genome.widths[len(genome.inputs) : genome.first_node]


def output_width(genome: Genome) -> Width:
    """The size of what is put out: a number is as wide as the first state, x is as wide as H."""
    width = genome.widths[genome.output]
    if width == "1":
        width = state_widths(genome)[0]
    return "H" if width == "I" else width


def size_names(genome: Genome) -> tuple[str, ...]:
    """The names of sizes that whoever makes a layer of the cell binds, in order of appearance."""
    found = dict.fromkeys(base_of(node.size) for node in genome.nodes if node.attrs)
    return tuple(name for name in found if name != "H")


def bound_sizes(
    genome: Genome,
    input_size: int,
    hidden_size: int,
    sizes: Mapping[str, int | str] | None = None,
) -> Sizes:
    """The numbers of one layer of the cell, with those of the named sizes that it has; whoever
    trains many cells names sizes that some of them do not have.
    """
    return Sizes(input_size, hidden_size, own_sizes(genome, sizes))


def own_sizes(genome: Genome, sizes: Mapping[str, int | str] | None) -> dict[str, int | str]:
    """Of sizes by name those that the cell has a name for."""
    names = size_names(genome) if sizes else ()
    return {name: size for name, size in (sizes or {}).items() if name in names}


def size_step(genome: Genome, sizes: Mapping[str, int | str] | None = None) -> int:
    """The smallest H that the cell can have; the others are its multiples, for every size and
    every part of one is a fraction of H. Raises what :func:`check_sizes` does where none can be.
    """
    if fits_any_size(genome) and all(node.op != "rotate" for node in genome.nodes):
        return 1
    for hidden in range(1, _LARGEST_STEP):
        try:
            check_sizes(genome, bound_sizes(genome, hidden, hidden, sizes))
        except CellsearchError:
            continue
        return hidden
    check_sizes(genome, bound_sizes(genome, _LARGEST_STEP, _LARGEST_STEP, sizes))
    return _LARGEST_STEP


def output_size(
    genome: Genome,
    input_size: int,
    hidden_size: int,
    sizes: Mapping[str, int | str] | None = None,
) -> int:
    """How wide the output of one direction is. Raises :class:`ConfigError` for a name that is not
    bound, and for a fraction that is not whole.
    """
    width = output_width(genome)
    return (
        bound_sizes(genome, input_size, hidden_size, sizes)[width] if width != "H" else hidden_size
    )


def requires_square(genome: Genome) -> str:
    """Why the cell needs I = H: the label of the first place where x meets a state elementwise;
    ``""`` if it does not.
    """
    width = widths(genome)
    if width.count("I") > 1 or any(
        genome.nodes[value - genome.first_node].op != "linear" for value in genome.uses[0]
    ):  # else only linears read what is as wide as x
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


def parameter_count(
    genome: Genome,
    input_size: int,
    hidden_size: int,
    sizes: Mapping[str, int | str] | None = None,
) -> int:
    """Number of trainable weights of one layer of live nodes; dead nodes are not built. ``sizes``
    binds the names of sizes that the cell has.
    """
    bound = bound_sizes(genome, input_size, hidden_size, sizes)
    total = 0
    for spec in genome.parameters:
        if spec.node in genome.live:
            size = 1
            for n in bound.of(spec.shape):
                size *= n
            total += size
    return total


def _shape(node: Node, operand: int, width: tuple[Width, ...]) -> tuple[Width, ...]:
    if node.op == "scale":
        return ()
    if operand < 0:
        return (node.size,)
    source = width[node.inputs[operand]]
    if node.op == "diag":
        return ("H",) if source == "1" else (source,)
    if node.blocks > 1:
        return (str(node.blocks), divided(node.size, node.blocks), divided(source, node.blocks))
    return (node.size, source)


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


def fits_any_size(genome: Genome) -> bool:
    """Whether every H will do, because no value is a fraction of it or cut into parts."""
    return genome.is_plain or (
        not genome.sized and all(node.is_plain or node.parts == 1 for node in genome.nodes)
    )


def check_plain(genome: Genome, what: str) -> None:
    """Raise :class:`ConfigError` if the cell has sizes of its own, blocks or heads, which ``what``
    does not know yet.
    """
    for value, node in genome.numbered():
        if node.attrs and value in genome.live and (node.size != "H" or node.parts > 1):
            said = "heads" if node.op == "head_norm" else "blocks=" if node.parts > 1 else "size="
            raise ConfigError(
                f"{what} cannot take a cell with {said} yet",
                where=f"node {node.name or genome.labels[value]}",
                hint="compile_cell and Stepper can",
            )


def check_sizes(genome: Genome, sizes: Sizes) -> None:
    """Raise :class:`GenomeError` if the cell cannot have these sizes: it needs I = H and they
    differ, or blocks or heads do not divide one; :class:`ConfigError` for a name that is not bound.
    """
    place = requires_square(genome)
    if place and sizes["I"] != sizes["H"]:
        raise GenomeError(
            f"x[t] (width {sizes['I']}) meets a value of width {sizes['H']} without a "
            f"linear between",
            where=f"node {place}",
            hint="use input_size = hidden_size, or read linear(x[t]) instead of x[t]"
            + (", or compile with project_input=True" if "mask" not in genome.inputs else ""),
        )
    width = widths(genome)
    for value, node in genome.numbered():
        if not ((node.attrs or node.op == "rotate") and value in genome.live):
            continue
        where = f"node {node.name or genome.labels[value]}"
        try:
            sizes[width[value]]
        except ConfigError as error:
            raise ConfigError(error.message, where=where, hint=error.hint) from None
        if node.op == "rotate" and sizes[width[value]] % 2:
            number = sizes[width[value]]
            raise GenomeError(
                f"rotate turns pairs of units, and {width[value]} = {number} is odd",
                where=where,
                hint=f"make it {number - 1} or {number + 1}" if number > 1 else "make it 2",
            )
        parts, what = node.parts, "heads" if node.op == "head_norm" else "blocks"
        for symbol in (*(width[v] for v in node.inputs), width[value]) if parts > 1 else ():
            number = sizes[symbol]
            if number % parts:
                near = " or ".join(map(str, divisors_near(number, parts)))
                low = number - number % parts
                fitting = " or ".join(str(k) for k in (low, low + parts) if k)
                given = f"{number}" if symbol == str(number) else f"{symbol} = {number}"
                raise GenomeError(
                    f"{parts} {what} do not divide {given}",
                    where=where,
                    hint=f"nearest that do: {near} {what}; or make it {fitting}",
                )
