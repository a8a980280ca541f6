"""Where values lie: columns of two buffers, buffers of their own, or wherever a call puts them.

* *Accumulators*: the sums that receive dense products are columns of one buffer Z ``[rows, k *
  H]``. It is filled with the products of time-parallel values before the loop; in the loop each
  source adds its products to all its columns in one call. A function of one value of such a sum
  overwrites it, neighbours in one call.
* *Deltas*: values that are multiplied by transposed weights (gradients of sums) are columns of a
  buffer D. A sum of such products is one product of a run of columns, and the gradients of the
  weights at a source are one product of D with the source over all rows.

Values are slots of one list, numbered like the program's values; views of buffers and stacked
weights get slots of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cellsearch.compiler.backends.aten.actions import in_place
from cellsearch.compiler.backends.aten.columns import arrange
from cellsearch.compiler.backends.aten.sums import FlatSum, Sums, find_sums
from cellsearch.compiler.program import Program
from cellsearch.compiler.scheduling.phases import Phase

__all__ = ["Places", "SlotTable", "Stack", "View", "place_values"]


@dataclass(frozen=True, slots=True)
class Stack:
    """Weights stacked once a call."""

    slot: int
    """Holds them row by row, transposed if ``transposed``."""
    parameters: tuple[str, ...]
    transposed: bool


@dataclass(frozen=True, slots=True)
class View:
    """Columns ``start`` to ``stop`` (in units of H) of a buffer."""

    slot: int
    buffer: str
    """``"z"``, ``"d"``, or ``"bias"`` (the row that Z starts with)."""
    start: int
    stop: int


@dataclass
class SlotTable:
    """The slots given out so far."""

    count: int
    views: list[View] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)

    def new(self) -> int:
        """Another slot."""
        self.count += 1
        return self.count - 1

    def view(self, buffer: str, start: int, stop: int, slot: int | None = None) -> int:
        """The slot of a view."""
        view = View(self.new() if slot is None else slot, buffer, start, stop)
        self.views.append(view)
        return view.slot

    def stack(self, parameters: Sequence[str], *, transposed: bool) -> int:
        """The slot of stacked weights."""
        stack = Stack(self.new(), tuple(parameters), transposed)
        self.stacks.append(stack)
        return stack.slot


@dataclass(frozen=True)
class Places:
    """Where values lie."""

    sums: Mapping[int, FlatSum]
    """By root; terms that Z starts with are not among them any more."""
    absorbed: frozenset[int]
    factors: frozenset[int]
    overwriting: Mapping[int, int]
    """Value -> root of the sum that it overwrites."""
    z_column: Mapping[int, int]
    """Root of a sum, or the value that overwrites it -> column of Z."""
    biases: tuple[tuple[int, ...], ...]
    """The fixed values that each column of Z starts with."""
    d_column: Mapping[int, int]
    """Value -> column of D."""
    owned: tuple[int, ...]
    """Values of the loop with a buffer of their own."""
    heads: Mapping[int, int]
    """Those that become a state, with the state: its initial value stands before them."""
    copied: tuple[tuple[int, int], ...]
    """Carried values that are wanted over all positions, with the slot of their buffer."""

    def has_memory(self, value: int) -> bool:
        """Whether the value's slot holds memory that its action writes."""
        return value in self.z_column or value in self.d_column or value in self.owned


def place_values(
    program: Program,
    phase: tuple[Phase, ...],
    kept: frozenset[int],
    slots: SlotTable,
    *,
    backwards: bool,
) -> Places:
    """``kept``: values of extent ``step`` that are wanted over all positions besides the outputs;
    ``backwards``: time runs backwards.
    """
    standing = kept | frozenset(program.ends)  # values that nothing may absorb or overwrite
    found = find_sums(program, phase, standing)
    columns, biases, last = _columns(program, phase, found.sums, standing)
    overwriting = _overwriting(program, phase, last, standing, found)
    order = _column_order(program, columns, overwriting)
    z_column: dict[int, int] = {}
    for place, k in enumerate(order):
        for total in columns[k]:
            total.column = z_column[total.root] = place
            slots.view("z", place, place + 1, total.root)
    for value, root in overwriting.items():
        z_column[value] = z_column[root]
        slots.view("z", z_column[value], z_column[value] + 1, value)
    d_column = _deltas(program, found.sums, z_column)
    for delta, k in d_column.items():
        slots.view("d", k, k + 1, delta)
    wanted = _wanted_after_loop(program, phase, kept)
    placed = {*z_column, *d_column}
    owned = {v for v in wanted if v >= program.first and v not in placed}
    heads: dict[int, int] = {}
    copied: list[tuple[int, int]] = []
    for state in sorted(v for v in wanted if v < program.first):
        following = program.next_states[state - len(program.inputs)]
        in_loop = following >= program.first and phase[following] is Phase.LOOP
        if in_loop and following not in placed and not backwards and following not in heads:
            owned.add(following)
            heads[following] = state
        else:
            copied.append((state, slots.new()))
    return Places(
        sums=found.sums,
        absorbed=found.absorbed,
        factors=found.factors,
        overwriting=overwriting,
        z_column=z_column,
        biases=tuple(tuple(biases[k]) for k in order),
        d_column=d_column,
        owned=tuple(sorted(owned)),
        heads=heads,
        copied=tuple(copied),
    )


