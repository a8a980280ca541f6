"""Pruning: what can be taken out of a cell, and what is left then.

A connection is a weight: a connection gate (``scale``), one operand of a ``linear``, a vector
weight (``diag``). Without it nothing flows there; what follows from nothing is worked out node by
node: a sum goes on without the term, an op that maps 0 to 0 gives nothing, a gate over nothing is
constant and leaves its product, a state that is nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from enum import Enum

from cellsearch import ops
from cellsearch.errors import GenomeError, SpaceError
from cellsearch.genome.graph import Genome, Node
from cellsearch.space.declaration import Declaration
from cellsearch.space.draft import GIVEN, Draft, X

__all__ = ["Left", "discrete", "each_pruning", "gated", "remove", "without"]


class Left(Enum):
    """What is left of a value that has no source any more."""

    NOTHING = "always zero"
    CONSTANT = "a constant vector"


def remove(space: Declaration, genome: Genome, names: Iterable[str]) -> Genome:
    """See :meth:`SearchSpace.remove`."""
    specs = {spec.name: spec for spec in genome.parameters if spec.operand >= 0}
    cut: set[tuple[int, int]] = set()
    for name in names:
        if name not in specs:
            raise SpaceError(
                f"the cell has no connection {name!r}",
                hint="connections: " + ", ".join(list(specs)[:20]),
            )
        cut.add((specs[name].node, specs[name].operand))
    try:
        smaller = without(Draft.of(genome), cut)
    except GenomeError as error:
        raise SpaceError(
            f"nothing is left of the cell: {error.message}", where=error.where
        ) from None
    return space.tidy(space.require(smaller, "what is left of the cell"))


def discrete(space: Declaration, genome: Genome) -> Genome:
    """See :meth:`SearchSpace.discrete`."""
    draft = Draft.of(genome)
    for number in draft.order():
        node = draft.nodes[number]
        if (node.op == "scale" and "scale" not in space.ops) or node.op == "identity":
            # The name of a gate says what it connects; the value that stays keeps its own name.
            draft.substitute(number, node.inputs[0])
            del draft.nodes[number]
    for number, node in draft.nodes.items():
        if node.op == "linear":  # two matrices over one value are one matrix
            draft.set_inputs(number, dict.fromkeys(node.inputs))
    try:
        plain = draft.build()
        most = space.limits.max_operands
        forms = (_narrowed(_renamed(cell), most) for cell in (plain.simplify(), plain))
        # Simplifying may use an op that the space lacks: a + g * a is (1 + g) * a.
        simple = next(forms)
        found = simple if space.contains(simple) is None else next(forms)
        return space.require(found, "the cell without connection gates")
    except GenomeError as error:
        raise SpaceError(
            f"the cell without connection gates is not a legal cell: {error.message}",
            where=error.where,
        ) from None


def _renamed(genome: Genome) -> Genome:
    """The cell with short names (``n1``, ``n2``, ...) for what has more than one use; the rest
    stands where it is used.
    """
    draft = Draft.of(genome)
    for number in draft.nodes:
        draft.set_name(number, "")
    return draft.build()


def _narrowed(genome: Genome, most: int) -> Genome:
    """The same cell, sums, products and linears of too many operands as such of at most ``most``
    each, one inside the other.
    """
    draft = Draft.of(genome)
    for number, node in list(draft.nodes.items()):
        rest = list(node.inputs)
        if len(rest) <= most or most < 2 or node.op not in ("add", "mul", "max", "min", "linear"):
            continue
        if node.op == "linear":
            parts = [rest[k : k + most] for k in range(0, len(rest), most)]
            rest = [
                draft.add("linear", *part, bias=node.bias and k == 0)
                for k, part in enumerate(parts)
            ]
            draft.nodes[number] = replace(node, op="add", inputs=(), attrs=())
        joining = draft.nodes[number].op
        while len(rest) > most:
            rest = [draft.add(joining, *rest[:most]), *rest[most:]]
        draft.set_inputs(number, rest)
    return draft.build()


def gated(space: Declaration, genome: Genome) -> Genome:
    """See :meth:`SearchSpace.gated`.

    A gate g that multiplies becomes ``1 - s (1 - g)``: g itself for s = 1, and open for s = 0,
    which is what removing it means. A term of a sum and the gate of a blend become ``s a``.
    Anonymous nodes with weights get names, so that weights are inherited by them.
    """
    draft = Draft.of(genome)
    count = 0
    for number, node in list(draft.nodes.items()):
        if ops.OPS[node.op].parametric and not node.name:
            draft.set_name(number, draft.fresh_name())
        for position, value in enumerate(node.inputs):
            source = draft.nodes.get(value)
            term = node.op == "add" and value != X and (source is None or source.op != "const")
            scaled = term or (node.op == "blend" and position == 0)
            factor = (
                node.op == "mul"
                and source is not None
                and ops.OPS[source.op].gate
                and 1.0 in space.constants
            )
            if scaled or factor:
                count += 1
                name = draft.fresh_name(f"gate_{_label(genome, value)}_")
                draft.set_input(
                    number,
                    position,
                    _open_by(draft, value, name)
                    if factor
                    else draft.add("scale", value, name=name),
                )
    if not count:
        raise SpaceError(
            "the cell has no gate, sum or blend that a connection gate could stand at",
            where=space.source,
        )
    return space.require(draft.build(), "the cell with connection gates")


def _open_by(draft: Draft, gate: int, name: str) -> int:
    """``1 - s (1 - gate)`` with a trainable s."""
    one = draft.const(1.0)
    return draft.add("sub", one, draft.add("scale", draft.add("sub", one, gate), name=name))


def _label(genome: Genome, value: int) -> str:
    if value > 0:
        node = genome.nodes[value - genome.first_node]
        return node.name or node.op
    given = {number: name for name, number in GIVEN.items()}
    return given.get(value) or genome.states[-value - 1].name


def each_pruning(space: Declaration, genome: Genome) -> Iterator[Genome]:
    """See :meth:`SearchSpace.each_pruning`."""
    seen = {genome.key}
    for smaller in _smaller(space, genome):
        if space.contains(smaller) is None:
            smaller = space.tidy(smaller)
            if smaller.key not in seen:
                seen.add(smaller.key)
                yield smaller


def _smaller(space: Declaration, genome: Genome) -> Iterator[Genome]:
    specs = [spec for spec in genome.parameters if spec.operand >= 0]
    cuts = [{(spec.node, spec.operand)} for spec in specs]
    cuts += [
        {(value, p)}
        for value, node in genome.numbered()
        if node.op in ("add", "mul")
        for p in range(len(node.inputs))
    ]
    for cut in cuts:
        try:
            yield without(Draft.of(genome), cut)
        except GenomeError:
            continue  # nothing is left
    for value, node in genome.numbered():
        if (
            len(node.inputs) == 1 and node.op != "linear"
        ):  # the op, or the gate, goes; what it read stays
            draft = Draft.of(genome)
            draft.bypass(value, draft.nodes[value].inputs[0])
            try:
                yield draft.build()
            except GenomeError:
                continue


# -- what is left ----------------------------------------------------------------------------------


def without(
    draft: Draft,
    cut: set[tuple[int, int]],
    values: Mapping[int, Left] | None = None,
    *,
    open_blends: bool = False,
) -> Genome:
    """The cell without some of what it reads. Raises :class:`GenomeError` when nothing is left.

    cut: operands, each a node and a position.
    values: nodes and states that nobody can read any more, each with what is left of it.
    open_blends: a blend whose gate is a constant is the sum of its two values, as it is where it
        is written as two products; otherwise that is a :class:`GenomeError`, too.
    """
    gated = any(node.op == "scale" for node in draft.nodes.values())
    gone: dict[int, Left] = dict(values or {})
    while True:
        for number in draft.order():
            if number not in gone:
                _reduce(draft, number, cut, gone, keep_names=gated, open_blends=open_blends)
        cut = set()
        new = {
            state: gone[end]
            for state, end in draft.ends.items()
            if end in gone and state not in gone
        }
        if draft.output in gone:
            raise GenomeError("the output has no source any more", where=f"{draft.output_name}[t]")
        if not new:
            break
        gone.update(new)
    for state in [state for state in draft.states if state in gone]:
        del draft.states[state], draft.ends[state]
    if not draft.states:
        raise GenomeError("no state is left")
    return draft.build()


def _reduce(
    draft: Draft,
    number: int,
    cut: set[tuple[int, int]],
    gone: dict[int, Left],
    *,
    keep_names: bool,
    open_blends: bool,
) -> None:
    """Work out what is left of one node whose operands are done; replaces, removes or
    shortens it.
    """
    node = draft.nodes[number]
    given = [(v, gone.get(v)) for v in node.inputs]
    for p, (v, _) in enumerate(given):
        if (number, p) in cut:  # a factor is 1, a term 0
            factor = node.op == "mul" or (node.op == "blend" and p == 0 and open_blends)
            given[p] = v, Left.CONSTANT if factor else Left.NOTHING
    if all(left is None for _, left in given):
        return
    numbers = [
        Left.CONSTANT if v in draft.nodes and draft.nodes[v].op == "const" else left
        for v, left in given
    ]
    left = _left(node, numbers)  # a number alone is not a source either
    if left is not None:
        gone[number] = left
        del draft.nodes[number]
        return
    kept = [v for v, left in given if left is None]
    if node.op in ("add", "mul", "max", "min") and len(kept) == 1:
        _alias(draft, number, kept[0], keep_names=keep_names)
    elif node.op in ("linear", "add", "mul"):
        draft.set_inputs(number, kept)
    elif node.op == "sub":
        if kept == [node.inputs[0]]:
            _alias(draft, number, kept[0], keep_names=keep_names)
        else:
            draft.nodes[number] = replace(node, op="neg", inputs=(kept[0],))
    elif node.op == "div":
        if kept != [node.inputs[0]]:
            raise GenomeError(
                "a quotient has no dividend any more", where=f"node {node.name or number}"
            )
        _alias(draft, number, kept[0], keep_names=keep_names)
    elif node.op == "rotate" and kept == [node.inputs[0]]:
        _alias(draft, number, kept[0], keep_names=keep_names)  # without angles nothing turns
    elif node.op == "blend":
        _reduce_blend(draft, number, [left for _, left in given], opens=open_blends)
    else:
        raise GenomeError(f"{node.op} has lost an operand", where=f"node {node.name or number}")


def _left(node: Node, operands: list[Left | None]) -> Left | None:
    """What is left when the node has no source any more; ``None`` when it still has one."""
    if node.op in ("mul", "div", "rotate") and operands[0] is Left.NOTHING:
        return Left.NOTHING
    if node.op == "mul" and Left.NOTHING in operands:
        return Left.NOTHING
    if node.op == "blend" and operands[1] is operands[2] is Left.NOTHING:
        return Left.NOTHING
    if any(left is None for left in operands):
        return None
    if node.op == "linear":
        return Left.CONSTANT if node.bias else Left.NOTHING
    if Left.CONSTANT in operands:
        return Left.CONSTANT
    return Left.NOTHING if ops.OPS[node.op].keeps_zero else Left.CONSTANT


def _reduce_blend(draft: Draft, number: int, operands: list[Left | None], *, opens: bool) -> None:
    """g*a + (1-g)*b without one of its parts."""
    node = draft.nodes[number]
    gate, first, second = node.inputs
    if operands[0] is not None:
        kept = [v for v, left in zip((first, second), operands[1:], strict=True) if left is None]
        if opens and operands[0] is Left.CONSTANT and kept:
            if len(kept) == 1:
                draft.bypass(number, kept[0])
            else:
                draft.nodes[number] = replace(node, op="add", inputs=tuple(kept))
            return
        if operands[0] is Left.NOTHING and operands[2] is None:
            draft.bypass(number, second)
            return
        raise GenomeError("a blend has lost its gate", where=f"node {node.name or number}")
    if operands[1] is not None and operands[2] is not None:
        raise GenomeError("a blend has lost both its values", where=f"node {node.name or number}")
    if operands[1] is None:
        draft.nodes[number] = replace(node, op="mul", inputs=(gate, first))
    else:
        rest = draft.add("sub", draft.const(1.0), gate)
        draft.nodes[number] = replace(node, op="mul", inputs=(rest, second))


def _alias(draft: Draft, number: int, value: int, *, keep_names: bool) -> None:
    """Let a value take the place of a node. In a gated cell the name stays, on an identity, because
    weights are called by it.
    """
    if keep_names and draft.nodes[number].name:
        draft.nodes[number] = replace(draft.nodes[number], op="identity", inputs=(value,))
    else:
        draft.bypass(number, value)
