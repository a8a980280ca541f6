"""The cell of parts: what known gated cells are made of, all at once, each part behind a trainable
gate (``scale``), so that what is left after pruning is a cell that can be trained.

The full cell of :mod:`cellsearch.space.full_cell` holds every connection, and hardly any cell that
is left of it learns from scratch: its sums hold states that nothing forgets, which only the small
gates of the full cell had kept from growing. Here an old state is only ever added through a gate,
and no product has two factors that both grow with a state:

* five gates (reset, entry, forget, output, update) over x_t and the states;
* the candidate: a function of x_t and the states, the output state reset before or after its
  matrix (Cho et al. 2014, both forms of the GRU), squashed or not;
* a memory state: the old one times a gate (Gers et al. 2000), and the candidate through no gate,
  one, its own or the rest of the forget gate (CIFG);
* what is read: of the memory squashed or as it is, or of the candidate, alone or times a linear of
  x_t and the states (as in multiplicative cells, Krause et al. 2016), where that stays bounded;
* the output state: the old one times a gate, and what is read through gates;
* where the space has them: dt and the mask beside x in every linear; what is left of the states
  after a bottleneck beside them; their product in blocks beside the dense one.

The tanh RNN, LSTM, CIFG, RAN (with a bias), both forms of the GRU and what lies between them are
among its parts.
"""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import NamedTuple

from cellsearch import ops
from cellsearch.errors import SpaceError
from cellsearch.genome.graph import Genome, Node
from cellsearch.space.declaration import Declaration

__all__ = ["Memory", "alternatives", "kept_states", "memories", "parts_cell"]

_NEEDED = ("linear", "add", "mul")
_GATES = ("reset", "entry", "reading", "update")


def parts_cell(space: Declaration) -> Genome:
    """See :meth:`SearchSpace.parts_cell`."""
    declared = space.full_cell
    if not space.dense or space.frozen is not None:
        raise SpaceError(
            "the cell of parts has a dense recurrence and no frozen parts",
            where=space.source,
            hint='prune the full cell instead: start = "full"',
        )
    gates = [op for op in declared.gates if ops.OPS[op].gate]
    squashing = [
        op
        for op in dict.fromkeys((*declared.sums, *declared.direct))
        if ops.OPS[op].squashing and ops.OPS[op].odd
    ]
    missing = [op for op in _NEEDED if op not in space.ops]
    if not gates or not squashing or missing or "scale" in space.ops:
        raise SpaceError(
            "the cell of parts needs a gate, an odd squashing op, linear, add and mul, and scale "
            "for its connection gates alone",
            where=f"{space.source}: ops and full_cell",
            hint='prune the full cell instead: start = "full"',
        )
    more = _More(
        space.inputs[1:],
        min(4, space.limits.max_bottleneck),
        min(4, space.limits.max_blocks),
    )
    cell = _cell(tuple(space.states[:2]), gates[0], squashing[0], declared.complements, more)
    return space.require(cell, "the cell of parts")


def alternatives(genome: Genome) -> tuple[tuple[str, ...], ...]:
    """The sums of a cell with connection gates: names of the gates of each, of which at least one
    has to stay.
    """
    return tuple(found for node in genome.nodes if (found := _gates_of(genome, node)))


def memories(genome: Genome) -> frozenset[tuple[str, ...]]:
    """Those of the :func:`alternatives` that are the next value of a state."""
    ends = [genome.node(value) for value in genome.next_states]
    return frozenset(found for node in ends if node and (found := _gates_of(genome, node)))


class Memory(NamedTuple):
    """The connections of the cell of parts that decide together whether a state is a memory that
    can be trained. Alone, none of them is worth anything.
    """

    new: str
    """Through it something is written to the state."""
    old: str
    """Through it the state is kept."""
    gates: tuple[str, ...]
    """One of them has to stay, so that what is written goes through a gate."""
    raw: tuple[str, ...]
    """They read the state as it is, where its value has no bound: not through a squashing op."""


def kept_states(genome: Genome) -> tuple[Memory, ...]:
    """How each state of the cell of parts is kept. The output state is read by every gate, squashed
    or not, so it has no ``raw``; it is an average where the space has 1 - a, and bounded then.
    """
    names = {spec.name for spec in genome.parameters}
    out, *memory = genome.state_names
    rest = _there(names, "given_rest")
    found = [Memory(f"{out}_new.scale", f"{out}_old.scale", rest or _there(names, *_SHOWN), ())]
    for state in memory:
        reads = (spec.name for spec in genome.parameters if spec.name.endswith(f".weight_{state}"))
        gates, plain = _there(names, *_WRITTEN), _there(names, "read_plain")
        found.append(Memory(f"{state}_new.scale", f"{state}_old.scale", gates, (*plain, *reads)))
    return tuple(found)


