"""Mutation: small edits that together reach the whole space.

====================
==================================================================================================
``op``                a node computes another function of the same operands
``connection``        an operand is read from elsewhere
``connect``           a linear, sum or product reads one value more
``disconnect``        a linear, sum or product reads one value less
``insert``            a function, or an op with a second value, between a value and its reader
``delete``            a node goes, one of its operands takes its place
``gate``              a value is multiplied by a new gate over a new linear
``duplicate``         a gate is copied, with weights of its own, and multiplies another value too
``share``             two linear nodes become one
``unshare``           a reader of a linear that has several gets its own copy
``add_state``         a new state: it remembers a value for the next step, or accumulates one
``remove_state``      a state goes, its readers read another one
``delay``             x or a state is read one step earlier, or one later, up to ``max_delay``
``gap``               a linear reads dt or the mask, or no longer; a state decays with the time
``turn``              a state turns before it is read, or no longer, or by other angles
``blocks``            a product gets twice or half as many blocks, up to ``max_blocks``
``bottleneck``        a product goes through fewer numbers, or more, down to H / ``max_bottleneck``
====================
==================================================================================================

A move is drawn in two steps, the operator by the caller's weights and then the move by the weights
of the ops that it adds, and drawn again when it leads outside the space.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from cellsearch.errors import ConfigError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space.declaration import Declaration, Edit
from cellsearch.space.draft import Draft
from cellsearch.space.edits import GROUPED, OPERATORS, Change, function_moves
from cellsearch.space.lots import Lot, MadeLater
from cellsearch.space.moves import Move, apply, places
from cellsearch.space.turns import has_turns

__all__ = ["OPERATORS", "moves", "mutate", "neighbours", "operators"]

TRIES = 60
"""Moves drawn before all are tried in order."""

_LIST = (
    "op",
    "connection",
    "connect",
    "disconnect",
    "delete",
    "gate",
    "share",
    "unshare",
    "add_state",
    "remove_state",
)
"""The operators of :func:`neighbours`; of ``insert`` it takes the functions of one value."""


_OF_LIMITS = ("delay", "blocks", "bottleneck", "gap", "turn")
"""Those of spaces whose limits, inputs or ops allow what they make."""


def operators(space: Declaration) -> tuple[str, ...]:
    """See :meth:`SearchSpace.operators`."""
    needs_product = {"gate", "duplicate"} if "mul" not in space.ops else set()
    needs_states = {"add_state", "remove_state"} if len(space.states) < 2 else set()
    needs_delay = set() if space.limits.max_delay else {"delay"}
    needs_cuts = set() if space.limits.max_blocks > 1 else {"blocks"}
    needs_cuts |= set() if space.limits.max_bottleneck > 1 else {"bottleneck"}
    needs_gaps = set() if len(space.inputs) > 1 else {"gap"}
    needs_turns = set() if has_turns(space) else {"turn"}
    lacking = needs_product | needs_states | needs_delay | needs_cuts | needs_gaps | needs_turns
    return tuple(name for name in OPERATORS if name not in lacking)


def mutate(
    space: Declaration,
    genome: Genome,
    rng: np.random.Generator,
    weights: Mapping[str, float] | None = None,
    *,
    tidy: bool = True,
) -> Edit:
    """See :meth:`SearchSpace.mutation`."""
    names = operators(space)
    for name in weights or ():
        if name not in OPERATORS:
            raise ConfigError(
                f"unknown mutation operator {name!r}", hint="allowed: " + ", ".join(OPERATORS)
            )
    chances = [1.0 if weights is None else weights.get(name, 0.0) for name in names]
    if not sum(chances) > 0:
        raise ConfigError(
            "no mutation operator of this space has a weight above 0",
            hint="operators: " + ", ".join(names),
        )
    operator = Lot(names, chances)
    for _ in range(TRIES):
        name = operator.draw(rng)
        lot = space.lots.get(name, genome, partial(_lot, space, genome, name))
        if lot.things:
            edited = apply(space, genome, lot.draw(rng), tidy=tidy)
            if edited is not None and (not tidy or edited.key != genome.key):
                return Edit(edited, name)
    for name in names:
        for move in moves(space, genome, name) if chances[names.index(name)] > 0 else ():
            edited = apply(space, genome, move.edit)
            if edited is not None and edited.key != genome.key:
                return Edit(edited, name)
    raise SpaceError(
        "no mutation of the cell is in the space",
        where=space.source,
        hint="widen the limits or the ops of the space",
    )


def _lot(space: Declaration, genome: Genome, operator: str) -> Lot[Change]:
    """What the moves of an operator do, by their weights."""
    draft = Draft.of(genome)
    if operator in GROUPED:
        later = MadeLater(GROUPED[operator](space, draft))
        return Lot(later, later.weights)
    found = list(OPERATORS[operator](space, draft))
    return Lot([edit for edit, _ in found], [chance for _, chance in found])


def neighbours(space: Declaration, genome: Genome) -> tuple[Genome, ...]:
    """See :meth:`SearchSpace.neighbours`."""
    found: dict[str, Genome] = {}
    draft = Draft.of(genome)
    listed = (*_LIST, *(name for name in _OF_LIMITS if name in operators(space)))
    tried = [move for name in listed for move in moves(space, genome, name)]
    tried += [move for place in places(draft) for move in function_moves(space, place)]
    for move in tried:
        edited = apply(space, genome, move.edit)
        if edited is not None and edited.key != genome.key:
            found.setdefault(edited.key, edited)
    return tuple(found.values())


def moves(space: Declaration, genome: Genome, operator: str) -> list[Move]:
    """All moves of an operator, not yet tried for legality."""
    draft = Draft.of(genome)
    return [Move(operator, edit, chance) for edit, chance in OPERATORS[operator](space, draft)]
