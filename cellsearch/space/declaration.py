"""What a search space declares: its fields, the rules they are made of, and the values that edits
return. The ground floor: everything else in this folder takes a :class:`Declaration`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated

from cellsearch import ops
from cellsearch.errors import SpaceError, amount
from cellsearch.genome.device import DeviceLimits
from cellsearch.genome.footprint import Footprint, Surroundings, footprint
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import subgraph_keys
from cellsearch.genome.measures import RecurrenceClass
from cellsearch.genome.parameters import output_size, parameter_count, requires_square
from cellsearch.genome.rewriting.simplify import tidied
from cellsearch.options import Key, at_least, between
from cellsearch.space.lots import Lots

__all__ = [
    "COMPLEMENT",
    "Constraints",
    "Declaration",
    "Edit",
    "Frozen",
    "FullCell",
    "LayerSizes",
    "SizeLimits",
    "Violation",
    "layer_footprint",
    "layer_weights",
]

Size = Annotated[int, at_least(1)]
COMPLEMENT = "complement"
"""``1 - a``: a function of one value made of ``sub`` and the number 1."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a genome is not in a space."""

    what: str
    """What is wrong."""
    node: str
    """Where: a label of the graph, or the part of the cell."""
    allowed: str
    """What the space allows instead."""

    def __str__(self) -> str:
        return f"{self.node}: {self.what} (allowed: {self.allowed})"


