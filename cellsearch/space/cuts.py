"""Cells with fewer weights at equal H: products in blocks, and bottlenecks.

With ``max_blocks = N`` a product of previous states and other values of width H may have 2, 4, ...
up to N blocks; the mutation ``blocks`` doubles or halves them. With ``max_bottleneck = N`` such a
value may go through a ``linear`` of size H/2, H/4, ... down to H/N (a matrix of low rank); the
mutation ``bottleneck`` puts one in, makes it narrower or wider, or takes it out. x is read by dense
products only: its size is the task's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import Node, attributes
from cellsearch.genome.sizes import divided, ratio
from cellsearch.space.declaration import Declaration, Violation
from cellsearch.space.draft import GIVEN, Draft
from cellsearch.space.moves import Place, places
from cellsearch.space.turns import angles

__all__ = ["block_moves", "bottleneck_moves", "cut_some", "cuts"]

SHARE = 0.3
"""How often a sample cuts a product that it may cut."""
_Moves = Iterator[tuple[Callable[[Draft], None], float]]


def cuts(space: Declaration, genome: Genome) -> Iterator[Violation]:
    """Blocks, heads and sizes that the space does not allow."""
    if genome.is_plain:
        return
    most, narrowest = space.limits.max_blocks, space.limits.max_bottleneck
    turned = angles(genome) if "rotate" in space.ops else frozenset[int]()
    for value, node in genome.numbered():
        if node.is_plain or (node.size == "H/2" and value in turned):
            continue
        if node.parts > most:
            yield Violation(f"{node.parts} blocks", genome.labels[value], f"at most {most}")
        if node.size != "H":
            share = ratio("H", node.size)
            if share is None or share.denominator != 1 or share > narrowest:
                least = f"H/2 down to H/{narrowest}" if narrowest > 1 else "H"
                yield Violation(f"the size {node.size}", genome.labels[value], least)
        if node.blocks > 1 and any(genome.widths[v] == "I" for v in node.inputs):
            yield Violation("x in blocks", genome.labels[value], "x in dense products")


def block_moves(space: Declaration, draft: Draft, *, back: bool = True) -> _Moves:
    """Blocks are doubled or (``back``) halved; a dense product of x and states becomes two, one in
    blocks.
    """
    most = space.limits.max_blocks
    for number, node in draft.nodes.items():
        if node.op == "head_norm":
            yield from _scaled(number, node, "heads", most, back)
        if node.op != "linear":
            continue
        given = [v for v in node.inputs if v in GIVEN.values()]
        if not given:
            yield from _scaled(number, node, "blocks", most, back)
        elif len(given) < len(node.inputs) and "add" in space.ops:
            yield partial(_split, number, given), 1.0


def _scaled(number: int, node: Node, what: str, most: int, back: bool) -> _Moves:
    """Twice and (``back``) half as many parts."""
    for parts in (2 * node.parts, node.parts // 2)[: 1 + back]:
        if 1 <= parts <= most:
            yield partial(_say, number, what, parts), 1.0


def _say(number: int, what: str, value: int | str, draft: Draft) -> None:
    node = draft.nodes[number]
    draft.nodes[number] = replace(
        node, attrs=attributes(node.op, {**dict(node.attrs), what: value})
    )


def _split(number: int, given: list[int], draft: Draft) -> None:
    """linear(x, h) -> linear(x) + linear(h, blocks=2)."""
    node = draft.nodes[number]
    rest = [v for v in node.inputs if v not in given]
    said = {**dict(node.attrs), "bias": False, "blocks": 2}
    cut = Node(draft.fresh_name(), "linear", tuple(rest), attributes("linear", said))
    dense = draft.put(replace(node, inputs=tuple(given)))
    total = draft.add("add", dense, draft.put(cut))
    draft.substitute(number, total, keep=(dense,))
    del draft.nodes[number]


def bottleneck_moves(space: Declaration, draft: Draft, *, back: bool = True) -> _Moves:
    """A value goes through a narrow linear on its way into a wide one; a narrow one becomes
    narrower or (``back``) wider, and at width H goes.
    """
    narrowest = space.limits.max_bottleneck
    for place in places(draft):
        if not place.linear or place.value in GIVEN.values():
            continue
        read = draft.nodes.get(place.value)
        if read is None or read.op not in ("linear", "const"):
            yield partial(_narrow, place), 1.0
    for number, node in draft.nodes.items():
        share = ratio("H", node.size) if node.op == "linear" else None
        if share is None or share <= 1:
            continue
        if 2 * share <= narrowest:
            yield partial(_say, number, "size", divided(node.size, 2)), 1.0
        if not back:
            continue
        if share == 2 and len(node.inputs) == 1:
            yield partial(_widen, number, node.inputs[0]), 1.0
        elif share > 2:
            yield partial(_say, number, "size", divided("H", int(share) // 2)), 1.0


def _narrow(place: Place, draft: Draft) -> None:
    said = attributes("linear", {"bias": False, "size": "H/2"})
    place.put(draft, draft.put(Node(draft.fresh_name(), "linear", (place.value,), said)))


def _widen(number: int, value: int, draft: Draft) -> None:
    draft.bypass(number, value)


def cut_some(space: Declaration, draft: Draft, rng: np.random.Generator) -> None:
    """Let some products of a grown cell have blocks or a bottleneck."""
    for moves, most in (
        (block_moves, space.limits.max_blocks),
        (bottleneck_moves, space.limits.max_bottleneck),
    ):
        for _ in range(max(1, most).bit_length() - 1):
            found = [edit for edit, _ in moves(space, draft)]
            if found and rng.random() < 2 * SHARE:
                found[int(rng.integers(len(found)))](draft)
