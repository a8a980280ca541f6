"""How one step of a cell is computed a number at a time with the least memory: in which loops, and
which values must be kept in arrays. What the C exporter writes and :mod:`.footprint` counts.

A *stage* is one loop over the units. Within it a value is a local number; only what a dense product
or a ``layer_norm`` of a later stage reads, or a later loop, needs an array. The state arrays
themselves are written in the stage where nothing reads their old contents any more.

Values of several sizes have a loop each in their stage. Pairs and heads are read from an array of
a stage before, at their first unit, so that the loop may overwrite the units that it has passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import (
    Sizes,
    Width,
    bound_sizes,
    output_width,
    requires_square,
    state_widths,
)
from cellsearch.genome.parts import Node
from cellsearch.ops import OPS

__all__ = ["Array", "StepPlan", "placed"]

_WHOLE = frozenset({"dense", "norm", "head", "pair", "angle"})
"""How a node reads what must be known for more units than its own before its loop."""
Key = TypeVar("Key", int, str)


class Array(NamedTuple):
    """Memory that holds a value from one stage to another."""

    first: int
    last: int
    size: int
    """Numbers in it."""


@dataclass(frozen=True)
class StepPlan:
    """The plan of one layer.

    genome: the cell; input_size, hidden_size: I and H of the layer.
    integers: whether dense products read 8-bit or 16-bit copies of their operands.
    named: what the names of sizes of the cell stand for.
    """

    genome: Genome
    input_size: int
    hidden_size: int
    integers: bool = False
    named: Mapping[str, int | str] = field(default_factory=dict)

    # -- values ------------------------------------------------------------------------------------

    @cached_property
    def widths(self) -> tuple[Width, ...]:
        """Of each value; in a cell that needs I = H nothing has width I."""
        found = self.genome.widths
        if requires_square(self.genome):
            return tuple("H" if width == "I" else width for width in found)
        return found

    @cached_property
    def sizes(self) -> Sizes:
        """The numbers of all sizes."""
        return bound_sizes(self.genome, self.input_size, self.hidden_size, self.named)

    def size(self, value: int) -> int:
        """How many numbers a value is."""
        return self.sizes[self.widths[value]]

    @property
    def state_widths(self) -> tuple[Width, ...]:
        """The size of each state."""
        return state_widths(self.genome)

    @property
    def output_width(self) -> Width:
        """The size of what is put out."""
        return output_width(self.genome)

    @cached_property
    def live(self) -> tuple[int, ...]:
        """The values of nodes that are computed, in order."""
        genome = self.genome
        return tuple(
            value
            for value, _ in genome.numbered()
            if value in genome.live and value not in self.constant
        )

    @cached_property
    def constant(self) -> frozenset[int]:
        """The values of ``bias`` nodes that rotations alone read: their weights are read where they
        lie.
        """
        genome = self.genome
        ends = {*genome.next_states, genome.output}
        return frozenset(
            value
            for value, node in genome.numbered()
            if node.op == "bias"
            and value not in ends
            and all(self._node(user).op == "rotate" for user in genome.uses[value])
        )

    def _node(self, value: int) -> Node:
        return self.genome.nodes[value - self.genome.first_node]

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Those that are one number, known before the first loop."""
        return tuple(value for value in self.live if self.widths[value] == "1")

    def reads(self, value: int) -> Iterator[tuple[int, str]]:
        """What a node reads and how: ``number``, ``unit`` (its own unit only), ``dense`` (all units
        through a matrix), ``norm`` (its own unit, and mean and deviation of all), ``head`` (the
        same of its head), ``pair`` and ``angle`` (of its pair), ``weight`` (of a pair, too).
        """
        node = self._node(value)
        for position, operand in enumerate(node.inputs):
            if self.widths[operand] == "1":
                yield operand, "number"
            elif operand in self.constant:
                yield operand, "weight"
            elif node.op == "linear":
                yield operand, "dense"
            elif node.op == "rotate":
                yield operand, "angle" if position else "pair"
            elif node.op == "head_norm":
                yield operand, "head"
            elif OPS[node.op].kind == "normalisation":
                yield operand, "norm"
            else:
                yield operand, "unit"

    # -- stages ------------------------------------------------------------------------------------

    @cached_property
    def stage(self) -> dict[int, int]:
        """The stage in which each node that is no number is computed: as late as possible."""
        early: dict[int, int] = {}
        loops = [value for value in self.live if self.widths[value] != "1"]
        for value in loops:
            early[value] = max(
                (
                    early[operand] + (how in _WHOLE)
                    for operand, how in self.reads(value)
                    if operand in early
                ),
                default=0,
            )
        last = max(early.values(), default=0)
        late = dict.fromkeys(loops, last)
        for value in reversed(loops):
            for operand, how in self.reads(value):
                if operand in late:
                    late[operand] = min(late[operand], late[value] - (how in _WHOLE))
        return late

    @cached_property
    def stages(self) -> int:
        """How many stages there are; at least one, which writes states and output."""
        return max(self.stage.values(), default=0) + 1

    def made_in(self, value: int) -> int:
        """The stage after whose loop a value is known in full; what a step is given: -1."""
        return self.stage.get(value, -1)

    def written_in(self, value: int) -> int:
        """The stage in whose loop a value is stored as next state or output."""
        return self.stage.get(value, self.stages - 1)

    @cached_property
    def _readers(self) -> dict[int, list[tuple[int, str]]]:
        """For each value the stages that read it, and how; next states and output read as well."""
        found: dict[int, list[tuple[int, str]]] = {}
        for value in self.stage:
            for operand, how in self.reads(value):
                if how not in ("number", "weight"):
                    found.setdefault(operand, []).append((self.stage[value], how))
        for end in (*self.genome.next_states, self.genome.output):
            found.setdefault(end, []).append((self.written_in(end), "unit"))
        return found

    def _held_until(self, value: int) -> int:
        """The last stage that reads the numbers of a value from an array; -1: none does."""
        made = self.made_in(value)
        last = -1
        for stage, how in self._readers.get(value, []):
            if stage > made:
                first = self.copies[value].first if self.integers and how == "dense" else stage
                last = max(last, first)
        return last

    # -- arrays ------------------------------------------------------------------------------------

    @cached_property
    def copies(self) -> dict[int, Array]:
        """The values that dense products read as integers, and when: a copy is made at the
        beginning of its first stage.
        """
        found: dict[int, Array] = {}
        for value, readers in self._readers.items() if self.integers else ():
            stages = [stage for stage, how in readers if how == "dense"]
            if stages:
                found[value] = Array(min(stages), max(stages), self.size(value))
        return found

    @cached_property
    def in_place(self) -> frozenset[int]:
        """The states (by position) that the loop of their stage overwrites."""
        found = set()
        for k, end in enumerate(self.genome.next_states):
            written, old = self.written_in(end), len(self.genome.inputs) + k
            ok = True
            for stage, how in self._readers.get(old, []):
                if how == "dense" and self.integers:  # read when it is copied, before the loop
                    ok &= self.copies[old].first <= written
                else:  # angles are read in the loop of another size
                    ok &= stage < written or (stage == written and how not in ("dense", "angle"))
            if ok:
                found.add(k)
        return frozenset(found)

    @cached_property
    def home(self) -> dict[int, int]:
        """Values that lie in the array of a state from when they are computed on: value -> position
        of the state.
        """
        homes: dict[int, int] = {}
        for k, end in enumerate(self.genome.next_states):
            if k in self.in_place and end in self.stage:
                homes.setdefault(end, k)
        return homes

    @cached_property
    def output_state(self) -> int | None:
        """The position of a state whose array holds the output after the step."""
        states = self.genome.next_states
        return states.index(self.genome.output) if self.genome.output in states else None

    @cached_property
    def in_output(self) -> bool:
        """Whether the array of the output holds its value from when it is computed on."""
        output = self.genome.output
        return self.output_state is None and output in self.stage

    @cached_property
    def arrays(self) -> dict[int, Array]:
        """The values of nodes that need memory of their own."""
        found: dict[int, Array] = {}
        for value, made in self.stage.items():
            if value in self.home or (value == self.genome.output and self.in_output):
                continue
            last = self._held_until(value)
            if any(
                end == value and k not in self.in_place
                for k, end in enumerate(self.genome.next_states)
            ):
                last = self.stages  # copied into the state after all loops
            if last >= 0:
                found[value] = Array(made, last, self.size(value))
        return found

    @cached_property
    def pending(self) -> dict[int, Array]:
        """The next states (by position) that wait for the end of the step, where their value has no
        array: it is an input, an old state, or a number.
        """
        return {
            k: Array(self.written_in(end), self.stages, self.sizes[self.state_widths[k]])
            for k, end in enumerate(self.genome.next_states)
            if k not in self.in_place and end not in self.stage
        }

    @cached_property
    def places(self) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
        """Where the arrays begin: of :attr:`arrays` and :attr:`pending` in the floats of the
        scratch memory, of :attr:`copies` in its integers.
        """
        floats = [*self.arrays.items(), *((~k, array) for k, array in self.pending.items())]
        found = placed(dict(floats))
        return (
            {value: place for value, place in found.items() if value >= 0},
            {~value: place for value, place in found.items() if value < 0},
            placed(self.copies),
        )

    @cached_property
    def scratch_floats(self) -> int:
        """Numbers of scratch memory beside states, input and output."""
        arrays, pending, _ = self.places
        return max(
            (
                *(place + self.arrays[value].size for value, place in arrays.items()),
                *(place + self.pending[k].size for k, place in pending.items()),
            ),
            default=0,
        )

    @cached_property
    def scratch_integers(self) -> int:
        """Integers of scratch memory."""
        return max(
            (place + self.copies[value].size for value, place in self.places[2].items()), default=0
        )


def placed(arrays: dict[Key, Array]) -> dict[Key, int]:
    """The lowest place for each array beside those that live at the same time, the largest first
    (Pisarchyk & Lee 2020, arXiv 2001.03288, greedy by size).
    """
    places: dict[Key, int] = {}
    for key, array in sorted(
        arrays.items(), key=lambda item: (-item[1].size, item[1].first, item[0])
    ):
        place = 0
        for other in sorted(places, key=places.__getitem__):
            beside = arrays[other]
            together = beside.first <= array.last and array.first <= beside.last
            if together and places[other] < place + array.size:
                place = max(place, places[other] + beside.size)
        places[key] = place
    return places
