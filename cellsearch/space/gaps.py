"""Reading ``dt[t]`` and ``mask[t]`` in spaces whose ``inputs`` have them: decays with the time, and
products that see the time and what was observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from cellsearch.space.declaration import Declaration
from cellsearch.space.draft import GIVEN, Draft
from cellsearch.space.moves import Place, places

__all__ = ["gap_moves", "read_gaps"]

READ = 0.3
"""How often a product of a sample reads such an input too."""
DECAY = 0.3
"""How often a state that a sample reads elementwise decays with the time first."""
_Moves = Iterator[tuple[Callable[[Draft], None], float]]


def gap_moves(space: Declaration, draft: Draft, *, back: bool = True) -> _Moves:
    """A linear reads the time or the mask, or (``back``) no longer; a state decays with the time
    first.
    """
    for number, node in draft.nodes.items():
        if node.op == "linear":
            for name in space.inputs[1:]:
                if GIVEN[name] not in node.inputs:
                    yield partial(_read, number, name), 1.0
                elif back and len(node.inputs) > 1:
                    yield partial(_forget, number, name), 1.0
    for place in places(draft):
        if _can_decay(space, draft, place):
            for gate in space.gate_ops:
                yield partial(_decay, place, gate), 1.0


def read_gaps(space: Declaration, draft: Draft, rng: np.random.Generator) -> None:
    """Let a grown cell read some of the inputs that the space has besides x."""
    for number, node in list(draft.nodes.items()):
        for name in space.inputs[1:]:
            if node.op == "linear" and rng.random() < READ:
                _read(number, name, draft)
    functions = space.gate_ops
    for place in list(places(draft)):
        if _can_decay(space, draft, place) and rng.random() < DECAY:
            _decay(place, functions[int(rng.integers(len(functions)))], draft)


def _can_decay(space: Declaration, draft: Draft, place: Place) -> bool:
    """Whether a state is read elementwise, or by a product, and may be multiplied by a gate."""
    possible = "dt" in space.inputs and "mul" in space.ops and space.dense
    return possible and place.value in draft.states and place.position >= 0


def _read(linear: int, name: str, draft: Draft) -> None:
    inputs = draft.nodes[linear].inputs
    if GIVEN[name] not in inputs:
        draft.set_inputs(linear, (*inputs, GIVEN[name]))


def _forget(linear: int, name: str, draft: Draft) -> None:
    inputs = draft.nodes[linear].inputs
    draft.set_inputs(linear, tuple(v for v in inputs if v != GIVEN[name]))


def _decay(place: Place, gate: str, draft: Draft) -> None:
    """The state times a gate of the time alone, as in GRU-D (Che et al. 2018, equation 10)."""
    share = draft.add(gate, draft.add("linear", GIVEN["dt"], name=draft.fresh_name()))
    place.put(draft, draft.add("mul", share, place.value))
