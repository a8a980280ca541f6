"""Tasks: actions with what they wait for, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cellsearch.compiler.backends.aten.actions import Action
from cellsearch.compiler.scheduling.phases import Phase

__all__ = ["PendingAction", "in_order"]


@dataclass
class PendingAction:
    """``needs`` and ``makes``: numbers of values (negative: a product that has arrived in its
    buffer); no action: nothing is left to do.

    ``slots``: what the action reads and writes; ``fills``: columns of Z that it is the first to
    write.
    """

    phase: Phase
    needs: set[int]
    makes: tuple[int, ...]
    action: Action | None
    slots: set[int]
    fills: set[int] = field(default_factory=set)


def in_order(tasks: Sequence[PendingAction], phase: Sequence[Phase]) -> list[PendingAction] | None:
    """The tasks, each after those that it needs, phase by phase; ``None`` if some wait for each
    other.
    """
    maker = {value: task for task in tasks for value in task.makes}
    ordered: list[PendingAction] = []
    done: set[int] = set()
    waiting: set[int] = set()
    for start in sorted(tasks, key=lambda task: (task.phase, max(task.makes))):
        stack = [(start, False)]
        while stack:
            task, ready = stack.pop()
            if ready:
                waiting.discard(id(task))
                done.add(id(task))
                ordered.append(task)
            elif id(task) in waiting:
                return None
            elif id(task) not in done:
                waiting.add(id(task))
                stack.append((task, True))
                for value in sorted(task.needs, reverse=True):
                    below = maker.get(value)
                    if below is not None and below is not task and id(below) not in done:
                        if id(below) in waiting:
                            return None
                        stack.append((below, False))
    return sorted(ordered, key=lambda task: task.phase)  # stable: within a phase the order stays