_SHOWN = ("shown_gated",)
_WRITTEN = ("entered_gated", "written_twice", "written_rest")


def _there(names: Set[str], *gates: str) -> tuple[str, ...]:
    return tuple(f"{gate}.scale" for gate in gates if f"{gate}.scale" in names)


def _gates_of(genome: Genome, node: Node) -> tuple[str, ...]:
    """Names of the gates of a sum whose terms all have one; none of anything else."""
    terms = [genome.node(value) for value in node.inputs]
    if node.op != "add" or not all(term is not None and term.op == "scale" for term in terms):
        return ()
    return tuple(f"{term.name}.scale" for term in terms if term is not None)


class _More(NamedTuple):
    """What the linears of the cell read beside x and the states, and how."""

    inputs: tuple[str, ...]
    share: int
    """The bottleneck has size H / share (1: there is none)."""
    blocks: int
    """Blocks of the further products of states (1: there are none)."""

    def seen(self) -> str:
        """x, and what else is given."""
        return ", ".join(f"{name}[t]" for name in ("x", *self.inputs))

    def linear(self, past: str) -> str:
        """What a gate is a function of."""
        reads = [self.seen(), past, *["narrow"] * (self.share > 1)]
        dense = f"linear({', '.join(reads)})"
        cut = f" + linear({past}, bias=False, blocks={self.blocks})"
        return dense + cut * (self.blocks > 1)


@lru_cache(maxsize=16)
def _cell(
    states: tuple[str, ...], gate: str, squash: str, complements: bool, more: _More
) -> Genome:
    """The cell as text, which is the shortest way to say what it is."""
    out, memory = states[0], states[1] if len(states) > 1 else ""
    past = ", ".join(f"{state}[t-1]" for state in states)
    kept = f", {memory}[t-1]" if memory else ""
    lines = [f"narrow = linear({past}, bias=False, size=H/{more.share})"] * (more.share > 1)
    lines += [
        f"{name} = {gate}({more.linear(past)})" for name in (*_GATES, *["forget"] * bool(memory))
    ]
    lines += [
        f"factor = linear({more.seen()}, {past})",
        f"weight = linear({more.seen()})",
        *_sum("inner", plain=f"{out}[t-1]", reset=f"reset * {out}[t-1]"),
        f"inner_state = linear({out}[t-1])",
        "total_after = scale(reset * inner_state)",
        f"total_in = linear({more.seen()}, inner{kept})",
        "total = total_in + total_after",
        *_sum("candidate", squashed=f"{squash}(total)", plain="total"),
    ]
    rest = {"rest": "(1 - forget) * entered"} if complements else {}
    if memory:
        lines += [
            *_sum("entered", plain="candidate", gated="entry * candidate"),
            *_sum("written", plain="entered", twice="update * entered", **rest),
            *_sum(f"{memory}[t]", new="written", old=f"forget * {memory}[t-1]"),
            *_sum(
                "read", squashed=f"{squash}({memory}[t])", plain=f"{memory}[t]", past="candidate"
            ),
        ]
        bounded = f"{squash}({memory}[t])"
    else:
        lines += _sum("read", plain="candidate", gated="entry * candidate")
        bounded = f"{squash}(total)"
    products = {"by_factor": f"factor * {bounded}", "by_weight": "weight * read"}
    if memory:
        products["by_candidate"] = f"factor * {squash}(total)"
    rest = {"rest": "(1 - update) * shown"} if complements else {}
    lines += [
        *_sum("taken", plain="read", **products),
        *_sum("shown", plain="taken", gated="reading * taken"),
        *_sum("given", plain="shown", **rest),
        *_sum(f"{out}[t]", new="given", old=f"update * {out}[t-1]"),
    ]
    return Genome.from_text("\n".join(lines))


def _sum(name: str, **terms: str) -> list[str]:
    """The lines of a sum of which each term has a connection gate; of one term: the term."""
    stem = name.removesuffix("[t]")
    if len(terms) == 1:
        return [f"{name} = {next(iter(terms.values()))}"]
    gates = {f"{stem}_{kind}": term for kind, term in terms.items()}
    return [
        *(f"{gate} = scale({term})" for gate, term in gates.items()),
        f"{name} = {' + '.join(gates)}",
    ]
