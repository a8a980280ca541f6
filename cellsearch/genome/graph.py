"""The genome: a recurrent cell as an immutable graph.

Values are numbered: first the inputs, then the previous states, then the nodes in topological
order. ``Node.inputs``, ``Genome.next_states`` and ``Genome.output`` hold such numbers. A node
without a name is *anonymous*: it is written inside the statement that uses it, so it has exactly
one use, or it is what a statement such as ``h[t] = ...`` defines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cellsearch.errors import amount, checked_arguments
from cellsearch.genome.parts import Node, State
from cellsearch.genome.shapes import infer_widths, is_sized, plain_widths
from cellsearch.genome.sizes import Width
from cellsearch.genome.soundness import check_graph

if TYPE_CHECKING:
    import networkx as nx

    from cellsearch.genome.parameters import ParameterSpec

__all__ = ["Genome", "Node", "State"]


@dataclass(frozen=True)
class Genome:
    """A recurrent cell as a value; see :mod:`cellsearch.genome.text` for its written form.

    Raises :class:`GenomeError` for anything that is not a legal graph. Two genomes are ``==`` when
    they are written alike; they compute the same when their ``key`` is equal.
    """

    inputs: tuple[str, ...]
    """Names of the inputs of a step: ``x``, then ``dt`` and ``mask`` where the cell reads them."""
    states: tuple[State, ...]
    nodes: tuple[Node, ...]
    """In topological order."""
    next_states: tuple[int, ...]
    """For each state the value that it takes."""
    output: int
    """The value that the cell puts out."""
    output_name: str = "h"
    """The name of what is put out: a state's, or one of its own."""

    def __post_init__(self) -> None:
        check_graph(self)

    # -- numbering ---------------------------------------------------------------------------------

    @property
    def first_node(self) -> int:
        """The number of the first node's value."""
        return len(self.inputs) + len(self.states)

    @property
    def n_values(self) -> int:
        """How many values there are: inputs, previous states and nodes."""
        return self.first_node + len(self.nodes)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the states."""
        return tuple(state.name for state in self.states)

    def node(self, value: int) -> Node | None:
        """The node that computes this value; ``None`` for an input or a previous state."""
        return self.nodes[value - self.first_node] if value >= self.first_node else None

    def is_input(self, value: int) -> bool:
        """Whether the value is an input of the step: ``x[t]``, ``dt[t]`` or ``mask[t]``."""
        return value < len(self.inputs)

    def is_state(self, value: int) -> bool:
        """Whether the value is a state of the step before."""
        return len(self.inputs) <= value < self.first_node

    def numbered(self) -> Iterator[tuple[int, Node]]:
        """The nodes with the numbers of their values."""
        return enumerate(self.nodes, start=len(self.inputs) + len(self.states))

    @cached_property
    def slots(self) -> Mapping[int, str]:
        """Anonymous nodes that a statement ``name[t] = ...`` defines: number of the value -> name
        of the state or output.
        """
        slots: dict[int, str] = {}
        for name, value in zip(
            (*self.state_names, self.output_name), (*self.next_states, self.output), strict=True
        ):
            node = self.node(value)
            if node is not None and not node.name:
                slots.setdefault(value, name)
        return slots

    @cached_property
    def uses(self) -> tuple[tuple[int, ...], ...]:
        """For each value the numbers of the nodes that read it, once an operand."""
        uses: list[list[int]] = [[] for _ in range(self.n_values)]
        value = self.first_node
        for node in self.nodes:
            for operand in node.inputs:
                uses[operand].append(value)
            value += 1
        return tuple(map(tuple, uses))

    @cached_property
    def live(self) -> frozenset[int]:
        """The values that reach the output or a next state."""
        live: set[int] = set()
        stack = [*self.next_states, self.output]
        nodes, first = self.nodes, self.first_node
        while stack:
            value = stack.pop()
            if value not in live:
                live.add(value)
                if value >= first:
                    stack.extend(nodes[value - first].inputs)
        return frozenset(live)

    @cached_property
    def op_names(self) -> frozenset[str]:
        """The ops that its nodes have."""
        return frozenset([node.op for node in self.nodes])

    @cached_property
    def is_plain(self) -> bool:
        """Whether no node says a size, blocks or heads, and none rotates, as in nearly all cells:
        then every value is as wide as a number, x or H.
        """
        return "rotate" not in self.op_names and all(node.is_plain for node in self.nodes)

    @cached_property
    def sized(self) -> bool:
        """Whether some node says its size, so that not every vector is as wide as H or x."""
        return not self.is_plain and is_sized(self.nodes)

    @cached_property
    def widths(self) -> tuple[Width, ...]:
        """The size of each value: ``I`` for x and what is computed from it elementwise, ``1`` for
        numbers, else ``H`` or what ``size=`` says.

        An elementwise op over both ``I`` and ``H`` gives ``H``; such a cell needs I = H.
        """
        if self.is_plain:
            return plain_widths(self.inputs, self.states, self.nodes)
        return infer_widths(
            self.inputs, self.state_names, self.nodes, self.next_states, self._label
        )

    # -- names -------------------------------------------------------------------------------------

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A unique name for each value: ``x_t``, ``h_<t-1>``, named nodes, ``h_t``; ``i.1`` for the
        first anonymous node of ``i``.
        """
        from cellsearch.genome.builder import value_labels

        return value_labels(self)

    def _label(self, value: int) -> str:
        return self.labels[value]

    @cached_property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """The trainable weights, in the order of the nodes that own them; names and shapes are part
        of the format.
        """
        from cellsearch.genome.parameters import parameter_specs

        return parameter_specs(self)

    # -- identity ----------------------------------------------------------------------------------

    @cached_property
    def key(self) -> str:
        """Equal exactly for genomes that compute the same family of functions.

        Names, order, operand order of commutative ops, dead nodes and identities do not matter;
        sharing does. It knows no algebra: a search compares cells by
        :func:`cellsearch.genome.identity.search_key`, the key of the simplified genome.
        """
        from cellsearch.genome.identity import canonical_key

        return canonical_key(self)

    def found_simple(self, simple: Genome | None = None) -> None:
        """Remember what :meth:`simplify` gives, where that has no simpler form; ``None``: the
        genome itself has none.
        """
        self.__dict__["_simple"] = simple

    @property
    def is_known_simple(self) -> bool:
        """Whether somebody has found that no rule of :meth:`simplify` applies, and every state is
        needed; ``False``: nobody has looked, or it is not so.
        """
        return self.__dict__.get("_simple", self) is None

    @property
    def known_simple(self) -> Genome | None:
        """What :meth:`simplify` gives, where somebody has found it."""
        if "_simple" not in self.__dict__:
            return None
        found: Genome | None = self.__dict__["_simple"]
        return self if found is None else found

    def found_legal(self, space: object) -> None:
        """Remember that this very space holds the genome: it is looked at where it is made, tidied
        and proposed, and controls with each proposal, and cannot change.
        """
        self.__dict__["_legal_in"] = space

    def is_known_legal(self, space: object) -> bool:
        """Whether somebody has found that; ``False``: nobody has looked, or it is not so."""
        return self.__dict__.get("_legal_in") is space

    def simplify(self) -> Genome:
        """A smaller genome that computes the same family of functions."""
        from cellsearch.genome.rewriting.simplify import simplify

        return simplify(self)

    # -- forms -------------------------------------------------------------------------------------

    @classmethod
    def from_text(cls, text: str, *, source: str = "<text>") -> Genome:
        """Read the text form (``.cell``); ``source`` is what errors call it. Raises
        :class:`CellSyntaxError`.
        """
        from cellsearch.genome.text import parse

        return parse(text, source=source).genome

    @checked_arguments
    def to_text(self, doc: str = "") -> str:
        """The text form, with ``doc`` as its docstring."""
        from cellsearch.genome.text import render

        return render(self, doc)

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any], *, source: str = "<json>") -> Genome:
        """Read the JSON form, from text or an already decoded object. Raises
        :class:`CellSyntaxError`.
        """
        from cellsearch.genome.json import decode

        return decode(text, source=source)

    def to_json(self) -> str:
        """The JSON form: the exact machine form."""
        from cellsearch.genome.json import encode

        return encode(self)

    @classmethod
    def from_networkx(cls, graph: nx.MultiDiGraph[str]) -> Genome:
        """Read the graph form. Raises :class:`GenomeError`."""
        from cellsearch.genome.network import from_networkx

        return from_networkx(graph)

    def to_networkx(self) -> nx.MultiDiGraph[str]:
        """The graph form: vertices ``x_t``, ``h_<t-1>``, the named nodes, ``h_t``; edges carry the
        position of the operand.
        """
        from cellsearch.genome.network import to_networkx

        return to_networkx(self)

    def to_svg(self) -> str:
        """A drawing of the cell as one SVG element."""
        from cellsearch.genome.drawing.svg import to_svg

        return to_svg(self)

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def __repr__(self) -> str:
        states = ", ".join(self.state_names)
        return f"<genome of {amount(len(self.nodes), 'node')}, states {states}>"

    def __str__(self) -> str:
        return self.to_text()

    def __reduce__(self) -> tuple[object, ...]:
        return Genome, (
            self.inputs,
            self.states,
            self.nodes,
            self.next_states,
            self.output,
            self.output_name,
        )
