"""What a search remembers: proposals, trials, results, and the history that strategies read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

from cellsearch.errors import ConfigError, EnvironmentFailure
from cellsearch.genome.graph import Genome

__all__ = [
    "Budget",
    "Connection",
    "Failure",
    "History",
    "Proposal",
    "Result",
    "Rung",
    "Status",
    "Trial",
    "as_frame",
]

FRAMES = ("pandas", "polars")
"""The libraries of which a history can be made a frame."""


class Status(StrEnum):
    """What became of a trial."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    DUPLICATE = "duplicate"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to the trial."""
        return self not in _IN_FLIGHT


_IN_FLIGHT = (Status.WAITING, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much training is granted: optimizer steps in total (those of earlier rungs included), and
    which rung this is.
    """

    steps: int
    rung: int = 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a strategy hands over: a genome, the numbers of the trials it came from, and how
    (``"crossover"``, ``"mutate:op"``).

    ``inherit``: number of the trial from whose checkpoint equally named weights are taken over;
    ``None``: training from scratch.
    """

    genome: Genome
    parents: tuple[int, ...] = ()
    origin: str = ""
    inherit: int | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """What training learned about one connection, keyed in :class:`Result` by the name of its
    weight.

    ``gate``: size of the connection's weight (|scale| of a gated candidate, root mean square of a
    dense block). ``saliency``: first-order Taylor estimate of the loss added by removing it, |sum
    of w * dL/dw| (Molchanov et al. 2017, eq. 8). ``perturbation``: validation loss without it minus
    that with it (Wang et al. 2021, section 4); ``None``: was not measured.
    """

    gate: float
    saliency: float
    perturbation: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What training returns. ``score``: lower is better; ``metric``: the task's own number;
    ``curve``: (step, validation score).

    ``steps``: optimizer steps done; ``seconds``: training time; ``parameters``: trainable weights
    of the whole model, ``cell_parameters``: of the recurrent layers; ``checkpoint``: path relative
    to the run, ``""`` for none. ``metrics`` holds further numbers, finite or not; ``connections``
    what was learned about each connection.
    """

    score: float
    metric: float
    steps: int
    seconds: float
    parameters: int
    cell_parameters: int
    curve: tuple[tuple[int, float], ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    connections: Mapping[str, Connection] = field(default_factory=dict)
    checkpoint: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial has no result. ``kind``: nan, diverged, timeout, memory, crash, invalid,
    prefilter, error; ``message`` for people.
    """

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Rung:
    """One granted budget and what it gave."""

    budget: Budget
    result: Result | None = None


@dataclass(frozen=True)
class Trial:
    """One candidate's record. ``number`` counts from 0; ``duplicate_of`` is the trial that answered
    a duplicate.

    What follows from the fields is worked out once: histories share their trials, and a proposal
    looks at all of them.
    """

    number: int
    proposal: Proposal
    status: Status = Status.WAITING
    rungs: tuple[Rung, ...] = ()
    failure: Failure | None = None
    duplicate_of: int | None = None

    @property
    def genome(self) -> Genome:
        """The candidate."""
        return self.proposal.genome

    @property
    def name(self) -> str:
        """What a person calls the trial: the zoo cell of a baseline, else its number."""
        if self.is_baseline:
            return self.proposal.origin.removeprefix("baseline:").upper()
        return f"trial {self.number}"

    @cached_property
    def key(self) -> str:
        """The key of the candidate."""
        return self.proposal.genome.key

    @property
    def result(self) -> Result | None:
        """The result of the highest rung that has one."""
        for rung in reversed(self.rungs):
            if rung.result is not None:
                return rung.result
        return None

    @cached_property
    def score(self) -> float:
        """The score of the result; infinity without one."""
        result = self.result
        return (
            result.score
            if result is not None and self.status is not Status.FAILED
            else float("inf")
        )

    def score_at(self, rung: int) -> float | None:
        """The score that a rung gave; ``None`` while it has no result."""
        for done in self.rungs:
            if done.budget.rung == rung and done.result is not None:
                return done.result.score
        return None

    @cached_property
    def standing(self) -> float:
        """By what the trial is ranked: the score of a trained cell that is a result of the search;
        infinity for everything else.
        """
        ranks = (
            self.status in (Status.COMPLETED, Status.STOPPED)
            and self.score < float("inf")
            and not self.is_intermediate
        )
        return self.score if ranks else float("inf")

    @cached_property
    def is_baseline(self) -> bool:
        """Whether the trial is a control that the experiment asked for (LSTM, GRU), not a proposal
        of the strategy.
        """
        return self.proposal.origin.startswith("baseline:")

    @property
    def is_intermediate(self) -> bool:
        """Whether the trial only serves to find others: a full cell on its way of being pruned. It
        is no result of the search.
        """
        return self.proposal.origin.startswith("supernet:")

    @property
    def is_imported(self) -> bool:
        """Whether the result was taken over from another run: it does not count against the trials
        of the experiment.
        """
        return self.proposal.origin.startswith("imported:")

    @property
    def is_rejected(self) -> bool:
        """Whether a check before training rejected it, at next to no cost: it does not count
        against the trials of the experiment.
        """
        return self.failure is not None and self.failure.kind == "prefilter"

    def to_row(self) -> dict[str, Any]:
        """The record as a row of a table; what there is not is ``None``."""
        result, failure = self.result, self.failure
        return {
            "number": self.number,
            "name": self.name,
            "origin": self.proposal.origin,
            "parents": list(self.proposal.parents),
            "baseline": self.is_baseline,
            "intermediate": self.is_intermediate,
            "status": self.status.value,
            "score": self.score if self.score < float("inf") else None,
            "metric": result.metric if result else None,
            "steps": result.steps if result else None,
            "seconds": result.seconds if result else None,
            "parameters": result.parameters if result else None,
            "cell_parameters": result.cell_parameters if result else None,
            "nodes": len(self.genome.nodes),
            "checkpoint": result.checkpoint if result else None,
            "failure": failure.kind if failure else None,
            "message": failure.message if failure else None,
            "duplicate_of": self.duplicate_of,
        }

    def with_(self, **changes: object) -> Trial:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


class History(Sequence[Trial]):
    """The trials that a strategy may know of, by number. Immutable; strategies are pure functions
    of it.

    A trial in flight is there without a result, so that a strategy sees what has been proposed
    already.
    """

    def __init__(self, trials: Sequence[Trial] = ()) -> None:
        self._trials = tuple(sorted(trials, key=attrgetter("number")))

    @classmethod
    def ordered(cls, trials: Sequence[Trial]) -> History:
        """A history of trials that are in order already: saves sorting thousands of them for each
        proposal.
        """
        history = cls()
        history._trials = tuple(trials)
        return history

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    def __reversed__(self) -> Iterator[Trial]:
        return reversed(self._trials)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._trials[index]

    @cached_property
    def by_number(self) -> Mapping[int, Trial]:
        """Trials by number."""
        return dict(zip(map(attrgetter("number"), self._trials), self._trials, strict=True))

    @cached_property
    def by_key(self) -> Mapping[str, Trial]:
        """The first trial of each genome key; duplicates are answered from it."""
        first: dict[str, Trial] = {}
        duplicate = Status.DUPLICATE
        for key, trial in zip(map(attrgetter("key"), self._trials), self._trials, strict=True):
            if key not in first and trial.status is not duplicate:
                first[key] = trial
        return first

    @cached_property
    def in_flight(self) -> int:
        """How many trials are not finished."""
        statuses = [trial.status for trial in self._trials]
        return sum(statuses.count(status) for status in _IN_FLIGHT)

    @cached_property
    def scored(self) -> tuple[Trial, ...]:
        """Trials with a finite score (duplicates excluded), in order of number."""
        return tuple(
            t
            for t in self._trials
            if t.status in (Status.COMPLETED, Status.STOPPED) and t.score < float("inf")
        )

    @cached_property
    def ranked(self) -> tuple[Trial, ...]:
        """:attr:`scored` without what is no result (:attr:`Trial.is_intermediate`), best first;
        ties go to the earlier trial.
        """
        return tuple(
            sorted(
                (t for t in self.scored if not t.is_intermediate), key=lambda t: (t.score, t.number)
            )
        )

    @cached_property
    def counted(self) -> int:
        """How many trials count against those of the experiment: neither rejected before training
        nor imported.
        """
        return sum(not (trial.is_rejected or trial.is_imported) for trial in self._trials)

    def gap(self, trial: Trial) -> float | None:
        """What making a pruned cell discrete cost: its score, trained from scratch, minus that of
        the cell with gates it came from.

        Positive: the cell with gates was better; it also had the trainings of all rounds before.
        ``None`` for a trial that did not come from such a cell, or where a score is missing. Zela
        et al. 2020 (arXiv 1909.09656), section 3.
        """
        parent = self.by_number.get(trial.proposal.parents[0]) if trial.proposal.parents else None
        if parent is None or not parent.is_intermediate or trial.is_intermediate:
            return None
        gap = trial.score - parent.score
        return gap if abs(gap) < float("inf") else None

    def best(self, *, baselines: bool = True) -> Trial | None:
        """The best trial; ``baselines=False`` leaves out the controls."""
        return next((t for t in self.ranked if baselines or not t.is_baseline), None)

    def to_rows(self) -> list[dict[str, Any]]:
        """One row a trial, in order of number, all with the same keys: those of
        :meth:`Trial.to_row`, ``gap`` (:meth:`gap`), ``metrics.NAME`` for each further number that
        any trial has, and ``cell`` (the equations).
        """
        measured = [dict(trial.result.metrics) if trial.result else {} for trial in self._trials]
        names = sorted({name for metrics in measured for name in metrics})
        return [
            trial.to_row()
            | {"gap": self.gap(trial)}
            | {f"metrics.{name}": metrics.get(name) for name in names}
            | {"cell": trial.genome.to_text()}
            for trial, metrics in zip(self._trials, measured, strict=True)
        ]

    def to_frame(self, library: str = "") -> Any:
        """:meth:`to_rows` as a ``pandas.DataFrame`` or a ``polars.DataFrame``.

        library: ``"pandas"`` or ``"polars"``; left out, whichever is installed, pandas first.

        Raises :class:`EnvironmentFailure` if neither is: cellsearch itself needs none of them.
        """
        return as_frame(self.to_rows(), library)

    def __repr__(self) -> str:
        best = self.best()
        return f"<{len(self)} trials{f', best {best.score:.6g} ({best.name})' if best else ''}>"


def as_frame(rows: Sequence[Mapping[str, Any]], library: str = "") -> Any:
    """Rows as a frame, see :meth:`History.to_frame`."""
    if library and library not in FRAMES:
        raise ConfigError(f"{library!r} makes no frames", hint=f"allowed: {', '.join(FRAMES)}")
    for name in (library,) if library else FRAMES:
        if find_spec(name) is not None:
            # polars looks at the first 100 rows only, unless it is told to look at all
            how: dict[str, Any] = {"infer_schema_length": None} if name == "polars" else {}
            return import_module(name).DataFrame([dict(row) for row in rows], **how)
    raise EnvironmentFailure(
        f"{library or ' and '.join(FRAMES)} cannot be imported",
        hint=f"pip install {library or FRAMES[0]}, or take the rows as they are: to_rows()",
    )