@dataclass(frozen=True, slots=True)
class Edit:
    """A genome that came from others, and how."""

    genome: Genome
    operator: str
    """What made it and, where it matters, at which place: ``"insert"``, ``"gate@linear"``."""


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Sizes of a cell, of one layer; in TOML ``[limits]``. Nodes are live nodes."""

    min_nodes: Size = 2
    """Binds samples only."""
    max_nodes: Annotated[int, at_least(2)] = 24
    """The smallest cell has two: one op over one linear."""
    max_depth: Size = 12
    """Nodes above one another within a step."""
    max_operands: Size = 4
    """Of one linear, sum or product."""
    max_parameters: Size = 100_000
    """Trainable weights at ``input_size`` and ``hidden_size``."""
    max_gemm_depth: Size = 1000
    """Dense products that follow one another in a step, see
    :func:`cellsearch.genome.measures.gemm_depth`."""
    max_delay: Annotated[int, between(0, 16)] = 0
    """How many steps back x and states may be read (``h[t-3]``). States that only hold an earlier
    value do not count as states then, and those that only hold earlier inputs count as inputs in
    the class of a cell. 0: one step, and every state counts."""
    max_blocks: Annotated[int, between(1, 64)] = 1
    """Blocks of a product of values of width H, and heads of a ``head_norm``. 1: all are dense."""
    max_bottleneck: Annotated[int, between(1, 64)] = 1
    """How many times narrower than H a value may be that a product goes through: 4 allows matrices
    of rank H/4. 1: none is."""
    input_size: Size = 64
    """I, for counting parameters."""
    hidden_size: Size = 64
    """H, for counting parameters."""


@dataclass(frozen=True, slots=True)
class LayerSizes:
    """The sizes of a recurrent layer that is trained."""

    input_size: int
    """I, the width of what the first layer reads."""
    hidden_size: int
    """H, of one direction."""
    layers: int = 1
    directions: int = 1
    named: tuple[tuple[str, int | str], ...] = ()
    """What the experiment says of sizes that cells have names for: ``("P", "H/2")``."""
    around: Surroundings = field(default_factory=Surroundings, compare=False)
    """What the model has around the layer, as far as it is known."""

    def __str__(self) -> str:
        text = f"I = {self.input_size}, H = {self.hidden_size}"
        text += f", {self.layers} layers" if self.layers > 1 else ""
        return text + (", both directions" if self.directions > 1 else "")


@dataclass(frozen=True, slots=True)
class Constraints:
    """What every cell of the space fulfils."""

    output_sees_input: bool = True
    """x_t reaches the output within the step."""
    states_reach_output: bool = True
    """Each state influences an output, now or later."""
    states_see_input: bool = True
    """x influences each state, now or later."""
    no_idle_nodes: bool = True
    """Every node influences an output."""
    hidden_width: bool = True
    """x enters through a ``linear`` only, so that I and H are free."""
    forbid_ops: tuple[str, ...] = ()
    """Taken out of the ops of the space and of its full cell."""
    require_ops: tuple[str, ...] = ()
    """Each stands in every cell."""
    recurrence: Annotated[RecurrenceClass, Key("class")] = "dense"
    """The costliest class of a cell, see :mod:`cellsearch.genome.measures`: ``"affine-diagonal"``,
    ``"elementwise"`` (which includes the former) or ``"dense"`` (all); in TOML ``class``."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Parts of a cell that every cell of the space holds.

    Parts are recognised by what they compute, not by their names; a state that a part reads is the
    one that is put out, or another.
    """

    cell: Genome
    nodes: tuple[str, ...]
    """Names of nodes of ``cell``, each with all that it is computed from. The name of a state means
    its next value, which then is the next value of a state everywhere."""


@dataclass(frozen=True, slots=True)
class FullCell:
    """What the cell holds from which pruning starts; see :mod:`cellsearch.space.full_cell`."""

    nodes: Annotated[int, between(1, 32)] = 6
    """N, the number of ordered nodes."""
    sums: tuple[str, ...] = ("sigmoid", "tanh", "identity")
    """Unary ops on the linear of a node."""
    gates: tuple[str, ...] = ("sigmoid",)
    """Those of ``sums`` that multiply each earlier value."""
    complements: bool = True
    """Multiply also by 1 - gate."""
    direct: tuple[str, ...] = ("identity", "tanh")
    """Unary ops on each earlier value itself."""
    max_connections: int = 600
    """A full cell with more is refused, because it has to be trained."""
    max_parameters: int = 1_000_000
    """A full cell with more, counted as those of :class:`SizeLimits`, is refused."""


@dataclass(frozen=True)
class Declaration(ABC):
    """The fields of a search space, what follows from them directly, and the question whether it
    holds a genome.
    """

    name: str
    states: tuple[str, ...]
    """Names of the states that a cell may have (the output's first); a cell may have fewer, and
    call them otherwise."""
    ops: Mapping[str, float]
    """The ops of a cell, each with the weight with which it is chosen."""
    limits: SizeLimits = field(default_factory=SizeLimits)
    constraints: Constraints = field(default_factory=Constraints)
    full_cell: FullCell = field(default_factory=FullCell)
    constants: tuple[float, ...] = (1.0,)
    """Numbers that a cell may hold."""
    initial: tuple[float, ...] = (0.0,)
    """Values that a state may start with."""
    seeds: Mapping[str, Genome] = field(default_factory=dict)
    """Named genomes that a search starts from."""
    frozen: Frozen | None = None
    """What no edit may change."""
    description: str = ""
    source: str = "<space>"
    """Where the space was read, for errors."""
    sizes: tuple[LayerSizes, ...] = ()
    """The sizes that an experiment trains, where they are known: weights are counted at the largest
    of them instead of those of :class:`SizeLimits`."""
    device: DeviceLimits = field(default_factory=DeviceLimits)
    """What a cell must fit at :attr:`sizes`."""
    inputs: tuple[str, ...] = ("x",)
    """What a cell may read of a step: ``x``, and maybe ``dt`` and ``mask``."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Seed genomes that constraints of an experiment have left out, with the reason."""

    def __repr__(self) -> str:
        seeds = ", ".join(self.seeds) or "none"
        return (
            f"<search space {self.name}: states {', '.join(self.states)}, "
            f"{amount(len(self.ops), 'op')}, seed genomes {seeds}>"
        )

    @abstractmethod
    def contains(self, genome: Genome) -> Violation | None:
        """``None`` for a legal genome, else the first thing that is wrong with it.

        A cell with connection gates (``scale`` nodes, where ``scale`` is not an op of the space) is
        a part of the full cell: it has the full cell's ops and size instead of the space's.
        """

    def require(self, genome: Genome, what: str) -> Genome:
        """The genome itself when it is legal. Raises :class:`SpaceError` that says what is wrong
        with ``what`` otherwise.
        """
        violation = self.contains(genome)
        if violation is not None:
            raise SpaceError(
                f"{what} is not in the space {self.name}: {violation}", where=self.source
            )
        return genome

    def tidy(self, genome: Genome) -> Genome:
        """The simplified genome when the space holds that too, else the genome itself; a cell with
        connection gates stays as it is.

        Everything that the space makes is tidied, so that cells which differ by algebra alone are
        proposed once.
        """
        if self.is_gated(genome):
            return genome
        simple = tidied(genome)
        return simple if simple is genome or self.contains(simple) is None else genome

    def is_gated(self, genome: Genome) -> bool:
        """Whether the cell still has connection gates, so that it is trained to be pruned, not to
        be kept.
        """
        return "scale" in genome.op_names and "scale" not in self.ops

    @cached_property
    def numbers(self) -> frozenset[float]:
        """:attr:`constants`, to look for one."""
        return frozenset(self.constants)

    @cached_property
    def ops_of_one(self) -> tuple[str, ...]:
        """Ops of one value: functions, vector weights, normalisation, and the complement where the
        space has what it needs.

        An op with weight 0 is legal in a given cell, but never chosen.
        """
        names = [op for op in self.ops if ops.OPS[op].max_arity == 1 and self.ops[op] > 0]
        if {"sub", "const"} <= self.ops.keys() and 1.0 in self.constants and self.ops["sub"] > 0:
            names.append(COMPLEMENT)
        return tuple(names)

    @cached_property
    def ops_of_two(self) -> tuple[str, ...]:
        """Elementwise ops that take two values."""
        return tuple(
            op
            for op in self.ops
            if ops.OPS[op].kind == "pointwise" and ops.OPS[op].accepts(2) and self.ops[op] > 0
        )

    @cached_property
    def gate_ops(self) -> tuple[str, ...]:
        """Functions with values in [0, 1]; any squashing function, or any function, where the space
        has none.
        """
        unary = [op for op in self.ops if ops.OPS[op].unary and self.ops[op] > 0]
        found = [op for op in unary if ops.OPS[op].gate]
        return tuple(found or [op for op in unary if ops.OPS[op].squashing] or unary)

    def weight(self, op: str) -> float:
        """How likely the space chooses an op."""
        return self.ops["sub" if op == COMPLEMENT else op]

    @cached_property
    def lots(self) -> Lots:
        """What is drawn by weights again and again."""
        return Lots()

    @cached_property
    def growths(self) -> Lots:
        """The steps of growth that cells have, some 200 each, which a strategy asks for before it
        draws one of them, and again when the cell is a parent again.
        """
        return Lots(32)

    @cached_property
    def counted_at(self) -> tuple[LayerSizes, ...]:
        """The sizes at which weights are counted: :attr:`sizes`, or those of
        :class:`SizeLimits`.
        """
        return self.sizes or (LayerSizes(self.limits.input_size, self.limits.hidden_size),)

    def sizes_of(self, genome: Genome) -> tuple[LayerSizes, ...]:
        """:attr:`counted_at` for this cell: one that needs I = H is given an input of width H."""
        if self.sizes and not self.constraints.hidden_width and requires_square(genome):
            return tuple(replace(sizes, input_size=sizes.hidden_size) for sizes in self.sizes)
        return self.counted_at

    def parameters(self, genome: Genome) -> int:
        """Trainable weights of the recurrent layer, the largest number of :meth:`sizes_of`."""
        return max(layer_weights(genome, sizes) for sizes in self.sizes_of(genome))

    @property
    def dense(self) -> bool:
        """Whether a step may mix units: a ``linear`` may read previous states."""
        return self.constraints.recurrence == "dense"

    @cached_property
    def frozen_keys(self) -> tuple[tuple[str, str, bool], ...]:
        """Name and content of each frozen part, and whether it is the next value of a state."""
        return _frozen_keys(self.frozen) if self.frozen is not None else ()


def layer_weights(
    genome: Genome,
    sizes: LayerSizes,
    count: Callable[[Genome, int, int, Mapping[str, int | str]], int] = parameter_count,
) -> int:
    """Trainable weights of all layers and directions. ``count``: gives those of one."""
    width, hidden, named = sizes.input_size, sizes.hidden_size, dict(sizes.named)
    total = count(genome, width, hidden, named)
    if sizes.layers > 1:
        further = output_size(genome, width, hidden, named) * sizes.directions
        total += (sizes.layers - 1) * count(genome, further, hidden, named)
    return sizes.directions * total


def layer_footprint(genome: Genome, sizes: LayerSizes, *, int8: bool = False) -> Footprint:
    """What the layers, and what the model has around them, cost on a small device."""
    return footprint(
        genome,
        sizes.input_size,
        sizes.hidden_size,
        num_layers=sizes.layers,
        bidirectional=sizes.directions > 1,
        precision="int8" if int8 else "float32",
        around=sizes.around,
        sizes=dict(sizes.named),
    )


def _frozen_keys(frozen: Frozen) -> tuple[tuple[str, str, bool], ...]:
    cell = frozen.cell
    keys = subgraph_keys(cell)
    values = {node.name: (value, False) for value, node in cell.numbered() if node.name}
    values |= {
        state: (value, True)
        for state, value in zip(cell.state_names, cell.next_states, strict=True)
    }
    if cell.output_name not in cell.state_names:
        values[cell.output_name] = (cell.output, False)
    for name in frozen.nodes:
        if name not in values:
            raise SpaceError(
                f"the cell has no node {name!r}", hint="its nodes: " + ", ".join(values)
            )
    return tuple((name, keys[values[name][0]], values[name][1]) for name in frozen.nodes)
