"""Rows of the store as values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Decision", "Duplicate", "Environment", "Event", "Timing"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the search decided to train."""

    position: int
    """Counts decisions from 0."""
    trial: int
    """Number of the trial."""
    rung: int
    """Which of its budgets."""
    horizon: int
    """The proposal knew the results of trials below this."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A proposal that was answered instead of trained."""

    trial: int
    """The number that it was proposed for."""
    attempt: int
    """Which proposal for this number, from 0."""
    duplicate_of: int
    """The trial that answers it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When and where a job ran. Times are seconds since 1970."""

    trial: int
    """Number of the trial."""
    rung: int
    """Which of its budgets."""
    worker: str
    """Who did it; ``""`` while nobody has."""
    started: float | None
    """When it was handed out."""
    ended: float | None
    """When its outcome came; ``None`` while it has none."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where the run was opened for writing."""

    opened: float
    """When, in seconds since 1970."""
    fingerprint: dict[str, str]
    """Machine and versions."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the run."""

    time: float
    """When, in seconds since 1970."""
    kind: str
    """What, in a word or two."""
    text: str
    """What, for people."""
