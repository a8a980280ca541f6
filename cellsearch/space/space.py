"""A search space as a value: which genomes are legal, and how they are sampled and edited."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from cellsearch.errors import SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import parameter_count

__all__ = ["Constraints", "Edit", "Frozen", "FullCell", "Limits", "SearchSpace", "Violation"]


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a genome is not in a space: ``what`` is wrong, at which ``node``, and what is
    ``allowed``.
    """

    what: str
    node: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.node}: {self.what} (allowed: {self.allowed})"


@dataclass(frozen=True, slots=True)
class Edit:
    """A genome that came from others, and how: the operator and, where it matters, what it did."""

    genome: Genome
    operator: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes of a cell. ``nodes`` and ``depth`` count live nodes; ``operands``: of one linear, sum
    or product.

    ``parameters``: trainable weights of one layer with ``input_size`` I and ``hidden_size`` H.
    ``min_nodes`` binds samples only. ``max_gemm_depth``: dense products that follow one another in
    a step, see :func:`cellsearch.genome.measures.gemm_depth`.
    """

    min_nodes: int = 2
    max_nodes: int = 24
    max_depth: int = 12
    max_operands: int = 4
    max_parameters: int = 100_000
    max_gemm_depth: int = 1000
    input_size: int = 64
    hidden_size: int = 64


@dataclass(frozen=True, slots=True)
class Constraints:
    """What every cell of the space fulfils.

    ``output_sees_input``: x_t reaches the output within the step. ``states_reach_output``: each
    state influences an output, now or later. ``states_see_input``: x influences each state, now or
    later. ``no_idle_nodes``: every node influences an output. ``hidden_width``: x enters through a
    ``linear`` only, so that I and H are free. ``forbid_ops``: taken out of the ops of the space and
    of its full cell. ``require_ops``: each stands in every cell. ``recurrence`` (in TOML
    ``class``): the costliest class of a cell, see :mod:`cellsearch.genome.measures`:
    ``"affine-diagonal"``, ``"elementwise"`` (which includes the former) or ``"dense"`` (all).
    """

    output_sees_input: bool = True
    states_reach_output: bool = True
    states_see_input: bool = True
    no_idle_nodes: bool = True
    hidden_width: bool = True
    forbid_ops: tuple[str, ...] = ()
    require_ops: tuple[str, ...] = ()
    recurrence: str = "dense"


@dataclass(frozen=True, slots=True)
class Frozen:
    """Parts of a cell that every cell of the space holds: the named ``nodes`` of ``cell``, each
    with all that it is computed from.

    The name of a state means its next value, which then is the next value of a state everywhere.
    Parts are recognised by what they compute, not by their names; a state that a part reads is the
    one that is put out, or another.
    """

    cell: Genome
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FullCell:
    """What the cell holds from which pruning starts; see :mod:`cellsearch.space.full_cell`.

    ``nodes``: N. ``sums``: unary ops on the linear of a node. ``gates``: those of them that
    multiply each earlier value. ``complements``: multiply also by 1 - gate. ``direct``: unary ops
    on each earlier value itself. ``max_connections`` and ``max_parameters`` (at the sizes of
    :class:`Limits`): a full cell beyond them is refused, because it has to be trained.
    """

    nodes: int = 6
    sums: tuple[str, ...] = ("sigmoid", "tanh", "identity")
    gates: tuple[str, ...] = ("sigmoid",)
    complements: bool = True
    direct: tuple[str, ...] = ("identity", "tanh")
    max_connections: int = 600
    max_parameters: int = 1_000_000


@dataclass(frozen=True)
class SearchSpace:
    """Which genomes are legal, and how they are sampled and edited. All genomes that it returns are
    legal.

    ``states``: names of the states that a cell may have (the output's first); a cell may have
    fewer, and call them otherwise. ``ops``: the ops of a cell, each with the weight with which it
    is chosen. ``seeds``: named genomes that a search starts from. ``frozen``: what no edit may
    change.
    """

    name: str
    states: tuple[str, ...]
    ops: Mapping[str, float]
    limits: Limits = field(default_factory=Limits)
    constraints: Constraints = field(default_factory=Constraints)
    full_cell: FullCell = field(default_factory=FullCell)
    constants: tuple[float, ...] = (1.0,)
    initial: tuple[float, ...] = (0.0,)
    seeds: Mapping[str, Genome] = field(default_factory=dict)
    frozen: Frozen | None = None
    description: str = ""
    source: str = "<space>"

    def __post_init__(self) -> None:
        from cellsearch.space.legality import check_space, without_forbidden

        ops, full_cell = without_forbidden(self)
        object.__setattr__(self, "ops", ops)
        object.__setattr__(self, "full_cell", full_cell)
        check_space(self)

    # -- forms -------------------------------------------------------------------------------------

    @classmethod
    def from_toml(cls, text: str, *, source: str = "<space>") -> SearchSpace:
        """Read a space; ``source`` is what errors call it. Raises :class:`SpaceError` that names
        the key.
        """
        from cellsearch.space.toml import read

        return read(text, source)

    def to_toml(self) -> str:
        """The space as TOML that :meth:`from_toml` reads back; seed genomes are written out in
        full.
        """
        from cellsearch.space.toml import write

        return write(self)

    def constrained(self, table: Mapping[str, Any], *, source: str = "[constrain]") -> SearchSpace:
        """The space with more constraints, by their names in TOML: ``forbid_ops``, ``class``,
        ``max_parameters``, ``frozen``, ...

        Any key of ``[constraints]`` and ``[limits]``, and ``frozen``. Seed genomes that are not
        legal any more are dropped. Raises :class:`SpaceError` for an unknown key, or when nothing
        sensible is left.
        """
        from cellsearch.space.toml import constrained

        return constrained(self, table, source)

    # -- legality ----------------------------------------------------------------------------------

    def contains(self, genome: Genome) -> Violation | None:
        """``None`` for a legal genome, else the first thing that is wrong with it.

        A cell with connection gates (``scale`` nodes, where ``scale`` is not an op of the space) is
        a part of the full cell: it has the full cell's ops and size instead of the space's.
        """
        from cellsearch.space.legality import violation

        return violation(self, genome)

    def is_gated(self, genome: Genome) -> bool:
        """Whether the cell still has connection gates, so that it is trained to be pruned, not to
        be kept.
        """
        return "scale" not in self.ops and any(node.op == "scale" for node in genome.nodes)

    def tidy(self, genome: Genome) -> Genome:
        """The simplified genome when the space holds that too, else the genome itself; a cell with
        connection gates stays as it is.

        Everything that the space makes is tidied, so that cells which differ by algebra alone are
        proposed once.
        """
        if self.is_gated(genome):
            return genome
        simple = genome.simplify()
        return simple if self.contains(simple) is None else genome

    # -- building ----------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Genome:
        """A random cell: a number of nodes drawn uniformly, grown from the output downwards with
        ops by their weights.
        """
        from cellsearch.space.sampling import sample

        return sample(self, rng)

    def start(self) -> Genome:
        """The cell that growth starts from: the output is one linear over x_t and the first
        state.
        """
        from cellsearch.space.growth import start

        return start(self)

    def full(self) -> Genome:
        """All connections at once, each with a trainable gate; see :class:`FullCell`.

        Raises :class:`SpaceError` where the space allows no gates (``scale`` is one of its ops), or
        the cell exceeds the limits.
        """
        from cellsearch.space.full_cell import check_full

        return check_full(self, self._full)

    @cached_property
    def _full(self) -> Genome:
        from cellsearch.space.full_cell import full_cell
        from cellsearch.space.full_scan import full_scan

        if self.frozen is not None:
            raise SpaceError(
                "a space with frozen parts has no full cell",
                where=self.source,
                hint="prune a given cell instead",
            )
        return full_cell(self) if self.dense else full_scan(self)

    @property
    def dense(self) -> bool:
        """Whether a step may mix units: a ``linear`` may read previous states."""
        return self.constraints.recurrence == "dense"

    @cached_property
    def frozen_keys(self) -> tuple[tuple[str, str, bool], ...]:
        """Name and content of each frozen part, and whether it is the next value of a state."""
        from cellsearch.space.legality import frozen_keys

        return frozen_keys(self.frozen) if self.frozen is not None else ()

    # -- edits -------------------------------------------------------------------------------------

    def operators(self) -> tuple[str, ...]:
        """The names of the mutation operators that can do something in this space."""
        from cellsearch.space.mutation import operators

        return operators(self)

    def mutate(
        self, genome: Genome, rng: np.random.Generator, operators: Mapping[str, float] | None = None
    ) -> Genome:
        """A legal cell one mutation away, with another key. Raises :class:`SpaceError` if there is
        none.
        """
        return self.mutation(genome, rng, operators).genome

    def mutation(
        self,
        genome: Genome,
        rng: np.random.Generator,
        operators: Mapping[str, float] | None = None,
        *,
        tidy: bool = True,
    ) -> Edit:
        """:meth:`mutate`, with the operator that did it; ``operators`` gives the weight of each
        (default: all alike).

        ``tidy=False`` spares the time to simplify the mutant and to compare it with the cell: for
        mutants that are looked at, not trained.
        """
        from cellsearch.space.mutation import mutate

        return mutate(self, genome, rng, operators, tidy=tidy)

    def crossover(self, first: Genome, second: Genome, rng: np.random.Generator) -> Genome:
        """A child of two cells: the first with one sub-graph of the second in a place of the same
        role.

        Raises :class:`SpaceError` if no exchange gives a legal cell that differs from both.
        """
        from cellsearch.space.crossover import crossover

        return crossover(self, first, second, rng)

    def extensions(self, genome: Genome) -> tuple[Genome, ...]:
        """Cells with one leaf occurrence grown into a node over leaves; see
        :mod:`cellsearch.space.growth`.
        """
        return tuple(edit.genome for edit in self.growth(genome))

    def growth(self, genome: Genome) -> Iterator[Edit]:
        """:meth:`extensions` one by one, with the kind of each."""
        from cellsearch.space.growth import extensions

        return extensions(self, genome)

    def extension(
        self,
        genome: Genome,
        rng: np.random.Generator,
        kinds: Mapping[str, float] | None = None,
        avoid: Container[str] = (),
        *,
        tries: int = 0,
    ) -> Edit | None:
        """A random extension, by the weights of the ops and of the ``kinds``, whose key is not in
        ``avoid``; ``None`` if there is none.

        ``tries``: how many are drawn at most (0: until all were); then ``None`` says that none of
        them was legal and new.
        """
        from cellsearch.space.growth import extension

        return extension(self, genome, rng, kinds, avoid, tries)

    def growth_kinds(self, genome: Genome) -> tuple[str, ...]:
        """The kinds of extension that a cell has: the op that comes in, ``gate`` or ``state``, and
        where (``gate@linear``).
        """
        from cellsearch.space.growth import growth_moves

        return tuple(dict.fromkeys(move.operator for move in growth_moves(self, genome)))

    def neighbours(self, genome: Genome) -> tuple[Genome, ...]:
        """Every legal cell one elementary edit away, each key once, the genome's own left out."""
        from cellsearch.space.mutation import neighbours

        return neighbours(self, genome)

    # -- pruning -----------------------------------------------------------------------------------

    def connections(self, genome: Genome) -> tuple[str, ...]:
        """What can be pruned away: names of the weights of connection gates, operands of linear
        nodes and vector weights.
        """
        from cellsearch.space.pruning import connections

        return connections(genome)

    def remove(self, genome: Genome, names: Iterable[str]) -> Genome:
        """The cell without some of its :meth:`connections`; what is left keeps its name, so that
        weights can be inherited.

        Raises :class:`SpaceError` if a connection does not exist or what is left is not legal.
        """
        from cellsearch.space.pruning import remove

        return remove(self, genome, names)

    def discrete(self, genome: Genome) -> Genome:
        """The cell without connection gates (each becomes 1) and simplified. Raises
        :class:`SpaceError` if it is not legal.
        """
        from cellsearch.space.pruning import discrete

        return discrete(self, genome)

    def gated(self, genome: Genome) -> Genome:
        """A given cell with a trainable gate on each connection that has no weights of its own:
        ready to be pruned.

        Factors of products that are gates, terms of sums, and the gates of blends. Raises
        :class:`SpaceError` if there is none.
        """
        from cellsearch.space.pruning import gated

        return gated(self, genome)

    def each_pruning(self, genome: Genome) -> Iterator[Genome]:
        """:meth:`prunings` one by one."""
        from cellsearch.space.pruning import each_pruning

        return each_pruning(self, genome)

    def prunings(self, genome: Genome) -> tuple[Genome, ...]:
        """Cells that are one step smaller: without a connection, without an operand, without a
        gate; each key once.
        """
        from cellsearch.space.pruning import prunings

        return prunings(self, genome)

    # -- facts -------------------------------------------------------------------------------------

    def parameters(self, genome: Genome) -> int:
        """Trainable weights of one layer at the sizes of :class:`Limits`."""
        return parameter_count(genome, self.limits.input_size, self.limits.hidden_size)

    def describe(self) -> dict[str, Any]:
        """Name, states, ops, limits, constraints, seed genomes, and nodes, connections and
        parameters of the full cell.

        The full cell has no nodes where there is none, because parts are frozen.
        """
        full = self._full if self.frozen is None else None
        return {
            "name": self.name,
            "description": self.description,
            "states": list(self.states),
            "ops": list(self.ops),
            "max_nodes": self.limits.max_nodes,
            "max_depth": self.limits.max_depth,
            "max_parameters": self.limits.max_parameters,
            "max_gemm_depth": self.limits.max_gemm_depth,
            "class": self.constraints.recurrence,
            "forbid_ops": list(self.constraints.forbid_ops),
            "require_ops": list(self.constraints.require_ops),
            "frozen": list(self.frozen.nodes) if self.frozen is not None else [],
            "input_size": self.limits.input_size,
            "hidden_size": self.limits.hidden_size,
            "seeds": {name: self.parameters(genome) for name, genome in self.seeds.items()},
            "full_cell": {
                "steps": self.full_cell.nodes if full is not None else 0,
                "nodes": len(full.nodes) if full is not None else 0,
                "connections": len(self.connections(full)) if full is not None else 0,
                "parameters": self.parameters(full) if full is not None else 0,
                "max_connections": self.full_cell.max_connections,
                "max_parameters": self.full_cell.max_parameters,
            },
        }

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
