"""What a tracker is told of a run, and the base class of those who tell it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

from cellsearch.genome.drawing.svg import to_svg
from cellsearch.genome.graph import Genome

__all__ = ["CurvePoint", "TrackedCell", "TrackedRun", "TrackedTrial", "Tracker", "code_block"]


class CurvePoint(NamedTuple):
    """One validation of a trial."""

    step: int
    """Optimizer steps done, those of lower rungs included."""
    score: float
    """The validation score, finite."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told of a run before anything else."""

    path: Path
    """The folder of the run, absolute."""
    name: str
    """Of the experiment."""
    question: str
    """What the experiment wants to know; ``""``: it does not say."""
    settings: str
    """The resolved experiment as TOML text."""
    options: Mapping[str, str]
    """The same, flat: ``"training.steps"`` -> ``"300"``."""
    created: float
    """When the run was made, in seconds since 1970."""
    asked_for: int
    """How many trials the experiment asks for."""

    @property
    def title(self) -> str:
        """What people call the run: the name of its folder."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class TrackedTrial:
    """A trial that has ended."""

    step: int
    """How many trials were told of before it: where its numbers stand in a series."""
    time: float
    """When it ended, in seconds since 1970."""
    number: int
    """Of the trial."""
    name: str
    """What a person calls it."""
    is_baseline: bool
    """Whether it is a control."""
    values: Mapping[str, float]
    """Finite numbers by name, such as ``"trial/score"`` and ``"search/best_score"``."""
    curve: tuple[CurvePoint, ...]
    """Its learning curve; empty where it is not among those that are shown."""


@dataclass(frozen=True)
class TrackedCell:
    """The best cell so far, or the winner."""

    trial: TrackedTrial
    """Its trial."""
    genome: Genome
    """The cell."""
    origin: str
    """How it came about."""
    reason: str
    """Why, in words; ``""``: nothing was said."""
    score: float
    """Lower is better."""
    weights: int
    """Trainable weights of its recurrent layers."""
    checkpoint: Path | None
    """Its trained weights, if they are kept."""

    @cached_property
    def text(self) -> str:
        """Its equations, as a ``.cell`` file."""
        return self.genome.to_text()

    @cached_property
    def svg(self) -> str:
        """A drawing of it."""
        return to_svg(self.genome, title=f"{self.trial.name}: {self.score:.6g}")


class Tracker(ABC):
    """Tells one library for tracking experiments of one run. Made and used in a process of its own.

    What it is told has steps that never change: the same trial has the same one whenever it is told
    of. So a tracker that is told twice, because its process died between, can see that.

    run: what is tracked.
    """

    name: ClassVar[str]
    """By which it is chosen."""
    package: ClassVar[str]
    """The module that must be there."""
    extra: ClassVar[str] = ""
    """What installs it: ``pip install cellsearch[EXTRA]``; ``""``: the package itself."""

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.where = ""
        """Where people find what is written, in words; :meth:`open` says it."""

    @abstractmethod
    def open(self, identity: str, known: int) -> str:
        """Go on with what :meth:`open` called ``identity`` before, or begin (``""``).

        known: trials that it surely holds already; it may hold some of the following ones.

        Returns the identity of what it writes from now on. Another one than the given says that
        that is no longer there: then it is told of everything.
        """

    @abstractmethod
    def trial(self, trial: TrackedTrial) -> None:
        """A trial has ended."""

    @abstractmethod
    def best(self, cell: TrackedCell) -> None:
        """This cell is the best so far; its trial has been told of."""

    @abstractmethod
    def winner(self, cell: TrackedCell) -> None:
        """The run has ended, or is left for now, with this as its best cell."""

    @abstractmethod
    def flush(self) -> None:
        """What was told must survive the death of this process when this returns."""

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Nothing more is told for now; ``finished``: nor will be."""


def code_block(text: str) -> str:
    """The text as code of Markdown: nothing in it is read as anything else."""
    return "\n".join(f"    {line}" for line in text.splitlines())
