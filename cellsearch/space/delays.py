"""Reading further back: states that only hold an earlier value, in spaces that allow them.

With ``max_delay = D`` a cell may read what an input or a state was up to D steps ago. The states in
between (``h_2[t] = h[t-1]``) do not count as states of the space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from cellsearch.space.declaration import Declaration
from cellsearch.space.draft import Draft, X
from cellsearch.space.moves import Place, places

__all__ = ["delay_moves", "reach_back"]

REACH = 0.2
"""How often a sample reads a value later than it might."""


def delay_moves(
    space: Declaration, draft: Draft, *, back: bool = True
) -> Iterator[tuple[Callable[[Draft], None], float]]:
    """A state or x is read one step earlier, or (``back``) one step later where it was read
    earlier.
    """
    for place in places(draft):
        if not _holds(draft, place):
            if _can_wait(space, draft, place):
                yield partial(_read_earlier, space, place), 1.0
            end = draft.ends.get(place.value, place.value)
            if (
                back
                and end != place.value
                and (end in draft.states or (end == X and _takes_x(space, place)))
            ):
                yield partial(_read_later, place, end), 1.0


def reach_back(space: Declaration, draft: Draft, rng: np.random.Generator) -> None:
    """Let some reads of a grown cell reach further back."""
    for place in list(places(draft)):
        if not _holds(draft, place) and rng.random() < REACH:
            for _ in range(int(rng.integers(1, space.limits.max_delay + 1))):
                value = draft.nodes[place.node].inputs[place.position]
                now = Place(place.node, place.position, value, place.linear)
                if _can_wait(space, draft, now):
                    _read_earlier(space, now, draft)


def _holds(draft: Draft, place: Place) -> bool:
    """Whether the reader is no node: what a state holds is not moved, only what is computed."""
    return place.position < 0


def _takes_x(space: Declaration, place: Place) -> bool:
    return place.linear or not space.constraints.hidden_width


def _can_wait(space: Declaration, draft: Draft, place: Place) -> bool:
    """Whether the value is x or a state, and may be read one step earlier."""
    if place.value != X and place.value not in draft.states:
        return False
    if place.value == X and space.constraints.hidden_width:
        return False  # a state that holds x is as wide as x
    _, steps = _source(draft, place.value)
    return steps < space.limits.max_delay


def _source(draft: Draft, value: int) -> tuple[int, int]:
    """What a value of the step before has been held since, and how many steps ago it was that; for
    a state that computes its next value itself and 1.
    """
    steps = 0 if value == X else 1
    seen = {value}
    while value in draft.states and draft.ends[value] <= X and draft.ends[value] not in seen:
        value = draft.ends[value]
        seen.add(value)
        steps += value in draft.states
    return value, steps


def _read_earlier(space: Declaration, place: Place, draft: Draft) -> None:
    """Read what was the value a step before: from a state that holds it, a new one if there is
    none.
    """
    value = place.value
    start = draft.states[value].initial if value in draft.states else 0.0
    held = next(
        (s for s, end in draft.ends.items() if end == value and draft.states[s].initial == start),
        None,
    )
    if held is None:
        base, steps = _source(draft, value)
        stem = "x" if base == X else draft.states[base].name
        name = f"{stem}_{steps + 1}"
        taken = {node.name for node in draft.nodes.values()} | draft.avoid
        taken |= {state.name for state in draft.states.values()} | {draft.output_name}
        held = draft.add_state(
            name if name not in taken else draft.fresh_name(f"{name}_"), value, start
        )
    place.put(draft, held)


def _read_later(place: Place, end: int, draft: Draft) -> None:
    place.put(draft, end)
