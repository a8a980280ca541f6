"""A search space as a value: which genomes are legal, and how they are sampled and edited.

The top floor of this folder: the methods of :class:`SearchSpace` are the doors to its functions.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellsearch.errors import checked_arguments
from cellsearch.genome.device import DeviceLimits
from cellsearch.genome.graph import Genome
from cellsearch.options import render_toml
from cellsearch.space.consistency import check_space, without_forbidden
from cellsearch.space.crossover import crossover
from cellsearch.space.declaration import Declaration, Edit, LayerSizes, Violation
from cellsearch.space.full_cell import build_full, connections, full
from cellsearch.space.growth import extension, extensions, growth_moves, start
from cellsearch.space.legality import violation
from cellsearch.space.mutation import mutate, neighbours, operators
from cellsearch.space.parts_cell import parts_cell
from cellsearch.space.pruning import discrete, each_pruning, gated, remove
from cellsearch.space.sampling import sample
from cellsearch.space.toml import constrained, from_table, from_toml, sized, to_table

__all__ = ["SearchSpace"]


@dataclass(frozen=True, repr=False)
class SearchSpace(Declaration):
    """Which genomes are legal, and how they are sampled and edited. All genomes that it returns are
    legal.
    """

    def __post_init__(self) -> None:
        ops, full_cell = without_forbidden(self)
        object.__setattr__(self, "ops", ops)
        object.__setattr__(self, "full_cell", full_cell)
        check_space(self)

    # -- forms -------------------------------------------------------------------------------------

    @classmethod
    @checked_arguments
    def from_toml(cls, text: str, *, source: str = "<space>") -> SearchSpace:
        """Read a space; ``source`` is what errors call it. Raises :class:`SpaceError` that names
        the key.
        """
        return from_toml(cls, text, source)

    @classmethod
    @checked_arguments
    def from_table(cls, table: Mapping[str, Any], *, source: str = "<space>") -> SearchSpace:
        """:meth:`from_toml` for values that are decoded already."""
        return from_table(cls, table, source)

    def to_toml(self) -> str:
        """The space as TOML that :meth:`from_toml` reads back; seed genomes are written out in
        full.
        """
        return render_toml(self.to_table())

    def to_table(self) -> dict[str, Any]:
        """The space as plain values that :meth:`from_table` reads back."""
        return to_table(self)

    @checked_arguments
    def constrained(self, table: Mapping[str, Any], *, source: str = "[constrain]") -> SearchSpace:
        """The space with more constraints, by their names in TOML: ``forbid_ops``, ``class``,
        ``max_parameters``, ``frozen``, ...

        Any key of ``[constraints]`` and ``[limits]``, and ``frozen``. Seed genomes that are not
        legal any more are dropped (:attr:`dropped` says why). Raises :class:`SpaceError` for an
        unknown key, or when nothing sensible is left.
        """
        return constrained(self, table, source)

    @checked_arguments
    def sized(
        self,
        most: int,
        sizes: tuple[LayerSizes, ...],
        device: DeviceLimits = DeviceLimits(),  # noqa: B008  (frozen)
    ) -> SearchSpace:
        """The space of cells with at most ``most`` trainable weights in the recurrent layer at the
        largest of these sizes, which goes before ``max_parameters`` (0: no bound), that fit a
        device at all of them. Seed genomes that do not are dropped.
        """
        return sized(self, most, sizes, device)

    # -- legality ----------------------------------------------------------------------------------

    def contains(self, genome: Genome) -> Violation | None:
        """``None`` for a legal genome, else the first thing that is wrong with it; see
        :meth:`Declaration.contains`.
        """
        if genome.is_known_legal(self):
            return None
        found = violation(self, genome)
        if found is None:
            genome.found_legal(self)
        return found

    # -- building ----------------------------------------------------------------------------------

    @checked_arguments
    def sample(self, rng: np.random.Generator) -> Genome:
        """A random cell: a number of nodes drawn uniformly, grown from the output downwards with
        ops by their weights.
        """
        return sample(self, rng)

    def start(self) -> Genome:
        """The cell that growth starts from: the output is one linear over x_t and the first
        state.
        """
        return start(self)

    def full(self) -> Genome:
        """All connections at once, each with a trainable gate; see :class:`FullCell`.

        Raises :class:`SpaceError` where the space allows no gates (``scale`` is one of its ops), or
        the cell exceeds the limits.
        """
        return full(self)

    def parts_cell(self) -> Genome:
        """The parts that known gated cells are made of, all at once, each with a trainable gate;
        see :mod:`cellsearch.space.parts_cell`.

        Raises :class:`SpaceError` where the space lacks an op that it needs, or has no dense
        recurrence.
        """
        return parts_cell(self)

    # -- edits -------------------------------------------------------------------------------------

    def operators(self) -> tuple[str, ...]:
        """The names of the mutation operators that can do something in this space."""
        return operators(self)

    @checked_arguments
    def mutate(
        self, genome: Genome, rng: np.random.Generator, operators: Mapping[str, float] | None = None
    ) -> Genome:
        """A legal cell one mutation away, with another key. Raises :class:`SpaceError` if there is
        none.
        """
        return self.mutation(genome, rng, operators).genome

    @checked_arguments
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
        return mutate(self, genome, rng, operators, tidy=tidy)

    @checked_arguments
    def crossover(self, first: Genome, second: Genome, rng: np.random.Generator) -> Genome:
        """A child of two cells: the first with one sub-graph of the second in a place of the same
        role.

        Raises :class:`SpaceError` if no exchange gives a legal cell that differs from both.
        """
        return crossover(self, first, second, rng)

    @checked_arguments
    def extensions(self, genome: Genome) -> tuple[Genome, ...]:
        """Cells with one leaf occurrence grown into a node over leaves; see
        :mod:`cellsearch.space.growth`.
        """
        return tuple(edit.genome for edit in self.growth(genome))

    @checked_arguments
    def growth(self, genome: Genome) -> Iterator[Edit]:
        """:meth:`extensions` one by one, with the kind of each."""
        return extensions(self, genome)

    @checked_arguments
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
        return extension(self, genome, rng, kinds, avoid, tries)

    @checked_arguments
    def growth_kinds(self, genome: Genome) -> tuple[str, ...]:
        """The kinds of extension that a cell has: the op that comes in, ``gate`` or ``state``, and
        where (``gate@linear``).
        """
        return tuple(dict.fromkeys(move.operator for move in growth_moves(self, genome)))

    @checked_arguments
    def neighbours(self, genome: Genome) -> tuple[Genome, ...]:
        """Every legal cell one elementary edit away, each key once, the genome's own left out."""
        return neighbours(self, genome)

    # -- pruning -----------------------------------------------------------------------------------

    @checked_arguments
    def connections(self, genome: Genome) -> tuple[str, ...]:
        """What can be pruned away: names of the weights of connection gates, operands of linear
        nodes and vector weights.
        """
        return connections(genome)

    @checked_arguments
    def remove(self, genome: Genome, names: Iterable[str]) -> Genome:
        """The cell without some of its :meth:`connections`; what is left keeps its name, so that
        weights can be inherited.

        Raises :class:`SpaceError` if a connection does not exist or what is left is not legal.
        """
        return remove(self, genome, names)

    @checked_arguments
    def discrete(self, genome: Genome) -> Genome:
        """The cell without connection gates (each becomes 1) and simplified. Raises
        :class:`SpaceError` if it is not legal.
        """
        return discrete(self, genome)

    @checked_arguments
    def gated(self, genome: Genome) -> Genome:
        """A given cell with a trainable gate on each connection that has no weights of its own:
        ready to be pruned.

        Factors of products that are gates, terms of sums, and the gates of blends. Raises
        :class:`SpaceError` if there is none.
        """
        return gated(self, genome)

    @checked_arguments
    def each_pruning(self, genome: Genome) -> Iterator[Genome]:
        """:meth:`prunings` one by one."""
        return each_pruning(self, genome)

    @checked_arguments
    def prunings(self, genome: Genome) -> tuple[Genome, ...]:
        """Cells that are one step smaller: without a connection, without an operand, without a
        gate; each key once.
        """
        return tuple(self.each_pruning(genome))

    # -- facts -------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Name, states, ops, limits, constraints, seed genomes, and nodes, connections and
        parameters of the full cell.

        The full cell has no nodes where there is none, because parts are frozen.
        """
        cell = build_full(self) if self.frozen is None else None
        return {
            "name": self.name,
            "description": self.description,
            "states": list(self.states),
            "inputs": list(self.inputs),
            "ops": list(self.ops),
            "max_nodes": self.limits.max_nodes,
            "max_depth": self.limits.max_depth,
            "max_parameters": self.limits.max_parameters,
            "max_gemm_depth": self.limits.max_gemm_depth,
            "max_delay": self.limits.max_delay,
            "max_blocks": self.limits.max_blocks,
            "max_bottleneck": self.limits.max_bottleneck,
            "class": self.constraints.recurrence,
            "forbid_ops": list(self.constraints.forbid_ops),
            "require_ops": list(self.constraints.require_ops),
            "frozen": list(self.frozen.nodes) if self.frozen is not None else [],
            "input_size": self.limits.input_size,
            "hidden_size": self.limits.hidden_size,
            "seeds": {name: self.parameters(genome) for name, genome in self.seeds.items()},
            "full_cell": {
                "steps": self.full_cell.nodes if cell is not None else 0,
                "nodes": len(cell.nodes) if cell is not None else 0,
                "connections": len(self.connections(cell)) if cell is not None else 0,
                "parameters": self.parameters(cell) if cell is not None else 0,
                "max_connections": self.full_cell.max_connections,
                "max_parameters": self.full_cell.max_parameters,
            },
        }
