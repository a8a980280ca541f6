"""The shape of each value, inferred from its expression: a number, or a vector of some size.

A ``linear`` and a ``bias`` say their size (H where nothing is written); what is computed element by
element has the size of its operands, numbers apart; a state has the size of what it becomes, or, if
that is open, of what it meets; a ``rotate`` has half as many angles as units, or one. Two sizes
that meet are an error, except x and H: such a cell needs I = H
(:func:`cellsearch.genome.parameters.requires_square`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cellsearch.errors import GenomeError
from cellsearch.genome.parts import INPUTS, Node, State
from cellsearch.genome.sizes import Width, divided, multiplied
from cellsearch.ops import OPS

__all__ = ["check_cuts", "infer_widths", "is_cut", "is_sized", "plain_widths"]

_OF_UNITS = frozenset({"diag", "layer_norm", "head_norm", "unit"})
"""Ops that make a vector of a number, as wide as H."""
_Term = Width | int
"""A size, or the position of a state whose size is open."""


def is_sized(nodes: Sequence[Node]) -> bool:
    """Whether some node says its size."""
    return any(not node.is_plain and node.size != "H" for node in nodes)


def is_cut(nodes: Sequence[Node]) -> bool:
    """Whether some node cuts values into blocks, heads or pairs."""
    return any(node.op == "rotate" or (not node.is_plain and node.parts > 1) for node in nodes)


def infer_widths(
    inputs: Sequence[str],
    states: Sequence[str],
    nodes: Sequence[Node],
    next_states: Sequence[int],
    label: Callable[[int], str],
) -> tuple[Width, ...]:
    """The size of each value of a graph with these inputs and states (their names), numbered as
    :class:`cellsearch.genome.graph.Genome` does.

    Raises :class:`GenomeError` where two sizes meet; ``label`` is what it calls a value.
    """
    return _Inference(inputs, states, nodes, next_states, label).run()


def plain_widths(
    inputs: Sequence[str], states: Sequence[State], nodes: Sequence[Node]
) -> tuple[Width, ...]:
    """:func:`infer_widths` of a graph whose sizes are all ``1``, ``I`` and ``H``: none of them can
    meet another one that it does not go with.
    """
    widths: list[Width] = [INPUTS[name] for name in inputs]
    widths += ["H"] * len(states)
    for node in nodes:
        below = [widths[operand] for operand in node.inputs]
        if node.op in ("linear", "bias") or "H" in below:
            widths.append("H")
        elif "I" in below:
            widths.append("I")
        else:
            widths.append("H" if node.op in _OF_UNITS else "1")
    return tuple(widths)


class _Inference:
    def __init__(
        self,
        inputs: Sequence[str],
        states: Sequence[str],
        nodes: Sequence[Node],
        next_states: Sequence[int],
        label: Callable[[int], str],
    ) -> None:
        self.first_state, self.first_node = len(inputs), len(inputs) + len(states)
        self.states, self.nodes, self.next_states = states, nodes, next_states
        self.label = label
        self.sized = is_sized(nodes)
        self.open: list[_Term | None] = [None] * len(states)
        """What a state's size has turned out to be."""
        self.terms: list[_Term] = [INPUTS[name] for name in inputs]
        self.terms += range(len(states)) if self.sized else ["H"] * len(states)
        self.inputs_met: list[tuple[int, int, int, _Term]] = []
        """Where x meets something: the value, the operand of size I, the other one, its size."""
        self.turns: list[tuple[int, int, int]] = []
        """Rotations: the value, what is turned, and its angles, of which there are half as many."""

    def run(self) -> tuple[Width, ...]:
        for value, node in enumerate(self.nodes, start=self.first_node):
            if node.op in ("linear", "bias"):
                self.terms.append(node.size)
            elif node.op == "rotate":
                self.turns.append((value, *node.inputs))  # type: ignore[arg-type]
                self.angles(*self.turns[-1])
                self.terms.append(self.find(self.terms[node.inputs[0]]))
            else:
                term = self.met(value, node.inputs)
                own = term == "1" and node.op in _OF_UNITS
                self.terms.append("H" if own else term)
        if self.sized:
            self.ends()
        for turn in (*self.turns, *self.turns):  # what one leaves open the next may settle
            self.angles(*turn)
        for value, turned, angle in self.turns:
            whole, half = self.find(self.terms[turned]), self.find(self.terms[angle])
            if isinstance(whole, int) and isinstance(half, int):
                self.open[whole] = "H"
            self.angles(value, turned, angle)
        for value, operand, met, term in self.inputs_met:
            other = self.resolved(term)
            if other != "H":
                raise self.conflict(value, operand, "I", met, other)
        return tuple([self.resolved(term) for term in self.terms])

    def met(self, value: int, operands: tuple[int, ...]) -> _Term:
        """The size of an elementwise op of these operands."""
        found: _Term = "1"
        first = source = -1
        for operand in operands:
            term = self.terms[operand]
            if isinstance(term, int):
                term = self.find(term)
            if term == "I":
                source = operand
            elif found == "1":
                found, first = term, operand
            elif term not in ("1", found):
                self.unify(value, first, found, operand, term)
                found = self.find(found)
        if source >= 0 and found == "1":
            return "I"
        if source >= 0 and found != "H":
            self.inputs_met.append((value, source, first, found))
        return found

    def angles(self, value: int, turned: int, angle: int) -> None:
        """There are half as many angles as units that are turned, or one for all."""
        whole, half = self.find(self.terms[turned]), self.find(self.terms[angle])
        if half == "1" or (isinstance(whole, int) and isinstance(half, int)):
            return
        if isinstance(whole, int):
            self.open[whole] = multiplied(str(half), "2")
        elif isinstance(half, int):
            self.open[half] = divided(whole, 2)
        elif whole != multiplied(half, "2"):
            node = self.nodes[value - self.first_node]
            raise GenomeError(
                f"rotate turns the pairs of {self.label(turned)} of size {whole}, and "
                f"{self.label(angle)} holds {half} angles",
                where=f"node {node.name or self.label(value)}",
                hint=f"an angle a pair: linear(..., size={divided(whole, 2)}) or bias(size="
                f"{divided(whole, 2)}), or one number for all"
                if whole not in ("1", "I")
                else "a matrix makes units of it: rotate(linear(...), ...)",
            )

    def ends(self) -> None:
        """A state has the size of what it becomes."""
        for k, end in enumerate(self.next_states):
            term, state, value = self.find(self.terms[end]), self.find(k), self.first_state + k
            if term == "I":
                self.inputs_met.append((value, end, value, state))
            elif term not in ("1", state):
                self.unify(value, value, state, end, term)

    def find(self, term: _Term) -> _Term:
        while isinstance(term, int):
            known = self.open[term]
            if known is None:
                return term
            term = known
        return term

    def resolved(self, term: _Term) -> Width:
        found = self.find(term)
        return "H" if isinstance(found, int) else found

    def unify(self, value: int, first: int, one: _Term, second: int, other: _Term) -> None:
        if isinstance(one, int):
            self.open[one] = other
        elif isinstance(other, int):
            self.open[other] = one
        else:
            raise self.conflict(value, first, one, second, other)

    def conflict(
        self, value: int, first: int, one: Width, second: int, other: Width
    ) -> GenomeError:
        """``value`` reads two values of different sizes, or is a state that becomes one of another
        size.
        """
        name = self.label(first)
        if value < self.first_node:
            where = f"{self.states[value - self.first_state]}[t]"
            end, size = (first, one) if one == "I" else (second, other)
            read = other if one == "I" else one
            message = (
                f"it becomes {self.label(end)} of size {size}, and is read as one of size {read}"
            )
        else:
            node = self.nodes[value - self.first_node]
            where = f"node {node.name or self.label(value)}"
            message = (
                f"{node.op} meets {name} of size {one} and {self.label(second)} of size {other}"
            )
        size = "" if other == "H" else f", size={other}"
        return GenomeError(
            message,
            where=where,
            hint=f"a matrix takes the first to the size of the second: linear(...{size}); or write "
            "the same size= where both are made",
        )


def check_cuts(nodes: Sequence[Node], widths: Sequence[Width], label: Callable[[int], str]) -> None:
    """Raise :class:`GenomeError` where a number would be cut into blocks or heads, or normalised
    although its size is open.
    """
    first = len(widths) - len(nodes)
    sized = is_sized(nodes)
    for value, node in enumerate(nodes, start=first):
        norm = OPS[node.op].kind == "normalisation"
        turns = node.op == "rotate"
        what = "unit" if norm and sized else "block" if node.blocks > 1 else "pair" if turns else ""
        cut = node.inputs[:1] if turns else node.inputs
        numbers = [v for v in cut if widths[v] == "1"] if what else []
        if numbers:
            raise GenomeError(
                f"{node.op} of {label(numbers[0])}, which is one number for all units",
                where=f"node {node.name or label(value)}",
                hint=f"a number has no {what}s: leave it out of the {node.op}",
            )
