"""What a search remembers: proposals, trials, and the history that strategies read."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from heapq import nsmallest
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from typing import Any, Self, TypeVar

from cellsearch.errors import ConfigError, EnvironmentFailure, amount, checked_arguments
from cellsearch.genome.graph import Genome
from cellsearch.job import Budget, Connection, Failure, JobId, Result

__all__ = [
    "BASELINE",
    "ENQUEUED",
    "IMPORTED",
    "SUPERNET",
    "Budget",
    "Connection",
    "Failure",
    "Granted",
    "History",
    "Index",
    "Origin",
    "Proposal",
    "Ranking",
    "Result",
    "Rung",
    "Status",
    "StoredProposal",
    "Totals",
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
_TRAINED = (Status.COMPLETED, Status.STOPPED)

BASELINE = "baseline"
"""Kind of origin of a control that the experiment asked for; its detail is the name of the cell."""
ENQUEUED = "enqueued"
"""Kind of origin of a cell that a person asked for."""
IMPORTED = "imported"
"""Kind of origin of a trial whose result was taken over; its detail is the name of the run."""
SUPERNET = "supernet"
"""Kind of origin of a cell that only serves to find others."""


class Origin(str):
    """How a proposal came about, as a value: the text that stores and tables hold, such as
    ``"mutate:op@2"``, and its parts. Whoever compares it with text goes on as before.

    Made of its parts, or by :meth:`parse` of any text.
    """

    __slots__ = ()

    def __new__(cls, kind: str, detail: str = "", place: str = "") -> Origin:
        """The origin with these parts; of a kind alone that holds separators, what they part."""
        mark = "" if detail[:1] in _UNMARKED else ":"
        return super().__new__(cls, f"{kind}{mark}{detail}{'@' if place else ''}{place}")

    @classmethod
    def parse(cls, text: str) -> Origin:
        """The origin of this text, ``kind``, ``kind:detail``, ``kind:detail@place`` or alike."""
        return cls(text)

    @property
    def kind(self) -> str:
        """What made it: ``"baseline"``, ``"seed"``, ``"mutate"``, ``"crossover"``, ``"grow"``."""
        return _origin_parts(str(self))[0]

    @property
    def detail(self) -> str:
        """With what: the cell, the operator; ``"+operator"`` of a crossover that mutates too."""
        return _origin_parts(str(self))[1]

    @property
    def place(self) -> str:
        """Where: the place in the cell, or the island."""
        return _origin_parts(str(self))[2]


_SEPARATOR = re.compile("[:+@]")
_UNMARKED = ("", ":", "+", "@")
"""Beginnings of a detail that no colon parts from the kind."""


@lru_cache(maxsize=1024)
def _origin_parts(text: str) -> tuple[str, str, str]:
    """Kind, detail and place, of which :class:`Origin` makes the text again."""
    start = _SEPARATOR.search(text)
    if start is None:
        return text, "", ""
    kind, rest = text[: start.start()], text[start.start() :]
    named, _, place = rest.partition("@")
    detail = named if place else rest
    if detail.startswith(":") and detail[1:2] not in _UNMARKED:
        detail = detail[1:]
    return kind, detail, place


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Proposal:
    """What a strategy hands over."""

    genome: Genome
    """The candidate."""
    parents: tuple[int, ...]
    """Numbers of the trials that it came from."""
    origin: Origin
    """How it came from them; may be given as text, such as ``"mutate:op"``."""
    inherit: int | None
    """Trial from whose checkpoint equally named weights are taken over; ``None``: from scratch."""

    def __init__(
        self,
        genome: Genome,
        parents: tuple[int, ...] = (),
        origin: Origin | str = "",
        inherit: int | None = None,
    ) -> None:
        origin = Origin.parse(origin)
        for name, value in zip(_PROPOSED, (genome, parents, origin, inherit), strict=True):
            object.__setattr__(self, name, value)

    @property
    def key(self) -> str:
        """The key of the candidate."""
        return self.genome.key

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proposal):
            return NotImplemented
        return self._facts() == other._facts() and self.genome == other.genome

    def __hash__(self) -> int:
        return hash((self.genome, self._facts()))

    def _facts(self) -> tuple[tuple[int, ...], Origin, int | None]:
        return self.parents, self.origin, self.inherit


_PROPOSED = ("genome", "parents", "origin", "inherit")


class StoredProposal(Proposal):
    """A proposal that was written down; its genome is read when somebody asks for it."""

    __slots__ = ("_key", "_source", "_text")

    _text: str
    _source: str
    _key: str

    @classmethod
    def of(
        cls,
        text: str,
        parents: tuple[int, ...],
        origin: str,
        inherit: int | None,
        *,
        source: str,
        key: str = "",
    ) -> Self:
        """What was written down.

        text: JSON form of the genome.
        source: what errors call it.
        key: of the genome; ``""`` where only the genome can tell.
        """
        made = cls.__new__(cls)
        values = (parents, Origin.parse(origin), inherit, text, source, key)
        names = (*_PROPOSED[1:], "_text", "_source", "_key")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(made, name, value)
        return made

    @property
    def genome(self) -> Genome:
        """The candidate. Raises :class:`CellSyntaxError` for a damaged text."""
        slot = Proposal.__dict__["genome"]
        try:
            found: Genome = slot.__get__(self)
        except AttributeError:
            found = Genome.from_json(self._text, source=self._source)
            slot.__set__(self, found)
        return found

    @genome.setter
    def genome(self, genome: Genome) -> None:  # of a copy that is made with other values
        Proposal.__dict__["genome"].__set__(self, genome)

    @property
    def key(self) -> str:
        """The key of the candidate."""
        return getattr(self, "_key", "") or self.genome.key

    def __reduce__(self) -> tuple[object, ...]:
        return Proposal, (self.genome, *self._facts())

    def __repr__(self) -> str:
        return (
            f"<proposal {self.origin or 'without origin'}, parents {self.parents}: {self.genome!r}>"
        )


@dataclass(frozen=True, slots=True)
class Rung:
    """One granted budget and what it gave."""

    budget: Budget
    """What was granted."""
    result: Result | None = None
    """What training gave; ``None`` while it has not ended, or when it failed."""


@dataclass(frozen=True)
class Trial:
    """One candidate's record.

    What follows from the fields is worked out once: histories share their trials, and a proposal
    looks at all of them.
    """

    number: int
    """Counts from 0."""
    proposal: Proposal
    """What was proposed, and how."""
    status: Status = Status.WAITING
    """What became of it so far."""
    rungs: tuple[Rung, ...] = ()
    """The budgets that it was granted, lowest first, with their results."""
    failure: Failure | None = None
    """Why it failed, if it did."""
    duplicate_of: int | None = None
    """Number of the trial that answers it, if it is a duplicate."""

    @property
    def genome(self) -> Genome:
        """The candidate."""
        return self.proposal.genome

    @property
    def name(self) -> str:
        """What a person calls the trial: the zoo cell of a baseline, else its number."""
        if self.is_baseline:
            return self.proposal.origin.detail.upper()
        return f"trial {self.number}"

    @cached_property
    def key(self) -> str:
        """The key of the candidate."""
        return self.proposal.key

    @property
    def newest_job(self) -> JobId:
        """The last training that it was granted."""
        return JobId(self.number, len(self.rungs) - 1)

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
        result = None if self.status is Status.FAILED else self.result
        return float("inf") if result is None else result.score

    def score_at(self, rung: int) -> float | None:
        """The score that a rung gave; ``None`` while it has no result."""
        for done in self.rungs:
            if done.budget.rung == rung and done.result is not None:
                return done.result.score
        return None

    @property
    def is_scored(self) -> bool:
        """Whether its training has ended with a finite score; duplicates have none."""
        return self.status in _TRAINED and self.score < float("inf")

    @cached_property
    def standing(self) -> float:
        """By what the trial is ranked: the score of a trained cell that is a result of the search;
        infinity for everything else.
        """
        return self.score if self.is_scored and not self.is_intermediate else float("inf")

    @property
    def ranks(self) -> bool:
        """Whether the trial has a place among the results of the search."""
        return self.standing < float("inf")

    @cached_property
    def is_baseline(self) -> bool:
        """Whether the trial is a control that the experiment asked for (LSTM, GRU), not a proposal
        of the strategy.
        """
        return self.proposal.origin.kind == BASELINE

    @property
    def is_intermediate(self) -> bool:
        """Whether the trial only serves to find others: a full cell on its way of being pruned. It
        is not a result of the search.
        """
        return self.proposal.origin.kind == SUPERNET

    @property
    def is_imported(self) -> bool:
        """Whether the result was taken over from another run: it does not count against the trials
        of the experiment.
        """
        return self.proposal.origin.kind == IMPORTED

    @property
    def is_checked(self) -> bool:
        """Whether the trial must pass the checks before training.

        What a person named is trained whatever they say, and a supernet is trained to be pruned,
        not to be kept.
        """
        return self.proposal.origin.kind not in (BASELINE, ENQUEUED, SUPERNET)

    @property
    def is_rejected(self) -> bool:
        """Whether a check before training rejected it, at next to no cost: it does not count
        against the trials of the experiment.
        """
        return self.failure is not None and self.failure.kind == "prefilter"

    def to_row(self) -> dict[str, Any]:
        """The record as a row of a table; ``None`` for what is missing."""
        result, failure = self.result, self.failure
        return {
            "number": self.number,
            "name": self.name,
            "origin": str(self.proposal.origin),
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
            "cell_weights": result.cell_parameters if result else None,
            "model_weights": result.parameters if result else None,
            "nodes": len(self.genome.nodes),
            "checkpoint": result.checkpoint if result else None,
            "failure": failure.kind if failure else None,
            "message": failure.message if failure else None,
            "duplicate_of": self.duplicate_of,
        }

    def __repr__(self) -> str:
        said = f"score {self.score:.6g}" if self.score < float("inf") else ""
        said = f"{self.failure.kind}" if self.failure is not None else said
        parts = filter(None, (self.status.value, said, str(self.proposal.origin)))
        return f"<trial {self.number}: {', '.join(parts)}>"

    def with_(self, **changes: object) -> Trial:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


class Index(ABC):
    """What somebody wants to know of all trials, kept up to date trial by trial, so that a long
    history costs no more than a short one.

    Made with the same arguments it is one index; see :meth:`History.index`.
    """

    reads_curves = False
    """Whether it looks at curves, metrics or connections of results."""

    @abstractmethod
    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """A trial was added, or took the place of what it was ``before``."""

    @abstractmethod
    def drop(self, trial: Trial) -> None:
        """The newest trial is left out again."""

    def fill(self, trials: Iterable[Trial]) -> None:
        """The trials that there are at first, in order of number."""
        for trial in trials:
            self.put(trial)


AnIndex = TypeVar("AnIndex", bound=Index)


class Totals(Index):
    """How many trials became what, and what they took."""

    def __init__(self) -> None:
        self.statuses: Counter[Status] = Counter()
        """How many have each status."""
        self.counted = 0
        """How many count against those of the experiment: neither rejected before training nor
        imported.
        """
        self.ended = 0
        """How many of these are finished."""
        self.rejected = 0
        """How many were rejected before training."""
        self.failures: Counter[str] = Counter()
        """How many failed for each kind of reason."""
        self.imported = 0
        """How many were taken over from other runs."""

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        if before is not None:
            self._add(before, -1)
        self._add(trial, 1)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self._add(trial, -1)

    def _add(self, trial: Trial, sign: int) -> None:
        rejected, imported = trial.is_rejected, trial.is_imported
        self.statuses[trial.status] += sign
        self.rejected += sign * rejected
        if trial.failure is not None:
            self.failures[trial.failure.kind] += sign
        self.imported += sign * imported
        if not (rejected or imported):
            self.counted += sign
            self.ended += sign * trial.status.finished


class Granted(Index):
    """Optimizer steps of all trials together: what each did, or what was granted it where there is
    no result.

    Trials that were rejected before training, imported, or answered as duplicates took none.
    """

    def __init__(self) -> None:
        self.steps = 0
        """The sum."""

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        self.steps += self.of(trial) - (self.of(before) if before is not None else 0)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self.steps -= self.of(trial)

    @staticmethod
    def of(trial: Trial) -> int:
        """Those of one trial."""
        if not trial.rungs or trial.duplicate_of is not None:
            return 0
        if trial.is_rejected or trial.is_imported:
            return 0
        last = trial.rungs[-1]
        return last.budget.steps if last.result is None else last.result.steps


class Ranking(Index):
    """Trials in the order of a number that each may have, ties by number of the trial."""

    def __init__(self) -> None:
        self.values = array("d")
        """The numbers that trials have, rising."""
        self.numbers = array("q")
        """Whose they are."""

    @abstractmethod
    def value(self, trial: Trial) -> float | None:
        """What the trial is ranked by; ``None`` for a trial that is not."""

    def below(self, value: float, number: int) -> int:
        """How many come before this value of the trial of this number."""
        low = bisect_left(self.values, value)
        return bisect_left(self.numbers, number, low, bisect_right(self.values, value, low))

    def put(self, trial: Trial, before: Trial | None = None) -> None:
        """See :meth:`Index.put`."""
        old = self._ordered(before) if before is not None else None
        new = self._ordered(trial)
        if old != new:
            self._remove(old, trial.number)
            if new is not None:
                place = self.below(new, trial.number)
                self.values.insert(place, new)
                self.numbers.insert(place, trial.number)

    def drop(self, trial: Trial) -> None:
        """See :meth:`Index.drop`."""
        self._remove(self._ordered(trial), trial.number)

    def _remove(self, value: float | None, number: int) -> None:
        if value is not None:
            place = self.below(value, number)
            del self.values[place], self.numbers[place]

    def fill(self, trials: Iterable[Trial]) -> None:
        """See :meth:`Index.fill`."""
        found = [(value, t.number) for t in trials if (value := self._ordered(t)) is not None]
        found.sort()
        self.values.extend(value for value, _ in found)
        self.numbers.extend(number for _, number in found)

    def _ordered(self, trial: Trial) -> float | None:
        """What is no number comes last."""
        value = self.value(trial)
        return float("inf") if value is not None and value != value else value


class History(Sequence[Trial]):
    """The trials that a strategy may know of, by number. Immutable; strategies are pure functions
    of it.

    A trial in flight is there without a result, so that a strategy sees what has been proposed
    already. Whoever asks for what it needs (:meth:`top`, :attr:`by_key`, :meth:`index`) instead of
    looking at every trial is as fast in a long history as in a short one: that of a run is read
    from its store as far as it is asked for.
    """

    def __init__(self, trials: Iterable[Trial] = ()) -> None:
        self._trials = tuple(sorted(trials, key=attrgetter("number")))
        self._indexes: dict[tuple[object, ...], Index] = {}

    @classmethod
    def ordered(cls, trials: Iterable[Trial]) -> Self:
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

    def index(self, kind: Callable[..., AnIndex], *arguments: object) -> AnIndex:
        """The index of this kind with these (hashable) arguments, up to date. Nobody but the
        history changes it.
        """
        key = (kind, *arguments)
        if key not in self._indexes:
            made = kind(*arguments)
            made.fill(self)
            self._indexes[key] = made
        return self._indexes[key]  # type: ignore[return-value]

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

    @property
    def totals(self) -> Totals:
        """How many trials became what, and what they took."""
        return self.index(Totals)

    @property
    def in_flight(self) -> int:
        """How many trials are not finished."""
        return sum(self.totals.statuses[status] for status in _IN_FLIGHT)

    @property
    def counted(self) -> int:
        """How many trials count against those of the experiment: neither rejected before training
        nor imported.
        """
        return self.totals.counted

    @property
    def unfinished(self) -> Sequence[Trial]:
        """The trials that are not finished, in order of number."""
        return tuple(trial for trial in self if not trial.status.finished)

    @property
    def scored(self) -> Sequence[Trial]:
        """Trials with a finite score (duplicates excluded), in order of number."""
        return tuple(trial for trial in self if trial.is_scored)

    @cached_property
    def ranked(self) -> Sequence[Trial]:
        """:attr:`scored` without those that only serve to find others
        (:attr:`Trial.is_intermediate`), best first; ties go to the earlier trial.
        """
        ranked = (trial for trial in self if trial.ranks)
        return tuple(sorted(ranked, key=attrgetter("score", "number")))

    @checked_arguments
    def top(self, count: int) -> Sequence[Trial]:
        """The first ``count`` of :attr:`ranked`, without making all of it."""
        standings = map(attrgetter("standing"), self)
        found = nsmallest(count, zip(standings, range(len(self)), strict=True))
        return [self[place] for standing, place in found if standing < float("inf")]

    def place(self, trial: Trial) -> int:
        """The place, from 1, that a trial of :attr:`ranked` has there."""
        own = trial.score, trial.number
        return 1 + sum((t.score, t.number) < own for t in self if t.ranks)

    @checked_arguments
    def failed(self, most: int) -> Sequence[Trial]:
        """The first ``most`` trials that failed, in order of number."""
        return [trial for trial in self if trial.status is Status.FAILED][:most]

    def causes(self) -> Mapping[str, int]:
        """How many trials failed for each kind of reason, the most frequent first."""
        return {kind: count for kind, count in self.totals.failures.most_common() if count}

    @checked_arguments
    def of_kind(self, kind: str) -> Sequence[Trial]:
        """The trials with this kind of origin, :data:`BASELINE`, :data:`IMPORTED` or
        :data:`SUPERNET`, in order of number.
        """
        return [trial for trial in self if trial.proposal.origin.kind == kind]

    @checked_arguments
    def children(self, number: int) -> Sequence[Trial]:
        """The trials whose first parent has this number, in order of number."""
        return [trial for trial in self if trial.proposal.parents[:1] == (number,)]

    @checked_arguments
    def answers(self, number: int) -> Sequence[Trial]:
        """The duplicates that this trial answers, in order of number."""
        return [trial for trial in self if trial.duplicate_of == number]

    def sizes(self) -> Sequence[tuple[int, float, int]]:
        """Number, score and weights of the cell of each trial of :attr:`ranked`, in order of
        number.
        """
        return [
            (trial.number, trial.score, trial.result.cell_parameters)
            for trial in self
            if trial.ranks and trial.result is not None
        ]

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

    @checked_arguments
    def best(self, *, baselines: bool = True) -> Trial | None:
        """The best trial; ``baselines=False`` leaves out the controls."""
        if not baselines:
            return next((t for t in self.ranked if not t.is_baseline), None)
        return next(iter(self.top(1)), None)

    def to_rows(self) -> list[dict[str, Any]]:
        """One row a trial, in order of number, all with the same keys: those of
        :meth:`Trial.to_row`, ``gap`` (:meth:`gap`), ``metrics.NAME`` for each further number that
        any trial has, and ``cell`` (the equations).
        """
        trials = tuple(self)
        measured = [dict(trial.result.metrics) if trial.result else {} for trial in trials]
        names = sorted({name for metrics in measured for name in metrics})
        return [
            trial.to_row()
            | {"gap": self.gap(trial)}
            | {f"metrics.{name}": metrics.get(name) for name in names}
            | {"cell": trial.genome.to_text()}
            for trial, metrics in zip(trials, measured, strict=True)
        ]

    @checked_arguments
    def to_frame(self, library: str = "") -> Any:
        """:meth:`to_rows` as a ``pandas.DataFrame`` or a ``polars.DataFrame``.

        library: ``"pandas"`` or ``"polars"``; left out, whichever is installed, pandas first.

        Raises :class:`EnvironmentFailure` if neither is: cellsearch itself needs none of them.
        """
        return as_frame(self.to_rows(), library)

    def __repr__(self) -> str:
        best = self.best()
        said = f", best {best.score:.6g} ({best.name})" if best else ""
        return f"<{amount(len(self), 'trial')}{said}>"


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
