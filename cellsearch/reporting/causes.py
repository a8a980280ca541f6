"""Why trainings failed: kinds, the messages of each, and the cells that they befell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["MEANINGS", "Cause", "FailureKind", "failure_kinds"]

MEANINGS: Mapping[str, str] = {
    "nan": "the loss or the score was not a number",
    "diverged": "the loss grew beyond all bounds",
    "timeout": "it took longer than it was given",
    "memory": "it needed more memory than it was given",
    "crash": "the process died while it was trained",
    "invalid": "the cell cannot be trained like this",
    "prefilter": "a check before training rejected it",
    "error": "an error of the program",
}
"""What each kind of failure means."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|\binf\b|\bnan\b", re.I)


@dataclass(slots=True)
class Cause:
    """Failures that say the same but for the numbers in it."""

    message: str
    """The message of the first of them."""
    trials: list[int] = field(default_factory=list)
    """Their numbers."""


@dataclass(slots=True)
class FailureKind:
    """All failures of one kind."""

    kind: str
    """Such as ``nan`` or ``timeout``."""
    causes: list[Cause] = field(default_factory=list)
    """What they say, the most frequent first."""

    @property
    def count(self) -> int:
        """How many trials failed so."""
        return sum(len(cause.trials) for cause in self.causes)

    @property
    def meaning(self) -> str:
        """The same in words; ``""`` for a kind that is not known here."""
        return MEANINGS.get(self.kind, "")


def failure_kinds(failed: Iterable[tuple[int, str, str]]) -> list[FailureKind]:
    """Failures by kind and cause, the most frequent first.

    failed: number, kind and message of each, in order of number.
    """
    kinds: dict[str, FailureKind] = {}
    causes: dict[tuple[str, str], Cause] = {}
    for number, kind, message in failed:
        own = kinds.setdefault(kind, FailureKind(kind))
        same = (kind, _NUMBER.sub("#", message))
        if same not in causes:
            causes[same] = Cause(message)
            own.causes.append(causes[same])
        causes[same].trials.append(number)
    for one in kinds.values():
        one.causes.sort(key=lambda cause: -len(cause.trials))
    return sorted(kinds.values(), key=lambda one: -one.count)
