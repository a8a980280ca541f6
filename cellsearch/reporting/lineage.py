"""Who came from whom: ancestors of a trial and what came from it, with operators and reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cellsearch.history import History
from cellsearch.trial import Trial

__all__ = ["Relative", "ancestors", "descendants", "family"]


@dataclass(frozen=True, slots=True)
class Relative:
    """One trial of a family tree."""

    trial: Trial
    """Its record."""
    depth: int
    """How far above (ancestors) or below (descendants, negative) the trial that was asked for."""


def ancestors(trial: Trial, history: History) -> Iterator[Relative]:
    """The trial and everything it descends from, each once, the nearest first."""
    seen = {trial.number}
    level, depth = [trial], 0
    while level:
        yield from (Relative(one, depth) for one in level)
        above: list[Trial] = []
        for number in (n for one in level for n in one.proposal.parents):
            parent = history.by_number.get(number)
            if parent is not None and number not in seen:
                seen.add(number)
                above.append(parent)
        level, depth = above, depth + 1


def descendants(trial: Trial, history: History) -> Iterator[Relative]:
    """What came from the trial as first parent, and from that, the nearest first; without it."""
    level, depth = [trial], -1
    while level:
        below = [child for one in level for child in history.children(one.number)]
        yield from (Relative(one, depth) for one in below)
        level, depth = below, depth - 1


def family(
    trial: Trial, history: History, above: int = 60, below: int = 60
) -> tuple[list[Relative], bool]:
    """At most so many ancestors (the trial first) and descendants of a trial; and whether there
    are more.
    """
    found: list[Relative] = []
    more = False
    for relatives, most in (
        (ancestors(trial, history), above),
        (descendants(trial, history), below),
    ):
        for place, relative in enumerate(relatives):
            if place == most:
                more = True
                break
            found.append(relative)
    return found, more