def _columns(
    program: Program,
    phase: tuple[Phase, ...],
    sums: Mapping[int, FlatSum],
    standing: frozenset[int],
) -> tuple[list[list[FlatSum]], list[list[int]], list[int]]:
    """The sums with dense products column by column, the fixed terms of each column, and the roots
    that end one; a sum that continues one of an earlier phase shares its column.
    """
    columns: list[list[FlatSum]] = []
    biases: list[list[int]] = []
    last: dict[int, int] = {}  # root of the last sum of a column -> column

    def continues(value: int, total: FlatSum) -> bool:
        return (
            value in last
            and phase[value] < total.phase
            and len(program.uses[value]) == 1
            and value not in standing
        )

    for total in sorted((s for s in sums.values() if s.dense), key=lambda s: (s.phase, s.root)):
        base = next((v for v in total.rest if continues(v, total)), None)
        if base is None:
            columns.append([])
            biases.append([])
            column = len(columns) - 1
        else:
            total.rest.remove(base)
            column = last.pop(base)
        columns[column].append(total)
        last[total.root] = column
        biases[column] += [v for v in total.rest if phase[v] is Phase.FIXED]
        total.rest = [v for v in total.rest if phase[v] is not Phase.FIXED]
    return columns, biases, list(last)


def _overwriting(
    program: Program,
    phase: tuple[Phase, ...],
    roots: Iterable[int],
    standing: frozenset[int],
    found: Sums,
) -> dict[int, int]:
    """Functions of one value that nothing else reads: value -> root of the sum."""
    overwriting: dict[int, int] = {}
    for root in roots:
        users = program.uses[root]
        if len(users) == 1 and root not in standing:
            (user,) = users
            possible = in_place(program.made_by(user).op) is not None
            if possible and phase[user] is phase[root] and user not in found.absorbed:
                overwriting[user] = root
    return overwriting


def _column_order(
    program: Program, columns: Sequence[Sequence[FlatSum]], overwriting: Mapping[int, int]
) -> tuple[int, ...]:
    """Columns with the same sources side by side, and among these those with the same function."""
    activation = {root: program.made_by(value).op for value, root in overwriting.items()}
    partners = {
        k: frozenset(
            (total.phase, program.made_by(d).inputs[0]) for total in columns[k] for d in total.dense
        )
        for k in sorted(range(len(columns)), key=lambda k: activation.get(columns[k][-1].root, ""))
    }
    return arrange(partners)


def _deltas(
    program: Program, sums: Mapping[int, FlatSum], placed: Mapping[int, int]
) -> dict[int, int]:
    """Columns of D for computed values that are multiplied by transposed weights or summed into
    gradients of weights.
    """
    partners: dict[int, set[object]] = {}
    member = {d: total.root for total in sums.values() for d in total.deltas}
    for value, instruction in program.numbered():
        if instruction.op not in ("dense_t", "outer"):
            continue
        delta = instruction.inputs[0]
        shape = program.shapes[delta]
        computed = delta >= program.first and delta not in placed and shape.extent == "step"
        if computed and shape.width == "H":
            partner = (
                member.get(value, value)
                if instruction.op == "dense_t"
                else ("outer", instruction.inputs[1])
            )
            partners.setdefault(delta, set()).add(partner)
    order = arrange({delta: frozenset(found) for delta, found in partners.items()})
    return {delta: k for k, delta in enumerate(order)}


def _wanted_after_loop(
    program: Program, phase: tuple[Phase, ...], kept: frozenset[int]
) -> set[int]:
    """Values of the loop that are wanted after it."""
    wanted = {*kept, *(v for _, v in program.outputs)}
    for value, instruction in program.numbered():
        if phase[value] > Phase.LOOP:
            wanted.update(instruction.inputs)
    return {v for v in wanted if phase[v] is Phase.LOOP}
