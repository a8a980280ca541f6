"""Actions with what they wait for, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cellsearch.compiler.backends.aten.actions import Action
from cellsearch.compiler.scheduling.phases import Phase

__all__ = ["PendingAction", "in_order"]


@dataclass
class PendingAction:
    """An action and its place in the order."""

    phase: Phase
    needs: set[int]
    """Numbers of values (negative: a product that has arrived in its buffer)."""
    makes: tuple[int, ...]
    action: Action | None
    """``None``: nothing is left to do."""
    slots: set[int]
    """What the action reads and writes."""
    fills: set[int] = field(default_factory=set)
    """Columns of Z that it is the first to write."""


def in_order(pending: Sequence[PendingAction]) -> list[PendingAction] | None:
    """The actions, each after those that it needs, phase by phase; ``None`` if some wait for each
    other.
    """
    maker = {value: item for item in pending for value in item.makes}
    ordered: list[PendingAction] = []
    done: set[int] = set()
    waiting: set[int] = set()
    for start in sorted(pending, key=lambda item: (item.phase, max(item.makes))):
        stack = [(start, False)]
        while stack:
            item, ready = stack.pop()
            if ready:
                waiting.discard(id(item))
                done.add(id(item))
                ordered.append(item)
            elif id(item) in waiting:
                return None
            elif id(item) not in done:
                waiting.add(id(item))
                stack.append((item, True))
                for value in sorted(item.needs, reverse=True):
                    below = maker.get(value)
                    if below is not None and below is not item and id(below) not in done:
                        if id(below) in waiting:
                            return None
                        stack.append((below, False))
    return sorted(ordered, key=lambda item: item.phase)  # stable: within a phase the order stays
