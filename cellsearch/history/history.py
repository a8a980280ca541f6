"""What a search remembers, as strategies and schedules read it: all trials by number, and indexes
that keep what is asked of them up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from heapq import nsmallest
from html import escape
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple, Self

from cellsearch.errors import amount, checked_arguments
from cellsearch.history.frames import as_frame
from cellsearch.history.indexes import AnIndex, Index, Totals
from cellsearch.trial import IN_FLIGHT, Origin, Status, Trial

__all__ = ["Descent", "History"]

SHOWN = 12
"""Rows of the table that a notebook shows."""


class Descent(NamedTuple):
    """Where a trial came from, and what became of it."""

    number: int
    """Of the trial."""
    origin: Origin
    """By which operator."""
    parents: tuple[int, ...]
    """Numbers of trials."""
    score: float
    """What it is ranked by, see :attr:`Trial.standing`."""
    ended: bool
    """Whether it was trained, or failed; not so for duplicates."""


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
        return sum(self.totals.statuses[status] for status in IN_FLIGHT)

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
    def failed(self, most: int, kind: str = "") -> Sequence[Trial]:
        """The first ``most`` trials that failed, in order of number; ``kind``: in this way."""
        failed = (trial for trial in self if trial.status is Status.FAILED)
        own = (t for t in failed if not kind or (t.failure is not None and t.failure.kind == kind))
        return list(islice(own, max(most, 0)))

    def causes(self) -> Mapping[str, int]:
        """How many trials failed for each kind of reason, the most frequent first."""
        return {kind: count for kind, count in self.totals.failures.most_common() if count}

    @checked_arguments
    def of_kind(self, kind: str) -> Sequence[Trial]:
        """The trials with this kind of origin, :data:`BASELINE`, :data:`IMPORTED` or
        :data:`SUPERNET`, in order of number.
        """
        return [trial for trial in self if trial.proposal.origin.kind == kind]

    def repeated(self) -> float:
        """The share of all training time that was spent on repeating trainings with new seeds; 0
        where nothing was trained.
        """
        again, whole = 0.0, 0.0
        for trial in self:
            if trial.duplicate_of is None:
                seconds = [rung.result.seconds if rung.result else 0.0 for rung in trial.rungs]
                whole += sum(seconds)
                again += sum(s for k, s in enumerate(seconds) if trial.is_repeat(k))
        return again / whole if whole else 0.0

    @checked_arguments
    def children(self, number: int) -> Sequence[Trial]:
        """The trials whose first parent has this number, in order of number."""
        return [trial for trial in self if trial.proposal.parents[:1] == (number,)]

    @checked_arguments
    def answers(self, number: int) -> Sequence[Trial]:
        """The duplicates that this trial answers, in order of number."""
        return [trial for trial in self if trial.duplicate_of == number]

    def descents(self) -> Sequence[Descent]:
        """Where each trial came from and what became of it, in order of number."""
        return [
            Descent(
                *(trial.number, trial.proposal.origin, trial.proposal.parents, trial.standing),
                trial.status.finished and trial.status is not Status.DUPLICATE,
            )
            for trial in self
        ]

    def reasoned(self) -> Sequence[Trial]:
        """The trials that were proposed with a reason in words, in order of number."""
        return [trial for trial in self if trial.proposal.reason]

    def sizes(self) -> Sequence[tuple[int, float, int]]:
        """Number, score and weights of the cell of each trial of :attr:`ranked`, in order of
        number.
        """
        return [
            (trial.number, trial.score, trial.result.cell_parameters)
            for trial in self
            if trial.ranks and trial.result is not None
        ]

    def origins(self, numbers: Collection[int]) -> Mapping[int, Origin]:
        """How each of these trials came to be."""
        return {number: self.by_number[number].proposal.origin for number in numbers}

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

    def _repr_html_(self) -> str:
        """The best trials as a table, for notebooks."""
        heads = ("", "cell", "score", "cell weights", "status", "origin")
        rows = [
            (
                *(str(place), trial.name, f"{trial.score:.6g}"),
                f"{trial.result.cell_parameters:,}" if trial.result else "",
                *(trial.status.value, str(trial.proposal.origin)),
            )
            for place, trial in enumerate(self.top(SHOWN), start=1)
        ]
        lines = [
            "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in row) + "</tr>"
            for tag, row in (("th", heads), *(("td", row) for row in rows))
        ]
        return f"<p>{escape(repr(self))}</p><table>{''.join(lines)}</table>"

    def __repr__(self) -> str:
        best = self.best()
        said = f", best {best.score:.6g} ({best.name})" if best else ""
        return f"<{amount(len(self), 'trial')}{said}>"
